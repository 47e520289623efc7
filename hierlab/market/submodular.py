"""Greedy maximisation of a set function under constraints, with its guarantee where the function is monotone and submodular.

A function is submodular if what an item adds shrinks as the set grows. If it is also monotone, greedy reaches at least 1 - 1/e of the
optimum under a limit on the number of items, 1/2 under one matroid (such as a limit for every group), and 1/(p + 1) under p of
them. Nothing is promised for other functions, and `greedy` then stops as soon as no item adds anything.

Items are numbered from 0, and gains are asked for all of them at once, so that the inner loop is the caller's array arithmetic.

Source: Nemhauser, Wolsey, Fisher 1978 and Fisher, Nemhauser, Wolsey 1978.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Gains = Callable[[tuple[int, ...]], np.ndarray]
"""From the items chosen so far, in order, to what each item would add. [items]"""
Constraint = Callable[[tuple[int, ...]], np.ndarray]
"""From the items chosen so far to whether each item may be added. [items] bool"""


@dataclass(frozen=True)
class Chosen:
    """What greedy chose.

    Attributes:
        items: in the order in which they were added.
        values: what the first, the first two, ... of them are worth together.
    """

    items: tuple[int, ...]
    values: tuple[float, ...]


def greedy(gains: Gains, k: int | None = None, *, allowed: Constraint | None = None, least_gain: float = 0.0) -> Chosen:
    """Add the item that raises the value most, again and again; of equal ones the first.

    Args:
        gains: what each item would add to those chosen.
        k: at most so many; None: as many as the constraint allows.
        allowed: which items may be added to those chosen; None: all. An item is never added twice.
        least_gain: stop when no item adds more than this; minus infinity goes on while items may be added.

    Raises:
        ValueError: if k is negative, or gains are no row of numbers.
    """
    if k is not None and k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    items: list[int] = []
    values: list[float] = []
    while k is None or len(items) < k:
        gain = np.array(gains(tuple(items)), dtype=np.float64)
        if gain.ndim != 1 or np.isnan(gain).any():
            raise ValueError(f"gains must be one number an item, got shape {gain.shape}{' with NaN' if gain.ndim == 1 else ''}")
        free = np.ones(len(gain), dtype=bool) if allowed is None else np.array(allowed(tuple(items)), dtype=bool)
        free[items] = False
        if not free.any():
            break
        best = int(np.argmax(np.where(free, gain, -np.inf)))
        if not gain[best] > least_gain:
            break
        items.append(best)
        values.append((values[-1] if values else 0.0) + float(gain[best]))
    return Chosen(tuple(items), tuple(values))


def at_most(limits: Mapping[Any, int], groups: Sequence[Any]) -> Constraint:
    """The constraint of a partition matroid: at most so many items of each group; groups without a limit are free.

    Args:
        limits: by group.
        groups: [items] the group of each item.

    Raises:
        ValueError: if a limit is negative.
    """
    if wrong := {group: limit for group, limit in limits.items() if limit < 0}:
        raise ValueError(f"limits must be at least 0, got {wrong}")
    member = {group: np.array([other == group for other in groups], dtype=bool) for group in limits}

    def allowed(chosen: tuple[int, ...]) -> np.ndarray:
        full = [group for group, limit in limits.items() if member[group][list(chosen)].sum() >= limit]
        return ~np.any([member[group] for group in full] or [np.zeros(len(groups), dtype=bool)], axis=0)

    return allowed


def one_each(rows: int, columns: int) -> Constraint:
    """The constraint of a matching, two matroids: edge `row * columns + column` wants its row and its column for itself."""

    def allowed(chosen: tuple[int, ...]) -> np.ndarray:
        free = np.ones((rows, columns), dtype=bool)
        for edge in chosen:
            free[edge // columns] = False
            free[:, edge % columns] = False
        return free.ravel()

    return allowed
