"""Placements: which advertisement stands at which position, one array for one placement or for thousands.

A placement is [n], the position of each of n advertisements, `NOWHERE` (-1) for one that is not shown; no position is given twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations, permutations
from math import comb, perm
from typing import Any

import numpy as np

NOWHERE = -1
LIMIT = 2_000_000
"""The most placements that are enumerated."""


def check_auction(value: Any, quality: Any, k: int | None, *, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """An auction's inputs as arrays, and the number of advertisements that may be shown.

    Args:
        value: [n] value (or bid, or virtual value) of a click on each advertisement.
        quality: [n, m] what each advertisement has at each position.
        k: at most so many are shown; None: as many as there are positions.
        name: what the caller knows `quality` by.

    Returns:
        value [n] and quality [n, m] as float64, and k, at most min(n, m).

    Raises:
        ValueError: if shapes do not fit, a number is not finite, a quality is negative, or k is not a whole number of at least 0.
    """
    value, quality = np.asarray(value, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if quality.ndim != 2 or value.shape != quality.shape[:1]:
        raise ValueError(f"value must be [n] and {name} [n, m], got shapes {value.shape} and {quality.shape}")
    if not np.isfinite(value).all():
        at = int(np.argmin(np.isfinite(value)))
        raise ValueError(f"value must be finite, got {value[at]} for advertisement {at}")
    wrong = ~(np.isfinite(quality) & (quality >= 0))
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        raise ValueError(f"{name} must be finite and not negative, got {quality[row, column]} for advertisement {row} at position {column}")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0):
        raise ValueError(f"k must be a whole number of at least 0, or None for as many as there are positions, got {k!r}")
    most = min(quality.shape)
    return value, quality, most if k is None else min(int(k), most)


def check_placement(placement: Any, n: int, m: int) -> np.ndarray:
    """A placement, or several, as an integer array.

    Args:
        placement: [..., n] position of each advertisement, -1 for nowhere.
        n: number of advertisements.
        m: number of positions.

    Raises:
        ValueError: if its last dimension is not n, there is no such position, or one position is given to two advertisements.
    """
    placement = np.asarray(placement)
    if placement.shape[-1:] != (n,) or not np.issubdtype(placement.dtype, np.integer):
        raise ValueError(f"placement must be whole numbers, one for each of {n} advertisements, got {placement.dtype} of {placement.shape}")
    if placement.size and not (placement.min() >= NOWHERE and placement.max() < m):
        raise ValueError(f"placement must name positions 0 to {m - 1}, or -1 for nowhere, got {placement.min()} to {placement.max()}")
    inner = np.sort(placement, axis=-1)
    if ((inner[..., 1:] == inner[..., :-1]) & (inner[..., 1:] != NOWHERE)).any():
        raise ValueError("placement gives one position to two advertisements")
    return placement


def chosen(quality: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """What each advertisement has where it stands, 0 if nowhere. [..., n]"""
    if not quality.size:
        return np.zeros(placement.shape)
    return np.where(placement == NOWHERE, 0.0, quality[np.arange(len(quality)), placement])


def placed(edges: Sequence[int], n: int, m: int) -> np.ndarray:
    """The placement of edges that are numbered `advertisement * m + position`. [n]"""
    placement = np.full(n, NOWHERE, dtype=np.int64)
    advertisement, position = np.divmod(np.array(edges, dtype=np.int64), max(m, 1))
    placement[advertisement] = position
    return placement


def count_placements(n: int, m: int, k: int | None = None) -> int:
    """How many placements of at most k of n advertisements at m positions there are."""
    most = min(n, m) if k is None else min(n, m, k)
    return sum(comb(n, shown) * perm(m, shown) for shown in range(most + 1))


@cache
def all_placements(n: int, m: int, k: int | None = None) -> np.ndarray:
    """Every placement of at most k of n advertisements at m positions, those with fewer advertisements first.

    Returns:
        [placements, n], read-only; the first is the empty one.

    Raises:
        ValueError: if there are more than `LIMIT`.
    """
    total = count_placements(n, m, k)
    if total > LIMIT:
        raise ValueError(f"{n} advertisements and {m} positions have {total:,} placements, more than the {LIMIT:,} that are enumerated")
    result = np.full((total, n), NOWHERE, dtype=np.int64)
    row = 0
    for shown in range((min(n, m) if k is None else min(n, m, k)) + 1):
        orders = np.array(list(permutations(range(m), shown)), dtype=np.int64).reshape(perm(m, shown), shown)
        for winners in combinations(range(n), shown):
            result[row : row + len(orders), list(winners)] = orders
            row += len(orders)
    result.flags.writeable = False
    return result


def random_placement(n: int, m: int, k: int, generator: np.random.Generator) -> np.ndarray:
    """k advertisements at as many positions, both drawn uniformly: the trivial baseline. [n]"""
    most = min(n, m, k)
    placement = np.full(n, NOWHERE, dtype=np.int64)
    placement[generator.permutation(n)[:most]] = generator.permutation(m)[:most]
    return placement
