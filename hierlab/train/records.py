"""A trainer's records in a few numbers and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Records = Sequence[Mapping[str, float]]
"""What `PolicyTrainer.fit` returns: one mapping an iteration, before them perhaps one of iteration 0 with an evaluation only."""


def cumulative(records: Records, name: str) -> list[float]:
    """Running sum of a quantity, one entry a record; a record without it adds nothing."""
    return np.cumsum([record.get(name, 0.0) for record in records], dtype=np.float64).tolist()


def estimator_share(records: Records) -> float:
    """The estimator's share of all the seconds spent; 0 if none were."""
    seconds = {name: sum(record.get(f"seconds_{name}", 0.0) for record in records) for name in ("collect", "estimate", "update")}
    return seconds["estimate"] / (sum(seconds.values()) or 1.0)


def resampled(records: Records, name: str, along: Sequence[float], grid: Sequence[float]) -> list[float]:
    """A quantity of some of the records, read off at other places: linear in between, constant beyond the first and the last.

    Args:
        records: those without the quantity are passed over.
        name: of the quantity.
        along: place of each record, not decreasing.
        grid: the places wanted.

    Raises:
        ValueError: if no record has it.
    """
    known = [(place, record[name]) for place, record in zip(along, records, strict=True) if name in record]
    if not known:
        raise ValueError(f"no record has {name!r}")
    return np.interp(grid, *zip(*known, strict=True)).tolist()
