"""A testbed: a finite world under a policy, with everything that is exactly true of it.

Here an estimate of an advantage can be held against the advantage itself. The unit of comparison is the *choice*: this task, this
state with this memory, this turn, this action. Of every choice the world knows how good it is and how often the policy makes it.

    house_testbed(), house_testbed(success=0.5)
    Testbed("after 20 updates by GRPO", world, train_tabular(world, grpo, rate=1.2, iterations=20).logits)

In a `Testbed` a row of the rollouts is a turn, as for agents; `hierlab.lab.token_testbed` has those in which it is a response.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.finite import FiniteWorld, Truth, play, solve
from hierlab.envs.search_house import SearchHouse
from hierlab.rollout.rollouts import Rollouts
from hierlab.seeds import generator
from hierlab.train.tabular import ascend, collect


@dataclass(frozen=True, eq=False)
class Testbed:
    """A finite world under one policy.

    Attributes:
        name: what lies under the microscope, in a reader's words.
        world: S states, A actions, C contexts, H turns.
        logits: [C, A] the policy.
        critic: [H, S] what a critic says each state is worth at each turn; the exact values by default. Estimators see it as `values`.
    """

    __test__ = False  # pytest takes a class of this name for a test

    name: str
    world: FiniteWorld
    logits: Tensor
    critic: Tensor | None = None

    def __post_init__(self):
        shape = self.world.horizon, len(self.world.context)
        if self.critic is not None and self.critic.shape != shape:
            raise ValueError(f"a critic of this world has shape [turns, states] = {list(shape)}, got {list(self.critic.shape)}")

    @cached_property
    def truth(self) -> Truth:
        """What is exactly true of the policy in the world."""
        return solve(self.world, self.probabilities)

    @cached_property
    def probabilities(self) -> Tensor:
        """[C, A] the policy."""
        return self.logits.double().softmax(dim=1)

    @property
    def description(self) -> str:
        """The testbed, and how sensible its policy is."""
        truth = self.truth
        return f"{self.name}: the policy succeeds with probability {truth.success:.3g}, expected return {truth.expected_return:.3g}"

    @property
    def gradient(self) -> Tensor:
        """[C, A] the exact derivative of the expected return of an episode."""
        return self.truth.gradient

    @cached_property
    def advantage(self) -> Tensor:
        """[K] the true advantage of every choice that is ever made."""
        return self.truth.advantage[self._made]

    @cached_property
    def frequency(self) -> Tensor:
        """[K] how often a trajectory makes each choice, on average."""
        return self._frequencies[self._made]

    @cached_property
    def _frequencies(self) -> Tensor:
        """[H, S, A] the same for every turn, state and action."""
        return self.truth.visits[:, :, None] * self.probabilities[self.world.context]

    @cached_property
    def _made(self) -> Tensor:
        """[H, S, A] bool, what is ever done."""
        return self._frequencies > 0

    @cached_property
    def _place(self) -> Tensor:
        """[H, S, A] int64, where each turn, state and action stands among the choices."""
        return (self._made.flatten().cumsum(0) - 1).view_as(self._made)

    def choice(self, turn: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """The place in `advantage` and `frequency` of what was done."""
        return self._place[turn, state, action]

    def value(self, turn: Tensor, state: Tensor) -> Tensor:
        """What the critic says."""
        return (self.truth.value if self.critic is None else self.critic)[turn, state]

    def collect(self, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
        """Groups of episodes of the policy, as `hierlab.train.tabular.collect` makes them, with two further columns.

        `choice` [N] int64 is the place of each row's choice in `advantage` and `frequency`, `values` [N] what the critic says of the
        row's state.
        """
        rollouts = collect(self.world, self.logits, groups=groups, group_size=group_size, generator=generator)
        turn, state = rollouts.turn, rollouts["world_state"]
        return rollouts.with_columns(choice=self.choice(turn, state, rollouts.response_ids[:, 0]), values=self.value(turn, state))

    def implied_gradients(self, rollouts: Rollouts, weight: Tensor, part: Tensor, parts: int) -> Tensor:
        """The policy gradient that a weight for each choice implies, summed over the rows of each part.

        Args:
            rollouts: N rows from `collect`.
            weight: shaped like the column `choice`, such as estimated advantages.
            part: [N] int64, which part each row belongs to.
            parts: number of parts.

        Returns:
            [parts, C * A]
        """
        contexts, actions = self.logits.shape
        made = rollouts["choice"].view(len(rollouts), -1) >= 0
        action = rollouts.response_ids[made]
        place = (part[:, None] * contexts + rollouts["context"].view_as(made))[made]
        weight = weight.view_as(made)[made]
        chosen = weight.new_zeros(parts * contexts, actions).index_put((place, action), weight, accumulate=True)
        chosen = chosen.view(parts, contexts, actions)
        return (chosen - chosen.sum(dim=2, keepdim=True) * self.probabilities).flatten(start_dim=1)


def noisy_critic(testbed: Testbed, deviation: float, *, seed: int = 0) -> Testbed:
    """The same testbed with a critic that is wrong: the exact value of each turn and state plus an error that never changes.

    Args:
        testbed: with any critic.
        deviation: of the errors, in units of the deviation of the values that the policy meets.
        seed: of the errors.

    Raises:
        ValueError: if `deviation` is negative.
    """
    check_range("deviation", deviation, 0)
    value, weight = testbed.truth.value, testbed.truth.visits / testbed.truth.visits.sum()
    spread = (weight * (value - (weight * value).sum()) ** 2).sum().sqrt()
    error = torch.randn(value.shape, generator=generator("noisy critic", seed), dtype=value.dtype)
    return replace(testbed, critic=value + deviation * spread * error)


def learnt_critic(testbed: Testbed, trajectories: int, *, seed: int = 0) -> Testbed:
    """The same testbed with a critic that has learnt from so many trajectories: of each turn and state, the mean return that followed.

    Each mean starts from one imagined trajectory that is worth what an average one is at that turn, so that a state seen once is not
    taken at its word, and one never seen is worth the average.

    Args:
        testbed: with any critic.
        trajectories: how many it has seen.
        seed: of the trajectories.

    Raises:
        ValueError: if there are no trajectories.
    """
    if trajectories < 1:
        raise ValueError(f"a critic learns from at least 1 trajectory, got {trajectories}")
    world = testbed.world
    draw = generator("learnt critic", seed)
    task = torch.randint(len(world.start), (trajectories,), generator=draw)
    seen = play(world, testbed.probabilities, task, draw)
    rewards = world.reward[seen.state, seen.action] * seen.alive
    to_go = rewards.flip(1).cumsum(1).flip(1)
    average = (to_go * seen.alive).sum(0) / seen.alive.sum(0).clamp(min=1)  # [H]
    turn = torch.arange(world.horizon).expand_as(seen.state)
    place = turn[seen.alive], seen.state[seen.alive]
    count = torch.ones_like(testbed.truth.value).index_put(place, torch.ones_like(to_go[seen.alive]), accumulate=True)
    total = average[:, None].expand_as(count).clone().index_put(place, to_go[seen.alive], accumulate=True)
    return replace(testbed, critic=total / count)


def house_testbed(success: float | None = None, *, house: SearchHouse | None = None, history: int = 2) -> Testbed:
    """A `SearchHouse` under a policy of known skill.

    Args:
        success: the uniform policy if None, else the first policy on the path of exact gradient ascent that succeeds with this
            probability (`hierlab.train.tabular.ascend`), so that no estimator's habits are in it.
        house: the card's house of 4 rooms and 14 turns by default.
        history: how many observations the policy remembers besides the present one.

    Raises:
        ValueError: if no such policy was found.
    """
    world = (house or SearchHouse()).world(history)
    if success is None:
        return Testbed("SearchHouse, uniform policy", world, torch.zeros_like(world.uniform()))
    return Testbed("SearchHouse, partly trained policy", world, ascend(world, success))
