r"""Which game next? Rules that choose a task and two agents, from nothing or from what has been seen.

A rule is `choose(seen) -> (task, first, second)` and keeps the state it needs. It draws chance from its own generator, so that two
evaluators that choose alike and rank differently see the same games.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.observations import Observations
from hierlab.ranking.win_matrix import Array

Game = tuple[int, int, int]
BLOCK = 512


class Choice(Protocol):
    """A rule that chooses the next game."""

    def choose(self, seen: Observations) -> Game:
        """The next (task, first agent, second agent)."""


class Uniform:
    """Any task, any pair, all alike.

    Args:
        tasks: n.
        agents: m, at least 2.
        generator: the source of chance; it is drawn from in blocks.
    """

    def __init__(self, tasks: int, agents: int, generator: np.random.Generator):
        check_range("tasks", tasks, 1)
        check_range("agents", agents, 2)
        self.tasks, self.agents, self._generator = tasks, agents, generator
        self._games: list[list[int]] = []

    def choose(self, seen: Observations) -> Game:
        """The next game."""
        if not self._games:
            first = self._generator.integers(self.agents, size=BLOCK)
            second = (first + self._generator.integers(1, self.agents, size=BLOCK)) % self.agents
            self._games = np.stack([self._generator.integers(self.tasks, size=BLOCK), first, second], axis=1).tolist()
        return tuple(self._games.pop())


class Balanced(Uniform):
    """Every task once in a random order, then again in another; any pair. The control for rules that only spread tasks evenly."""

    def __init__(self, tasks: int, agents: int, generator: np.random.Generator):
        super().__init__(tasks, agents, generator)
        self._left: list[int] = []

    def choose(self, seen: Observations) -> Game:
        """The next game."""
        if not self._left:
            self._left = self._generator.permutation(self.tasks).tolist()
        _, first, second = super().choose(seen)
        return self._left.pop(), first, second


class UpperConfidence(Uniform):
    r"""The two agents with the largest mean $+\,c\sqrt{2\ln t/n_a}$, on any task; agents without samples first.

    Args:
        tasks: as in `Uniform`.
        agents: likewise.
        generator: likewise.
        width: $c$, in units of the scores.
    """

    def __init__(self, tasks: int, agents: int, generator: np.random.Generator, *, width: float = 1.0):
        super().__init__(tasks, agents, generator)
        check_range("width", width, 0)
        self.width = width

    def choose(self, seen: Observations) -> Game:
        """The next game."""
        task, _, _ = super().choose(seen)
        index = upper_confidence(seen, self.width)
        first, second = np.argsort(-index + 1e-9 * self._generator.random(self.agents))[:2].tolist()
        return task, first, second


def upper_confidence(seen: Observations, width: float = 1.0) -> Array:
    """The optimistic index of each agent, infinite for those without samples. [m]"""
    sampled = seen.counts.sum(axis=0)
    means = seen.totals.sum(axis=0) / np.maximum(sampled, 1)
    return np.where(sampled > 0, means + width * np.sqrt(2 * np.log(max(seen.rounds, 1)) / np.maximum(sampled, 1)), np.inf)


class Representative(Uniform):
    r"""The task that keeps the sampled tasks a fair picture of all: every agent among the first r as often as over all tasks; any pair.

    Chosen is the task v that minimises
    $\max_{a,r}|f_{\text{sampled}+v}(a,r)-f_{\text{all}}(a,r)|$, with f the share of tasks that rank agent
    a among their first r, by the mean scores seen so far; where an agent was not sampled its own mean stands in. Greedy, and our
    reading of positional proportionality (Procaccia et al., Metritocracy, 2025): the paper's own procedure is not in our sources.

    Args:
        tasks: as in `Uniform`.
        agents: likewise.
        generator: likewise.
        refresh: rounds between two updates of the tasks' estimated rankings.
    """

    def __init__(self, tasks: int, agents: int, generator: np.random.Generator, *, refresh: int = 50):
        super().__init__(tasks, agents, generator)
        check_range("refresh", refresh, 1)
        self.refresh = refresh
        self._chosen = np.zeros(tasks)
        self._among: Array | None = None

    def choose(self, seen: Observations) -> Game:
        """The next game."""
        if self._among is None or seen.rounds % self.refresh == 0:
            self._look(seen)
        _, first, second = super().choose(seen)
        size = self._chosen.sum() + 1
        gap = np.abs((self._sampled + self._among) / size - self._everywhere).max(axis=1)
        ties = np.flatnonzero(gap <= gap.min() + 1e-12)
        task = int(ties[self._generator.integers(len(ties))])
        self._chosen[task] += 1
        self._sampled = self._sampled + self._among[task]
        return task, first, second

    def _look(self, seen: Observations) -> None:
        """Rank the agents on every task anew: [n, m (m - 1)] whether the task has agent a among its first r, for r below m."""
        among = among_first(seen.filled_means)
        self._among = among.reshape(len(among), -1).astype(float)
        self._everywhere = self._among.mean(axis=0)
        self._sampled = self._chosen @ self._among


def among_first(scores: Array) -> Array:
    """Whether a task ranks agent a among its first r + 1; equal scores in order of index.

    Args:
        scores: [n, m] tasks by agents.

    Returns:
        [n, m, m - 1] bool; r + 1 = m is left out, it says nothing.
    """
    place = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return place[:, :, None] <= np.arange(scores.shape[1] - 1)
