"""Jobs as processes of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

from hierlab.lab.job import Job, Outcome


class Local:
    """Starts each job in a process of its own, so that one that is killed takes no other with it."""

    def start(self, job: Job) -> LocalRun:
        """Begin a job."""
        return LocalRun(job)


class LocalRun:
    """A job in its process. It has its own session: Ctrl-C reaches the command line alone, which then stops its jobs."""

    def __init__(self, job: Job):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read when the process has ended)
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (read when the process has ended)
        self._started = time.monotonic()
        command = [sys.executable, "-m", "hierlab.lab.execute", job.to_json()]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._errors, start_new_session=True
        )

    def poll(self) -> Outcome | None:
        """How it ended, or None."""
        if self._process.poll() is None:
            return None
        self._output.seek(0)
        lines = self._output.read().strip().splitlines()
        try:
            return Outcome(**json.loads(lines[-1]))
        except (IndexError, ValueError, TypeError):
            return Outcome("failed", self._without_outcome(), seconds=round(time.monotonic() - self._started, 1))

    def _without_outcome(self) -> str:
        if self._process.returncode < 0:
            return f"its process was killed by signal {-self._process.returncode}; finished units are kept: run again"
        self._errors.seek(0)
        last = self._errors.read().strip().splitlines()
        return f"its process ended with {self._process.returncode}: {last[-1] if last else 'no message'}"

    def stop(self) -> None:
        """End it, and with it its kernel and workers."""
        self._process.kill()
        self._process.wait()
