"""How to rank agents from what has been seen: rules that take running sums and give one number an agent.

A rule is `rate(seen) -> [m] ratings`, larger is better. Those that descend a loss keep their ratings and go on from where they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.bradley_terry import batch_elo
from hierlab.ranking.nash_averaging import nash_average
from hierlab.ranking.observations import Observations
from hierlab.ranking.soft_condorcet import fenchel_young_gradient, sigmoid_gradient
from hierlab.ranking.voting import Order, copeland_scores
from hierlab.ranking.win_matrix import Array


class Rule(Protocol):
    """A rule that rates agents by what has been seen."""

    def rate(self, seen: Observations) -> Array:
        """[m] ratings, larger is better."""


class MeanScore:
    """The mean score of each agent."""

    def rate(self, seen: Observations) -> Array:
        """[m] means, see `Observations.agent_means`."""
        return seen.agent_means


class BatchElo:
    """Elo of all games so far, fitted at once.

    Args:
        smoothing: points added to every pair, as in `batch_elo`.
    """

    def __init__(self, smoothing: float = 0.01):
        check_range("smoothing", smoothing, 0)
        self.smoothing = smoothing

    def rate(self, seen: Observations) -> Array:
        """[m] ratings."""
        return batch_elo(seen.wins, seen.draws, smoothing=self.smoothing, method="newton")


class SoftCondorcetRating:
    r"""Soft Condorcet ratings in [-1, 1], a few gradient steps at every look, from where the last look left them.

    The step is a multiple of $\tau^2$, which makes the descent the same at every temperature but for the bounds.

    Args:
        temperature: of the sigmoid; the bounds are 1 apart from 0.
        steps: gradient steps a look.
        step_size: the step, in units of the temperature squared.
        votes: "games", every game a vote on its pair, or "tasks", every task a vote on all agents by their mean scores there.
    """

    def __init__(self, temperature: float = 0.1, steps: int = 50, step_size: float = 20.0, votes: str = "games"):
        check_range("temperature", temperature, np.nextafter(0, 1))
        check_range("steps", steps, 1)
        if votes not in ("games", "tasks"):
            raise ValueError(f"votes must be 'games' or 'tasks', got {votes!r}")
        self.temperature, self.steps, self.step_size, self.votes = temperature, steps, step_size, votes
        self._ratings: Array | None = None

    def rate(self, seen: Observations) -> Array:
        """[m] ratings."""
        theta = np.zeros(len(seen.wins)) if self._ratings is None else self._ratings
        wins = seen.wins if self.votes == "games" else seen.task_preferences
        rate = self.step_size * self.temperature**2 / max(wins.sum(), 1)
        for _ in range(self.steps):
            theta = np.clip(theta - rate * sigmoid_gradient(theta, wins, self.temperature), -1, 1)
        self._ratings = theta
        return theta


class FenchelYoungRating:
    """Fenchel-Young ratings: a few stochastic steps at every look, each on a batch of games.

    Ratings have no bounds and steps are in units of sigma, so the scale of the noise changes nothing but the ratings' own. On games
    between two, the expected gradient is Bradley-Terry's: the difference of two Gumbel numbers is logistic.

    Args:
        generator: of batches and noise.
        sigma: the scale of the noise.
        steps: steps a look.
        batch: games a step.
        step_size: of the descent, in units of sigma.
    """

    def __init__(self, generator: np.random.Generator, sigma: float = 1.0, steps: int = 25, batch: int = 64, step_size: float = 0.5):
        check_range("sigma", sigma, np.nextafter(0, 1))
        check_range("steps", steps, 1)
        check_range("batch", batch, 1)
        self._generator, self.sigma, self.steps, self.batch, self.step_size = generator, sigma, steps, batch, step_size
        self._ratings: Array | None = None

    def rate(self, seen: Observations) -> Array:
        """[m] ratings."""
        theta = np.zeros(len(seen.wins)) if self._ratings is None else self._ratings
        if seen.games:
            games = np.array(seen.games)
            for _ in range(self.steps):
                batch = games[self._generator.integers(len(games), size=self.batch)]
                places = np.full((self.batch, len(theta)), -1)
                np.put_along_axis(places, batch, np.arange(2)[None, :], axis=1)
                theta = theta - self.step_size * self.sigma * fenchel_young_gradient(theta, places, self.sigma, self._generator)
        self._ratings = theta
        return theta


class NashAveraging:
    """What each agent gains in the equilibrium against tasks; agents that gain the same are ordered by how often it plays them."""

    def rate(self, seen: Observations) -> Array:
        """[m] values to four decimals, the solver's accuracy, with the agent's probability behind them."""
        means = seen.filled_means.T
        if not (np.ptp(means, axis=0) > 0).any():
            return np.zeros(len(means))
        found = nash_average(means)
        return np.round(found.agent_values, 4) + 1e-5 * found.agents


class TaskVotes:
    """Voting as evaluation: every task votes by the mean scores seen there, a voting rule decides.

    Args:
        order: a rule on preference matrices, such as `kemeny_order` or `ranked_pairs_order`; Copeland's scores by default.
    """

    def __init__(self, order: Callable[[Array], Order] | None = None):
        self.order = order

    def rate(self, seen: Observations) -> Array:
        """[m] Copeland's scores, or minus the places of the rule's ranking."""
        wins = seen.task_preferences
        if self.order is None:
            return copeland_scores(wins)
        ranking, _ = self.order(wins)
        return -np.argsort(ranking).astype(float)


class RandomOrder:
    """A new random order at every look: the trivial baseline."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator

    def rate(self, seen: Observations) -> Array:
        """[m] random numbers."""
        return self._generator.random(len(seen.wins))


class Known:
    """Ratings that were known from the start, such as the true means: an oracle.

    Args:
        ratings: [m].
    """

    def __init__(self, ratings: Array):
        self.ratings = np.asarray(ratings, dtype=float)

    def rate(self, seen: Observations) -> Array:
        """[m] the known ratings."""
        return self.ratings
