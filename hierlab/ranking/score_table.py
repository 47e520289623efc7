"""What is evaluated: agents on tasks, whose mean scores are known to us and of which an evaluator sees noisy samples.

A table is scaled so that on each task the worst agent has 0 and the best 1: games whose scores run to millions then weigh what the others
do. The true ranking is part of the table, because it is not the table's: for synthetic tasks it is the ranking they are copies of, for
real scores the order by Copeland's rule of all tasks' votes, which for the Atari table that ships here is also Kemeny's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.mallows import sample_mallows
from hierlab.ranking.profile import votes_from_scores
from hierlab.ranking.rank_metrics import positions
from hierlab.ranking.voting import copeland
from hierlab.ranking.win_matrix import Array

ATARI = Path(__file__).resolve().parents[2] / "data" / "atari_scores.json"
"""The Agent57 paper's table of 8 agents on 57 Atari games; the file names its source."""


@dataclass(frozen=True)
class ScoreTable:
    """Agents on tasks, and the truth about them.

    Attributes:
        scores: [n, m] mean score of each agent on each task, higher is better.
        truth: [m] the true ranking of the agents, best first.
        noise: standard deviation of one sampled score.
        agents: [m] their names.
        tasks: [n] theirs.
    """

    scores: Array
    truth: Array
    noise: float
    agents: tuple[str, ...]
    tasks: tuple[str, ...]

    def __post_init__(self):
        shape = (len(self.tasks), len(self.agents))
        if self.scores.shape != shape or not np.isfinite(self.scores).all():
            raise ValueError(f"scores must be a finite table of {shape[0]} tasks and {shape[1]} agents, got shape {self.scores.shape}")
        if len(positions(self.truth, "truth")) != shape[1]:
            raise ValueError(f"truth must rank {shape[1]} agents, got {len(self.truth)}")
        check_range("noise", self.noise, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """(n tasks, m agents)"""
        return self.scores.shape

    def win_probabilities(self) -> Array:
        """How likely row scores more than column in one game on a task drawn at random; ties without noise count half. [m, m]"""
        from scipy.special import ndtr

        gap = self.scores[:, :, None] - self.scores[:, None, :]
        return (ndtr(gap / (2**0.5 * self.noise)) if self.noise > 0 else (np.sign(gap) + 1) / 2).mean(axis=0)


def mallows_table(agents: int, tasks: int, phi: float, generator: np.random.Generator, *, noise: float = 0.5) -> ScoreTable:
    """Synthetic tasks, each ranking the agents as a Mallows copy of one true ranking, the best scoring 1 and the last 0, evenly spaced.

    Args:
        agents: m, at least 2.
        tasks: n, at least 1.
        phi: how much the tasks differ: 0, all rank alike; 1, no two have anything in common.
        generator: of the truth and of the tasks.
        noise: of one sampled score.

    Raises:
        ValueError: if a number is out of range.
    """
    check_range("agents", agents, 2)
    check_range("tasks", tasks, 1)
    truth = generator.permutation(agents)
    rankings = sample_mallows(truth, phi, tasks, generator)
    scores = (agents - 1 - np.argsort(rankings, axis=1)) / (agents - 1)
    return ScoreTable(scores, truth, noise, tuple(f"a{i + 1}" for i in range(agents)), tuple(f"v{i + 1}" for i in range(tasks)))


def real_table(scores: Array, agents: Sequence[str], tasks: Sequence[str], *, noise: float = 0.1) -> ScoreTable:
    """Real scores, scaled by task; the truth is the order by Copeland's rule.

    Args:
        scores: [n, m] tasks by agents, higher is better.
        agents: [m] names.
        tasks: [n] names.
        noise: of one sampled score, after scaling.

    Raises:
        ValueError: if the table is not finite or does not fit the names, or all agents score the same on a task.
    """
    table = np.asarray(scores, dtype=float)
    if table.shape != (len(tasks), len(agents)) or not np.isfinite(table).all():
        raise ValueError(f"scores must be a finite table of {len(tasks)} tasks and {len(agents)} agents, got shape {table.shape}")
    low, spread = table.min(axis=1, keepdims=True), np.ptp(table, axis=1)
    if (spread == 0).any():
        raise ValueError(f"all agents score the same on {tasks[int(np.argmin(spread))]!r}: leave it out, it ranks nobody")
    order = copeland(votes_from_scores(table)).ranking
    return ScoreTable((table - low) / spread[:, None], np.array(order), noise, tuple(agents), tuple(tasks))


def atari_table(*, noise: float = 0.1, path: Path | str = ATARI) -> ScoreTable:
    """The Atari table, or another of its form: a JSON file with "agents" [m] and "scores" {task: [m]}.

    Raises:
        ValueError: if the file is not of that form, or as `real_table`.
        OSError: if it cannot be read.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not {"agents", "scores"} <= content.keys() or not isinstance(content["scores"], dict):
        raise ValueError(f'{path}: a score table is a JSON object with "agents": [names] and "scores": {{task: [one number an agent]}}')
    rows = list(content["scores"].values())
    if bad := [task for task, row in content["scores"].items() if len(row) != len(content["agents"])]:
        raise ValueError(f"{path}: {len(content['agents'])} agents, but task {bad[0]!r} has {len(content['scores'][bad[0]])} scores")
    return real_table(np.array(rows, dtype=float), content["agents"], list(content["scores"]), noise=noise)
