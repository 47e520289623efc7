"""Many jobs: how many at once, what becomes of the others when one fails, and what is shown meanwhile."""

import io

import pytest
from rich.console import Console

from hierlab.lab import run
from hierlab.lab.job import Job, Outcome
from hierlab.lab.local import Local
from hierlab.lab.progress import EVENTS
from hierlab.lab.run import run_jobs
from hierlab.lab.units import append_event


class Script:
    """An executor that plays a script: how many polls each job takes, and how it ends."""

    def __init__(self, **endings):
        self.endings, self.running, self.most, self.stopped = endings, set(), 0, []

    def start(self, job):
        self.running.add(job.slug)
        self.most = max(self.most, len(self.running))
        return Play(self, job.slug)


class Play:
    def __init__(self, script, slug):
        self.script, self.slug, self.polls = script, slug, 0

    def poll(self):
        self.polls += 1
        wanted, status = self.script.endings[self.slug]
        if status is KeyboardInterrupt:
            raise KeyboardInterrupt
        if self.polls < wanted:
            return None
        self.script.running.discard(self.slug)
        return Outcome(status, "" if status == "complete" else "it broke", seconds=1.0)

    def stop(self):
        self.script.stopped.append(self.slug)


def jobs(tmp_path, *slugs):
    for slug in slugs:
        (tmp_path / slug).mkdir(exist_ok=True)
    return [Job(slug, "smoke", {}, 0, 0, tmp_path / slug) for slug in slugs]


def test_no_jobs():
    assert run_jobs([]) == {}


def test_a_job_travels_as_one_line(tmp_path):
    job = Job("gigpo", "full", {"rates": [0.1], "limit": None}, 3, 2, tmp_path)
    assert Job.from_json(job.to_json()) == job
    assert "\n" not in job.to_json()


def test_at_most_so_many_at_once_and_a_failure_stops_no_other(tmp_path):
    script = Script(a=(2, "failed"), b=(1, "complete"), c=(3, "complete"), d=(1, "refused"))
    ended = run_jobs(jobs(tmp_path, "a", "b", "c", "d"), at_once=2, executor=script)
    assert {slug: outcome.status for slug, outcome in ended.items()} == {"a": "failed", "b": "complete", "c": "complete", "d": "refused"}
    assert script.most == 2


def test_an_interruption_stops_what_runs_and_keeps_what_ended(tmp_path):
    script = Script(a=(1, "complete"), b=(9, "complete"), c=(1, KeyboardInterrupt), d=(1, "complete"))
    ended = run_jobs(jobs(tmp_path, "a", "b", "c", "d"), at_once=3, executor=script)
    assert ended["a"].status in ("complete", "interrupted")
    assert [ended[s].status for s in "bcd"] == ["interrupted"] * 3
    assert set(script.stopped) >= {"b", "c"}
    assert "finished units are kept" in ended["d"].message


def test_bars_follow_the_events(tmp_path, monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=text, force_terminal=True, width=120))
    [a, b] = jobs(tmp_path, "a", "b")
    append_event(a.folder / EVENTS, cell=2, of=7)
    append_event(b.folder / EVENTS, begin="ascent", units=4)
    append_event(b.folder / EVENTS, unit="u", label="GRPO, seed 0", part=0.25, values={"loss": 0.5})
    run_jobs([a, b], at_once=2, executor=Script(a=(4, "complete"), b=(5, "failed")))
    for words in ("cell 2 of 7", "0 of 4 units · GRPO, seed 0 · loss 0.5", "done", "failed"):
        assert words in text.getvalue()


def test_lines_for_a_file(tmp_path, capsys):
    [a] = jobs(tmp_path, "a")
    append_event(a.folder / EVENTS, cell=2, of=7)
    run_jobs([a], executor=Script(a=(3, "complete")))
    assert capsys.readouterr().err.splitlines()[0] == "a: cell 2 of 7"


def test_a_process_that_dies_without_a_word_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    [job] = jobs(tmp_path, "a")
    process = Local().start(job)
    process.stop()
    assert process.poll() == Outcome(
        "failed", "its process was killed by signal 9; finished units are kept: run again", seconds=process.poll().seconds
    )


@pytest.mark.parametrize(
    ("code", "words"), [("raise SystemExit(3)", "ended with 3: no message"), ("1/0", "ended with 1: ZeroDivisionError")]
)
def test_a_process_that_breaks_is_reported_in_one_line(tmp_path, monkeypatch, code, words):
    import subprocess
    import sys

    start = subprocess.Popen
    monkeypatch.setattr("hierlab.lab.local.subprocess.Popen", lambda command, **options: start([sys.executable, "-c", code], **options))
    process = Local().start(jobs(tmp_path, "a")[0])
    while not (outcome := process.poll()):
        pass
    assert outcome.status == "failed"
    assert words in outcome.message
    assert "\n" not in outcome.message
