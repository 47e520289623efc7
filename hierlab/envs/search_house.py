"""SearchHouse: find the object in one of several rooms and bring it to the hall. Small enough to be solved exactly.

The agent starts in the hall. One room, the same in every episode of a task and hidden from the agent, holds the object. From the
hall one can go to any room, from a room only back to the hall. The object is taken in its room and delivered in the hall. What is
seen is the place and whether the object is in sight there, lying or carried: `hall|empty`, `room2|obj`. Looking is free, walking
costs turns, and what cannot be done (taking what is not there, walking from room to room) costs a turn and a penalty.

The observation is not the state: `room2|obj` looks the same before and after the object was taken, and `hall|empty` does not tell
which rooms were searched. A policy that remembers its last two observations can solve every task: it searches the rooms in turn.

Every house can be played in two ways that agree turn by turn: as a text environment, one episode at a time, and as a
`FiniteWorld`, all episodes at once. Both follow the one rule of `SearchHouse.act`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from hierlab.checks import check_range
from hierlab.envs.environment import Observation, Step
from hierlab.envs.finite import FiniteWorld


class Scene(NamedTuple):
    """Where the agent is, 0 for the hall and i for room i, and whether it carries the object."""

    place: int
    holding: bool


class Outcome(NamedTuple):
    """What an action led to."""

    scene: Scene
    valid: bool
    delivered: bool


@dataclass(frozen=True)
class SearchHouse:
    """A house with rooms 1 to `rooms` around a hall.

    Attributes:
        rooms: number of rooms, one task for each.
        horizon: number of turns after which an episode ends.
        reward: for delivering the object.
        penalty: taken off for each action that cannot be carried out.

    Raises:
        ValueError: if `rooms` or `horizon` is not a positive integer, or `reward` or `penalty` not a number of at least 0.
    """

    rooms: int = 4
    horizon: int = 14
    reward: float = 10.0
    penalty: float = 0.1

    def __post_init__(self):
        for name in ("rooms", "horizon"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        check_range("reward", self.reward, 0)
        check_range("penalty", self.penalty, 0)

    @property
    def commands(self) -> tuple[str, ...]:
        """What the agent can say, in the order of the actions: go to each room, take, back, deliver."""
        return *(f"go to room{i}" for i in range(1, self.rooms + 1)), "take", "back", "deliver"

    def tasks(self) -> tuple[SearchTask, ...]:
        """One task for each room the object can be in."""
        return tuple(SearchTask(self, hidden) for hidden in range(1, self.rooms + 1))

    def act(self, hidden: int, scene: Scene, action: int) -> Outcome:
        """The rule of the house: where an action leads if the object was put into room `hidden`."""
        place, holding = scene
        command = self.commands[action]
        if command == "take":
            possible, after = place == hidden and not holding, Scene(place, True)
        elif command == "back":
            possible, after = place > 0, Scene(0, holding)
        elif command == "deliver":
            possible, after = place == 0 and holding, scene
        else:
            possible, after = place == 0, Scene(action + 1, holding)
        return Outcome(after if possible else scene, possible, possible and command == "deliver")

    def reward_of(self, outcome: Outcome) -> float:
        """The reward of an action."""
        return self.reward * outcome.delivered - self.penalty * (not outcome.valid)

    def look(self, hidden: int, scene: Scene) -> str:
        """What is seen."""
        place = f"room{scene.place}" if scene.place else "hall"
        return f"{place}|{'obj' if scene.holding or scene.place == hidden else 'empty'}"

    def world(self, history: int = 2) -> FiniteWorld:
        """The house as tables, for a policy that remembers the last `history` observations besides the present one.

        Task i of the world hides the object in room i + 1; action i is `commands[i]`.

        Raises:
            ValueError: if `history` is not an integer of at least 0.
        """
        if isinstance(history, bool) or not isinstance(history, int) or history < 0:
            raise ValueError(f"history must be an integer of at least 0, got {history!r}")
        return _tables(self, history)


@lru_cache(maxsize=16)
def _tables(house: SearchHouse, history: int) -> FiniteWorld:
    """Follow every action from every state that can be reached; a state is (hidden room, scene, remembered observations)."""
    first = [(hidden, Scene(0, False), (house.look(hidden, Scene(0, False)),)) for hidden in range(1, house.rooms + 1)]
    number = {state: i for i, state in enumerate(first)}
    frontier, outcomes, move = list(first), [], []
    for hidden, scene, seen in frontier:  # grows while it is walked along
        outcomes.append([house.act(hidden, scene, action) for action in range(len(house.commands))])
        move.append([])
        for outcome in outcomes[-1]:
            after = hidden, outcome.scene, (*seen, house.look(hidden, outcome.scene))[-(history + 1) :]
            if after not in number and not outcome.delivered:
                number[after] = len(frontier)
                frontier.append(after)
            move[-1].append(number.get(after, len(move) - 1))
    contexts = {seen: None for _, _, seen in frontier}
    place = {seen: i for i, seen in enumerate(contexts)}
    delivered = torch.tensor([[o.delivered for o in row] for row in outcomes])
    return FiniteWorld(
        commands=house.commands,
        contexts=tuple(contexts),
        start=torch.arange(house.rooms),
        context=torch.tensor([place[seen] for _, _, seen in frontier]),
        move=torch.tensor(move),
        reward=torch.tensor([[house.reward_of(o) for o in row] for row in outcomes], dtype=torch.float64),
        over=delivered,
        won=delivered,
        valid=torch.tensor([[o.valid for o in row] for row in outcomes]),
        horizon=house.horizon,
    )


@dataclass(frozen=True)
class SearchTask:
    """The object lies in room `hidden`. An `EpisodicTask`.

    Raises:
        ValueError: if the house has no such room.
    """

    house: SearchHouse
    hidden: int

    def __post_init__(self):
        if not 1 <= self.hidden <= self.house.rooms:
            raise ValueError(f"hidden must be a room from 1 to {self.house.rooms}, got {self.hidden}")

    @property
    def id(self) -> str:
        """Names the house's size and the hidden room."""
        return f"search-house-{self.house.rooms}-{self.hidden}"

    def environment(self) -> SearchEnvironment:
        """A fresh environment of this task."""
        return SearchEnvironment(self)


class SearchEnvironment:
    """One episode at a time. It does not list the admissible commands: that would tell whether the object is carried."""

    def __init__(self, task: SearchTask):
        self.task, self.scene, self.turn, self.done = task, Scene(0, False), 0, True

    def reset(self) -> Observation:
        """Begin a new episode in the hall."""
        self.scene, self.turn, self.done = Scene(0, False), 0, False
        return Observation(self.task.house.look(self.task.hidden, self.scene))

    def step(self, action: str) -> Step:
        """Act. A text that is none of the house's commands costs what an impossible action costs.

        Raises:
            RuntimeError: if the episode has not begun or has ended.
        """
        if self.done:
            raise RuntimeError("the episode has not begun or has ended: call reset() first")
        house, hidden = self.task.house, self.task.hidden
        command = action.strip()
        known = command in house.commands
        outcome = house.act(hidden, self.scene, house.commands.index(command)) if known else Outcome(self.scene, False, False)
        self.scene, self.turn = outcome.scene, self.turn + 1
        self.done = outcome.delivered or self.turn == house.horizon
        seen = Observation(house.look(hidden, self.scene))
        return Step(seen, house.reward_of(outcome), self.done, outcome.valid, outcome.delivered)
