"""Maximum-weight matchings of rows and columns with at most k edges."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from hierlab.market.placements import NOWHERE


def k_matching(weight: np.ndarray, k: int | None = None) -> np.ndarray:
    """The matching of greatest total weight with at most k edges; edges of no positive weight are never used.

    m - k dummy rows, heavier than everything else together, keep that many columns away from the real rows; what remains is an
    assignment problem, solved by scipy. Of many rows only those count that are among the k best of some column: in a matching with
    k edges, a column whose row is not one of its k best can always trade up.

    Args:
        weight: [n, m] finite numbers of any sign.
        k: at most so many edges; None: as many as fit.

    Returns:
        [n] the column of each row, -1 for none.

    Raises:
        ValueError: if the weights are no matrix or not finite, or k is negative.
    """
    weight = np.asarray(weight, dtype=np.float64)
    if weight.ndim != 2 or not np.isfinite(weight).all():
        raise ValueError(f"weight must be a matrix of finite numbers, got shape {weight.shape}")
    if k is not None and k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    return match(weight, min(weight.shape) if k is None else min(k, *weight.shape))


def match(weight: np.ndarray, k: int) -> np.ndarray:
    """`k_matching` without its checks. [n]"""
    placement = np.full(len(weight), NOWHERE, dtype=np.int64)
    row, column = edges(weight, k)
    placement[row] = column
    return placement


def edges(weight: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the matching's edges, for inner loops."""
    m = weight.shape[1]
    if k == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    gain = np.maximum(weight, 0.0)
    rows = _worth_a_look(gain, k)
    gain = gain if rows is None else gain[rows]
    real = len(gain)
    if k < m:
        heavy = np.full((m - k, m), 1.0 + gain.max(axis=0).sum())  # more than any matching of real rows
        gain = np.concatenate([gain, heavy])
    row, column = linear_sum_assignment(gain, maximize=True)
    used = (row < real) & (gain[row, column] > 0)
    row, column = row[used], column[used]
    return row if rows is None else rows[row], column


def _worth_a_look(gain: np.ndarray, k: int) -> np.ndarray | None:
    """The rows that are among the k best of some column; None if that leaves out too few to pay."""
    n, m = gain.shape
    if n <= 2 * m * k:
        return None
    return np.unique(np.argpartition(gain, n - k, axis=0)[n - k :])
