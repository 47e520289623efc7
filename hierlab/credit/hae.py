r"""Hierarchical advantage estimation (HAE): GAE over the turns of a subgoal, and over subgoals (HiPER, arXiv 2602.16165).

Each turn an agent decides to keep or switch its subgoal ($q_t$), if it switches it names a new one ($o_t$), and it acts ($a_t$). The
turns $b_k\le t<b_{k+1}$ that share a subgoal are a *segment*; the first turn of a trajectory always starts one. HAE runs GAE inside each
segment for the actions, whose last one is judged by the planner's value of where it led:

$$\delta_t=r_t+\gamma V^{next}_t-V^{low}_t,\qquad A^{low}_t=\delta_t+\gamma\lambda_{turn}A^{low}_{t+1},\qquad
V^{next}_t=\begin{cases}V^{low}_{t+1}&\text{inside}\\V^{high}_{b_{k+1}}&\text{at the last turn}\end{cases}$$

and over segments, as steps of $d_k$ turns each, for the subgoals:

$$\delta_k=\tilde r_k+\gamma^{d_k}V^{high}_{b_{k+1}}-V^{high}_{b_k},\qquad A^{high}_k=\delta_k+\gamma^{d_k}\lambda_{seg}A^{high}_{k+1},
\qquad\tilde r_k=\sum_{t=b_k}^{b_{k+1}-1}\gamma^{t-b_k}r_t.$$

$V^{low}$ is the value once the subgoal is fixed, $V^{high}$ the value before one is chosen. Behind the end of a trajectory both are 0.
With $\lambda=1$ and exact values the policy gradient is unbiased.

Where paper and released code (JonP07/HiPER-agent, `hiper_hae/core_hae.py`) differ, a keyword chooses; the defaults are the code's, which
its reference vectors pin.

* `switch_advantage`: the paper rates the decision to switch by $(q_t-\beta_t)(V^{high}(s_t)-V^{low}(s_t,o_{t-1}))$, where $\beta_t$ is the
  probability of switching. The code has a third value head and takes $G_t-V^{switch}_t$ with the return $G_t=r_t+\gamma G_{t+1}$ to the
  end of the segment, where $G=V^{high}$ of the next one.
* `targets`: the paper's critic learns one step ahead, $r_t+\gamma V^{next}_t$ and $\tilde r_k+\gamma^{d_k}V^{high}_{b_{k+1}}$; the code's
  learns towards $A+V$.
* `bootstrap_truncated`: in the code, a trajectory that was cut off by its turn limit may be worth its own last value (ALFWorld) or
  nothing (WebShop) behind its end.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hierlab.checks import as_truth, check_choice, check_finite, check_needed, check_range, check_rows
from hierlab.ops import group_ids, linear_recurrence, trajectory_order
from hierlab.trace import show

SwitchAdvantage = Literal["code", "paper", "none"]
Targets = Literal["code", "paper"]
Truth = Sequence[bool] | Tensor


class HAE(NamedTuple):
    """What each turn's three decisions were worth, and what the critic's heads learn towards; all [N].

    Attributes:
        boundary: bool, the turns that start a segment.
        action: $A^{low}$, of every turn.
        subgoal: $A^{high}$; 0 where no segment starts.
        switch: $A^{switch}$ of the decision to keep or switch.
        action_target: what $V^{low}$ learns towards.
        subgoal_target: what $V^{high}$ learns towards; 0 where no segment starts.
        switch_target: $G$, what the third head learns towards.
    """

    boundary: Tensor
    action: Tensor
    subgoal: Tensor
    switch: Tensor
    action_target: Tensor
    subgoal_target: Tensor
    switch_target: Tensor


def hae(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor,
    turn: Tensor,
    switch: Truth,
    value_low: Tensor,
    value_high: Tensor | None = None,
    value_switch: Tensor | None = None,
    done: Truth | None = None,
    switch_probability: Tensor | None = None,
    value_kept: Tensor | None = None,
    *,
    gamma: float = 1.0,
    lam_turn: float = 1.0,
    lam_seg: float = 0.95,
    switch_advantage: SwitchAdvantage = "code",
    targets: Targets = "code",
    boundary_bootstrap: bool = True,
    bootstrap_truncated: bool = False,
) -> HAE:
    r"""Hierarchical advantage estimation: what each turn's decisions were worth, before they are laid on tokens.

    Args:
        rewards: [N], and the other columns, as in `hiper`.
        task: as in `hiper`.
        trajectory: as in `hiper`.
        turn: as in `hiper`.
        switch: as in `hiper`.
        value_low: as in `hiper`.
        value_high: as in `hiper`; with `switch_advantage="code"`, only looked at where a segment starts.
        value_switch: as in `hiper`.
        done: as in `hiper`.
        switch_probability: as in `hiper`; not looked at in the first turn of a trajectory, whose switch advantage is 0.
        value_kept: as in `hiper`; not looked at in the first turn of a trajectory.
        gamma: as in `hiper`.
        lam_turn: as in `hiper`.
        lam_seg: as in `hiper`.
        switch_advantage: as in `hiper`.
        targets: "code" ($A+V$) or "paper" (one step ahead).
        boundary_bootstrap: as in `hiper`.
        bootstrap_truncated: as in `hiper`.

    Returns:
        Advantages and targets, in the order of the rows; not normalised.

    Raises:
        ValueError: if the columns differ in length, a number that counts is not finite, `gamma` or a lambda is outside [0, 1], a
            trajectory has a turn twice or goes on after it is done, a column is missing that a switch needs, or a switch is unknown.
    """
    check_choice("switch_advantage", switch_advantage, SwitchAdvantage)
    check_choice("targets", targets, Targets)
    check_range("gamma", gamma, 0, 1)
    check_range("lam_turn", lam_turn, 0, 1)
    check_range("lam_seg", lam_seg, 0, 1)
    check_needed(bootstrap_truncated, "bootstrap_truncated", done=done)
    check_needed(switch_advantage == "paper", 'switch_advantage="paper"', switch_probability=switch_probability, value_kept=value_kept)
    check_finite("rewards", rewards)
    check_rows(
        rewards=rewards, task=task, trajectory=trajectory, turn=turn, switch=switch, value_low=value_low, value_high=value_high,
        value_switch=value_switch, done=done, switch_probability=switch_probability, value_kept=value_kept,
    )  # fmt: skip
    high = value_low if value_high is None else value_high
    asked = as_truth("switch", switch, rewards)
    line = _timeline(rewards, group_ids(task, trajectory, device=rewards.device), turn, asked, done, bootstrap_truncated)
    boundary = show("segment starts", line.back(line.starts), r"t\in\{b_0,b_1,\dots\}")
    check_finite("value_low", value_low)
    check_finite("value_high", high, None if switch_advantage == "paper" else boundary)
    show("reward", rewards, r"r_t")
    show("value with the subgoal", value_low, r"V^{low}_t")
    show("value before a subgoal", high, r"V^{high}_t")

    reward, low, planned = (column.to(rewards.dtype)[line.order] for column in (rewards, value_low, high))
    delta, following = _one_step(line, reward, low, planned if boundary_bootstrap else torch.zeros_like(planned), gamma)
    show("one-step error of the action", line.back(delta), r"\delta_t=r_t+\gamma V^{next}_t-V^{low}_t")
    action = linear_recurrence(delta, gamma * lam_turn * line.inside.to(low.dtype))
    show("action advantage", line.back(action), r"A^{low}_t=\delta_t+\gamma\lambda_{turn}A^{low}_{t+1}")

    returns = _segment_returns(line, reward, planned, gamma)
    show("return to the end of the segment", line.back(returns), r"G_t=r_t+\gamma G_{t+1}")
    jump = torch.where(line.starts, returns - planned, 0)
    show("one-step error of the subgoal", line.back(jump), r"\delta_k=G_{b_k}-V^{high}_{b_k}")
    fading = gamma * torch.where(line.inside, 1, lam_seg * line.goes_on.to(low.dtype))  # by each turn, and by lambda behind a segment
    subgoal = torch.where(line.starts, linear_recurrence(jump, fading), 0)
    show("subgoal advantage", line.back(subgoal), r"A^{high}_k=\delta_k+\gamma^{d_k}\lambda_{seg}A^{high}_{k+1}")

    rated = torch.zeros_like(returns)
    if switch_advantage == "code" and value_switch is not None:
        check_finite("value_switch", value_switch)
        rated = returns - value_switch.to(returns.dtype)[line.order]
        show("switch advantage", line.back(rated), r"A^{switch}_t=G_t-V^{switch}_t")
    elif switch_advantage == "paper":
        rated = _switch_gain(line, asked, switch_probability, high, value_kept).to(returns.dtype)
        show("switch advantage", line.back(rated), r"A^{switch}_t=(q_t-\beta_t)(V^{high}_t-V^{low}(s_t,o_{t-1}))")

    learnt = targets == "code"
    action_target = action + low if learnt else reward + gamma * following
    subgoal_target = torch.where(line.starts, subgoal + planned if learnt else returns, 0)
    return HAE(boundary, *map(line.back, (action, subgoal, rated, action_target, subgoal_target, returns)))


def boundaries(task: Sequence[Hashable] | Tensor, trajectory: Sequence[Hashable] | Tensor, turn: Tensor, switch: Truth) -> Tensor:
    """The turns that start a segment: those that switch, and the first of each trajectory.

    Args:
        task: [N] as in `hiper`.
        trajectory: [N] as in `hiper`.
        turn: [N] as in `hiper`.
        switch: [N] as in `hiper`.

    Returns:
        [N] bool, on the device of `turn`.

    Raises:
        ValueError: if the columns differ in length or a trajectory has a turn twice.
    """
    check_rows(task=task, trajectory=trajectory, turn=turn, switch=switch)
    line = _timeline(turn, group_ids(task, trajectory, device=turn.device), turn, as_truth("switch", switch, turn), None, False)
    return line.back(line.starts)


class _Timeline(NamedTuple):
    """The rows, trajectory by trajectory and turn by turn; everything but `order` stands in that order. All [N].

    Attributes:
        order: int64, the rows.
        goes_on: bool, whether the next row is the next turn.
        starts: bool, whether the turn starts a segment.
        inside: bool, whether the next row is the next turn of the same segment.
        cut_off: bool, the last turn of a trajectory that was not done, if that is worth something.
    """

    order: Tensor
    goes_on: Tensor
    starts: Tensor
    inside: Tensor
    cut_off: Tensor

    def back(self, x: Tensor) -> Tensor:
        """`x` in the order of the rows."""
        out = torch.empty_like(x)
        out[self.order] = x
        return out


def _timeline(like: Tensor, trajectory: Tensor, turn: Tensor, switch: Tensor, done: Truth | None, bootstrap: bool) -> _Timeline:
    """Put the rows in order."""
    order, goes_on = trajectory_order(trajectory, torch.as_tensor(turn, device=like.device))
    starts = switch[order] | ~goes_on.roll(1)
    cut_off = torch.zeros_like(goes_on)
    if done is not None:
        over = as_truth("done", done, like)[order]
        if (over & goes_on).any():
            at = int((over & goes_on).nonzero()[0])
            raise ValueError(f"row {int(order[at])} is done, but its trajectory goes on in row {int(order[at + 1])}")
        cut_off = ~goes_on & ~over & bootstrap
    return _Timeline(order, goes_on, starts, goes_on & ~starts.roll(-1), cut_off)


def _one_step(line: _Timeline, reward: Tensor, low: Tensor, high: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Each turn's one-step error, and the value of what it led to."""
    following = torch.where(line.inside, low.roll(-1), _arrival(line, high, low))
    return reward + gamma * following - low, following


def _segment_returns(line: _Timeline, reward: Tensor, high: Tensor, gamma: float) -> Tensor:
    """Discounted return from each turn to the end of its segment, and what that led to."""
    row = torch.arange(len(reward), device=reward.device)
    start = torch.where(line.starts, row, 0).cummax(0).values if len(row) else row
    arrival = _arrival(line, high, high[start])
    return linear_recurrence(reward + gamma * arrival, gamma * line.inside.to(reward.dtype))


def _arrival(line: _Timeline, high: Tensor, own: Tensor) -> Tensor:
    """What the last turn of a segment leads to: the next segment's start, or `own` if the trajectory was cut off; 0 elsewhere."""
    return torch.where(line.goes_on & ~line.inside, high.roll(-1), torch.where(line.cut_off, own, 0))


def _switch_gain(line: _Timeline, asked: Tensor, probability: Tensor, high: Tensor, kept: Tensor) -> Tensor:
    """The paper's advantage of switching or keeping, 0 where there is nothing to keep."""
    decides = line.goes_on.roll(1)  # all but the first turn of a trajectory
    check_finite("switch_probability", probability, line.back(decides))
    check_finite("value_kept", kept, line.back(decides))
    q, beta, gain = asked[line.order], probability[line.order], (high - kept)[line.order]
    outside = decides & ((beta < 0) | (beta > 1))
    if outside.any():
        row = int(line.order[outside.nonzero()[0]])
        raise ValueError(f"switch_probability must be in [0, 1], got {float(probability[row]):g} in row {row}")
    return torch.where(decides, (q.to(beta.dtype) - beta) * gain, 0)
