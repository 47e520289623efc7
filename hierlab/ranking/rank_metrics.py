r"""How wrong a ranking is: Kendall's and Spearman's distances, and the paper's error that asks for the top k and for their order.

A ranking is an array [m] of the numbers 0 to m - 1, best first. Functions take many at once, [..., m].

$$IDE(k)=1-\frac{|A_{>[k]}\cap A_{>^*[k]}|}{k},\qquad GRE(k)=\alpha\,IDE(k)+(1-\alpha)\,K_n(>_{|k},>^*_{|k}),\qquad\alpha=\frac{m-k}{m-1}$$

with $K_n$ the share of the pairs among the *true* top k whose order is wrong. At k = 1 only the winner counts, at k = m only the order.
Source: arXiv 2601.07651, Section 3. Of the subscript of $K_n$ our sources show a garbled form; that it restricts both rankings to the
true top k is our reading.
"""

from __future__ import annotations

import numpy as np

from hierlab.ranking.win_matrix import Array


def positions(ranking: Array, name: str = "ranking") -> Array:
    """Where each item stands, 0 for the best: the inverse permutation. [..., m]

    Raises:
        ValueError: if a ranking does not hold each of 0 to m - 1 once.
    """
    order = np.asarray(ranking)
    if order.ndim == 0 or order.shape[-1] == 0:
        raise ValueError(f"{name} must rank at least one item, got shape {order.shape}")
    if not np.array_equal(np.sort(order, axis=-1), np.broadcast_to(np.arange(order.shape[-1]), order.shape)):
        raise ValueError(f"{name} must hold each of 0 to {order.shape[-1] - 1} once, got {order.reshape(-1, order.shape[-1])[0].tolist()}")
    return np.argsort(order.astype(int), axis=-1)


def wrong_pairs(ranking: Array, truth: Array) -> Array:
    """Which pairs stand in the wrong order: [..., m, m] bool, rows and columns in the truth's order, upper triangle only."""
    at = _true_places(ranking, truth)
    return (at[..., :, None] > at[..., None, :]) & np.triu(np.ones((at.shape[-1],) * 2, dtype=bool), 1)


def kendall_tau_distance(ranking: Array, truth: Array, *, normalised: bool = False) -> Array:
    """How many pairs two rankings order differently; divided by their number if `normalised` (0 for a single item). [...]"""
    wrong = wrong_pairs(ranking, truth).sum(axis=(-2, -1))
    m = np.asarray(truth).shape[-1]
    return wrong / max(m * (m - 1) / 2, 1) if normalised else wrong


def spearman(ranking: Array, truth: Array) -> Array:
    """Spearman's rank correlation of two rankings without ties, in [-1, 1]; 1 for a single item. [...]"""
    m = np.asarray(truth).shape[-1]
    gap = _true_places(ranking, truth) - np.arange(m)
    return 1 - 6 * (gap**2).sum(axis=-1) / max(m * (m * m - 1), 1)


def identification_error(ranking: Array, truth: Array, k: int) -> Array:
    """The share of the true top k that the ranking does not have among its first k. [...]

    Raises:
        ValueError: if k is not in 1 to m, or a ranking is none.
    """
    at = _true_places(ranking, truth)
    _check_k(k, at.shape[-1])
    return 1 - (at[..., :k] < k).sum(axis=-1) / k


def ranking_error(ranking: Array, truth: Array, k: int) -> Array:
    """The paper's generalised ranking error GRE(k), in [0, 1]. [...]

    Raises:
        ValueError: as `identification_error`.
    """
    at = _true_places(ranking, truth)
    m = at.shape[-1]
    _check_k(k, m)
    weight = (m - k) / (m - 1) if m > 1 else 1.0
    missing = 1 - (at[..., :k] < k).sum(axis=-1) / k
    top = at[..., :k]
    later = np.triu(np.ones((k, k), dtype=bool), 1)
    wrong = ((top[..., :, None] > top[..., None, :]) & later).sum(axis=(-2, -1)) / max(k * (k - 1) / 2, 1)
    return weight * missing + (1 - weight) * wrong


def error_over_time(rankings: Array, truth: Array, k: int = 3) -> float:
    """AGRE over rounds: the mean GRE(k) of the rankings published at evenly spaced rounds.

    Args:
        rankings: [T, m] one ranking a round.
        truth: [m] the true one.
        k: how many places matter.
    """
    return float(ranking_error(rankings, truth, k).mean())


def error_over_places(ranking: Array, truth: Array) -> Array:
    """AGRE over places: the mean of GRE(k) over k = 1 to m, at one time. [...]"""
    return np.mean([ranking_error(ranking, truth, k) for k in range(1, np.asarray(truth).shape[-1] + 1)], axis=0)


def random_order_error(items: int, k: int) -> float:
    """The expected GRE(k) of a random order, in closed form: what any method must beat.

    Raises:
        ValueError: if k is not in 1 to m.
    """
    _check_k(k, items)
    weight = (items - k) / (items - 1) if items > 1 else 1.0
    return weight * (1 - k / items) + (1 - weight) * (0.5 if k > 1 else 0.0)


def _true_places(ranking: Array, truth: Array) -> Array:
    """Where the ranking puts the truly best, second, ...: [..., m]."""
    at, order = positions(ranking), np.asarray(truth)
    positions(order, "truth")
    if order.ndim != 1 or at.shape[-1] != len(order):
        raise ValueError(f"truth must be one ranking of {at.shape[-1]} items, got shape {order.shape}")
    return at[..., order.astype(int)]


def _check_k(k: int, items: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= items:
        raise ValueError(f"k must be a whole number from 1 to {items}, got {k!r}")
