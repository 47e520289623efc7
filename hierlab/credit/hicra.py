r"""HICRA: hierarchy-aware credit assignment (Emergent Hierarchical Reasoning in LLMs through RL, arXiv 2509.03646).

Some tokens of a chain of thought plan ("let's try a different approach"), the others carry out. Once carrying out has become routine,
planning is the bottleneck, so HICRA raises the advantage of planning tokens by a fraction of its size:

$$A^H_t=\begin{cases}A+\alpha|A|&t\text{ plans}\\A&\text{otherwise,}\end{cases}\qquad A=\frac{R-\overline R}{\sigma}.$$

So a planning token gets more credit after success, $(1+\alpha)A$, and less blame after failure, $(1-\alpha)A$. The advantages of a
group no longer add up to 0 but to $C=\alpha\sum_{t\text{ plans}}|A|\ge0$, an optimistic bias. Which tokens plan is said by a mask; see
`hierlab.credit.strategic_grams` for how the paper finds it.

The paper's formula has no standard deviation (`scale="none"`), while its runs use GRPO, which has (default). The authors' code is not
published. `highlight` holds what a controlled comparison needs, and what a third-party port does:

* "planning": the paper.
* "symmetric": $(1+\alpha)A$ on planning tokens, more credit *and* more blame: what is left of HICRA without its asymmetry.
* "placebo": the paper's rule on all tokens that do not plan.
* "uncertain": the paper's rule on the most uncertain tokens, whether they plan or not.
* "port": the paper's rule on planning tokens and on the most uncertain tokens of those correct responses that are longer than their
  group's mean. So does a port to TRL, which says it follows the authors' branch of verl (unverified).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import as_mask, as_truth, check_choice, check_finite, check_floats, check_needed, check_range, check_rows
from hierlab.credit.grpo import grpo
from hierlab.credit.outcome import Statistics
from hierlab.ops import Scale, Singleton, group_ids, group_mean
from hierlab.trace import recording, show

Highlight = Literal["planning", "symmetric", "placebo", "uncertain", "port"]


def hicra(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    response_mask: Tensor,
    planning_mask: Tensor,
    trajectory: Sequence[Hashable] | Tensor | None = None,
    success: Sequence[bool] | Tensor | None = None,
    entropy: Tensor | None = None,
    *,
    alpha: float = 0.2,
    highlight: Highlight = "planning",
    top: float = 0.3,
    scale: Scale = "std",
    statistics: Statistics = "turns",
    singleton: Singleton = "zero",
    unbiased: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    r"""GRPO's advantage, raised on planning tokens, one number per token.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        response_mask: [N, T] the tokens the policy chose.
        planning_mask: [N, T] the tokens that plan; counts only inside `response_mask`. Empty: GRPO.
        trajectory: [N] the trajectory of the row; None: every row is an attempt.
        success: [N] whether the row's attempt succeeded; only for `highlight="port"`.
        entropy: [N, T] of the policy at each token; only for `highlight="uncertain"` and "port".
        alpha: $\alpha$; 0.2 in the paper. Below 1 no sign changes.
        highlight: which tokens are raised, and how; see above.
        top: the share of the response tokens of the batch that counts as most uncertain.
        scale: as in `grpo`; "none" for the formula as written.
        statistics: as in `grpo`.
        singleton: as in `grpo`.
        unbiased: as in `grpo`.
        eps: as in `grpo`.

    Returns:
        [N, T] advantages, exactly 0 where masked and where a group teaches nothing.

    Raises:
        ValueError: as `grpo`, if a mask does not fit, `alpha` or `top` is out of range, or `highlight` lacks a column.

    Source: arXiv 2509.03646, Section 4, by the notes of its readers; no reference vectors, for want of official code.
    """
    check_choice("highlight", highlight, Highlight)
    check_range("alpha", alpha, 0)
    check_range("top", top, 0, 1)
    switches = {"scale": scale, "statistics": statistics, "singleton": singleton, "unbiased": unbiased, "eps": eps}
    outcome_advantage = grpo(rewards, task, trajectory, **switches)
    check_rows(rewards=rewards, response_mask=response_mask, planning_mask=planning_mask, success=success, entropy=entropy)
    mask = as_mask("response_mask", response_mask, response_mask.shape)
    chosen = mask & as_mask("planning_mask", planning_mask, mask.shape)
    if highlight == "placebo":
        chosen = mask & ~chosen
    elif highlight == "uncertain":
        check_needed(True, 'highlight="uncertain"', entropy=entropy)
        chosen = most_uncertain(entropy, mask, top)
    elif highlight == "port":
        check_needed(True, 'highlight="port"', success=success, entropy=entropy)
        chosen = chosen | most_uncertain(entropy, mask, top) & _long_and_right(success, task, mask, rewards)[:, None]
    show("raised tokens", chosen, r"t\text{ plans}")

    bonus = outcome_advantage if highlight == "symmetric" else outcome_advantage.abs()
    raised = outcome_advantage + alpha * bonus
    advantage = torch.where(chosen, raised[:, None], torch.where(mask, outcome_advantage[:, None], 0))
    if recording():
        excess = (alpha * bonus * chosen.sum(1)).to(rewards.dtype)
        show("excess of the row", excess, r"C_i=\alpha\sum_{t\text{ plans}}|A|")
    return show("advantage", advantage, r"A^H_t=A+\alpha|A|\text{ where planning}")


def most_uncertain(entropy: Tensor, response_mask: Tensor, top: float = 0.3) -> Tensor:
    """The share `top` of all response tokens of a batch with the highest entropy, and those as uncertain as the last of them.

    Args:
        entropy: [N, T] of the policy at each token.
        response_mask: [N, T] the tokens the policy chose.
        top: between 0 and 1.

    Returns:
        [N, T] bool.

    Raises:
        ValueError: if `top` is out of range, the shapes differ, or an entropy is not finite.
    """
    check_range("top", top, 0, 1)
    check_floats("entropy", entropy, dims=2)
    mask = as_mask("response_mask", response_mask, entropy.shape)
    check_finite("entropy", entropy, mask, dims=2)
    counted = entropy[mask]
    kept = int(top * len(counted))
    if kept == 0:
        return torch.zeros_like(mask)
    return mask & (entropy >= counted.topk(kept).values[-1])


def _long_and_right(success: Sequence[bool] | Tensor, task: Sequence[Hashable] | Tensor, mask: Tensor, like: Tensor) -> Tensor:
    """Rows that succeeded with more tokens than their group has on average. [N] bool"""
    length = mask.sum(1).to(like.dtype)
    return as_truth("success", success, like) & (length > group_mean(length, group_ids(task, device=like.device)))
