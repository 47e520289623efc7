r"""Online Elo: after every game, what was not expected moves from one rating to the other.

$$R_a\leftarrow R_a+K\Bigl(s-\frac{1}{1+10^{(R_b-R_a)/400}}\Bigr),$$

and $R_b$ by the opposite. It forgets: the result depends on the order of the games, and its spread on $K$. FastChat's leaderboard used
$K=4$; the textbook value is 32. `bradley_terry.batch_elo` is what it fluctuates around.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hierlab.ranking.win_matrix import Array, as_indices


def expected_score(rating: float | Array, opponent: float | Array, scale: float = 400.0) -> float | Array:
    """What a player is expected to score against an opponent, in [0, 1]; elementwise."""
    return 1 / (1 + 10 ** ((np.asarray(opponent, dtype=float) - rating) / scale))


def online_elo(
    first: Sequence[int],
    second: Sequence[int],
    score: Sequence[float],
    players: int | None = None,
    *,
    k: float = 32.0,
    start: float = 1000.0,
    scale: float = 400.0,
) -> Array:
    """Ratings after each game, in the order played.

    Args:
        first: [G] index of the first player.
        second: [G] index of the second player.
        score: [G] of the first player, in [0, 1]: 1 for a win, 0.5 for a draw.
        players: m; by default one more than the largest index.
        k: the largest step.
        start: everyone's first rating.
        scale: rating points for a factor of 10 in the odds.

    Returns:
        [G + 1, m] ratings, the first row before any game.

    Raises:
        ValueError: if the columns differ in length, someone plays themselves, an index or score is out of range, or k is not positive.
    """
    a, b, s = as_indices("first", first), as_indices("second", second), np.asarray(score, dtype=float)
    if not len(a) == len(b) == s.size:
        raise ValueError(f"games have one entry a column, got first: {len(a)}, second: {len(b)}, score: {s.size}")
    if not (np.isfinite(k) and k > 0 and np.isfinite(scale) and scale > 0):
        raise ValueError(f"k and scale must be positive numbers, got {k} and {scale}")
    if (outside := ~((s >= 0) & (s <= 1))).any():
        raise ValueError(f"score must be in [0, 1], got {s[outside][0]:g} in game {int(np.flatnonzero(outside)[0])}")
    if players is None:
        players = int(max(a.max(), b.max())) + 1 if len(a) else 0
    if len(a) and (min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= players):
        raise ValueError(f"players must be numbered from 0 to {players - 1}")
    if (a == b).any():
        raise ValueError(f"nobody plays against themselves, but player {a[a == b][0]} does in game {int(np.flatnonzero(a == b)[0])}")
    ratings = np.full((len(a) + 1, players), float(start))
    for game, (i, j, taken) in enumerate(zip(a, b, s, strict=True)):
        ratings[game + 1] = ratings[game]
        step = k * (taken - expected_score(ratings[game, i], ratings[game, j], scale))
        ratings[game + 1, i] += step
        ratings[game + 1, j] -= step
    return ratings
