"""How far a run is: units write events, whoever watches adds them up.

Under `hierlab run` the command line draws one bar a lab from the events. In a notebook the bar stands below the cell.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hierlab.lab import display
from hierlab.lab.units import append_event

EVENTS = "events.jsonl"


@dataclass
class Progress:
    """What the events so far add up to.

    Attributes:
        file: where they are written.
        total: units to be run by the experiments begun so far.
        parts: how much of each unit is done, 0 to 1.
        cell: the notebook's cell under way, and how many there are.
        label: the unit heard of last.
        values: what it reported.
    """

    file: Path
    total: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    cell: tuple[int, int] = (0, 0)
    label: str = ""
    values: dict[str, float] = field(default_factory=dict)
    _position: int = 0

    def read(self) -> Progress:
        """Take in the events written since the last time."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._position)
                text = stream.read()
        except OSError:
            return self
        complete = text[: text.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # a line torn by a full disk
        return self

    def _take(self, event: dict[str, Any]) -> None:
        if "begin" in event:
            self.total += event["units"]
        elif "cell" in event:
            self.cell = (event["cell"], event["of"])
        else:
            self.parts[event["unit"]] = event["part"]
            self.label, self.values = event["label"], event.get("values", self.values)

    @property
    def done(self) -> float:
        """Finished units, and the done parts of those under way."""
        return sum(self.parts.values())

    def in_words(self) -> str:
        """One short line for beside a bar."""
        if not self.total:
            return f"cell {self.cell[0]} of {self.cell[1]}" if self.cell[1] else "starting"
        values = ", ".join(f"{name} {value:g}" for name, value in self.values.items())
        return f"{sum(p >= 1 for p in self.parts.values())} of {self.total} units · {self.label}{f' · {values}' if values else ''}"


class Bar(Protocol):
    """Something that shows how far it is."""

    def refresh(self) -> None:
        """Look again, and show."""


@contextmanager
def watched(folder: Path, experiment: str, units: int) -> Iterator[Bar]:
    """Announce an experiment, and show its progress while the block lasts, wherever the notebook is being looked at."""
    file = folder / EVENTS
    if not display.headless():
        file.unlink(missing_ok=True)
    append_event(file, begin=experiment, units=units)
    if display.headless() or not units:
        yield _Silent()
    elif display.in_marimo():
        with sys.modules["marimo"].status.progress_bar(total=units, title=experiment, remove_on_exit=True) as bar:
            yield _InMarimo(bar, Progress(file))
    else:
        yield _Lines(Progress(file))


class _Silent:
    def refresh(self) -> None:
        pass


class _InMarimo:
    def __init__(self, bar: Any, progress: Progress):
        self._bar, self._progress = bar, progress

    def refresh(self) -> None:
        self._bar.update(subtitle=self._progress.read().in_words())


class _Lines:
    def __init__(self, progress: Progress):
        self._progress = progress

    def refresh(self) -> None:
        print(f"\r{self._progress.read().in_words()}", end="", flush=True)
