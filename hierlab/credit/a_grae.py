r"""A-GRAE: asymmetric group-relative advantages (Unveiling Implicit Advantage Symmetry, arXiv 2602.05548).

With rewards of 0 and 1, GRPO's advantages in a group of $G$ attempts, of which a share $p$ succeeds, add up to 0, and their sizes to
$2G\sqrt{p(1-p)}$. So (a) success and failure weigh the same, whence the logits of answers nobody sampled stay where they are, and (b)
easy and hard tasks equally far from $p=\frac12$ weigh the same, early in training and late. A-GRAE breaks both symmetries by one number
for the state of training, the batch's mean reward $\omega$. Between tasks, it shifts the weight from easy to hard ones as the policy
gets better:

$$A_i\leftarrow\frac{\omega}{2}\frac{A_i}{\sqrt p}+\frac{1-\omega}{2}\frac{A_i}{\sqrt{1-p}},$$

and inside a group it damps the successes as long as the policy is weak, so that the sum turns negative and what was not sampled gains:

$$A_i\leftarrow A_i\min(1,\omega/\alpha)\quad\text{where }A_i>0.$$

Paper and released code (Yu7-code/A-GRAE, `core_algos.compute_grpo_outcome_advantage`) differ; `variant` chooses, and the default is the
paper's equation.

* The code divides by $1-\sqrt p$ instead of $\sqrt{1-p}$ for the easy tasks: at $p=\frac14$ that is 0.5 instead of 0.87.
* Its $\omega$ is the mean over groups of their means, which is the batch's mean only if the groups are equally large.
* Its $\alpha$ is fixed at 1; the paper has 1 on MATH and 0.5 on Geo3K and medical data.
* As released the branch is never entered: it asks for `grpo_weight == 2.0`, which the trainer overwrites before the first step.

The code's standard deviation is unbiased; that of the paper's theorems is biased (`unbiased=False`). For Dr. GRPO, which has none,
`scale="none"` applies both steps to $r_i-p$; the paper does not say how it did it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import as_truth, check_choice, check_range, check_rows
from hierlab.credit.outcome import Statistics, outcome
from hierlab.ops import Scale, Singleton, group_first, group_ids, group_mean, group_relative, group_size
from hierlab.trace import show

Variant = Literal["paper", "code"]
Attention = Literal["shift", "hard", "easy", "none"]


def a_grae(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor | None = None,
    success: Sequence[bool] | Tensor | None = None,
    *,
    alpha: float = 1.0,
    variant: Variant = "paper",
    attention: Attention = "shift",
    positive_weight: float | None = None,
    scale: Scale = "std",
    statistics: Statistics = "turns",
    singleton: Singleton = "zero",
    unbiased: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    r"""GRPO's advantage, shifted between easy and hard tasks and damped where positive, one number per row.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        trajectory: [N] the trajectory of the row; None: every row is an attempt.
        success: [N] whether the row's trajectory succeeded, which $p$ and $\omega$ count; None: its outcome is its success, and must
            lie in [0, 1].
        alpha: $\alpha$, the training state from which on successes count in full.
        variant: "paper" or "code", see above.
        attention: "shift" goes from easy to hard; the controls stay "easy", $A/(2\sqrt{1-p})$, or "hard", $A/(2\sqrt p)$; "none" leaves
            the tasks alone.
        positive_weight: what positive advantages are multiplied by instead of $\min(1,\omega/\alpha)$: 10 and 0.1 are the paper's
            positive- and negative-dominant controls, 1 leaves them alone.
        scale: as in `grpo`; "none" for Dr. GRPO.
        statistics: "turns" counts every row in $p$, $\omega$, mean and deviation, "trajectories" every attempt once.
        singleton: the advantage of a lone attempt: "zero", or "raw" (code), which its easy or hard divisor of nearly 0 then blows up.
        unbiased: whether the deviation divides by n - 1 or n.
        eps: added to the deviation and, in the code's variant, to its divisors.

    Returns:
        [N] advantages, to be spread over the tokens of each row's response; 0 where all of a group succeed or all fail.

    Raises:
        ValueError: if the columns differ in length, a number is not finite or out of range, rows of one trajectory disagree about its
            success, or a switch has an unknown value.

    Source: arXiv 2602.05548, Section 4; A-GRAE `compute_grpo_outcome_advantage`, pinned by its reference vectors.
    """
    check_choice("variant", variant, Variant)
    check_choice("attention", attention, Attention)
    check_choice("singleton", singleton, Singleton)
    check_range("alpha", alpha, 0)
    score, tasks, counted = outcome(rewards, task, trajectory, statistics)
    correct = _correctness(score, trajectory, tasks, success)

    advantage = group_relative(score, tasks, scale=scale, eps=eps, unbiased=unbiased, singleton=singleton, counted=counted)
    show("group-relative advantage", advantage, r"A_i=\frac{r_i-\overline{r}}{F}")
    rate = group_mean(correct, tasks, counted)
    if singleton == "raw":
        rate = torch.where(group_size(tasks, counted) > 1, rate, 0)
    show("success rate", rate, r"p")
    state = show("training state", _training_state(rate, correct, tasks, counted, variant), r"\omega=\overline{r}")

    if attention != "none":
        weight = show(
            "weight of the task",
            task_weight(rate, state, variant=variant, attention=attention, eps=eps),
            r"\frac{\omega}{2\sqrt p}+\frac{1-\omega}{2\sqrt{1-p}}",
        )
        advantage = show("shifted advantage", advantage * weight, r"A_i\,(\frac{\omega}{2\sqrt p}+\frac{1-\omega}{2\sqrt{1-p}})")
    if positive_weight is None:
        damping = (state / alpha).clamp(max=1) if alpha > 0 else torch.ones_like(state)
    else:
        check_range("positive_weight", positive_weight, 0)
        damping = torch.full_like(state, positive_weight)
    show("weight of success", damping, r"\min(1,\omega/\alpha)")
    advantage = torch.where(advantage > 0, advantage * damping, advantage)
    return show("advantage", advantage, r"A_i\leftarrow A_i\min(1,\omega/\alpha)\text{ where }A_i>0")


def _correctness(
    score: Tensor, trajectory: Sequence[Hashable] | Tensor | None, task: Tensor, success: Sequence[bool] | Tensor | None
) -> Tensor:
    """What counts as success of each row's trajectory, in [0, 1]. [N]"""
    if success is None:
        outside = (score < 0) | (score > 1)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise ValueError(f"without the column `success`, outcomes must be in [0, 1], got {float(score[row]):g} in row {row}")
        return score
    check_rows(rewards=score, success=success)
    correct = as_truth("success", success, score).to(score.dtype)
    if trajectory is not None:
        differs = correct != group_mean(correct, group_ids(task, trajectory, device=score.device))
        if differs.any():
            row = int(differs.nonzero()[0])
            raise ValueError(f"success is that of the whole trajectory, but rows of the trajectory of row {row} disagree")
    return correct


def _training_state(rate: Tensor, correct: Tensor, task: Tensor, counted: Tensor | None, variant: Variant) -> Tensor:
    """The batch's mean success, the same for each row. [N]"""
    everything = torch.zeros_like(task)
    if variant == "paper":
        return group_mean(correct, everything, counted)
    return group_mean(rate, everything, group_first(task))


def task_weight(rate: Tensor, state: Tensor, *, variant: Variant = "paper", attention: Attention = "shift", eps: float = 1e-6) -> Tensor:
    r"""What the advantages of a group are multiplied by.

    Args:
        rate: $p$, the group's share of success, in [0, 1]; any shape.
        state: $\omega$, the training state, in [0, 1]; of a shape that goes with it.
        variant: as in `a_grae`.
        attention: "shift", "easy" or "hard", as in `a_grae`.
        eps: as in `a_grae`.

    Returns:
        The weight; in the paper's variant 0 for a group without success or failure, which has no advantage to multiply.
    """
    if variant == "code":
        hard, easy = 0.5 / (rate.sqrt() + eps), 0.5 / (1 - rate.sqrt() + eps)
    else:
        live = (rate > 0) & (rate < 1)
        inside = torch.where(live, rate, 0.5)
        hard, easy = 0.5 * live / inside.sqrt(), 0.5 * live / (1 - inside).sqrt()
    if attention == "shift":
        return state * hard + (1 - state) * easy
    return hard if attention == "hard" else easy
