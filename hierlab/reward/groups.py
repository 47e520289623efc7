"""Groups of scores of unequal sizes: one flat array and where each group begins, so that no loop runs over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Groups(NamedTuple):
    """Scores of G groups, M numbers in all.

    Attributes:
        flat: [M] float64, group after group.
        starts: [G] where each group begins.
        sizes: [G] how many numbers each has, at least one.
    """

    flat: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    def spread(self, per_group: np.ndarray) -> np.ndarray:
        """A number of each group at each of its entries. [G] -> [M]"""
        return np.repeat(per_group, self.sizes)

    def reduce(self, operation: np.ufunc, values: np.ndarray) -> np.ndarray:
        """The operation over the entries of each group. [M] -> [G]"""
        return operation.reduceat(values, self.starts) if len(self.starts) else np.zeros(0)


def as_groups(name: str, groups: Sequence[Sequence[float]] | Any) -> Groups:
    """Checked groups of numbers.

    Args:
        name: what the caller knows them by.
        groups: G sequences of numbers, of any sizes but 0; or a matrix [G, n], as list, array or tensor. Single precision becomes
            double, which keeps equal numbers equal.

    Raises:
        ValueError: if a group is empty or no sequence of numbers, or a number is not finite; the message names the first one.
    """
    rows = [_row(name, number, group) for number, group in enumerate(_plain(groups))]
    sizes = np.array([len(row) for row in rows], dtype=int)
    flat = np.concatenate(rows) if rows else np.zeros(0)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int) if rows else np.zeros(0, dtype=int)
    if not np.isfinite(flat).all():
        place = int(np.argmin(np.isfinite(flat)))
        group = int(np.searchsorted(starts, place, side="right")) - 1
        raise ValueError(f"{name} must be finite, got {flat[place]} at position {place - starts[group]} of group {group}")
    return Groups(flat, starts, sizes)


def _row(name: str, number: int, group: Any) -> np.ndarray:
    try:
        row = np.asarray(_plain(group), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be groups of numbers, got {group!r} as group {number}") from None
    if row.ndim != 1 or not len(row):
        raise ValueError(f"{name} must be groups of at least one number, got {group!r} as group {number}")
    return row


def _plain(value: Any) -> Any:
    """A tensor as nested lists (its precision kept by double), anything else as it is."""
    return value.detach().cpu().tolist() if hasattr(value, "detach") else value
