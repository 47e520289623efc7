"""A small deterministic game, written down in full: every state, what is seen there, and where each command leads.

Playing from the graph is exact and needs no interpreter; solutions and values come out of it by search.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hierlab.envs.environment import Observation
from hierlab.envs.text_games import Scene


@dataclass(frozen=True)
class StateGraph:
    """States are numbered from 0, the initial one.

    Attributes:
        texts: [S] what is seen in each state.
        moves: [S] for each state, the state each admissible command leads to; empty where the game has ended.
        won: the states in which the game is won.
    """

    texts: tuple[str, ...]
    moves: tuple[Mapping[str, int], ...]
    won: frozenset[int]

    def __post_init__(self):
        size = len(self.texts)
        if size == 0 or len(self.moves) != size:
            raise ValueError(f"a state graph needs one text and one table of moves for each state, got {size} and {len(self.moves)}")
        targets = {target for table in self.moves for target in table.values()} | set(self.won)
        if outside := sorted(target for target in targets if not 0 <= target < size):
            raise ValueError(f"states are numbered from 0 to {size - 1}, but there is {outside[0]}")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """[S] each state as a player meets it."""
        return tuple(
            Scene(Observation(text, tuple(table)), won=state in self.won, over=state in self.won)
            for state, (text, table) in enumerate(zip(self.texts, self.moves, strict=True))
        )

    @cached_property
    def distance(self) -> tuple[int | None, ...]:
        """[S] the least number of commands that wins from each state; None where the game cannot be won any more."""
        parents: list[list[int]] = [[] for _ in self.texts]
        for state, table in enumerate(self.moves):
            for target in table.values():
                parents[target].append(state)
        distance: list[int | None] = [0 if state in self.won else None for state in range(len(self))]
        queue = deque(sorted(self.won))
        while queue:
            state = queue.popleft()
            for parent in parents[state]:
                if distance[parent] is None:
                    distance[parent] = distance[state] + 1
                    queue.append(parent)
        return tuple(distance)

    def best_commands(self, state: int) -> tuple[str, ...]:
        """The commands that begin a shortest solution, in the order of the table; none in a state that is won or lost for good."""
        here = self.distance[state]
        return tuple(command for command, target in self.moves[state].items() if here is not None and self.distance[target] == here - 1)

    def solution(self, state: int = 0) -> tuple[str, ...]:
        """A shortest solution from `state`, the first in the order of the tables.

        Raises:
            ValueError: if the game cannot be won from there.
        """
        if self.distance[state] is None:
            raise ValueError(f"the game cannot be won from state {state}")
        commands = []
        while best := self.best_commands(state):
            commands.append(best[0])
            state = self.moves[state][best[0]]
        return tuple(commands)

    def to_json(self) -> dict[str, Any]:
        """The graph as JSON values."""
        return {"texts": list(self.texts), "moves": [dict(table) for table in self.moves], "won": sorted(self.won)}

    @classmethod
    def from_json(cls, value: Any) -> StateGraph:
        """The graph that `to_json` wrote.

        Raises:
            ValueError: if it is not one.
        """
        try:
            return cls(tuple(value["texts"]), tuple(dict(table) for table in value["moves"]), frozenset(value["won"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a state graph: {error}") from error


class GraphWorld:
    """Plays a game from its graph: one dictionary look-up a command."""

    def __init__(self, graph: StateGraph):
        self.graph = graph
        self.state = 0

    def start(self) -> Scene:
        """Return to the initial state."""
        self.state = 0
        return self.graph.scenes[0]

    def move(self, command: str) -> Scene:
        """Follow an admissible command."""
        self.state = self.graph.moves[self.state][command]
        return self.graph.scenes[self.state]
