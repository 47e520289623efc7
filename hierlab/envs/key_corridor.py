"""KeyCorridor: errands at the ends of a corridor that must be run in order. Small enough to be solved exactly.

The agent starts in the middle of a corridor. The first errand lies at its left end, the next one at its right end, and so on from
end to end: one errand is a goal to walk to, two are a key and a goal, three a key, a door and a goal. Who reaches the end where the
next errand lies has run it, and only the last one is paid. So every cell is passed again on the way to something else, what is right
in it changes, and a mistake in the first errand delays all that depend on it.

The agent sees its cell and what it is after: the observation is the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from hierlab.checks import check_range
from hierlab.envs.finite import FiniteWorld
from hierlab.envs.plans import PlanPolicy

COMMANDS = ("left", "right")
SUBGOALS = ("go to the left end", "go to the right end", "look around")
"""What the plans of `KeyCorridor.novice` mean."""


@dataclass(frozen=True)
class KeyCorridor:
    """A corridor and its errands.

    Attributes:
        subtasks: how many errands depend on each other.
        cells: length of the corridor, at least 3.
        horizon: number of turns after which an episode ends.
        reward: for the last errand.

    Raises:
        ValueError: if `subtasks` or `horizon` is not a positive integer, `cells` is none of at least 3, or `reward` is no number of
            at least 0.
    """

    subtasks: int = 2
    cells: int = 7
    horizon: int = 30
    reward: float = 10.0

    def __post_init__(self):
        for name, least in {"subtasks": 1, "cells": 3, "horizon": 1}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        check_range("reward", self.reward, 0)

    @property
    def errands(self) -> tuple[str, ...]:
        """What is looked for, in order."""
        return *(("key", "door")[i] if i < 2 else f"thing {i + 1}" for i in range(self.subtasks - 1)), "goal"

    @property
    def start(self) -> int:
        """The cell in which an episode begins."""
        return self.cells // 2

    @property
    def shortest(self) -> int:
        """The smallest number of turns in which all errands can be run."""
        return self.start + (self.subtasks - 1) * (self.cells - 1)

    def end(self, errand: int) -> int:
        """The cell at which an errand lies: the left end for even numbers, the right end for odd ones."""
        return 0 if errand % 2 == 0 else self.cells - 1

    def act(self, errand: int, cell: int, action: int) -> tuple[int, int]:
        """The rule of the corridor: the errand that is next and the cell one is in after an action."""
        cell = min(max(cell + (1 if action else -1), 0), self.cells - 1)
        return errand + (cell == self.end(errand)), cell

    def look(self, errand: int, cell: int) -> str:
        """What is seen."""
        return f"cell {cell}, after the {self.errands[errand]}"

    def world(self) -> FiniteWorld:
        """The corridor as tables; state `errand * cells + cell`, action i is `COMMANDS[i]`, and walking into a wall is not valid."""
        return _tables(self)

    def novice(self, obedience: float = 0.75, switching: float = 0.5) -> PlanPolicy:
        """A player who can carry out a plan but does not know which one is good: where the training of plan-execute agents starts.

        Args:
            obedience: probability of a step towards the end that the subgoal names; with "look around", either way is as likely.
            switching: probability of naming a new subgoal, each one as likely.

        Returns:
            Logits for the `SUBGOALS`.

        Raises:
            ValueError: if a probability is not strictly between 0 and 1.
        """
        for name, value in {"obedience": obedience, "switching": switching}.items():
            check_range(name, value, 1e-9, 1 - 1e-9)
        contexts = self.subtasks * self.cells
        towards = math.log(obedience / (1 - obedience))
        action = torch.tensor([[towards, 0.0], [0.0, towards], [0.0, 0.0]], dtype=torch.float64)
        switch = torch.tensor([0.0, math.log(switching / (1 - switching))], dtype=torch.float64)
        return PlanPolicy(
            switch=switch.repeat(contexts, len(SUBGOALS), 1),
            subgoal=action.new_zeros(contexts, len(SUBGOALS)),
            action=action.repeat(contexts, 1, 1),
        )


@lru_cache(maxsize=16)
def _tables(corridor: KeyCorridor) -> FiniteWorld:
    places = [(errand, cell) for errand in range(corridor.subtasks) for cell in range(corridor.cells)]
    after = [[corridor.act(*place, action) for action in range(len(COMMANDS))] for place in places]
    won = torch.tensor([[errand == corridor.subtasks for errand, _ in row] for row in after])
    stuck = [[place == other for other in row] for place, row in zip(places, after, strict=True)]
    return FiniteWorld(
        commands=COMMANDS,
        contexts=tuple((corridor.look(*place),) for place in places),
        start=torch.tensor([corridor.start]),
        context=torch.arange(len(places)),
        move=torch.tensor([[min(errand, corridor.subtasks - 1) * corridor.cells + cell for errand, cell in row] for row in after]),
        reward=corridor.reward * won.double(),
        over=won,
        won=won,
        valid=~torch.tensor(stuck),
        horizon=corridor.horizon,
    )
