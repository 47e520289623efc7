r"""HGPO: Hierarchy-of-Groups Policy Optimization for long-horizon agentic tasks (arXiv 2602.22817).

GiGPO compares the turns that were taken from the same observation. But an agent with memory also reads its last $K$ observations,
so that two turns with one observation and different memories are different decisions. HGPO puts each turn into $K+1$ nested groups:
the turns whose observation is the same, whose last two observations are the same, and so on to the last $K+1$.

$$C_k(s_t)=(s_{t-k},\dots,s_t),\qquad G_k(s_t)=\{n: C_k(s_n)=C_k(s_t)\},\qquad G_0\supseteq G_1\supseteq\dots\supseteq G_K.$$

In each group the discounted returns are compared, and the advantage is the mean over the levels, weighted by depth:

$$A^k_t=\frac{R_t-\overline{R}_{G_k}}{\sigma_{G_k}+\epsilon},\qquad A_t=\sum_{k=0}^K w_k A^k_t,\qquad w_k\propto(k+1)^\alpha.$$

Deep groups are clean but small, shallow ones large but mixed: the mean trades bias for variance. An episode advantage as in GiGPO is
not part of it; the outcome reaches a turn through its return.

Where paper and released code (verl-agent, `recipe/hgpo/core_hgpo.py`) differ, a keyword chooses; the defaults are the code's, which
its reference vectors pin.

* `weights`: the code counts the current observation as level 1, which makes the weights $2^\alpha, 3^\alpha, \dots$ instead of the
  paper's $1^\alpha, 2^\alpha, \dots$: the deep levels weigh less than the paper says.
* `absent`: the paper's weights are normalised over all levels. The code leaves out, row by row, every level whose advantage is exactly 0
  (too short a history, a group of one, equal returns, but also a return that happens to be the mean) and normalises over the others.
* `unbiased`: the code's deviation divides by n, while GiGPO's in the same repository divides by n - 1. The paper does not say.
* `episode_level`: the code can add GiGPO's episode advantage as one more level of weight 1; it is off in its scripts.

What a return is compared with is in neither of them a question: the mean of its group, itself included. `mean` takes the turn, or its
whole trajectory, out of it, which tells what depth is worth from how much small groups shrink what they estimate.

The code takes the order of the rows for the order of the turns; here `turn` says it. And it works in single precision, where the mean
of equal returns can miss them by a rounding error, which their deviation of the same size blows up: five returns of $10\cdot0.95^{18}$
get an advantage of 0.19 instead of 0, eleven 0.42 (that arithmetic in torch 2.13 on a CPU). Here equal returns give exactly 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_finite, check_range, check_rows
from hierlab.credit.anchors import anchor_groups
from hierlab.credit.outcome import Statistics, outcome
from hierlab.ops import Scale, Singleton, group_ids, group_relative, group_size, group_sum, returns_to_go, trajectory_order
from hierlab.trace import recording, show

Weights = Literal["code", "paper"]
Absent = Literal["drop", "zero"]
Mean = Literal["all", "other rows", "other trajectories"]


def hgpo(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    state: Sequence[Any] | Tensor,
    *,
    history: int = 2,
    alpha: float = 1.0,
    gamma: float = 0.95,
    scale: Scale = "std",
    weights: Weights = "code",
    absent: Absent = "drop",
    unbiased: bool = False,
    mean: Mean = "all",
    episode_level: bool = False,
    episode_statistics: Statistics = "turns",
    singleton: Singleton = "zero",
    eps: float = 1e-6,
) -> Tensor:
    r"""Advantage within nested groups of equal context, averaged over the levels, one number per turn.

    Args:
        rewards: [N] reward of each turn.
        task: [N] the task of each turn; trajectories of one task are compared.
        trajectory: [N] the trajectory of each turn, named uniquely within its task.
        turn: [N] the turn's place in its trajectory.
        state: [N] the observation each turn was taken from, without history.
        history: $K$, how many past observations enter the context; the paper's runs use 2 and 4, as many as the agent reads. 0 is
            GiGPO's step advantage (with `unbiased=True`, up to `eps`).
        alpha: how strongly depth weighs; 0 weighs all levels alike.
        gamma: discount of the returns.
        scale: "std" divides by the group's deviation plus `eps` (the paper; ALFWorld scripts), "none" by 1 (WebShop scripts), "batch"
            by that of the level's rows.
        weights: "code" or "paper", see above.
        absent: "drop" (code) or "zero" (paper), see above.
        unbiased: whether the deviation divides by n - 1 instead of n.
        mean: what a return is compared with; see `level_advantages`.
        episode_level: add the episode advantage, with unbiased deviation, as a level of weight 1.
        episode_statistics: "turns" counts a trajectory once for each of its turns (code), "trajectories" once.
        singleton: the episode advantage of a lone row: "zero", or "raw", its outcome (code).
        eps: added to the deviations and, with `absent="drop"`, to the sum of the weights.

    Returns:
        [N] advantages, to be spread over the tokens of each turn's response.

    Raises:
        ValueError: if the columns differ in length, a reward is not finite, a trajectory has a turn twice, `history` is no natural
            number, `gamma` is outside [0, 1], or a switch has an unknown value.

    Source: arXiv 2602.22817, Section 4; verl-agent `compute_hgpo_outcome_advantage`, pinned by its reference vectors.
    """
    check_choice("weights", weights, Weights)
    check_choice("absent", absent, Absent)
    check_choice("episode_statistics", episode_statistics, Statistics)
    check_choice("singleton", singleton, Singleton)
    check_range("alpha", alpha)
    columns = {"rewards": rewards, "task": task, "trajectory": trajectory, "turn": turn, "state": state}
    levels = level_advantages(**columns, history=history, gamma=gamma, scale=scale, unbiased=unbiased, mean=mean, eps=eps)
    first = 2 if weights == "code" else 1
    weight = torch.arange(first, first + levels.shape[1], device=rewards.device, dtype=rewards.dtype) ** alpha
    if episode_level:
        tasks = group_ids(task, device=rewards.device)
        score, _, counted = outcome(rewards, tasks, trajectory, episode_statistics)
        episode = group_relative(score, tasks, scale=scale, eps=eps, singleton=singleton, counted=counted)
        levels = torch.cat([show("episode advantage", episode, r"A^E")[:, None], levels], dim=1)
        weight = torch.cat([weight.new_ones(1), weight])
    weight = show("level weight", _normalised(weight, levels, absent, eps), r"w_k=\frac{(k+1)^\alpha}{\sum_l(l+1)^\alpha}")
    return show("advantage", (weight * levels).sum(1), r"A_t=\sum_k w_k A^k_t")


def level_advantages(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    state: Sequence[Any] | Tensor,
    *,
    history: int = 2,
    gamma: float = 0.95,
    scale: Scale = "std",
    unbiased: bool = False,
    mean: Mean = "all",
    eps: float = 1e-6,
) -> Tensor:
    r"""The advantages $A^k_t$ of the single levels, which `hgpo` averages.

    Args:
        rewards: [N] as in `hgpo`, like all that is not explained here.
        task: [N].
        trajectory: [N].
        turn: [N].
        state: [N].
        history: $K$, the deepest level.
        gamma: discount of the returns.
        scale: what the difference is divided by.
        unbiased: whether the deviation divides by n - 1 instead of n.
        mean: what a return is compared with. "all": the mean of its group, itself included (paper, code). The row pulls that mean
            towards itself, which shrinks the advantage by $1-1/n$, most in the deep groups, which are small. "other rows": the mean of
            the other members. "other trajectories": the mean of those from other trajectories; a trajectory that comes back to a
            context is in its group several times, with nearly equal returns, which shrink the advantage as the row itself does.
        eps: added to the deviations.

    Returns:
        [N, K + 1], the shallowest level first; 0 where a row has nothing to be compared with.

    Raises:
        ValueError: as `hgpo`, or if `mean` is neither.
    """
    check_choice("mean", mean, Mean)
    check_range("gamma", gamma, 0, 1)
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, task=task, trajectory=trajectory, turn=turn, state=state)
    turn = torch.as_tensor(turn, device=rewards.device)
    trajectories = group_ids(task, trajectory, device=rewards.device)
    contexts = _contexts(anchor_groups(task, state, device=rewards.device), trajectories, turn, history)
    size = torch.stack([group_size(group) for group in contexts], dim=1)
    if recording():
        show("context group", torch.stack([group_ids(group) for group in contexts], dim=1), r"G_k(s_t)")
        show("context group size", size, r"|G_k(s_t)|")
    returns = show("return to go", returns_to_go(rewards, trajectories, turn, gamma), r"R_t=r_t+\gamma R_{t+1}")
    levels = [group_relative(returns, group, scale=scale, eps=eps, unbiased=unbiased) for group in contexts]
    if mean != "all":
        own = torch.arange(len(turn), device=turn.device) if mean == "other rows" else trajectories
        levels = [_against_others(level, group, own) for level, group in zip(levels, contexts, strict=True)]
    levels = torch.stack(levels, dim=1)
    return show("level advantage", levels, r"A^k_t=\frac{R_t-\overline{R}_{G_k}}{F_{G_k}}")


def context_groups(
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    state: Sequence[Any] | Tensor,
    *,
    history: int,
) -> Tensor:
    r"""Number the rows by context, at each depth: the task and the last one, two, ... observations, the current one included.

    A turn with too short a history for a depth is alone in its group there.

    Args:
        task: [N] as in `hgpo`.
        trajectory: [N] as in `hgpo`.
        turn: [N] as in `hgpo`.
        state: [N] as in `hgpo`.
        history: $K$, how many past observations the deepest level looks at.

    Returns:
        [N, K + 1] int64, each column with numbers below N; on the device of `turn`.

    Raises:
        ValueError: if the columns differ in length, a trajectory has a turn twice, or `history` is no natural number.
    """
    check_rows(task=task, trajectory=trajectory, turn=turn, state=state)
    observation = anchor_groups(task, state, device=turn.device)
    return torch.stack(_contexts(observation, group_ids(task, trajectory, device=turn.device), turn, history), dim=1)


def past_groups(
    task: Sequence[Hashable] | Tensor, trajectory: Sequence[Hashable] | Tensor, turn: Tensor, state: Sequence[Any] | Tensor
) -> Tensor:
    """Number the rows by task and everything that was observed since the beginning: the paper's oracle groups.

    Args:
        task: [N] as in `hgpo`.
        trajectory: [N] as in `hgpo`.
        turn: [N] as in `hgpo`.
        state: [N] as in `hgpo`.

    Returns:
        [N] int64, below N; on the device of `turn`.

    Raises:
        ValueError: if the columns differ in length, or a trajectory has a turn twice.
    """
    check_rows(task=task, trajectory=trajectory, turn=turn, state=state)
    trajectories = group_ids(task, trajectory, device=turn.device)
    longest = int(torch.bincount(trajectories).max()) if len(turn) else 1
    return _contexts(anchor_groups(task, state, device=turn.device), trajectories, turn, longest - 1, from_the_start=True)[-1]


def _contexts(observation: Tensor, trajectory: Tensor, turn: Tensor, history: int, *, from_the_start: bool = False) -> list[Tensor]:
    """The columns of `context_groups`, from group numbers. [N], [N], [N] -> K + 1 times [N]

    `from_the_start`: a history too short for a depth is compared as far as it goes, with others that begin at the same place.
    """
    if not isinstance(history, int) or isinstance(history, bool) or history < 0:
        raise ValueError(f"history must be a number of turns, 0 or more, got {history!r}")
    order, goes_on = trajectory_order(trajectory, turn)
    n, row = len(order), torch.arange(len(order), device=turn.device)
    before = -1 - row  # the row one turn earlier; where there is none, a number that no other row has
    before[order[1:]] = torch.where(goes_on[:-1], order[:-1], before[order[1:]])
    none = torch.full_like(before, -1) if from_the_start else before
    levels = [observation]
    for _ in range(history):
        shorter = torch.where(before < 0, none, levels[-1][before])  # the context of the turn before, one observation shorter
        levels.append(torch.unique(shorter * n + observation, return_inverse=True)[1])
    return levels


def _against_others(relative: Tensor, group: Tensor, own: Tensor) -> Tensor:
    """Values relative to their group's mean, made relative to the mean of those members that are not the row's own. [N] -> [N]"""
    mine = group_ids(group, own)
    others = group_size(group) - group_size(mine)
    mean = -group_sum(relative, mine) / others.clamp(min=1)  # all members together sum to 0
    return torch.where(others > 0, relative - mean, 0)


def _normalised(weight: Tensor, levels: Tensor, absent: Absent, eps: float) -> Tensor:
    """What each row's levels weigh. [K + 1], [N, K + 1] -> [N, K + 1]"""
    if absent == "zero":
        return (weight / weight.sum()).expand_as(levels)
    weight = weight * (levels != 0)
    return weight / (weight.sum(1, keepdim=True) + eps).clamp(min=torch.finfo(weight.dtype).tiny)  # 0 where no level is left
