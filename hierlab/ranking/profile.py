"""A profile of votes: rankings, possibly of some alternatives only, each with a weight.

Every voting rule takes one. What pairwise rules look at is its `preferences`: how many voters put row above column.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hierlab.ranking.win_matrix import Array


@dataclass(frozen=True)
class Profile:
    """Votes as numbers; `votes` makes one from names.

    Attributes:
        alternatives: [m] names, in the order in which rules break ties.
        positions: [V, m] the place each vote gives each alternative, 0 for the best, -1 for one it does not rank.
        weights: [V] how many voters cast the vote, whole numbers.
    """

    alternatives: tuple[Hashable, ...]
    positions: Array
    weights: Array

    @property
    def size(self) -> int:
        """How many voters there are."""
        return int(self.weights.sum())

    @cached_property
    def preferences(self) -> Array:
        """How many voters put row above column, both ranked. [m, m]"""
        return pair_counts(self.positions, self.weights)

    @property
    def margins(self) -> Array:
        """By how many voters row beats column: antisymmetric. [m, m]"""
        return self.preferences - self.preferences.T

    def expanded(self) -> Array:
        """One row a voter: votes repeated by their weight. [size, m]"""
        return np.repeat(self.positions, self.weights, axis=0)


def votes(
    rankings: Sequence[Sequence[Hashable]], weights: Sequence[int] | None = None, alternatives: Sequence[Hashable] | None = None
) -> Profile:
    """A profile of named rankings, best first.

    Args:
        rankings: one sequence of names a vote; names it leaves out are not ranked by it.
        weights: how many voters cast each; 1 by default.
        alternatives: all names, in the order in which ties are broken; by default in order of appearance.

    Raises:
        ValueError: if there is no vote, a vote is empty, names an alternative twice or one that is unknown, or a weight is no whole
            number of at least 1.
    """
    lists = [list(ranking) for ranking in rankings]
    counts = [1] * len(lists) if weights is None else list(weights)
    names = list(dict.fromkeys(name for ranking in lists for name in ranking) if alternatives is None else alternatives)
    index = {name: i for i, name in enumerate(names)}
    if not lists or len(counts) != len(lists):
        raise ValueError(f"a profile needs votes and one weight a vote, got {len(lists)} votes and {len(counts)} weights")
    if len(index) != len(names):
        raise ValueError("an alternative is named twice")
    if bad := [w for w in counts if isinstance(w, bool) or not isinstance(w, int | np.integer) or w < 1]:
        raise ValueError(f"weights must be whole numbers of at least 1, got {bad[0]!r}")
    positions = np.full((len(lists), len(names)), -1)
    for row, ranking in enumerate(lists):
        if not ranking or len(set(ranking)) != len(ranking):
            raise ValueError(f"vote {row} must rank at least one alternative, and each once, got {ranking}")
        if unknown := [name for name in ranking if name not in index]:
            raise ValueError(f"vote {row} ranks {unknown[0]!r}, which is none of the alternatives")
        positions[row, [index[name] for name in ranking]] = np.arange(len(ranking))
    return Profile(tuple(names), positions, np.asarray(counts, dtype=int))


def votes_from_scores(scores: Array, alternatives: Sequence[Hashable] | None = None) -> Profile:
    """Every task as a voter who ranks the agents by their scores there; equal scores in order of column.

    Args:
        scores: [n, m] of m agents on n tasks, higher is better; NaN where an agent has none, which the vote then leaves out. A task
            on which all scores are equal casts no vote.
        alternatives: [m] names of the agents; by default their numbers.

    Raises:
        ValueError: if it is no table, or no task tells two agents apart.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2:
        raise ValueError(f"scores must be a table [tasks, agents], got shape {table.shape}")
    names = range(table.shape[1]) if alternatives is None else list(alternatives)
    if len(names) != table.shape[1]:
        raise ValueError(f"{len(names)} names for {table.shape[1]} agents")
    seen = np.isfinite(table)
    spread = np.where(seen, table, -np.inf).max(axis=1) - np.where(seen, table, np.inf).min(axis=1)
    kept = spread > 0
    if not kept.any():
        raise ValueError("no task tells two agents apart")
    order = np.argsort(np.where(seen, -table, np.inf)[kept], axis=1, kind="stable")
    positions = np.argsort(order, axis=1)
    return Profile(tuple(names), np.where(seen[kept], positions, -1), np.ones(int(kept.sum()), dtype=int))


def pair_counts(positions: Array, weights: Array | None = None) -> Array:
    """How many votes put row above column.

    Args:
        positions: [V, m] places, -1 where a vote does not rank.
        weights: [V] whole numbers; 1 by default.

    Returns:
        [m, m] whole numbers.
    """
    ranked = positions >= 0
    above = (positions[:, :, None] < positions[:, None, :]) & ranked[:, :, None] & ranked[:, None, :]
    if weights is None:
        return above.sum(axis=0)
    return np.tensordot(np.asarray(weights), above, axes=1)
