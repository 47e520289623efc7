"""The units of an experiment: one arm, at one rate, with one seed. Each is run once and kept.

A finished unit is one sealed JSON file, named by everything that could change its numbers (settings, code, package versions), so
a run that was killed goes on with the units it has not finished, and changed code never meets old numbers. Units run in parallel
processes with one torch thread each: on small machines two such processes beat two threads by far.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from hierlab.files import digest
from hierlab.lab.errors import Refused
from hierlab.lab.orphans import end_with_parent
from hierlab.lab.results import Rate, Values
from hierlab.lab.seal import read_sealed, write_sealed

OFFERED = ("rate", "seed", "settings", "report", "scratch")
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Unit:
    """One arm at one rate with one seed.

    Attributes:
        experiment: the experiment's name.
        arm: the arm's name.
        rate: the learning rate, or None.
        seed: 0, 1, ...
        key: digest of everything that could change its numbers.
    """

    experiment: str
    arm: str
    rate: Rate
    seed: int
    key: str

    @property
    def label(self) -> str:
        """The unit in a reader's words."""
        return f"{self.arm}{'' if self.rate is None else f' at rate {self.rate:g}'}, seed {self.seed}"

    @property
    def stem(self) -> str:
        """The unit's file name, without extension."""
        words = [self.arm, *([] if self.rate is None else [f"{self.rate:g}"]), f"s{self.seed}"]
        return "-".join([*(re.sub(r"[^\w.]+", "_", word) for word in words), self.key[:10]])

    def file(self, folder: Path) -> Path:
        """Where the unit's result is kept, below a run's folder."""
        return folder / "units" / re.sub(r"[^\w.]+", "_", self.experiment) / f"{self.stem}.json"

    def scratch(self, folder: Path) -> Path:
        """A folder for the unit's own checkpoints; it is removed when the unit has finished."""
        return folder / "scratch" / self.stem


def key_of(**parts: Any) -> str:
    """The digest that names a unit: of the given parts and of the numeric packages' versions."""
    return digest({**parts, "versions": versions(("numpy", "torch", "transformers"))})


def versions(names: Sequence[str]) -> dict[str, str]:
    """The installed versions of those packages that are installed, and of Python."""
    found = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_arm(arm: Any) -> Any:
    """What an arm is, as JSON: a function's name and fixed parameters, or the plain value itself."""
    if isinstance(arm, partial):
        return [describe_arm(arm.func), [describe_arm(a) for a in arm.args], {k: describe_arm(v) for k, v in sorted(arm.keywords.items())}]
    if isinstance(arm, str | int | float | bool | None):
        return arm
    if isinstance(arm, Mapping):
        return {str(k): describe_arm(v) for k, v in sorted(arm.items())}
    if isinstance(arm, Sequence):
        return [describe_arm(v) for v in arm]
    return getattr(arm, "__qualname__", type(arm).__qualname__)


def finished(unit: Unit, folder: Path) -> dict[str, Any] | None:
    """The unit's record, if it has been run.

    Raises:
        Refused: if its file was changed by hand.
    """
    try:
        return read_sealed(unit.file(folder), "unit")
    except FileNotFoundError:
        return None


def check_train(train: Callable[..., Values]) -> None:
    """Refuse a training function whose parameters cannot be filled.

    Raises:
        TypeError: if it does not begin with the arm, or asks for something that is not offered.
    """
    parameters = list(inspect.signature(train).parameters.values())
    wanted = [p.name for p in parameters[1:] if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if not parameters or (unknown := [name for name in wanted if name not in OFFERED]):
        detail = "takes nothing" if not parameters else f"asks for {', '.join(unknown)}"
        raise TypeError(f"train must be a function of (arm, ...) with any of {', '.join(OFFERED)}; {train.__qualname__} {detail}")


def run_unit(unit: Unit, folder: Path, train: Callable[..., Values], arm: Any, settings: Any) -> dict[str, Any]:
    """Run one unit in this process, keep its result, and give it back.

    Raises:
        ValueError: if `train` returns anything but finite numbers and lists of finite numbers by name.
        OSError: if the result cannot be written.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    scratch = unit.scratch(folder)
    scratch.mkdir(parents=True, exist_ok=True)
    report = Reporter(folder / "events.jsonl", unit)
    offered = {"rate": unit.rate, "seed": unit.seed, "settings": settings, "report": report, "scratch": scratch}
    wanted = inspect.signature(train).parameters
    started = time.monotonic()
    values = train(arm, **{name: value for name, value in offered.items() if name in wanted})
    record = {
        "experiment": unit.experiment,
        "arm": unit.arm,
        "rate": unit.rate,
        "seed": unit.seed,
        "key": unit.key,
        "values": _plain(values, unit),
        "seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": peak_memory_mb(),
    }
    write_sealed(unit.file(folder), record)
    shutil.rmtree(scratch, ignore_errors=True)
    report.done()
    return record


def run_units(
    units: Sequence[Unit], folder: Path, train: Callable[..., Values], arms: Mapping[str, Any], settings: Any, workers: int
) -> Iterator[Unit]:
    """Run units, in this process if `workers` is 1 or there is only one, and yield each when its result is kept.

    When one fails, those under way are finished and kept, the others are not begun.

    Raises:
        UnitFailed: naming the unit and what went wrong.
    """
    if workers == 1 or len(units) < 2:
        for unit in units:
            with _named(unit):
                run_unit(unit, folder, train, arms[unit.arm], settings)
            yield unit
        return
    yield from _run_in_processes(units, folder, train, arms, settings, workers)


class UnitFailed(RuntimeError):  # noqa: N818 (it reads as what happened)
    """A unit of an experiment raised, or its process was killed."""


class Reporter:
    """What a unit calls to say how far it is: `report(done, total, loss=0.3)`. Cheap: it writes twice a second at most."""

    def __init__(self, file: Path, unit: Unit):
        self._file, self._unit, self._last = file, unit, 0.0

    def __call__(self, done: float, total: float = 1.0, **values: float) -> None:
        """Say that `done` of `total` is behind us; `values` are shown beside the bar."""
        if time.monotonic() - self._last >= 0.5:
            self._last = time.monotonic()
            shown = {name: float(f"{float(value):.3g}") for name, value in values.items()}
            append_event(self._file, unit=self._unit.stem, label=self._unit.label, part=min(1.0, done / total), values=shown)

    def done(self) -> None:
        """Say that the unit's result has been kept."""
        append_event(self._file, unit=self._unit.stem, label=self._unit.label, part=1.0, finished=True)


def append_event(file: Path, **event: Any) -> None:
    """Add one line to a run's events; other processes may write to the same file. A full disk is no reason to stop here."""
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")
    except OSError:
        return


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def _run_in_processes(
    units: Sequence[Unit], folder: Path, train: Callable[..., Values], arms: Mapping[str, Any], settings: Any, workers: int
) -> Iterator[Unit]:
    from concurrent.futures import FIRST_COMPLETED, wait

    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    executor = get_reusable_executor(max_workers=min(workers, len(units)), timeout=20, env=THREADS)
    futures = {executor.submit(_in_worker, os.getpid(), u, folder, train, arms[u.arm], settings): u for u in units}
    pending, failure = set(futures), None
    try:
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                if future.cancelled():
                    continue
                if error := future.exception():
                    failure = failure or (futures[future], error)
                    for other in pending:
                        other.cancel()
                else:
                    yield futures[future]
    except BaseException:
        executor.shutdown(wait=True, kill_workers=True)
        raise
    if failure:
        unit, error = failure
        if isinstance(error, BrokenProcessPool):
            raise UnitFailed(
                f"a worker process was killed, probably for want of memory, around {unit.label} of {unit.experiment!r}; "
                "finished units are kept: run again, with fewer --workers"
            ) from error
        with _named(unit):
            raise error


def _in_worker(parent: int, unit: Unit, folder: Path, train: Callable[..., Values], arm: Any, settings: Any) -> None:
    end_with_parent(parent)
    run_unit(unit, folder, train, arm, settings)


class _named:  # noqa: N801 (reads as a statement)
    """Say which unit an exception comes from."""

    def __init__(self, unit: Unit):
        self.unit = unit

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Refused | OSError):
            raise error
        if isinstance(error, Exception):
            raise UnitFailed(f"{self.unit.label} of {self.unit.experiment!r} failed: {type(error).__name__}: {error}") from error


def _plain(values: Any, unit: Unit) -> dict[str, float | list[float]]:
    """Metrics as JSON: numbers, and curves to six digits."""
    if not isinstance(values, Mapping) or not values or not all(isinstance(name, str) for name in values):
        raise ValueError(f"train must return numbers and lists of numbers by name, got {type(values).__name__} for {unit.label}")
    result: dict[str, float | list[float]] = {}
    for name, value in values.items():
        value = value.tolist() if hasattr(value, "tolist") else value
        try:
            curve = isinstance(value, list | tuple)
            numbers = [float(f"{float(v):.6g}") for v in value] if curve else [float(value)]
        except (TypeError, ValueError):
            raise ValueError(f"metric {name!r} of {unit.label} must be a number or a list of numbers, got {value!r:.60}") from None
        if bad := [v for v in numbers if not math.isfinite(v)]:
            raise ValueError(f"metric {name!r} of {unit.label} is {bad[0]}: a run that diverges should report its worst value")
        result[name] = numbers if curve else numbers[0]
    return result
