"""Who beat whom how often: the matrices that ratings and voting rules are computed from.

`wins[i, j]` is how often i beat j, `draws[i, j]` how often they drew, so `draws` is symmetric and a draw appears in both of its
entries. Every rating of this family takes them, wherever the games come from: a schedule, a bracket, or a table of scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def count_games(first: Sequence[int], second: Sequence[int], score: Sequence[float], players: int | None = None) -> tuple[Array, Array]:
    """The matrices of a list of games.

    Args:
        first: [G] index of the first player.
        second: [G] index of the second player.
        score: [G] of the first player: 1 for a win, 0.5 for a draw, 0 for a loss.
        players: m, how many there are; by default one more than the largest index.

    Returns:
        wins [m, m] and draws [m, m], whole numbers as floats.

    Raises:
        ValueError: if the columns differ in length, an index is out of range, someone plays themselves, or a score is none of three.
    """
    a, b, s = as_indices("first", first), as_indices("second", second), np.asarray(score, dtype=float)
    if not len(a) == len(b) == s.size:
        raise ValueError(f"games have one entry a column, got first: {len(a)}, second: {len(b)}, score: {s.size}")
    if players is None:
        players = int(max(a.max(), b.max())) + 1 if len(a) else 0
    for name, column in (("first", a), ("second", b)):
        if len(column) and not (column.min() >= 0 and column.max() < players):
            bad = int(np.flatnonzero((column < 0) | (column >= players))[0])
            raise ValueError(f"{name} must hold players from 0 to {players - 1}, got {column[bad]} in game {bad}")
    if (a == b).any():
        raise ValueError(f"nobody plays against themselves, but player {a[a == b][0]} does in game {int(np.flatnonzero(a == b)[0])}")
    known = np.isin(s, (0, 0.5, 1))
    if not known.all():
        raise ValueError(f"score must be 1, 0.5 or 0, got {s[~known][0]:g} in game {int(np.flatnonzero(~known)[0])}")
    wins, draws = np.zeros((players, players)), np.zeros((players, players))
    np.add.at(wins, (a, b), s == 1)
    np.add.at(wins, (b, a), s == 0)
    np.add.at(draws, (a, b), s == 0.5)
    np.add.at(draws, (b, a), s == 0.5)
    return wins, draws


def compare_scores(scores: Array) -> tuple[Array, Array]:
    """The matrices of a table of scores: on every task, each agent plays each other once, and the higher score wins.

    Args:
        scores: [n, m] of m agents on n tasks, higher is better; NaN where an agent has none.

    Returns:
        wins [m, m] and draws [m, m].

    Raises:
        ValueError: if it is no table.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2:
        raise ValueError(f"scores must be a table [tasks, agents], got shape {table.shape}")
    above = table[:, :, None] > table[:, None, :]
    equal = table[:, :, None] == table[:, None, :]
    draws = equal.sum(axis=0).astype(float)
    np.fill_diagonal(draws, 0)
    return above.sum(axis=0).astype(float), draws


def check_matrices(wins: Array, draws: Array | None = None) -> tuple[Array, Array]:
    """The matrices as floats; no draws if they are not given.

    Raises:
        ValueError: if one is not square, a count is negative or not finite, draws are not symmetric, or someone played themselves.
    """
    w = as_square("wins", wins)
    d = np.zeros_like(w) if draws is None else as_square("draws", draws)
    if w.shape != d.shape:
        raise ValueError(f"wins and draws must have one shape, got {w.shape} and {d.shape}")
    for name, x in (("wins", w), ("draws", d)):
        if (bad := ~(np.isfinite(x) & (x >= 0))).any():
            i, j = np.argwhere(bad)[0]
            raise ValueError(f"{name} must be finite and not negative, got {x[i, j]:g} in row {i}, column {j}")
        if np.diagonal(x).any():
            raise ValueError(f"nobody plays against themselves, but {name} has {np.diagonal(x).max():g} on its diagonal")
    if not np.array_equal(d, d.T):
        i, j = np.argwhere(d != d.T)[0]
        raise ValueError(f"draws must be symmetric, got {d[i, j]:g} in row {i}, column {j} and {d[j, i]:g} the other way round")
    return w, d


def points(wins: Array, draws: Array | None = None, smoothing: float = 0.0) -> Array:
    """Points that i took from j: 1 a win, 0.5 a draw, and `smoothing` for every pair whether it met or not. [m, m]

    Raises:
        ValueError: as `check_matrices`, or if `smoothing` is negative or not finite.
    """
    w, d = check_matrices(wins, draws)
    if not (np.isfinite(smoothing) and smoothing >= 0):
        raise ValueError(f"smoothing must be a number of at least 0, got {smoothing}")
    taken = w + 0.5 * d + smoothing
    np.fill_diagonal(taken, 0)
    return taken


def win_rates(wins: Array, draws: Array | None = None) -> Array:
    """The share of points that i took from j, NaN where they never met. [m, m]"""
    taken = points(wins, draws)
    with np.errstate(invalid="ignore"):
        return taken / (taken + taken.T)


def connected(taken: Array) -> bool:
    """Whether everyone took points from everyone, directly or through others: Ford's condition for ratings to exist.

    Args:
        taken: [m, m] points, as `points` gives them.
    """
    reach = np.asarray(taken) > 0
    for via in range(len(reach)):
        reach = reach | (reach[:, via, None] & reach[None, via, :])
    return bool((reach | np.eye(len(reach), dtype=bool)).all())


def as_square(name: str, matrix: Array) -> Array:
    """A square matrix as floats.

    Raises:
        ValueError: saying what it is instead.
    """
    x = np.asarray(matrix, dtype=float)
    if x.ndim != 2 or x.shape[0] != x.shape[1] or not len(x):
        raise ValueError(f"{name} must be a square matrix of at least one player, got shape {x.shape}")
    return x


def as_indices(name: str, column: Sequence[int]) -> Array:
    """A column of whole numbers.

    Raises:
        ValueError: if it is not one.
    """
    x = np.asarray(column)
    if x.ndim != 1 or (x.size and not (np.issubdtype(x.dtype, np.integer) or np.array_equal(x, np.round(x)))):
        raise ValueError(f"{name} must be a column of whole numbers, got {x.dtype} of shape {x.shape}")
    return x.astype(int)
