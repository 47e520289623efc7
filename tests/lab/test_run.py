"""Headless runs: every way they can end, and killing them at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import hierlab, new_root

from hierlab.lab import ledger


def only(folder, pattern):
    found = list(folder.glob(pattern))
    assert len(found) == 1, found
    return found[0]


def lines_about(said, slug):
    return [line for line in said["err"].splitlines() if line.startswith(f"hierlab: {slug}: ")]


# How runs end. One command ran all of these labs, two at a time.


def test_a_failure_gives_a_non_zero_exit_and_stops_no_other_lab(endings):
    root, said = endings
    assert said["code"] == 1
    assert "Traceback" not in said["out"] + said["err"]
    states = {
        slug: json.loads(only(root, f"runs/{slug}/reduced-*/run.json").read_text())["status"] for slug in ("gigpo", "hiper", "hgpo", "rose")
    }
    assert states == {"gigpo": "complete", "hiper": "failed", "hgpo": "failed", "rose": "failed"}


def test_a_complete_run_has_ledger_figures_and_executed_notebook(endings):
    root, said = endings
    folder = only(root, "runs/gigpo/reduced-*")
    record = ledger.read(folder / "ledger.json")
    assert [c["verdict"] for c in record["claims"][:3]] == ["supported", "not tested at this scale", "refuted"]
    assert record["claims"][1]["note"].startswith("It needs WebShop")
    assert record["seeds"] == [0, 1, 2]
    assert record["command"] == "hierlab run gigpo --scale reduced"
    assert {f["name"] for f in record["figures"]} == {"stepper", "curves"} == {p.stem for p in (folder / "figures").glob("*.json")}
    assert {"processor", "cores", "memory_gb"} <= set(record["hardware"])
    assert set(record["code"]) == {"lab", "hierlab.seeds"}
    assert "gigpo reduced: 1 supported, 1 refuted, 6 not tested" in said["out"]
    notebook = json.loads((folder / "notebook.ipynb").read_text())
    assert any("injected-parameters" in c["metadata"].get("tags", []) for c in notebook["cells"])
    assert (folder / "notebook.ipynb").stat().st_size < 200_000
    assert not list((folder / "scratch").iterdir())


def test_a_cell_that_raises_is_named_with_its_line_and_its_traceback_is_kept(endings):
    root, said = endings
    [line] = lines_about(said, "hiper")
    source = (root / "labs/credit/hiper.py").read_text().splitlines()
    number = int(line.split("hiper.py:")[1].split(":")[0])
    assert any("rewards[bench.settings.iterations]" in text for text in source[number : number + 4])
    assert "the cell raised IndexError: list index out of range" in line
    assert "    rewards[bench.settings.iterations]" in said["err"]
    notebook = Path(line.split("traceback: ")[1])
    assert "IndexError" in notebook.read_text()


@pytest.mark.parametrize(
    ("slug", "words"),
    [
        ("hgpo", ["the kernel was killed", "memory", "run again"]),
        ("himac", ["a worker process was killed", "two, seed 1", "finished units are kept"]),
        ("hapo", ["wrote no ledger", "bench.verdicts()"]),
        ("rose", ["two, seed 1 of 'ascent' failed", "'final'", "is nan"]),
    ],
)
def test_each_odd_ending_gets_one_clear_line(endings, slug, words):
    [line] = lines_about(endings[1], slug)
    for word in words:
        assert word in line


def test_units_finished_before_a_failure_are_kept(endings):
    root, _ = endings
    assert len(list(root.glob("runs/himac/*/units/ascent/*.json"))) >= 1
    assert len(list(root.glob("runs/rose/*/units/ascent/*.json"))) == 3


# A disk that refuses.


def test_a_full_disk_is_one_line(tmp_path):
    root = new_root(tmp_path / "root")
    folder = root / "runs" / "hapo" / "reduced-205d085b14"
    folder.mkdir(parents=True)
    (folder / "notebook.ipynb").symlink_to("/dev/full")
    done = hierlab(root, "run", "hapo")
    assert done.returncode == 1
    assert "hierlab: hapo: cannot write" in done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unwritable_folder_is_refused_before_anything_starts(tmp_path):
    root = new_root(tmp_path / "root")
    (root / "runs").write_text("in the way")
    done = hierlab(root, "run", "gigpo", "hapo")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "cannot write" in line
    assert "Not a directory" in line


# Interruptions.

SLOW = ("run", "hicra", "--workers", 2)
VOLATILE = ("started", "finished", "wall_seconds", "unit_seconds", "resumed_units", "peak_memory_mb", "commit", "workers")


def started(root, *arguments):
    environment = {**os.environ, "HIERLAB_ROOT": str(root)}
    command = [sys.executable, "-m", "hierlab", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def units(root):
    return {p.name: p.stat().st_mtime_ns for p in root.glob("runs/hicra/*/units/ascent/[!.]*.json")}


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def processes_of(root):
    """The processes that were started for this root, by their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HIERLAB_ROOT={root}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def numbers(root):
    record = ledger.read(only(root, "runs/hicra/reduced-*/ledger.json"))
    return {k: v for k, v in record.items() if k not in VOLATILE}


def test_a_run_killed_anywhere_ends_with_the_numbers_of_an_uninterrupted_one(endings, tmp_path):
    """SIGKILL once at the boundary of a unit, twice at random; then Ctrl-C, a second run beside the first, and on to the end."""
    whole, broken = endings[0], new_root(tmp_path / "broken")
    rng = random.Random(time.time_ns())
    moments = [rng.uniform(0.5, 4), rng.uniform(2, 6)]
    kept = {}
    for attempt in range(3):
        run = started(broken, *SLOW)
        if attempt == 0:
            wait_for(lambda: len(units(broken)) > 0 or run.poll() is not None)  # noqa: B023
        else:
            time.sleep(moments[attempt - 1])
        run.kill()
        run.wait()
        wait_for(lambda: not processes_of(broken), seconds=10)  # nothing outlives the command
        assert kept.items() <= units(broken).items(), f"a finished unit was lost or written again; killed after {moments} s"
        kept = units(broken)
    assert len(kept) >= 1

    run = started(broken, *SLOW, "--seeds", 40)
    wait_for(lambda: len(units(broken)) > len(kept) + 1)
    second = hierlab(broken, *SLOW)
    assert second.returncode == 1
    assert "is being run by process" in second.stderr
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "interrupted; finished units are kept, the same command goes on from there" in errors
    assert "Traceback" not in errors
    wait_for(lambda: not processes_of(broken), seconds=10)

    assert hierlab(broken, *SLOW).returncode == 0
    assert kept.items() <= units(broken).items()
    assert numbers(broken) == numbers(whole), f"killed after {moments} s"
    assert ledger.read(only(broken, "runs/hicra/reduced-*/ledger.json"))["resumed_units"] >= len(kept)
