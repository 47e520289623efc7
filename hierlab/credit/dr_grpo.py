r"""Dr. GRPO: GRPO done right (Understanding R1-Zero-Like Training, arXiv 2503.20783).

Dividing by the group's standard deviation gives tasks that are almost always or almost never solved more weight than tasks of
medium difficulty, and dividing by the length of the response lets long wrong answers off lightly. Dr. GRPO does neither: the
advantage is

$$A_i=R_i-\overline{R}_g,$$

and the loss sums tokens over a constant (`aggregation="seq-mean-token-sum-norm"` of `hierlab.train.surrogate`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor

from hierlab.credit.grpo import grpo
from hierlab.credit.outcome import Statistics
from hierlab.ops import Singleton


def dr_grpo(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor | None = None,
    *,
    statistics: Statistics = "turns",
    singleton: Singleton = "zero",
) -> Tensor:
    r"""Outcome minus the mean of the group, one number per row: `grpo(..., scale="none")`.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        trajectory: [N] the trajectory of the row; None: every row is an attempt.
        statistics: "turns" or "trajectories", as in `grpo`.
        singleton: the advantage of a lone attempt: "zero", or "raw", its outcome (verl).

    Returns:
        [N] advantages, to be spread over the tokens of each row's response.

    Raises:
        ValueError: as `grpo`.

    Source: arXiv 2503.20783, Section 3.2; verl `compute_grpo_outcome_advantage` with `norm_adv_by_std_in_grpo=False`.
    """
    return grpo(rewards, task, trajectory, scale="none", statistics=statistics, singleton=singleton)
