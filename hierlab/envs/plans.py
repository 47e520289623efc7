r"""A plan-execute policy in a finite world: keep or switch the subgoal, name a new one, act. Played in lockstep, solved exactly.

Each turn the policy first decides whether to keep the subgoal it has ($q_t$), if it switches it draws another ($o_t$), and then it
acts ($a_t$); in the first turn there is nothing to keep, and it only names and acts. Three tables of logits hold it,

$$\pi(q_t\mid c_t,o_{t-1})\;\pi(o_t\mid c_t)\;\pi(a_t\mid c_t,o_t),$$

with $c_t$ the context of the state $s_t$. Three values belong to the three moments of a turn,

$$V^{low}_t(s,o)=\sum_a\pi(a\mid s,o)\,Q_t(s,o,a),\qquad V^{high}_t(s)=\sum_o\pi(o\mid s)\,V^{low}_t(s,o),\qquad
V^{switch}_t(s,o)=(1-\beta)\,V^{low}_t(s,o)+\beta\,V^{high}_t(s),$$

with $\beta$ the probability of switching and $Q_t(s,o,a)=r(s,a)+\gamma V^{switch}_{t+1}(s',o)$. Episodes have a horizon, so values
depend on the turn; behind the last one they are 0.

Shapes: S states, C contexts, A actions, O subgoals, H turns, E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.finite import FiniteWorld

KEEP, SWITCH = 0, 1


class PlanPolicy(NamedTuple):
    """The three tables of a policy: logits, or whatever has one number for each decision (probabilities, a gradient).

    Attributes:
        switch: [C, O, 2] to keep or to switch, with this subgoal.
        subgoal: [C, O] which subgoal to name.
        action: [C, O, A] what to do.
    """

    switch: Tensor
    subgoal: Tensor
    action: Tensor

    def probabilities(self) -> Self:
        """The softmax of logits."""
        return PlanPolicy(*(table.double().softmax(dim=-1) for table in self))

    def flatten(self) -> Tensor:
        """All entries in one row: switch, subgoal, action. [D]"""
        return torch.cat([table.flatten() for table in self])

    def without_information(self) -> Self:
        """The same logits, but the action no longer depends on the subgoal: for each context, the mean over subgoals."""
        return self._replace(action=self.action.mean(dim=1, keepdim=True).expand_as(self.action).clone())


def random_policy(world: FiniteWorld, generator: torch.Generator, *, subgoals: int = 3, spread: float = 1.0) -> PlanPolicy:
    """Independent normal logits of standard deviation `spread`."""
    contexts, actions = len(world.contexts), len(world.commands)
    shapes = (contexts, subgoals, 2), (contexts, subgoals), (contexts, subgoals, actions)
    return PlanPolicy(*(spread * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


@dataclass(frozen=True)
class PlannedEpisodes:
    """E episodes played in lockstep, [E, H] each. Entries after an episode's end (`alive` is false there) have no meaning.

    Attributes:
        state: int64, where each turn was taken.
        before: int64, the subgoal of the turn before; 0 in the first turn.
        switch: bool, whether a subgoal was named; true in the first turn.
        subgoal: int64, the subgoal that was acted on.
        action: int64, what was done.
        alive: bool, whether the turn took place.
    """

    state: Tensor
    before: Tensor
    switch: Tensor
    subgoal: Tensor
    action: Tensor
    alive: Tensor


def play_plans(world: FiniteWorld, policy: PlanPolicy, task: Tensor, generator: torch.Generator) -> PlannedEpisodes:
    """Play one episode of each given task, all at once.

    Every decision of every episode has its own random number, drawn beforehand, whether it is taken or not: two policies played with
    equal generators decide alike where they agree.

    Args:
        world: what is played.
        policy: logits.
        task: [E] int64, the task of each episode.
        generator: source of all randomness.

    Raises:
        ValueError: if the policy does not fit the world, or a task does not exist.
    """
    _check_policy(world, policy)
    if len(task) and not 0 <= int(task.min()) <= int(task.max()) < len(world.start):
        raise ValueError(f"tasks are numbered from 0 to {len(world.start) - 1}, got {task.tolist()}")
    switching, naming, acting = (table.cumsum(dim=-1)[world.context] for table in policy.probabilities())  # by state
    uniform = torch.rand(world.horizon, 3, len(task), generator=generator, dtype=torch.float64)
    state, subgoal = world.start[task], torch.zeros_like(task)
    alive = torch.ones_like(task, dtype=torch.bool)
    turns = []
    for t, (u_switch, u_subgoal, u_action) in enumerate(uniform):
        before = subgoal
        switch = u_switch >= switching[state, before, KEEP] if t else torch.ones_like(alive)
        subgoal = torch.where(switch, _draw(naming[state], u_subgoal), before)
        action = _draw(acting[state, subgoal], u_action)
        turns.append((state, before, switch, subgoal, action, alive))
        alive = alive & ~world.over[state, action]
        state = world.move[state, action]
    return PlannedEpisodes(*(torch.stack(column, dim=1) for column in zip(*turns, strict=True)))


def _draw(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """The first choice whose cumulative probability exceeds the random number, hence never one of probability 0. [E, K], [E] -> [E]"""
    return (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(dim=1)


@dataclass(frozen=True)
class PlanTruth:
    """What is exactly true of a plan-execute policy in a world.

    Attributes:
        policy: its probabilities.
        gamma: discount of each turn.
        value_low: [H, S, O] with this subgoal fixed.
        value_high: [H, S] before a subgoal is named.
        value_switch: [H, S, O] before it is decided whether this subgoal is kept.
        value_state: [H, S] the best guess of one who does not know the subgoal: the mean of `value_switch` over the subgoals with which
            the policy comes there; `value_high` in the first turn, 0 where it never comes.
        action_value: [H, S, O, A] after each action.
        visits_switch: [H, S, O] probability of being in the state with this subgoal, about to decide; 0 in the first turn.
        visits_subgoal: [H, S] probability of naming a subgoal there.
        visits_action: [H, S, O] probability of acting there with this subgoal.
        expected_return: of an episode, discounted.
        success: probability that an episode solves its task.
        gradient: derivative of the expected return by the logits.
    """

    policy: PlanPolicy
    gamma: float
    value_low: Tensor
    value_high: Tensor
    value_switch: Tensor
    value_state: Tensor
    action_value: Tensor
    visits_switch: Tensor
    visits_subgoal: Tensor
    visits_action: Tensor
    expected_return: float
    success: float
    gradient: PlanPolicy

    @cached_property
    def advantages(self) -> PlanPolicy:
        """How much better each decision is than what the policy does on average: [H, S, O, 2], [H, S, O], [H, S, O, A]."""
        return _advantages(self.value_low, self.value_high, self.value_switch, self.action_value)


def solve_plans(world: FiniteWorld, policy: PlanPolicy, gamma: float = 1.0) -> PlanTruth:
    r"""Values backward and visits forward in time, and the policy gradient they give.

    With $d$ the probability of coming to a decision, $A$ its advantage and $\pi$ its probability, the derivative by a logit is
    $\sum_t\gamma^t d_t\,\pi\,A_t$, summed over the states of its context: Theorem 4.1 of HiPER, for tables.

    Args:
        world: S states.
        policy: logits.
        gamma: discount of each turn, in [0, 1].

    Raises:
        ValueError: if the policy does not fit the world, or `gamma` is outside [0, 1].
    """
    _check_policy(world, policy)
    check_range("gamma", gamma, 0, 1)
    probabilities = policy.probabilities()
    by_state = PlanPolicy(*(table[world.context] for table in probabilities))
    values = _values(world, by_state, gamma)
    visits = _visits(world, by_state)
    weights = gamma ** torch.arange(world.horizon, dtype=torch.float64)
    flows = (
        visits.switch[..., None] * by_state.switch,
        visits.subgoal[..., None] * by_state.subgoal,
        visits.action[..., None] * by_state.action,
    )
    advantages = _advantages(*values)
    gradient = PlanPolicy(
        *(
            torch.zeros_like(table).index_add(0, world.context, torch.einsum("h,h...->...", weights, flow * advantage))
            for table, flow, advantage in zip(probabilities, flows, advantages, strict=True)
        )
    )
    reached = visits.switch.sum(dim=2)
    state_value = torch.where(reached > 0, (visits.switch * values.switch).sum(dim=2) / reached.clamp(min=1e-300), 0)
    state_value[0] = values.high[0]
    return PlanTruth(
        policy=probabilities,
        gamma=gamma,
        value_low=values.low,
        value_high=values.high,
        value_switch=values.switch,
        value_state=state_value,
        action_value=values.action,
        visits_switch=visits.switch,
        visits_subgoal=visits.subgoal,
        visits_action=visits.action,
        expected_return=float(values.high[0, world.start].mean()),
        success=_success(world, flows[2]),
        gradient=gradient,
    )


def plan_success(world: FiniteWorld, policy: PlanPolicy) -> float:
    """The probability that an episode solves its task, without the rest of `solve_plans`.

    Raises:
        ValueError: if the policy does not fit the world.
    """
    _check_policy(world, policy)
    switch, subgoal, action = (table[world.context] for table in policy.probabilities())
    wins = (action * world.won[:, None]).sum(dim=2).flatten()  # [S * O]
    acting = (_start(world)[:, None] * subgoal).flatten()
    states, subgoals = subgoal.shape
    goes_on = action * (~world.over)[:, None]
    arrival = goes_on.new_zeros(states, subgoals, states).scatter_add(2, world.move[:, None].expand_as(goes_on), goes_on)
    renewed = switch[..., KEEP, None] * torch.eye(subgoals, dtype=torch.float64) + switch[..., SWITCH, None] * subgoal[:, None]
    onwards = torch.einsum("sot,top->sotp", arrival, renewed).reshape(states * subgoals, -1)
    success = 0.0
    for _ in range(world.horizon):
        success += float(acting @ wins)
        acting = acting @ onwards
    return success


class _Values(NamedTuple):
    low: Tensor  # [H, S, O]
    high: Tensor  # [H, S]
    switch: Tensor  # [H, S, O]
    action: Tensor  # [H, S, O, A]


def _values(world: FiniteWorld, policy: PlanPolicy, gamma: float) -> _Values:
    """Backward in time; the policy's probabilities by state."""
    subgoals = policy.subgoal.shape[1]
    following = world.reward.new_zeros(len(world.context), subgoals)
    goes_on = gamma * (~world.over).double()[:, :, None]
    turns = []
    for _ in range(world.horizon):
        action = (world.reward[:, :, None] + goes_on * following[world.move]).transpose(1, 2)  # [S, O, A]
        low = (policy.action * action).sum(dim=2)
        high = (policy.subgoal * low).sum(dim=1)
        following = policy.switch[:, :, KEEP] * low + policy.switch[:, :, SWITCH] * high[:, None]
        turns.append((low, high, following, action))
    return _Values(*(torch.stack(column[::-1]) for column in zip(*turns, strict=True)))


def _start(world: FiniteWorld) -> Tensor:
    """Probability of beginning in each state. [S]"""
    return torch.bincount(world.start, minlength=len(world.context)).double() / len(world.start)


class _Visits(NamedTuple):
    switch: Tensor  # [H, S, O]
    subgoal: Tensor  # [H, S]
    action: Tensor  # [H, S, O]


def _visits(world: FiniteWorld, policy: PlanPolicy) -> _Visits:
    """Forward in time; the policy's probabilities by state."""
    states, subgoals = policy.subgoal.shape
    deciding = policy.subgoal.new_zeros(states, subgoals)
    naming = _start(world)
    target, goes_on = world.move.flatten(), (~world.over).double()[:, :, None]
    turns = []
    for _ in range(world.horizon):
        acting = deciding * policy.switch[:, :, KEEP] + naming[:, None] * policy.subgoal
        turns.append((deciding, naming, acting))
        flow = (acting[:, :, None] * policy.action).transpose(1, 2) * goes_on  # [S, A, O]
        deciding = torch.zeros_like(deciding).index_add(0, target, flow.flatten(0, 1))
        naming = (deciding * policy.switch[:, :, SWITCH]).sum(dim=1)
    return _Visits(*(torch.stack(column) for column in zip(*turns, strict=True)))


def _success(world: FiniteWorld, flow: Tensor) -> float:
    """Of the probabilities of acting, [H, S, O, A]."""
    return float(flow.sum(dim=(0, 2))[world.won].sum())


def _advantages(low: Tensor, high: Tensor, switch: Tensor, action: Tensor) -> PlanPolicy:
    outcome = torch.stack([low, high[:, :, None].expand_as(low)], dim=3)  # of keeping and of switching
    return PlanPolicy(outcome - switch[..., None], low - high[..., None], action - low[..., None])


def _check_policy(world: FiniteWorld, policy: PlanPolicy) -> None:
    contexts, actions, subgoals = len(world.contexts), len(world.commands), policy.subgoal.shape[-1]
    shapes = {"switch": (contexts, subgoals, 2), "subgoal": (contexts, subgoals), "action": (contexts, subgoals, actions)}
    for name, shape in shapes.items():
        table = getattr(policy, name)
        if table.shape != shape:
            raise ValueError(f"a policy's table {name!r} must have shape {shape} in this world, got {tuple(table.shape)}")
        if not table.isfinite().all():
            raise ValueError(f"a policy's table {name!r} must be finite")
