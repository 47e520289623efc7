r"""Active evaluation: every round the evaluator chooses a task and two agents, sees one noisy score of each, and publishes a ranking.

    seen = evaluate(ActiveEvaluator(Uniform(n, m, g1), BatchElo(), n, m, g2), table, rounds=3000, generator=g3)
    ranking_error(seen.rankings, table.truth, k=3)

An evaluator is whatever has the three methods `choose`, `update` and `ranking`. `ActiveEvaluator` is one made of two halves: a rule that
chooses games (`hierlab.ranking.choices`) and a rule that rates agents by what was seen (`hierlab.ranking.rules`). Algorithms that differ
in one half only can so be compared on the same games.

Source: arXiv 2601.07651, Section 2 (the loop), Section 4 (the algorithms).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.choices import Choice, Game
from hierlab.ranking.observations import Observations
from hierlab.ranking.rules import Rule
from hierlab.ranking.score_table import ScoreTable
from hierlab.ranking.win_matrix import Array
from hierlab.trace import recording, show


class Evaluator(Protocol):
    """Anything that can be asked what to sample next and who is best."""

    def choose(self) -> Game:
        """The next (task, first agent, second agent)."""

    def update(self, task: int, first: int, second: int, first_score: float, second_score: float) -> None:
        """Take in the two scores."""

    def ranking(self) -> Array:
        """[m] the agents, best first, by what has been seen."""


class ActiveEvaluator:
    """An evaluator made of a rule that chooses and a rule that rates.

    Args:
        choice: what to sample next.
        rule: how to rate by what was seen.
        tasks: n.
        agents: m.
        generator: of the order in which equal ratings are ranked, drawn once: before the first sample, that is the ranking.

    Attributes:
        seen: the running sums.
    """

    def __init__(self, choice: Choice, rule: Rule, tasks: int, agents: int, generator: np.random.Generator):
        self.choice, self.rule, self.seen = choice, rule, Observations(tasks, agents)
        self._tie_break = generator.permutation(agents)

    def choose(self) -> Game:
        """The next game."""
        return self.choice.choose(self.seen)

    def update(self, task: int, first: int, second: int, first_score: float, second_score: float) -> None:
        """Take in the two scores."""
        self.seen.add(task, first, second, first_score, second_score)

    def ranking(self) -> Array:
        """[m] the agents, best first."""
        if not self.seen.rounds:
            return np.argsort(self._tie_break)
        return np.lexsort((self._tie_break, -self.rule.rate(self.seen)))


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator published.

    Attributes:
        rounds: [L] after how many rounds it was asked.
        rankings: [L, m] its ranking then.
        counts: [n, m] how often each agent was sampled on each task.
    """

    rounds: Array
    rankings: Array
    counts: Array


def endless(table: ScoreTable, rounds: int = 10_000_000) -> Observations:
    """What uniform sampling would have shown after so many rounds without any chance: expected wins, exact means.

    A rule that ranks this wrongly will not be right however long one samples.

    Args:
        table: what would be sampled.
        rounds: how many rounds' worth.
    """
    n, m = table.shape
    seen = Observations(n, m)
    each = max(1, round(2 * rounds / (n * m)))
    seen.rounds, seen.counts, seen.totals = rounds, np.full((n, m), each), table.scores * each
    seen.wins = table.win_probabilities() * (2 * rounds / (m * (m - 1)))
    np.fill_diagonal(seen.wins, 0)
    return seen


def evaluate(
    evaluator: Evaluator,
    table: ScoreTable,
    rounds: int,
    generator: np.random.Generator,
    *,
    every: int = 50,
    report: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run the loop: choose, sample, update, and now and then ask for the ranking.

    Args:
        evaluator: who chooses and ranks.
        table: what is sampled: its score plus normal noise.
        rounds: T, a multiple of `every`.
        generator: of the noise. Its numbers are the same for every evaluator, game by game.
        every: rounds between two published rankings. A refit costs far more than a round, so the errors are looked at on this grid.
        report: called with rounds done and in all.

    Raises:
        ValueError: if `rounds` is not a multiple of `every`, or the evaluator chooses a game that is none.
    """
    check_range("every", every, 1)
    check_range("rounds", rounds, every)
    if rounds % every:
        raise ValueError(f"rounds must be a multiple of every, got {rounds} and {every}")
    n, m = table.shape
    noise = (table.noise * generator.standard_normal((rounds, 2))).tolist()
    means, looks = table.scores.tolist(), []
    counts = np.zeros((n, m), dtype=int)
    for t, (first_noise, second_noise) in enumerate(noise, start=1):
        task, first, second = evaluator.choose()
        if first == second or not (0 <= task < n and 0 <= first < m and 0 <= second < m):
            raise ValueError(f"round {t}: a game is a task below {n} and two agents below {m}, got {task}, {first} and {second}")
        counts[task, first] += 1
        counts[task, second] += 1
        evaluator.update(task, first, second, means[task][first] + first_noise, means[task][second] + second_noise)
        if t % every == 0:
            looks.append(evaluator.ranking())
            if report:
                report(t, rounds)
    if recording():
        show("times sampled", counts, r"n_{v,a}")
    return Evaluation(np.arange(every, rounds + 1, every), np.array(looks), counts)
