r"""GRPO: Group Relative Policy Optimization (DeepSeekMath, arXiv 2402.03300).

Several attempts at one task are compared with each other, so that the group takes the place of a critic. An attempt with
outcome $R_i$ in a group $g$ of attempts has the advantage

$$A_i=\frac{R_i-\overline{R}_g}{\sigma_g+\epsilon},$$

on each of its tokens. A group in which all succeed, or all fail, teaches nothing: its advantages are 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor

from hierlab.credit.outcome import Statistics, outcome
from hierlab.ops import Scale, Singleton, group_mean, group_relative, group_std
from hierlab.trace import recording, show


def grpo(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor | None = None,
    *,
    scale: Scale = "std",
    statistics: Statistics = "turns",
    singleton: Singleton = "zero",
    unbiased: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    r"""Outcome relative to the group of the same task, one number per row.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        trajectory: [N] the trajectory of the row, for agents whose attempt has several rows; None: every row is an attempt.
        scale: "std" divides by the group's deviation, "batch" by that of all rows (TRL's `scale_rewards="batch"`), "none" by 1.
        statistics: "turns" counts every row in mean and deviation (released agent code), "trajectories" every attempt once
            (paper). Without `trajectory` they are the same.
        singleton: the advantage of a lone attempt: "zero", or "raw", its outcome (verl).
        unbiased: the deviation divides by n - 1 (verl and TRL; the paper does not say) or by n.
        eps: added to the deviation: 1e-6 in verl, 1e-4 in TRL.

    Returns:
        [N] advantages, to be spread over the tokens of each row's response.

    Raises:
        ValueError: if the columns differ in length, a reward is not finite, or a switch has an unknown value.

    Source: arXiv 2402.03300, Section 4.1.2; verl `core_algos.compute_grpo_outcome_advantage`; TRL `GRPOTrainer`.
    """
    score, group, counted = outcome(rewards, task, trajectory, statistics)
    if recording():
        show("group mean", group_mean(score, group, counted), r"\overline{R}")
        if scale == "std":
            show("group deviation", group_std(score, group, counted, unbiased=unbiased), r"\sigma")
    advantage = group_relative(score, group, scale=scale, eps=eps, unbiased=unbiased, singleton=singleton, counted=counted)
    return show("advantage", advantage, r"A=R-\overline{R}" if scale == "none" else r"A=\frac{R-\overline{R}}{\sigma+\epsilon}")
