"""Voting rules, as ways to rank agents whose voters are tasks (voting as evaluation).

Each takes a `Profile` and gives an `Outcome`: a ranking and the rule's own scores. Ties are broken by the order of the profile's
alternatives. The rules that look at nothing but pairs take a preference matrix in the functions named `..._order` as well, so that
whoever counts pairs without votes can use them.

Reference: google-deepmind/open_spiel@112b7770, open_spiel/python/voting/, whose vectors they reproduce.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import pairwise

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.profile import Profile
from hierlab.ranking.win_matrix import Array, as_square

Order = tuple[list[int], list[float]]
MOST_FOR_KEMENY = 16


@dataclass(frozen=True)
class Outcome:
    """What an election gave.

    Attributes:
        ranking: [m] alternatives, winner first.
        scores: the rule's score of each, in the order of the ranking. Only their rule gives them a meaning.
    """

    ranking: tuple[Hashable, ...]
    scores: Mapping[Hashable, float]


def condorcet_winners(profile: Profile, *, strong: bool = True) -> tuple[Hashable, ...]:
    """Who beats every other in a majority of the votes (at most one), or, if not `strong`, loses to nobody (perhaps several)."""
    margins = profile.margins
    others = ~np.eye(len(margins), dtype=bool)
    wins = (margins > 0) if strong else (margins >= 0)
    return tuple(name for name, won in zip(profile.alternatives, (wins | ~others).all(axis=1), strict=True) if won)


def plurality(profile: Profile) -> Outcome:
    """How many voters put the alternative first."""
    return _by_score(profile, profile.weights @ (profile.positions == 0))


def approval(profile: Profile, k: int = 1) -> Outcome:
    """How many voters put the alternative among their first k.

    Raises:
        ValueError: if k is below 1.
    """
    check_range("k", k, 1)
    return _by_score(profile, profile.weights @ ((profile.positions >= 0) & (profile.positions < k)))


def borda(profile: Profile) -> Outcome:
    """One point for every alternative that a vote ranks below; what it leaves out counts for nobody."""
    below = (profile.positions >= 0).sum(axis=1, keepdims=True) - 1 - profile.positions
    return _by_score(profile, profile.weights @ np.where(profile.positions >= 0, below, 0))


def copeland(profile: Profile) -> Outcome:
    """How many others the alternative beats by majority, a tie (or no common vote) counting half."""
    return _by_score(profile, copeland_scores(profile.preferences))


def copeland_scores(preferences: Array) -> Array:
    """Copeland's scores of a preference matrix. [m]"""
    wins = as_square("preferences", preferences)
    return (wins > wins.T).sum(axis=1) + 0.5 * ((wins == wins.T).sum(axis=1) - 1)


def kemeny(profile: Profile) -> Outcome:
    """The ranking that agrees with the most pairs of all votes, exactly; an alternative's score counts those it wins in it.

    Raises:
        ValueError: with more than 16 alternatives, whose subsets are too many.
    """
    return _outcome(profile, kemeny_order(profile.preferences))


def kemeny_order(preferences: Array) -> Order:
    """Kemeny's ranking of a preference matrix by dynamic programming over subsets; of several best ones the first in order of index.

    Raises:
        ValueError: as `kemeny`.
    """
    wins = as_square("preferences", preferences)
    m = len(wins)
    if m > MOST_FOR_KEMENY:
        raise ValueError(f"an exact Kemeny ranking is for at most {MOST_FOR_KEMENY} alternatives, got {m}")
    subsets = np.arange(1 << m)
    member = (subsets[:, None] >> np.arange(m)) & 1
    gain = member @ wins.T  # [2^m, m]: pairs that i wins against a subset
    best = np.full(1 << m, -np.inf)
    best[0] = 0.0
    first = np.zeros(1 << m, dtype=int)
    for size in range(1, m + 1):
        rows = subsets[member.sum(axis=1) == size]
        rest = rows[:, None] & ~(1 << np.arange(m))
        value = np.where(member[rows] == 1, gain[rest, np.arange(m)] + best[rest], -np.inf)
        first[rows] = value.argmax(axis=1)  # the smallest index among equals
        best[rows] = value.max(axis=1)
    order, scores, left = [], [], (1 << m) - 1
    while left:
        chosen = int(first[left])
        left &= ~(1 << chosen)
        order.append(chosen)
        scores.append(float(gain[left, chosen]))
    return order, scores


def ranked_pairs(profile: Profile) -> Outcome:
    """Tideman's rule: lock in majorities from the largest margin down, leaving out what would close a circle."""
    return _outcome(profile, ranked_pairs_order(profile.preferences))


def ranked_pairs_order(preferences: Array) -> Order:
    """The ranked-pairs ranking of a preference matrix. The score adds up the locked margins below an alternative.

    Equal margins are locked in order of row, then column; alternatives without any majority come last.
    """
    wins = as_square("preferences", preferences)
    margins, m = wins - wins.T, len(wins)
    locked, reach = np.zeros((m, m), dtype=bool), np.eye(m, dtype=bool)
    rows, columns = np.nonzero(margins > 0)
    for pair in np.argsort(-margins[rows, columns], kind="stable"):
        i, j = rows[pair], columns[pair]
        if not reach[j, i]:
            locked[i, j] = True
            reach |= reach[:, i, None] & reach[None, j, :]
    below = np.where(locked, margins, 0).sum(axis=1)
    order: list[int] = []
    left = np.ones(m, dtype=bool)
    while left.any():
        graph = locked & left[:, None] & left[None, :]
        sources = left & graph.any(axis=1) & ~graph.any(axis=0)
        chosen = int(np.argmax(sources if sources.any() else left))
        order.append(chosen)
        left[chosen] = False
    return order, [float(below[reach[i]].sum()) for i in order]


def schulze(profile: Profile) -> Outcome:
    """Schulze's rule: who has the stronger path of majorities to the other. The score adds up the votes for each next one below."""
    return _outcome(profile, schulze_order(profile.preferences))


def schulze_order(preferences: Array) -> Order:
    """Schulze's ranking of a preference matrix."""
    wins = as_square("preferences", preferences)
    path = np.where(wins > wins.T, wins, 0)
    for via in range(len(wins)):
        path = np.maximum(path, np.minimum(path[:, via, None], path[None, via, :]))
        np.fill_diagonal(path, 0)
    order = sorted(range(len(wins)), key=cmp_to_key(lambda x, y: path[x, y] - path[y, x]), reverse=True)
    steps = [float(wins[i, j]) for i, j in pairwise(order)]
    return order, [float(sum(steps[i:])) for i in range(len(order))]


def single_transferable_vote(profile: Profile, winners: int | None = None) -> Outcome:
    """Elect whoever reaches the quota and pass on the surplus, else eliminate the last and pass on their votes.

    The quota is Droop's, voters / (winners + 1) + 1 rounded down. The first ballots that count for a winner are used up, the others
    passed on whole. Those elected come first in the order of their election, those eliminated behind them, the last one out first.

    Args:
        profile: the votes.
        winners: how many seats; by default half of the alternatives, rounded down.

    Returns:
        The ranking; the score of each is the number of votes it had when it was elected or eliminated.

    Raises:
        ValueError: if the number of seats is not in 0 to m - 1.
    """
    m = len(profile.alternatives)
    seats = m // 2 if winners is None else winners
    if isinstance(seats, bool) or not isinstance(seats, int | np.integer) or not 0 <= seats < m:
        raise ValueError(f"winners must be a whole number from 0 to {m - 1}, got {winners!r}")
    quota = int(profile.size / (seats + 1) + 1)
    ballots, weights, running = profile.positions, profile.weights.copy(), np.ones(m, dtype=bool)
    elected: list[tuple[int, int]] = []
    eliminated: list[tuple[int, int]] = []
    while running.any():
        top = _current_choice(ballots, running)
        tally = np.array([weights[top == i].sum() if running[i] else -1 for i in range(m)])
        chosen = int(np.argmax(tally))
        if tally[chosen] >= quota:
            elected.append((chosen, int(tally[chosen])))
            weights = _use_up(weights, top == chosen, quota)
        else:
            chosen = int(max(i for i in range(m) if running[i] and tally[i] == tally[running].min()))
            eliminated.insert(0, (chosen, int(tally[chosen])))
        running[chosen] = False
    order = elected + eliminated
    return _outcome(profile, ([i for i, _ in order], [float(votes) for _, votes in order]))


def _current_choice(ballots: Array, running: Array) -> Array:
    """The alternative each ballot counts for now, -1 for none. [V]"""
    usable = np.where((ballots >= 0) & running, ballots, ballots.shape[1])
    return np.where(usable.min(axis=1) < ballots.shape[1], usable.argmin(axis=1), -1)


def _use_up(weights: Array, counting: Array, votes: int) -> Array:
    """The weights after the first `votes` votes among the counting ballots were taken away."""
    before = np.concatenate([[0], np.cumsum(np.where(counting, weights, 0))[:-1]])
    return weights - np.where(counting, np.clip(votes - before, 0, weights), 0)


def _by_score(profile: Profile, scores: Array) -> Outcome:
    order = np.argsort(-np.asarray(scores), kind="stable")
    return _outcome(profile, (order.tolist(), [float(scores[i]) for i in order]))


def _outcome(profile: Profile, order: Order) -> Outcome:
    names = tuple(profile.alternatives[i] for i in order[0])
    return Outcome(names, dict(zip(names, order[1], strict=True)))


RULES: Mapping[str, Callable[[Profile], Outcome]] = {
    "plurality": plurality,
    "approval": approval,
    "Borda": borda,
    "Copeland": copeland,
    "Kemeny": kemeny,
    "ranked pairs": ranked_pairs,
    "Schulze": schulze,
    "single transferable vote": single_transferable_vote,
}
"""The rules by name, each with its defaults."""
