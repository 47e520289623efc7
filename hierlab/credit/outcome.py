r"""The outcome of an episode, which GRPO and its relatives compare: what they share.

In a single-turn task a row is a whole attempt and its reward is the outcome. An agent's attempt is a trajectory of several
rows, whose outcome is the sum of their rewards; every row of it then gets the same advantage, and there are two ways to take
the group's mean and deviation. The papers count each *trajectory* once. The released agent codes (verl-agent and its forks)
count each *turn*, so that long trajectories weigh more.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from hierlab.checks import check_choice, check_finite, check_rows
from hierlab.ops import group_first, group_ids, group_size, group_sum
from hierlab.trace import recording, show

Statistics = Literal["turns", "trajectories"]


class Outcome(NamedTuple):
    """What is compared, row by row.

    Attributes:
        score: [N] outcome of the row's trajectory.
        task: [N] int64, the group it is compared in.
        counted: [N] bool, the rows that enter the group's statistics; None: all.
    """

    score: Tensor
    task: Tensor
    counted: Tensor | None


def outcome(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor | None,
    statistics: Statistics,
) -> Outcome:
    """Sum the rewards of each trajectory, and say which rows count.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        trajectory: [N] the trajectory of the row, named uniquely within its task; None: every row is its own.
        statistics: "turns" counts every row, "trajectories" the first row of each trajectory.

    Returns:
        The outcome of every row.

    Raises:
        ValueError: if the columns differ in length, a reward is not finite, or `statistics` is neither.
    """
    check_choice("statistics", statistics, Statistics)
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, task=task, trajectory=trajectory)
    tasks = group_ids(task, device=rewards.device)
    if trajectory is None:
        return Outcome(show("outcome", rewards, r"R_i=r_i"), tasks, None)
    trajectories = group_ids(tasks, trajectory, device=rewards.device)
    score = show("outcome", group_sum(rewards, trajectories), r"R(\tau)=\sum_t r_t")
    counted = group_first(trajectories) if statistics == "trajectories" else None
    show_weights(tasks, trajectories, counted)
    return Outcome(score, tasks, counted)


def show_weights(task: Tensor, trajectory: Tensor, counted: Tensor | None) -> None:
    """Narrate how much each row's trajectory weighs in its task's mean: all alike, or by its number of turns."""
    if recording():
        share = group_size(trajectory, counted) / group_size(task, counted)
        show("weight of the trajectory", share, r"w_\tau=\frac{n_\tau}{\sum_{\tau'} n_{\tau'}}")
