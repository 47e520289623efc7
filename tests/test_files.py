"""Files: what is on disk after each odd ending."""

import json
import multiprocessing as mp
import os
import signal
import time

import pytest

from hierlab.files import cache_folder, digest, locked, read_json, replacing, write_atomic, write_json


def test_write_creates_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json(path, {"x": 1})
    write_json(path, {"x": 2})
    assert read_json(path) == {"x": 2}
    assert os.listdir(path.parent) == ["b.json"]


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "kept.txt"
    write_atomic(path, "old")

    def fail_midway():
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        fail_midway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_json_refuses_what_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", ['{"x": 1', "", "\x00\x01"])
def test_truncated_json_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"result .*broken\.json is truncated or not JSON"):
        read_json(path, what="result")


def test_missing_json_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_digest_depends_on_content_not_on_order():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HIERLAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def _write_for_ever(path):
    number = 0
    while True:
        number += 1
        write_json(path, {"number": number, "padding": "x" * 100_000})


@pytest.mark.parametrize("delay", [0.05, 0.11, 0.23])
def test_kill_while_writing_leaves_a_whole_file(tmp_path, delay):
    path = tmp_path / "busy.json"
    write_json(path, {"number": 0})
    writer = mp.get_context("fork").Process(target=_write_for_ever, args=(path,))
    writer.start()
    time.sleep(delay)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert json.loads(path.read_text())["number"] >= 0


def _hold(path, started):
    with locked(path):
        started.set()
        time.sleep(60)


def test_a_lock_ends_with_its_holder(tmp_path):
    context = mp.get_context("fork")
    started = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", started))
    holder.start()
    assert started.wait(10)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with locked(tmp_path / "lock"):
        pass


def test_lists_of_numbers_stand_on_one_line_and_texts_are_left_alone(tmp_path):
    value = {"curve": [1, 2.5, None], "names": ["[\n 1,\n 2\n]", "b"], "empty": [], "nested": [[1, 2], [3]], "text": "[ 1, 2 ]"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert '"curve": [1, 2.5, null]' in (tmp_path / "a.json").read_text()
