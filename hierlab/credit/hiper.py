r"""HiPER: Hierarchical Reinforcement Learning with explicit credit assignment for LLM agents (arXiv 2602.16165).

Each turn the agent writes three decisions: keep or switch the subgoal, the subgoal, the action (`hierlab.credit.plan_execute`).
Hierarchical advantage estimation says what each was worth (`hierlab.credit.hae`), and the advantage lands where the decision was
written:

$$A_{t,j}=\begin{cases}A^{switch}_t&j\text{ in the switch}\\A^{high}_t&j\text{ in the subgoal, if it was chosen in this turn}\\
A^{low}_t&j\text{ in the action}\\0&\text{elsewhere.}\end{cases}$$

Each of the three is first standardised over the turns that have tokens for it (`normalise`; released scripts).

The released code (JonP07/HiPER-agent) also shapes the rewards, which the paper's formulas do not: see `shaped_rewards`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hierlab.checks import as_mask, as_truth, check_choice, check_finite, check_needed, check_range, check_rows
from hierlab.credit.hae import SwitchAdvantage, Truth, hae
from hierlab.ops import group_ids, group_relative, group_size, trajectory_order
from hierlab.trace import show

PlanTokens = Literal["subgoal", "switch", "both", "none"]
KeepPenalty = Literal["fixed", "normalised"]
_SYMBOL = {"action": "low", "subgoal": "high", "switch": "switch"}


class DecisionMasks(NamedTuple):
    """The tokens each decision is trained on, [N, T] bool each; together they are the loss mask.

    Attributes:
        action: where $A^{low}$ lands.
        subgoal: where $A^{high}$ lands.
        switch: where $A^{switch}$ lands.
    """

    action: Tensor
    subgoal: Tensor
    switch: Tensor


def hiper(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    switch: Truth,
    value_low: Tensor,
    response_mask: Tensor,
    value_high: Tensor | None = None,
    value_switch: Tensor | None = None,
    action_mask: Tensor | None = None,
    subgoal_mask: Tensor | None = None,
    switch_mask: Tensor | None = None,
    done: Truth | None = None,
    switch_probability: Tensor | None = None,
    value_kept: Tensor | None = None,
    *,
    gamma: float = 1.0,
    lam_turn: float = 1.0,
    lam_seg: float = 0.95,
    switch_advantage: SwitchAdvantage = "code",
    plan_tokens: PlanTokens = "subgoal",
    boundary_bootstrap: bool = True,
    bootstrap_truncated: bool = False,
    normalise: bool = True,
) -> Tensor:
    r"""Each decision's advantage on its own tokens, one number per token.

    Args:
        rewards: [N] reward of each turn.
        task: [N] the task of each turn.
        trajectory: [N] the trajectory of each turn, named uniquely within its task.
        turn: [N] the turn's place in its trajectory.
        switch: [N] whether the turn asks for a new subgoal.
        value_low: [N] $V^{low}$ of the state and the subgoal acted on.
        response_mask: [N, T] the tokens the policy chose.
        value_high: [N] $V^{high}$ of the state; None: a critic with one head, $V^{low}$.
        value_switch: [N] the third head; None: there is none, and with `switch_advantage="code"` that decision gets no advantage.
        action_mask: [N, T] tokens of the action; None: the whole response.
        subgoal_mask: [N, T] tokens of the subgoal; None: none.
        switch_mask: [N, T] tokens of the decision to keep or switch; None: none.
        done: [N] whether the environment ended the episode with this turn; needed for `bootstrap_truncated`.
        switch_probability: [N] $\beta_t$, only for `switch_advantage="paper"`.
        value_kept: [N] $V^{low}(s_t,o_{t-1})$ with the previous subgoal, only for `switch_advantage="paper"`.
        gamma: discount of each turn; 1 in the scripts.
        lam_turn: $\lambda_{turn}$; 1 in the scripts.
        lam_seg: $\lambda_{seg}$; 0.95 in the scripts.
        switch_advantage: "code" or "paper", see `hierlab.credit.hae`; "none" leaves the decision without advantage.
        plan_tokens: where the subgoal's advantage lands in the turns that start a segment.
        boundary_bootstrap: whether the last action of a segment is judged by $V^{high}$ of where it led. Without, actions are credited
            for the rewards inside their segment alone: an ablation.
        bootstrap_truncated: see `hierlab.credit.hae`.
        normalise: standardise each of the three over the turns that have tokens for it, with biased deviation (scripts).

    Returns:
        [N, T] advantages, exactly 0 where masked. Where fields overlap, their advantages add up.

    Raises:
        ValueError: as `hae`, or if a mask does not fit.

    Source: arXiv 2602.16165, Section 4; HiPER-agent `compute_hae_advantage`, pinned by its reference vectors.
    """
    estimate = hae(
        rewards, task, trajectory, turn, switch, value_low, value_high, value_switch, done, switch_probability, value_kept,
        gamma=gamma, lam_turn=lam_turn, lam_seg=lam_seg, switch_advantage=switch_advantage, boundary_bootstrap=boundary_bootstrap,
        bootstrap_truncated=bootstrap_truncated,
    )  # fmt: skip
    check_rows(rewards=rewards, response_mask=response_mask)
    rated = switch_advantage == "paper" or (switch_advantage == "code" and value_switch is not None)
    masks = decision_masks(
        estimate.boundary, response_mask, action_mask, subgoal_mask, switch_mask, plan_tokens=plan_tokens, switch_rated=rated
    )
    everywhere = torch.zeros_like(estimate.boundary, dtype=torch.int64)
    total = torch.zeros_like(masks.action, dtype=rewards.dtype)
    for name, mask in masks._asdict().items():
        advantage = getattr(estimate, name)
        if normalise:
            advantage = group_relative(advantage, everywhere, scale="std", eps=1e-8, unbiased=False, counted=mask.any(1))
        total += show(f"{name} advantage on its tokens", torch.where(mask, advantage[:, None], 0), rf"A^{{{_SYMBOL[name]}}}_t")
    return show("advantage", total, r"A=A^{low}+A^{high}+A^{switch}")


def decision_masks(
    boundary: Tensor,
    response_mask: Tensor,
    action_mask: Tensor | None = None,
    subgoal_mask: Tensor | None = None,
    switch_mask: Tensor | None = None,
    *,
    plan_tokens: PlanTokens = "subgoal",
    switch_rated: bool = True,
) -> DecisionMasks:
    """The tokens each decision is trained on. Those of a subgoal that is only repeated are trained by nothing.

    Args:
        boundary: [N] bool, the turns that start a segment.
        response_mask: [N, T] the tokens the policy chose; the other masks count only inside it.
        action_mask: [N, T] as in `hiper`.
        subgoal_mask: [N, T] as in `hiper`.
        switch_mask: [N, T] as in `hiper`.
        plan_tokens: as in `hiper`.
        switch_rated: whether the decision to keep or switch has an advantage of its own.

    Returns:
        The three masks; their union is the loss mask.

    Raises:
        ValueError: if a mask has another shape than `response_mask`, or other values than 0 and 1.
    """
    check_choice("plan_tokens", plan_tokens, PlanTokens)
    check_rows(boundary=boundary, response_mask=response_mask)
    chosen = as_mask("response_mask", response_mask, response_mask.shape)
    action = chosen if action_mask is None else chosen & as_mask("action_mask", action_mask, chosen.shape)
    nothing = torch.zeros_like(chosen)
    subgoal = nothing if subgoal_mask is None else chosen & as_mask("subgoal_mask", subgoal_mask, chosen.shape)
    switch = nothing if switch_mask is None else chosen & as_mask("switch_mask", switch_mask, chosen.shape)
    planned = {"subgoal": subgoal, "switch": switch, "both": subgoal | switch, "none": nothing}[plan_tokens]
    return DecisionMasks(action, planned & boundary[:, None], switch if switch_rated else nothing)


def shaped_rewards(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    switch: Truth,
    valid: Truth | None = None,
    response_ids: Tensor | None = None,
    subgoal_mask: Tensor | None = None,
    *,
    keep_penalty: float = 0.0,
    keep_mode: KeepPenalty = "fixed",
    invalid_penalty: float = 0.0,
    inconsistency_penalty: float = 0.0,
    both_needed: bool = True,
) -> Tensor:
    r"""The released code's rewards: the environment's, minus penalties for keeping, for invalid actions and for altered subgoals.

    Args:
        rewards: [N] reward of each turn.
        task: [N] the task of each turn.
        trajectory: [N] the trajectory of each turn, named uniquely within its task.
        turn: [N] the turn's place in its trajectory.
        switch: [N] whether the turn asks for a new subgoal.
        valid: [N] whether the action could be carried out; needed for `invalid_penalty`.
        response_ids: [N, T] int64 response tokens; needed for `inconsistency_penalty`.
        subgoal_mask: [N, T] the response tokens that are the subgoal; needed for `inconsistency_penalty`.
        keep_penalty: what keeping costs; scripts: 0.3 (ALFWorld), 3.5 (WebShop).
        keep_mode: "fixed": so much for each turn that keeps; "normalised" (scripts): divided by the number of turns of the trajectory,
            and nothing in a trajectory of one turn.
        invalid_penalty: what an invalid action costs; 0.1.
        inconsistency_penalty: what it costs to keep the subgoal but to word it otherwise than in the turn before; 0.3 (scripts).
        both_needed: whether a subgoal that is empty now or in the turn before goes free; else it counts as altered.

    Returns:
        [N], to be used as `rewards`.

    Raises:
        ValueError: if columns or masks do not fit, a number is not finite, a trajectory has a turn twice, a column is missing that a
            penalty needs, or `keep_mode` is unknown.
    """
    check_choice("keep_mode", keep_mode, KeepPenalty)
    for name, penalty in {"keep": keep_penalty, "invalid": invalid_penalty, "inconsistency": inconsistency_penalty}.items():
        check_range(f"{name}_penalty", penalty)
    check_needed(invalid_penalty != 0, "invalid_penalty", valid=valid)
    check_needed(inconsistency_penalty != 0, "inconsistency_penalty", response_ids=response_ids, subgoal_mask=subgoal_mask)
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, task=task, trajectory=trajectory, turn=turn, switch=switch, valid=valid, response_ids=response_ids)
    keeps = ~as_truth("switch", switch, rewards)
    trajectories = group_ids(task, trajectory, device=rewards.device)
    shaped = rewards
    if keep_penalty != 0:
        turns = group_size(trajectories)
        cost = keep_penalty / turns.to(rewards.dtype) * (turns > 1) if keep_mode == "normalised" else keep_penalty
        shaped = shaped - show("cost of keeping", cost * keeps.to(rewards.dtype), r"c\,(1-q_t)")
    if invalid_penalty != 0:
        invalid = ~as_truth("valid", valid, rewards)
        shaped = shaped - show("cost of an invalid action", invalid_penalty * invalid.to(rewards.dtype), r"c_{invalid}")
    if inconsistency_penalty != 0:
        order, goes_on = trajectory_order(trajectories, torch.as_tensor(turn, device=rewards.device))
        altered = keeps & _differs_from_before(response_ids, subgoal_mask, order, goes_on, both_needed)
        shaped = shaped - show("cost of an altered subgoal", inconsistency_penalty * altered.to(rewards.dtype), r"c_{altered}")
    return show("shaped reward", shaped, r"r_t")


def _differs_from_before(ids: Tensor, mask: Tensor, order: Tensor, goes_on: Tensor, both_needed: bool) -> Tensor:
    """Whether a row's masked tokens are others than those of the row one turn earlier; false in first turns. [N] bool"""
    mask = as_mask("subgoal_mask", mask, ids.shape)
    place = torch.where(mask, mask.cumsum(1) - 1, ids.shape[1])  # masked tokens move to the front, the others drop off the end
    words = ids.new_full((len(ids), ids.shape[1] + 1), -1).scatter_(1, place, ids)[:, :-1]
    empty = ~mask.any(1)
    now, before = order[1:], order[:-1]
    void = empty[now] | empty[before]
    other = (words[now] != words[before]).any(1)
    altered = torch.zeros_like(goes_on)
    altered[now] = goes_on[:-1] & (other & ~void if both_needed else other | void)
    return altered
