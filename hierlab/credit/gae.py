r"""GAE: Generalized Advantage Estimation (arXiv 1506.02438), over tokens and over turns.

A critic's value $V_t$ at each step gives one-step errors, whose discounted sum is the advantage:

$$\delta_t=r_t+\gamma V_{t+1}-V_t,\qquad A_t=\delta_t+\gamma\lambda A_{t+1},\qquad V=0 \text{ behind the end.}$$

$\lambda=0$ trusts the critic (low variance, biased by its errors), $\lambda=1$ the rewards (the Monte-Carlo return minus $V_t$).
The critic learns towards $A_t+V_t$.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_choice, check_finite, check_floats, check_range, check_rows, check_shapes
from hierlab.ops import group_ids, linear_recurrence, trajectory_order
from hierlab.ops import whiten as standardise
from hierlab.trace import show

Gaps = Literal["skip", "step"]


def gae(
    token_rewards: Tensor,
    values: Tensor,
    response_mask: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    whiten: bool = True,
    gaps: Gaps = "skip",
) -> Tensor:
    r"""Advantage of each token.

    A row is a whole attempt; for attempts of several rows see `turn_gae`.

    Args:
        token_rewards: [N, T] reward of each token, usually the outcome on the last one. KL penalties are added by the caller.
        values: [N, T] the critic's value before each token.
        response_mask: [N, T] the tokens the policy chose.
        gamma: discount of each token.
        lam: $\lambda$; verl's default is 1, classic PPO sets 0.95.
        whiten: standardise over all tokens of the batch, as verl does.
        gaps: what masked tokens between others (an agent's observations) are. "skip": nothing, the next step is the next token
            that the policy chose (verl since 2025). "step": steps like any other, rewards and values included, padding too
            (older forks of verl).

    Returns:
        [N, T] advantages, exactly 0 where masked.

    Raises:
        ValueError: if the shapes differ, a number that counts is not finite, `gamma` or `lam` is outside [0, 1], or `gaps` is
            neither.

    Source: arXiv 1506.02438, Equations 11 and 16; verl `core_algos.compute_gae_advantage_return`.
    """
    mask, advantage = _token_advantage(token_rewards, values, response_mask, gamma, lam, gaps)
    return show("whitened advantage", standardise(advantage, mask), r"\frac{A_t-\overline{A}}{\sigma}") if whiten else advantage


def lambda_returns(
    token_rewards: Tensor,
    values: Tensor,
    response_mask: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    gaps: Gaps = "skip",
) -> Tensor:
    r"""What the critic learns towards, $A_t+V_t$ with the advantage as it is before whitening.

    Args:
        token_rewards: [N, T], as in `gae`.
        values: [N, T], as in `gae`.
        response_mask: [N, T], as in `gae`.
        gamma: as in `gae`.
        lam: as in `gae`.
        gaps: as in `gae`.

    Returns:
        [N, T] returns, exactly 0 where masked.

    Raises:
        ValueError: as `gae`.
    """
    mask, advantage = _token_advantage(token_rewards, values, response_mask, gamma, lam, gaps)
    return show("return", torch.where(mask, advantage + values, 0), r"R_t=A_t+V_t")


def turn_gae(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    values: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    whiten: bool = True,
) -> Tensor:
    r"""Advantage of each turn of an agent's trajectories: the same recurrence with turns for tokens.

    Args:
        rewards: [N] reward of each turn.
        task: [N] the task of the turn.
        trajectory: [N] the trajectory of the turn, named uniquely within its task.
        turn: [N] the turn's place in its trajectory.
        values: [N] the critic's value of the state that each turn was taken from.
        gamma: discount of each turn.
        lam: $\lambda$.
        whiten: standardise over all turns of the batch.

    Returns:
        [N] advantages; before whitening, $A_t+V_t$ is what the critic learns towards.

    Raises:
        ValueError: if the columns differ in length, a number is not finite, `gamma` or `lam` is outside [0, 1], or a trajectory
            has a turn twice.

    Source: arXiv 1506.02438; the flat baseline of HiPER-agent, `core_algos.compute_turn_gae_advantage_return`, where a trajectory
    cut off by its turn limit is worth nothing behind its end, as here.
    """
    check_range("gamma", gamma, 0, 1)
    check_range("lam", lam, 0, 1)
    check_finite("rewards", rewards)
    check_finite("values", values)
    check_rows(rewards=rewards, task=task, trajectory=trajectory, turn=turn, values=values)
    turn = torch.as_tensor(turn, device=rewards.device)
    order, goes_on = trajectory_order(group_ids(task, trajectory, device=rewards.device), turn)
    value = values[order].to(rewards.dtype)
    following = torch.where(goes_on, value.roll(-1), 0)
    delta = rewards[order] + gamma * following - value
    errors, advantage = torch.empty_like(rewards), torch.empty_like(rewards)
    errors[order] = delta
    show("one-step error", errors, r"\delta_t=r_t+\gamma V_{t+1}-V_t")
    advantage[order] = linear_recurrence(delta, gamma * lam * goes_on.to(delta.dtype))
    show("advantage", advantage, r"A_t=\delta_t+\gamma\lambda A_{t+1}")
    if not whiten:
        return advantage
    everywhere = torch.ones_like(advantage, dtype=torch.bool)
    return show("whitened advantage", standardise(advantage, everywhere), r"\frac{A_t-\overline{A}}{\sigma}")


def _token_advantage(
    token_rewards: Tensor, values: Tensor, response_mask: Tensor, gamma: float, lam: float, gaps: Gaps
) -> tuple[Tensor, Tensor]:
    """The mask as bool and the advantage before whitening, 0 where masked. [N, T], [N, T]"""
    check_choice("gaps", gaps, Gaps)
    check_range("gamma", gamma, 0, 1)
    check_range("lam", lam, 0, 1)
    check_floats("token_rewards", token_rewards, dims=2)
    check_floats("values", values, dims=2)
    check_shapes(token_rewards=token_rewards, values=values)
    mask = as_mask("response_mask", response_mask, token_rewards.shape)
    relevant = mask if gaps == "skip" else torch.ones_like(mask)  # the steps
    check_finite("token_rewards", token_rewards, relevant, dims=2)
    check_finite("values", values, relevant, dims=2)

    value = torch.where(relevant, values, 0).to(token_rewards.dtype)
    step = relevant.to(value.dtype)
    resumes = (relevant[:, 1:] & ~relevant[:, :-1]).any()  # otherwise no step lies behind a gap, and the next place is the next step
    upcoming = linear_recurrence(value, 1 - step) if resumes else value  # the value at the first step from here on
    delta = torch.where(relevant, token_rewards, 0).sub_(value)
    delta[:, :-1].add_(upcoming[:, 1:], alpha=gamma)
    show("one-step error", delta.mul_(step), r"\delta_t=r_t+\gamma V_{t+1}-V_t")
    advantage = linear_recurrence(delta, step.mul_(gamma * lam - 1).add_(1))  # what is no step passes on what comes behind it
    return mask, show("advantage", advantage.mul_(mask), r"A_t=\delta_t+\gamma\lambda A_{t+1}")
