"""A testbed: a finite world under a policy, with everything that is exactly true of it.

Here an estimate of an advantage can be held against the advantage itself. The unit of comparison is the *choice*: this task, this
state with this memory, this turn, this action. Of every choice the world knows how good it is and how often the policy makes it.

    house_testbed(), house_testbed(success=0.5)
    Testbed("after 20 updates by GRPO", world, train_tabular(world, grpo, rate=1.2, iterations=20).logits)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hierlab.envs.finite import FiniteWorld, Truth, solve
from hierlab.envs.search_house import SearchHouse
from hierlab.rollout.rollouts import Rollouts
from hierlab.train.tabular import ascend, collect


@dataclass(frozen=True, eq=False)
class Testbed:
    """A finite world under one policy.

    Attributes:
        name: what lies under the microscope, in a reader's words.
        world: S states, A actions, C contexts, H turns.
        logits: [C, A] the policy.
    """

    __test__ = False  # pytest takes a class of this name for a test

    name: str
    world: FiniteWorld
    logits: Tensor

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
        """[H * S * A] the true advantage of every choice."""
        return self.truth.advantage.flatten()

    @cached_property
    def frequency(self) -> Tensor:
        """[H * S * A] how often an episode makes each choice, on average."""
        return (self.truth.visits[:, :, None] * self.probabilities[self.world.context]).flatten()

    def collect(self, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
        """Groups of episodes of the policy, as `hierlab.train.tabular.collect` makes them, with the further column `choice`.

        `choice` [N] int64 is the place of each row's choice in `advantage` and `frequency`.
        """
        rollouts = collect(self.world, self.logits, groups=groups, group_size=group_size, generator=generator)
        state = rollouts.turn * len(self.world.context) + rollouts["world_state"]
        return rollouts.with_columns(choice=state * len(self.world.commands) + rollouts.response_ids[:, 0])

    def implied_gradients(self, rollouts: Rollouts, weight: Tensor, part: Tensor, parts: int) -> Tensor:
        """The policy gradient that a weight for each row implies, summed over the rows of each part.

        Args:
            rollouts: N rows from `collect`.
            weight: [N] such as estimated advantages.
            part: [N] int64, which part each row belongs to.
            parts: number of parts.

        Returns:
            [parts, C * A]
        """
        contexts, actions = self.logits.shape
        place = part * contexts + rollouts["context"]
        chosen = weight.new_zeros(parts * contexts, actions).index_put((place, rollouts.response_ids[:, 0]), weight, accumulate=True)
        chosen = chosen.view(parts, contexts, actions)
        return (chosen - chosen.sum(dim=2, keepdim=True) * self.probabilities).flatten(start_dim=1)


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
