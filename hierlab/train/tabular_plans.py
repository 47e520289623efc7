r"""Train the three tables of a plan-execute policy in a finite world, with any advantage estimator and a tabular critic.

The counterpart of `hierlab.train.tabular` for agents that plan. A row of the rollouts is a turn, and its response has three tokens:
the decision to keep or switch the subgoal, the subgoal, the action. Estimators see what they see in the training of a language model;
one number a row is spread over the turn's decisions, [N, 3] is taken as it is. What was not decided is not trained: the switch of
the first turn, and a subgoal that is only repeated.

Each iteration plays episodes, reads the critic, estimates, and takes one on-policy gradient step, which in every row of a table is
divided by the number of decisions that were taken there. There is no clipping and no second pass over the data: it is the gradient of
PPO at the policy that sampled. Then the critic's four heads, one value a context (and subgoal), move towards their targets. The
critic does not know how many turns are left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.credit.hae import Targets, hae
from hierlab.credit.hiper import shaped_rewards
from hierlab.envs.finite import FiniteWorld
from hierlab.envs.plans import SWITCH, PlanPolicy, PlanTruth, plan_success, play_plans, solve_plans
from hierlab.ops import group_ids, returns_to_go
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.seeds import generator

Estimator = Callable[..., Tensor]
Sight = Literal["state", "subgoal"]
Critic = Literal["learnt", "exact"]
SWITCH_TOKEN, SUBGOAL_TOKEN, ACTION_TOKEN = range(3)


def collect_plans(world: FiniteWorld, policy: PlanPolicy, *, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
    """Play `group_size` episodes of each of `groups` tasks, drawn with replacement; every group is a task of its own.

    Rows are ordered by group, trajectory and turn. The prompt has two tokens, the observation and the subgoal of the turn before (0 if
    there is none).

    Args:
        world: what is played.
        policy: logits.
        groups: number of groups.
        group_size: episodes in each.
        generator: source of all randomness.

    Returns:
        Rollouts with the further columns `success`, `valid`, `switch` and `done` [N] (bool); `context`, `world_state`, `before` and
        `subgoal` [N] (int64: numbers in the tables; `before` is -1 in the first turn); `switch_probability` [N] (1 in the first turn);
        `switch_mask`, `subgoal_mask`, `action_mask` [N, 3] (bool: the tokens of each field; the first turn decides no switch); and
        `decision` [N, 3] int64, the place of each decision in the policy's flattened tables, -1 where none was taken.

    Raises:
        ValueError: if a count is not positive, or the policy does not fit the world.
    """
    for name, value in {"groups": groups, "group_size": group_size}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    hidden = torch.randint(len(world.start), (groups,), generator=generator).repeat_interleave(group_size)
    episodes = play_plans(world, policy, hidden, generator)
    trajectory, turn = episodes.alive.nonzero(as_tuple=True)
    state, before, switch, subgoal, action = (
        getattr(episodes, name)[trajectory, turn] for name in ("state", "before", "switch", "subgoal", "action")
    )
    context, first = world.context[state], turn == 0
    taken = torch.stack([~first, switch, torch.ones_like(switch)], dim=1)
    decision = torch.where(taken, _places(policy, context, before, switch, subgoal, action), -1)
    logp = torch.cat([table.log_softmax(dim=-1).flatten() for table in policy])[decision.clamp(min=0)] * taken
    subgoals = policy.subgoal.shape[1]
    field = torch.eye(3, dtype=torch.bool).expand(len(state), 3, 3)
    won = (world.won[episodes.state, episodes.action] & episodes.alive).any(dim=1)
    observation, _ = world.prompts
    texts = world.texts
    return Rollouts(
        prompt_ids=torch.stack([observation[context, -1], torch.where(first, 0, before + 1)], dim=1),
        prompt_mask=torch.ones(len(state), 2, dtype=torch.bool),
        response_ids=torch.stack([switch.long(), 2 + subgoal, 2 + subgoals + action], dim=1),
        response_mask=torch.ones(len(state), 3, dtype=torch.bool),
        old_logp=logp,
        rewards=world.reward[state, action],
        task=(trajectory // group_size).tolist(),
        trajectory=trajectory.tolist(),
        turn=turn,
        state=[texts[s] for s in state.tolist()],
        columns={
            "success": won[trajectory],
            "valid": world.valid[state, action],
            "switch": switch,
            "done": world.over[state, action],
            "context": context,
            "world_state": state,
            "before": torch.where(first, -1, before),
            "subgoal": subgoal,
            "switch_probability": torch.where(first, 1.0, policy.probabilities().switch[context, before, SWITCH]),
            "switch_mask": field[:, SWITCH_TOKEN] & ~first[:, None],
            "subgoal_mask": field[:, SUBGOAL_TOKEN],
            "action_mask": field[:, ACTION_TOKEN],
            "decision": decision,
        },
    )


def _places(policy: PlanPolicy, context: Tensor, before: Tensor, switch: Tensor, subgoal: Tensor, action: Tensor) -> Tensor:
    """Where each row's three decisions stand in the flattened tables, whether they were taken or not. [N, 3]"""
    subgoals, actions = policy.action.shape[1:]
    first_subgoal = policy.switch.numel()
    first_action = first_subgoal + policy.subgoal.numel()
    return torch.stack(
        [
            (context * subgoals + before) * 2 + switch.long(),
            first_subgoal + context * subgoals + subgoal,
            first_action + (context * subgoals + subgoal) * actions + action,
        ],
        dim=1,
    )


class CriticTables(NamedTuple):
    """A critic as tables, over P places such as contexts.

    Attributes:
        low: [P, O] value with this subgoal fixed.
        high: [P] value before a subgoal is named.
        switch: [P, O] value before it is decided whether this subgoal is kept.
        state: [P] value for one who does not know the subgoal.
    """

    low: Tensor
    high: Tensor
    switch: Tensor
    state: Tensor

    @classmethod
    def zeros(cls, places: int, subgoals: int) -> Self:
        """A critic that knows nothing."""
        shapes = (places, subgoals), (places,), (places, subgoals), (places,)
        return cls(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    @classmethod
    def exact(cls, truth: PlanTruth) -> Self:
        """The critic that knows, over H * S places: turn and state."""
        exact = truth.value_low, truth.value_high, truth.value_switch, truth.value_state
        return cls(*(table.flatten(0, 1) for table in exact))

    def read(self, rollouts: Rollouts, place: Tensor | None = None, *, sight: Sight = "state") -> Rollouts:
        """The rollouts with the columns `value_low`, `value_high`, `value_switch`, `value_kept` and `values`, all [N].

        In the first turn, where there is nothing to keep, `value_switch` and `value_kept` are `value_high`.

        Args:
            rollouts: from `collect_plans`.
            place: [N] the row's place in the tables; its context by default.
            sight: what the flat critic, `values`, sees: the state, or also the subgoal of the turn before.

        Raises:
            ValueError: if `sight` is neither.
        """
        check_choice("sight", sight, Sight)
        place = rollouts["context"] if place is None else place
        before = rollouts["before"].clamp(min=0)
        first, high = rollouts["before"] < 0, self.high[place]
        deciding = torch.where(first, high, self.switch[place, before])
        return rollouts.with_columns(
            value_low=self.low[place, rollouts["subgoal"]],
            value_high=high,
            value_switch=deciding,
            value_kept=torch.where(first, high, self.low[place, before]),
            values=self.state[place] if sight == "state" else deciding,
        )

    def learn(self, rollouts: Rollouts, targets: CriticTables, rate: float = 1.0) -> Self:
        """Every table entry that was met, moved by `rate` of the way to the mean of its targets.

        Args:
            rollouts: from `collect_plans`.
            targets: [N] each, what each head learns towards; `high` counts where a subgoal was named, `switch` but in first turns.
            rate: 1 forgets what was known.
        """
        context, (subgoals,) = rollouts["context"], self.low.shape[1:]
        with_subgoal = context * subgoals + rollouts["subgoal"]
        deciding = context * subgoals + rollouts["before"]
        everywhere = torch.ones_like(context, dtype=torch.bool)
        later = rollouts["before"] >= 0
        met = (with_subgoal, everywhere), (context, rollouts["switch"]), (deciding, later), (context, everywhere)
        return CriticTables(*(_towards(table, target, *where, rate) for table, target, where in zip(self, targets, met, strict=True)))


def _towards(table: Tensor, target: Tensor, place: Tensor, counted: Tensor, rate: float) -> Tensor:
    place, target = place[counted], target[counted].to(table.dtype)
    number = torch.bincount(place, minlength=table.numel())
    mean = torch.zeros(table.numel(), dtype=table.dtype).index_add(0, place, target) / number.clamp(min=1)
    return torch.where(number.view_as(table) > 0, table + rate * (mean.view_as(table) - table), table)


def monte_carlo_values(
    world: FiniteWorld, policy: PlanPolicy, episodes: int, generator: torch.Generator, gamma: float = 1.0
) -> CriticTables:
    """A critic learnt from so many episodes of the policy: the mean return of what followed, over contexts; 0 where it never came.

    Args:
        world: what is played.
        policy: logits.
        episodes: how many.
        generator: source of all randomness.
        gamma: discount of each turn.

    Raises:
        ValueError: as `collect_plans`.
    """
    return _learnt_from(world, policy, episodes, generator, gamma)[0]


def _learnt_from(
    world: FiniteWorld, policy: PlanPolicy, episodes: int, generator: torch.Generator, gamma: float = 1.0
) -> tuple[CriticTables, int]:
    """The critic that so many episodes make, and how many turns they took."""
    rollouts = collect_plans(world, policy, groups=1, group_size=episodes, generator=generator)
    returns = returns_to_go(rollouts.rewards, group_ids(rollouts.trajectory), rollouts.turn, gamma)
    critic = CriticTables.zeros(len(world.contexts), policy.subgoal.shape[1])
    return critic.learn(rollouts, CriticTables(returns, returns, returns, returns)), len(rollouts)


def decision_advantage(rollouts: Rollouts, estimator: Estimator) -> Tensor:
    """The estimator's advantages of the three decisions of each turn; one number a row is spread over them. [N, 3]

    Raises:
        ValueError: if it returns anything but finite numbers, [N], [N, 1] or [N, 3].
    """
    advantage = estimate(rollouts, estimator)
    if advantage.shape not in ((len(rollouts),), (len(rollouts), 1), (len(rollouts), 3)):
        raise ValueError(f"an estimator must return one or three numbers for each of the {len(rollouts)} rows, got {list(advantage.shape)}")
    if not advantage.isfinite().all():
        raise ValueError(f"an estimator must return finite numbers, got {float(advantage[~advantage.isfinite()][0])}")
    return (advantage if advantage.dim() == 2 else advantage[:, None]).expand(-1, 3)


def plan_gradient(policy: PlanPolicy, decision: Tensor, weight: Tensor, part: Tensor | None = None, parts: int = 1) -> Tensor:
    """The sum over decisions of weight times the derivative of their log-probability by the logits, for each part of the rows.

    Args:
        policy: logits.
        decision: [N, 3] from `collect_plans`; the weight of a decision that was not taken (-1) does not count.
        weight: [N, 3], such as advantages.
        part: [N] int64, which part each row belongs to; all to the first by default.
        parts: number of parts.

    Returns:
        [parts, D], in the order of `PlanPolicy.flatten`.
    """
    size = sum(table.numel() for table in policy)
    start = torch.zeros(len(decision), dtype=torch.int64) if part is None else part * size
    taken = decision >= 0
    place = (start[:, None] + decision)[taken]
    chosen = torch.zeros(parts * size, dtype=torch.float64).index_add(0, place, weight[taken].double()).view(parts, size)
    columns = []
    for table, block in zip(policy.probabilities(), chosen.split([table.numel() for table in policy], dim=1), strict=True):
        by_row = block.view(parts, -1, table.shape[-1])
        columns.append((by_row - by_row.sum(dim=2, keepdim=True) * table.view(-1, table.shape[-1])).flatten(start_dim=1))
    return torch.cat(columns, dim=1)


@dataclass(frozen=True)
class PlanRun:
    """What a training run was like. I iterations.

    Attributes:
        success: [I + 1] exact probability of success after 0, 1, ..., I updates.
        switch_rate: [I] share of the iteration's turns that switched, first turns aside.
        entropy: [I] of the decisions taken, in nats, averaged.
        update_norm: [I] length of the update, before the rate.
        turns: [I] environment steps of the iteration.
        policy: logits at the end.
        critic: the tables at the end.
    """

    success: tuple[float, ...]
    switch_rate: tuple[float, ...]
    entropy: tuple[float, ...]
    update_norm: tuple[float, ...]
    turns: tuple[int, ...]
    policy: PlanPolicy
    critic: CriticTables

    @property
    def auc(self) -> float:
        """Mean of the success after 1 to I updates."""
        return sum(self.success[1:]) / len(self.success[1:])

    def updates_to(self, success: float) -> int:
        """The number of updates after which the policy first succeeds with this probability; I + 1 if it never does."""
        return next((i for i, s in enumerate(self.success) if s >= success), len(self.success))

    def values(self, points: int = 20) -> dict[str, float | list[float]]:
        """The run as numbers and curves of at most `points` + 1 entries, as `Bench.compare` wants them.

        Curves: `updates`, `success`, `switch_rate` (of the iteration that ends there; of the first one at 0). Numbers: `auc`, `start`,
        `final`, `updates_to_80`, `early_switching` and `late_switching` (means over the first and the last quarter), `turns`.
        """
        iterations = len(self.switch_rate)
        shown = sorted({round(i * iterations / min(points, iterations)) for i in range(min(points, iterations) + 1)})
        quarter = max(1, iterations // 4)
        return {
            "updates": shown,
            "success": [self.success[i] for i in shown],
            "switch_rate": [self.switch_rate[max(0, i - 1)] for i in shown],
            "auc": self.auc,
            "start": self.success[0],
            "final": self.success[-1],
            "updates_to_80": self.updates_to(0.8),
            "early_switching": sum(self.switch_rate[:quarter]) / quarter,
            "late_switching": sum(self.switch_rate[-quarter:]) / quarter,
            "turns": sum(self.turns),
        }


def train_plans(
    world: FiniteWorld,
    policy: PlanPolicy,
    estimator: Estimator,
    *,
    rate: float,
    iterations: int = 60,
    episodes: int = 32,
    seed: int = 0,
    length_of: Estimator | None = None,
    critic: Critic = "learnt",
    critic_rate: float = 0.5,
    head_start: int = 0,
    targets: Targets = "code",
    sight: Sight = "state",
    keep_penalty: float = 0.0,
    report: Callable[[int, int], Any] | None = None,
) -> PlanRun:
    """Train a plan-execute policy for `iterations` updates.

    Runs with one seed are paired, whatever the estimator: their decisions come from the same random numbers. Same arguments, same
    machine, same numbers to the bit.

    Args:
        world: such as `KeyCorridor().world()`.
        policy: the logits to begin with.
        estimator: any function of columns that returns one advantage a row, [N], or one a decision, [N, 3].
        rate: the step size.
        iterations: number of updates.
        episodes: played in each.
        seed: of everything random.
        length_of: the control that separates an idea from its scale: each update keeps its direction, but gets the length that this
            estimator's update would have had on the same rollouts.
        critic: "exact" asks an oracle for the values of the present policy, turn by turn, instead of learning them: what is left when no
            critic errs.
        critic_rate: how far the critic moves towards the mean target of an iteration.
        head_start: episodes of the first policy that the critic has learnt from before the first update (their mean returns); they count
            in `PlanRun.turns` as turns of the first iteration.
        targets: what the planner's and the executor's heads learn towards, see `hierlab.credit.hae`. The flat critic learns the return.
        sight: what the flat critic sees, see `CriticTables.read`.
        keep_penalty: what an episode pays for keeping, shared out over its turns (`hierlab.credit.shaped_rewards`, "normalised").
        report: called as `report(done, iterations)` after each update.

    Raises:
        ValueError: if an argument is out of range, or an estimator does not return advantages.
    """
    check_choice("critic", critic, Critic)
    check_range("rate", rate, 0)
    check_range("critic_rate", critic_rate, 0, 1)
    if iterations < 1 or head_start < 0:
        raise ValueError(f"iterations must be at least 1 and head_start at least 0, got {iterations} and {head_start}")
    policy = PlanPolicy(*(table.double() for table in policy))
    learnt, spent = CriticTables.zeros(len(world.contexts), policy.subgoal.shape[1]), 0
    if head_start:
        learnt, spent = _learnt_from(world, policy, head_start, generator("plans", seed, "head start"))
    success, records = [plan_success(world, policy)], []
    for iteration in range(iterations):
        played = collect_plans(world, policy, groups=1, group_size=episodes, generator=generator("plans", seed, iteration))
        played = _paid_for_keeping(played, keep_penalty)
        if critic == "exact":
            place = played.turn * len(world.context) + played["world_state"]
            rollouts = CriticTables.exact(solve_plans(world, policy)).read(played, place, sight=sight)
        else:
            rollouts = learnt.read(played, sight=sight)
        update = _update(policy, rollouts, estimator)
        if length_of is not None and bool(update.any()):
            update = update * (_update(policy, rollouts, length_of).norm() / update.norm())
        records.append(_statistics(rollouts, update) | {"turns": len(rollouts) + (0 if iteration else spent)})
        learnt = learnt.learn(rollouts, _targets(rollouts, targets), critic_rate)
        steps = update.split([table.numel() for table in policy])
        policy = PlanPolicy(*(table + rate * step.view_as(table) for table, step in zip(policy, steps, strict=True)))
        success.append(plan_success(world, policy))
        if report:
            report(iteration + 1, iterations)
    columns = {name: tuple(record[name] for record in records) for name in records[0]}
    return PlanRun(success=tuple(success), policy=policy, critic=learnt, **columns)


def _paid_for_keeping(rollouts: Rollouts, penalty: float) -> Rollouts:
    if penalty == 0:
        return rollouts
    return replace(rollouts, rewards=estimate(rollouts, shaped_rewards, keep_penalty=penalty, keep_mode="normalised"))


def _update(policy: PlanPolicy, rollouts: Rollouts, estimator: Estimator) -> Tensor:
    """The direction of one step, before the rate. [D]"""
    gradient = plan_gradient(policy, rollouts["decision"], decision_advantage(rollouts, estimator))[0]
    taken = rollouts["decision"][rollouts["decision"] >= 0]
    number = torch.bincount(taken, minlength=len(gradient)).double()
    by_row = [
        block.view(-1, table.shape[-1]).sum(dim=1, keepdim=True).expand(-1, table.shape[-1]).flatten()
        for table, block in zip(policy, number.split([table.numel() for table in policy]), strict=True)
    ]
    return gradient / torch.cat(by_row).clamp(min=1)


def _targets(rollouts: Rollouts, targets: Targets) -> CriticTables:
    """What each head learns towards, [N] each."""
    learnt = estimate(rollouts, hae, targets=targets)
    returns = returns_to_go(rollouts.rewards, group_ids(rollouts.trajectory), rollouts.turn, 1.0)
    return CriticTables(learnt.action_target, learnt.subgoal_target, learnt.switch_target, returns)


def _statistics(rollouts: Rollouts, update: Tensor) -> dict[str, Any]:
    later = rollouts.turn > 0
    taken = rollouts["decision"] >= 0
    return {
        "switch_rate": float(rollouts["switch"][later].double().mean()) if later.any() else 0.0,
        "entropy": float(-rollouts.old_logp[taken].mean()),
        "update_norm": float(update.norm()),
    }
