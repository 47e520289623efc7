r"""REINFORCE++ (arXiv 2501.03262): whiten over the whole batch instead of comparing inside groups.

The plain method discounts the reward of each token to the tokens before it and standardises these returns over all tokens of
the batch:

$$R_t=r_t+\gamma R_{t+1},\qquad A_t=\frac{R_t-\overline{R}}{\sigma}.$$

Its *baseline* variant first subtracts the mean outcome of the task's group, then standardises over the tokens of the batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor

from hierlab.checks import as_mask, check_finite, check_floats, check_rows
from hierlab.credit.outcome import Statistics, outcome
from hierlab.ops import Singleton, group_relative, token_returns, whiten
from hierlab.trace import show


def reinforce_plus_plus(token_rewards: Tensor, response_mask: Tensor, *, gamma: float = 1.0) -> Tensor:
    r"""Discounted token returns, standardised over the batch.

    A row is a whole attempt. If an agent's attempt has several rows, give each row its outcome, or use the baseline variant.

    Args:
        token_rewards: [N, T] reward of each token, usually the outcome on the last one. KL penalties are added by the caller.
        response_mask: [N, T] the tokens the policy chose; the return starts anew behind a masked token, as in verl.
        gamma: discount of each token.

    Returns:
        [N, T] advantages, exactly 0 where masked.

    Raises:
        ValueError: if the shapes differ, a reward that counts is not finite, or `gamma` is outside [0, 1].

    Source: arXiv 2501.03262; verl `core_algos.compute_reinforce_plus_plus_outcome_advantage`.
    """
    check_floats("token_rewards", token_rewards, dims=2)
    mask = as_mask("response_mask", response_mask, token_rewards.shape)
    check_finite("token_rewards", token_rewards, mask, dims=2)
    returns = show("return", token_returns(token_rewards, mask, gamma), r"R_t=r_t+\gamma R_{t+1}")
    return show("advantage", whiten(returns, mask), r"A_t=\frac{R_t-\overline{R}}{\sigma}")


def reinforce_plus_plus_baseline(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    response_length: Tensor,
    trajectory: Sequence[Hashable] | Tensor | None = None,
    *,
    statistics: Statistics = "turns",
    singleton: Singleton = "zero",
) -> Tensor:
    r"""Outcome minus the mean of the group, standardised over the tokens of the batch, one number per row.

    A row counts in the batch's mean and deviation as often as it has tokens.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        response_length: [N] number of tokens of each row's response.
        trajectory: [N] the trajectory of the row; None: every row is an attempt.
        statistics: how the group's mean is taken, "turns" or "trajectories", as in `grpo`.
        singleton: what enters for a lone attempt: "zero", or "raw", its outcome (verl).

    Returns:
        [N] advantages, to be spread over the tokens of each row's response; 0 for a row without tokens.

    Raises:
        ValueError: if the columns differ in length, a reward is not finite, a length is negative, or a switch is unknown.

    Source: arXiv 2501.03262; verl `core_algos.compute_reinforce_plus_plus_baseline_outcome_advantage`.
    """
    score, group, counted = outcome(rewards, task, trajectory, statistics)
    check_rows(rewards=rewards, response_length=response_length)
    if (response_length < 0).any():
        row = int((response_length < 0).nonzero()[0])
        raise ValueError(f"response_length must not be negative, got {response_length[row].item()} in row {row}")
    centred = group_relative(score, group, scale="none", singleton=singleton, counted=counted)
    show("centred outcome", centred, r"c_i=R_i-\overline{R}_g")
    return show("advantage", whiten(centred, response_length), r"A_i=\frac{c_i-\overline{c}}{\sigma}")
