r"""W-REINFORCE: learning from success and from failure, weighed apart (arXiv 2506.01347).

With rewards of 0 and 1, REINFORCE without a baseline falls into two halves. Positive sample reinforcement (PSR) raises what succeeded,
negative sample reinforcement (NSR) lowers what failed and leaves it to the policy where the probability goes. W-REINFORCE adds a little
of the first to the second:

$$A_t=\begin{cases}\lambda R_t&\text{after success}\\R_t-1=-1&\text{after failure,}\end{cases}\qquad R_t=r_t+\gamma R_{t+1}.$$

No groups, no baseline, no deviation. It is a control of A-GRAE, whose repository has it beside its own estimator.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_choice, check_finite, check_floats, check_range
from hierlab.ops import masked_sum, token_returns
from hierlab.trace import show

Reinforce = Literal["weighted", "positive", "negative"]


def w_reinforce(
    token_rewards: Tensor,
    response_mask: Tensor,
    *,
    reinforce: Reinforce = "weighted",
    positive_weight: float = 0.1,
    gamma: float = 1.0,
) -> Tensor:
    r"""Returns after success, minus one after failure, one number per token.

    Args:
        token_rewards: [N, T] reward of each token, adding up to 0 (failure) or 1 (success).
        response_mask: [N, T] the tokens the policy chose.
        reinforce: "positive" is PSR, "negative" NSR, "weighted" both.
        positive_weight: $\lambda$ of "weighted"; 0.1.
        gamma: discount of each token.

    Returns:
        [N, T] advantages, exactly 0 where masked.

    Raises:
        ValueError: if the shapes differ, a reward is not finite, a row's rewards add up to neither 0 nor 1, or a switch or number is
            out of range.

    Source: A-GRAE `core_algos.compute_psr_nsr_outcome_advantage`, pinned by its reference vectors.
    """
    check_choice("reinforce", reinforce, Reinforce)
    check_range("positive_weight", positive_weight, 0)
    check_floats("token_rewards", token_rewards, dims=2)
    mask = as_mask("response_mask", response_mask, token_rewards.shape)
    check_finite("token_rewards", token_rewards, mask, dims=2)
    outcome = masked_sum(token_rewards, mask, 1)
    neither = (outcome != 0) & (outcome != 1)
    if neither.any():
        row = int(neither.nonzero()[0])
        raise ValueError(f"the rewards of a response must add up to 0 or 1, got {float(outcome[row]):g} in row {row}")
    success = show("success", outcome, r"R")[:, None] == 1
    returns = show("return", token_returns(token_rewards, mask, gamma), r"R_t=r_t+\gamma R_{t+1}")
    if reinforce == "positive":
        advantage = returns
    elif reinforce == "negative":
        advantage = returns - 1
    else:
        advantage = torch.where(success, positive_weight * returns, returns - 1)
    return show("advantage", torch.where(mask, advantage, 0), r"A_t=\lambda R_t\text{ or }R_t-1")
