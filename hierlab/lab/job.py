"""A run to be made, and what became of it: the words between the command line and whatever executes labs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["complete", "failed", "refused", "interrupted"]


@dataclass(frozen=True)
class Job:
    """One lab to be run.

    Attributes:
        slug: the lab.
        scale: its scale.
        overrides: settings by name, parsed.
        seeds: how many; 0 for as many as the scale asks for.
        workers: processes that run its units side by side; 0 for the default.
        folder: where the run is kept.
    """

    slug: str
    scale: str
    overrides: Mapping[str, Any]
    seeds: int
    workers: int
    folder: Path

    def to_json(self) -> str:
        """The job as one line."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The way back."""
        record = json.loads(text)
        return cls(**{**record, "folder": Path(record["folder"])})


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: in one word.
        message: one line: what went wrong, where, and what to do; empty if nothing did.
        source: the cell that failed.
        seconds: how long it took.
    """

    status: Status
    message: str = ""
    source: str = ""
    seconds: float = field(default=0.0)


class Running(Protocol):
    """A job under way."""

    def poll(self) -> Outcome | None:
        """How it ended, or None while it has not."""

    def stop(self) -> None:
        """End it now. What it finished is kept."""


class Executor(Protocol):
    """Whatever can run jobs: processes of this machine (`hierlab.lab.local`), or a cluster."""

    def start(self, job: Job) -> Running:
        """Begin a job, without waiting for it."""
