"""What an evaluator has seen so far, as running sums."""

from __future__ import annotations

import numpy as np

from hierlab.ranking.win_matrix import Array


class Observations:
    """Running sums over the games an evaluator has seen: one task, two agents, one noisy score of each.

    Args:
        tasks: n.
        agents: m.

    Attributes:
        rounds: how many games.
        counts: [n, m] how often each agent was sampled on each task.
        totals: [n, m] the sum of its scores there.
        wins: [m, m] how often row scored more than column in a game.
        draws: [m, m] how often both scored the same.
        games: the games with a winner, as (winner, loser).
    """

    def __init__(self, tasks: int, agents: int):
        self.rounds = 0
        self.counts = np.zeros((tasks, agents), dtype=int)
        self.totals = np.zeros((tasks, agents))
        self.wins = np.zeros((agents, agents))
        self.draws = np.zeros((agents, agents))
        self.games: list[tuple[int, int]] = []

    def add(self, task: int, first: int, second: int, first_score: float, second_score: float) -> None:
        """Add one game."""
        self.rounds += 1
        for agent, score in ((first, first_score), (second, second_score)):
            self.counts[task, agent] += 1
            self.totals[task, agent] += score
        if first_score == second_score:
            self.draws[first, second] += 1
            self.draws[second, first] += 1
        else:
            pair = (first, second) if first_score > second_score else (second, first)
            self.wins[pair] += 1
            self.games.append(pair)

    @property
    def cell_means(self) -> Array:
        """Mean score of each agent on each task, NaN where it was not sampled. [n, m]"""
        return np.where(self.counts > 0, self.totals / np.maximum(self.counts, 1), np.nan)

    @property
    def agent_means(self) -> Array:
        """Each agent's mean score: over its task means once it was sampled on every task, before that over all its samples. [m]

        An agent that was never sampled has the mean of all samples, or 0 if there are none.
        """
        sampled = self.counts.sum(axis=0)
        overall = self.totals.sum() / max(sampled.sum(), 1)
        pooled = np.where(sampled > 0, self.totals.sum(axis=0) / np.maximum(sampled, 1), overall)
        everywhere = (self.counts > 0).all(axis=0)
        by_task = (self.totals / np.maximum(self.counts, 1)).mean(axis=0)
        return np.where(everywhere, by_task, pooled)

    @property
    def filled_means(self) -> Array:
        """`cell_means` with the agent's own mean where it was not sampled. [n, m]"""
        return np.where(self.counts > 0, self.totals / np.maximum(self.counts, 1), self.agent_means)

    @property
    def task_preferences(self) -> Array:
        """On how many tasks row has the higher mean than column, both sampled there. [m, m]"""
        means = self.cell_means
        with np.errstate(invalid="ignore"):
            return (means[:, :, None] > means[:, None, :]).sum(axis=0)
