"""A testbed of plans: a finite world under a plan-execute policy, whose every decision has a known advantage.

The unit of comparison is the decision: this turn, this state, this subgoal, and to keep or switch, to name a subgoal, or to act. Rows
are turns with a response of three tokens (`hierlab.train.tabular_plans`), and a critic fills their columns: the exact one, one that is
wrong by noise, or one that was learnt from few episodes.

    corridor_testbed(), noisy_plan_critic(corridor_testbed(seed=3), 0.5)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.finite import FiniteWorld
from hierlab.envs.key_corridor import KeyCorridor
from hierlab.envs.plans import PlanPolicy, PlanTruth, random_policy, solve_plans
from hierlab.rollout.rollouts import Rollouts
from hierlab.seeds import generator
from hierlab.train.tabular_plans import CriticTables, Sight, collect_plans, monte_carlo_values, plan_gradient


@dataclass(frozen=True, eq=False)
class PlanTestbed:
    """A finite world under one plan-execute policy, judged by one critic.

    Attributes:
        name: what lies under the microscope, in a reader's words.
        world: S states, H turns.
        policy: logits, O subgoals.
        critic: tables over H * S places (turn, state); the exact values if None.
        sight: what the flat critic, the column `values`, sees besides the state.
        gamma: discount of each turn.
    """

    __test__ = False  # pytest takes a class of this name for a test

    name: str
    world: FiniteWorld
    policy: PlanPolicy
    critic: CriticTables | None = None
    sight: Sight = "state"
    gamma: float = 1.0

    @cached_property
    def truth(self) -> PlanTruth:
        """What is exactly true of the policy in the world."""
        return solve_plans(self.world, self.policy, self.gamma)

    @property
    def description(self) -> str:
        """The testbed, and how sensible its policy is."""
        truth = self.truth
        return f"{self.name}: the policy succeeds with probability {truth.success:.3g}, expected return {truth.expected_return:.3g}"

    @cached_property
    def values(self) -> CriticTables:
        """The critic's tables; exact unless another critic was given."""
        return self.critic or CriticTables.exact(self.truth)

    @cached_property
    def gradient(self) -> Tensor:
        """[D] the exact derivative of the expected return of an episode."""
        return self.truth.gradient.flatten()

    @cached_property
    def advantage(self) -> Tensor:
        """[K] the true advantage of every decision: for each turn, as `PlanPolicy.flatten` orders them, but by state."""
        return torch.cat([table.flatten(start_dim=1) for table in self.truth.advantages], dim=1).flatten()

    @cached_property
    def frequency(self) -> Tensor:
        """[K] how often an episode makes each decision, on average."""
        truth = self.truth
        visits = truth.visits_switch[..., None], truth.visits_subgoal[..., None], truth.visits_action[..., None]
        flows = [d * table[self.world.context] for d, table in zip(visits, truth.policy, strict=True)]
        return torch.cat([flow.flatten(start_dim=1) for flow in flows], dim=1).flatten()

    def collect(self, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
        """Groups of episodes as `hierlab.train.tabular_plans.collect_plans` makes them, read by the critic.

        The further column `choice` [N, 3] int64 is the place of each decision in `advantage` and `frequency`, -1 where none was taken.
        """
        rollouts = collect_plans(self.world, self.policy, groups=groups, group_size=group_size, generator=generator)
        states = len(self.world.context)
        rollouts = self.values.read(rollouts, rollouts.turn * states + rollouts["world_state"], sight=self.sight)
        return rollouts.with_columns(choice=self._choice(rollouts))

    def _choice(self, rollouts: Rollouts) -> Tensor:
        """A decision's place in the tables over contexts, moved to the tables over turns and states. [N, 3]"""
        (contexts, subgoals, actions), states = self.policy.action.shape, len(self.world.context)
        sizes = [subgoals * 2, subgoals, subgoals * actions]
        decision, before = rollouts["decision"], 0
        start = rollouts.turn * states * sum(sizes)
        places = []
        for token, size in enumerate(sizes):
            within = (decision[:, token] - before * contexts) % size
            places.append(start + before * states + rollouts["world_state"] * size + within)
            before += size
        return torch.where(decision >= 0, torch.stack(places, dim=1), -1)

    def implied_gradients(self, rollouts: Rollouts, weight: Tensor, part: Tensor, parts: int) -> Tensor:
        """The policy gradient that a weight for each decision implies, summed over the rows of each part.

        With a discount, a turn's weight is multiplied by gamma to the power of the turn, as the derivative of a discounted return wants
        it (and practice leaves out).

        Args:
            rollouts: N rows from `collect`.
            weight: [N, 3] such as estimated advantages.
            part: [N] int64, which part each row belongs to.
            parts: number of parts.

        Returns:
            [parts, D]
        """
        discounted = weight * (self.gamma ** rollouts.turn.double())[:, None]
        return plan_gradient(self.policy, rollouts["decision"], discounted, part, parts)


def noisy_plan_critic(testbed: PlanTestbed, deviation: float, *, seed: int = 0) -> PlanTestbed:
    """The same testbed with a critic that is wrong: the exact values plus errors that never change.

    Errors drawn anew for every row would cancel over rows, and are none that a critic makes.

    Args:
        testbed: with any critic.
        deviation: of the errors, in units of the deviation of the values that the policy meets when it acts.
        seed: of the errors.

    Raises:
        ValueError: if `deviation` is negative.
    """
    check_range("deviation", deviation, 0)
    value, weight = testbed.truth.value_low, testbed.truth.visits_action / testbed.truth.visits_action.sum()
    spread = float((weight * (value - (weight * value).sum()) ** 2).sum().sqrt())
    random = generator("noisy plan critic", seed)
    exact = replace(testbed, critic=None).values
    tables = [table + deviation * spread * torch.randn(table.shape, generator=random, dtype=table.dtype) for table in exact]
    return replace(testbed, critic=CriticTables(*tables))


def learnt_plan_critic(testbed: PlanTestbed, trajectories: int, *, seed: int = 0) -> PlanTestbed:
    """The same testbed with a critic that has learnt from so many trajectories: the mean of the returns that followed.

    It is the critic of `hierlab.train.tabular_plans`: it does not know the turn, so however much it has seen, it is not exact.

    Args:
        testbed: with any critic.
        trajectories: how many it has seen.
        seed: of the trajectories.

    Raises:
        ValueError: if there are no trajectories.
    """
    learnt = monte_carlo_values(testbed.world, testbed.policy, trajectories, generator("learnt plan critic", seed), testbed.gamma)
    horizon, context = testbed.world.horizon, testbed.world.context
    tables = [table[context].repeat(horizon, *[1] * (table.dim() - 1)) for table in learnt]
    return replace(testbed, critic=CriticTables(*tables))


def corridor_testbed(
    subtasks: int = 2,
    *,
    obedience: float = 0.9,
    switching: float = 0.2,
    spread: float = 0.5,
    horizon: int = 30,
    informative: bool = True,
    gamma: float = 1.0,
    seed: int = 0,
) -> PlanTestbed:
    """A corridor of 7 cells under a novice whose every habit was bent a little at random.

    Args:
        subtasks: errands that depend on each other; with two, a key and a goal, there are 14 states.
        obedience: of the novice, see `KeyCorridor.novice`; 0.5 for none.
        switching: of the novice.
        spread: standard deviation of what is added to its logits.
        horizon: turns of an episode.
        informative: whether the action depends on the subgoal. If not, the subgoal says nothing that the state does not.
        gamma: discount of each turn.
        seed: of what is added.

    Raises:
        ValueError: as `KeyCorridor` and its novice, or if `gamma` is outside [0, 1].
    """
    corridor = KeyCorridor(subtasks, horizon=horizon)
    world = corridor.world()
    bent = random_policy(world, generator("corridor testbed", seed), spread=spread)
    policy = PlanPolicy(*(table + other for table, other in zip(corridor.novice(obedience, switching), bent, strict=True)))
    name = f"corridor with {subtasks} subtask{'s' * (subtasks > 1)}"
    if not informative:
        policy, name = policy.without_information(), f"{name}, subgoals without effect"
    return PlanTestbed(name, world, policy, gamma=gamma)
