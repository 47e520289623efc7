"""Run labs side by side, show how far they are, and say how each ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hierlab.lab.errors import Refused
from hierlab.lab.execute import in_one_line
from hierlab.lab.job import Executor, Job, Outcome, Running
from hierlab.lab.local import Local
from hierlab.lab.notebook import read_notebook
from hierlab.lab.places import lab_file, run_folder, shown
from hierlab.lab.preflight import check_needs
from hierlab.lab.progress import EVENTS, Progress


def jobs_for(slugs: Sequence[str], scale: str, overrides: Mapping[str, str], *, seeds: int = 0, workers: int = 0) -> list[Job]:
    """The jobs for these labs, everything checked before the first one starts.

    Raises:
        Refused: if a lab, the scale or a setting is unknown, a value is of the wrong type or out of range, its folder cannot be
            written, or the machine lacks what the settings ask for.
    """
    jobs = []
    for slug in dict.fromkeys(slugs):
        choice = read_notebook(lab_file(slug)).settings(scale, overrides)
        check_needs(choice.values)
        folder = run_folder(slug, scale, choice.hash)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(in_one_line(error)) from error
        parsed = {name: choice.record[name] for name in choice.overrides}
        jobs.append(Job(slug, scale, parsed, seeds, workers, folder))
    return jobs


def run_jobs(jobs: Sequence[Job], *, at_once: int = 1, executor: Executor | None = None) -> dict[str, Outcome]:
    """Run the jobs, at most `at_once` of them at a time. One that fails does not stop the others.

    Args:
        jobs: made by `jobs_for`.
        at_once: how many run side by side.
        executor: what runs them; processes of this machine by default.

    Returns:
        How each ended, by slug. After Ctrl-C, those that had not ended are "interrupted".
    """
    executor = executor or Local()
    waiting, running, ended = list(jobs), {}, {}
    with _display(jobs) as show:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    running[job.slug] = (job, executor.start(job))
                for job, outcome in _just_ended(running):
                    ended[job.slug] = outcome
                    show.ended(job, outcome)
                show.refresh([job for job, _ in running.values()])
                time.sleep(0.1)
        except KeyboardInterrupt:
            for _, process in running.values():
                process.stop()
    lost = Outcome("interrupted", "interrupted; finished units are kept, the same command goes on from there")
    return {job.slug: ended.get(job.slug, lost) for job in jobs}


def _just_ended(running: dict[str, tuple[Job, Running]]) -> list[tuple[Job, Outcome]]:
    found = [(job, outcome) for job, process in running.values() if (outcome := process.poll())]
    for job, _ in found:
        del running[job.slug]
    return found


@contextmanager
def _display(jobs: Sequence[Job]) -> Any:
    """Bars in a terminal, lines in a file."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = [TextColumn("{task.fields[name]}"), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.fields[words]}")]
        with Bars(*columns, console=Console(stderr=True)) as bars:
            yield _Bars(bars, jobs)
    else:
        yield _Lines()


class _Bars:
    def __init__(self, bars: Any, jobs: Sequence[Job]):
        width = max(len(j.slug) for j in jobs)
        self._bars, self._progress = bars, {j.slug: Progress(j.folder / EVENTS) for j in jobs}
        self._tasks = {j.slug: bars.add_task("", total=None, start=False, name=j.slug.ljust(width), words="waiting") for j in jobs}

    def refresh(self, running: Sequence[Job]) -> None:
        for job in running:
            progress, task = self._progress[job.slug].read(), self._tasks[job.slug]
            self._bars.start_task(task)
            total, done = (progress.total, progress.done) if progress.total else (progress.cell[1] or None, progress.cell[0])
            self._bars.update(task, total=total, completed=done, words=progress.in_words())

    def ended(self, job: Job, outcome: Outcome) -> None:
        task = self._tasks[job.slug]
        words = "done" if outcome.status == "complete" else outcome.status
        self._bars.update(task, total=1, completed=1 if outcome.status == "complete" else 0, words=words)
        self._bars.stop_task(task)


class _Lines:
    """One line when something changed, every ten seconds at most."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._last: dict[str, tuple[float, str]] = {}

    def refresh(self, running: Sequence[Job]) -> None:
        for job in running:
            words = self._progress.setdefault(job.slug, Progress(job.folder / EVENTS)).read().in_words()
            then, before = self._last.get(job.slug, (0.0, ""))
            if words != before and time.monotonic() - then > 10:
                self._last[job.slug] = (time.monotonic(), words)
                print(f"{job.slug}: {words}", file=sys.stderr, flush=True)

    def ended(self, job: Job, outcome: Outcome) -> None:
        print(f"{job.slug}: {outcome.status} after {outcome.seconds:.0f} s ({shown(job.folder)})", file=sys.stderr, flush=True)
