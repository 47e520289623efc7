"""The command line: help that teaches, and one clear line for every mistake."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hierlab.cli import app

FIXTURES = Path(__file__).parent / "lab" / "fixtures"
COMMANDS = ("list", "open", "run", "publish", "check", "site")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """The tiny labs, in a root of their own."""
    (tmp_path / "labs").symlink_to(FIXTURES / "labs")
    monkeypatch.setenv("HIERLAB_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def said(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments):
    """The one line with which a command is refused."""
    result = said(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("hierlab: ")
    return line


def test_help_answers_at_once():
    """Processor time of fresh processes, the least of five, since other work may be going on."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "hierlab", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    assert min(times) < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_examples(command):
    result = said(command, "--help")
    assert result.exit_code == 0
    assert f"hierlab {command}" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "name labs, or give --family, or --all"),
        (("run", "gigpo", "--all"), "name labs, or give --family, or --all"),
        (("run", "gigpoo"), "no lab 'gigpoo': did you mean gigpo"),
        (("run", "spo"), "spo has no lab yet; labs: "),
        (("run", "--family", "credits"), "no family 'credits': did you mean credit"),
        (("run", "--family", "theory"), "no labs in family theory yet"),
        (("run", "gigpo", "--scale", "tiny"), "no scale 'tiny': accepted: smoke, reduced, full"),
        (("run", "gigpo", "--set", "iteration=3"), "no setting 'iteration': did you mean iterations? accepted: iterations, rates, pause"),
        (("run", "gigpo", "--set", "iterations=many"), "iterations must be a whole number, got 'many' (policy updates)"),
        (("run", "gigpo", "--set", "iterations=0"), "iterations must be at least 1 and at most 1000"),
        (("run", "gigpo", "--set", "rates=0.1,-2"), "rates must be above 0"),
        (("run", "gigpo", "--set", "iterations"), "--set wants name=value, got 'iterations'"),
        (("run", "gigpo", "--set", "pause=1", "--set", "pause=2"), "--set pause is given twice"),
        (("run", "--all", "--set", "iterations=2"), "--set belongs to one lab's settings"),
        (("run", "gigpo", "hiper", "--set", "rates=1"), "no setting 'rates'"),
        (("publish", "gigpo", "--scale", "smoke"), "a smoke run shows that the code runs"),
        (("publish", "gigpo"), "no reduced run with the lab's own settings; run `hierlab run gigpo --scale reduced`"),
        (("check", "gigpoo"), "no lab 'gigpoo'"),
        (("open", "gigpoo"), "no lab 'gigpoo'"),
        (("open", "gigpo", "--jupyter", "--app"), "exclude each other"),
        (("list", "--family", "credits"), "no family 'credits'"),
    ],
)
def test_mistakes_get_one_line_and_start_nothing(root, arguments, words):
    assert words in refused(*arguments)
    assert not list(root.glob("runs/*/*/run.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "gigpo", "--seeds", 0),
        ("run", "gigpo", "--jobs", 0),
        ("run", "gigpo", "--workers", 0),
        ("run", "gigpo", "--scal", "x"),
        ("walk",),
        ("site", "--port", 0),
    ],
)
def test_wrong_options_are_usage_errors(arguments):
    result = said(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_broken_register_is_one_line(root, monkeypatch):
    from hierlab import papers

    broken = root / "papers.toml"
    broken.write_text("[[paper]]\nslug = 'x'\n")
    monkeypatch.setattr(papers, "REGISTER", broken)
    papers.papers.cache_clear()
    try:
        assert "papers.toml: paper 'x': field" in refused("list")
    finally:
        papers.papers.cache_clear()


def test_list_shows_papers_with_and_without_labs():
    result = said("list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.output.splitlines() if line.strip()}
    assert "hierlab run gigpo" in rows["gigpo"]
    assert "no lab yet" in rows["spo"]
    assert "54 papers" in result.output
    assert "theory" not in said("list", "--family", "credit").output


def test_check_finds_and_counts():
    good, bad = said("check", "gigpo"), said("check", "canon")
    assert (good.exit_code, good.output.strip()) == (0, "1 lab, 0 published results: all in order")
    assert bad.exit_code == 1
    assert "found wrong" in bad.output


def test_opened_labs_listen_to_this_machine_only():
    from hierlab.lab.open import server_command

    for options in ({}, {"as_app": True}):
        command = " ".join(server_command("gigpo", port=2718, browser=False, **options))
        assert f"marimo {'run' if options else 'edit'}" in command
        for words in ("--host 127.0.0.1", "--token", "--port 2718", "--headless"):
            assert words in command
        assert "--no-token" not in command


def test_a_taken_port_is_one_line(root):
    import socket

    from hierlab.lab.errors import Refused
    from hierlab.lab.site import serve_site

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Refused, match=r"port \d+ on 127.0.0.1 cannot be used .*--port"):
            serve_site(root, taken.getsockname()[1])


def test_a_site_that_cannot_be_built_is_one_line(root):
    (root / "docs").mkdir()
    (root / "mkdocs.yml").write_text("site_name: x\nnav:\n  - absent.md\n")
    result = said("site", "--no-serve")
    assert result.exit_code == 2
    assert "the site could not be built" in result.stderr
    assert "absent.md" in result.stderr


def test_python_m_hierlab_is_hierlab():
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "hierlab", "check", "nothing"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("hierlab: no lab 'nothing'")
