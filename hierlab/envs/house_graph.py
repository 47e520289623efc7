"""What TextWorld's game of a house will do, worked out without TextWorld.

`predict` gives the very graph that exploring the compiled game gives (a test holds the two together), in a thousandth of the time.
It supplies the many games that a warm start by imitation and an evaluation on unseen games need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

from hierlab.envs.house import OPPOSITE, House, describe, place_command
from hierlab.envs.state_graph import StateGraph

CARRIED = None


class Situation(NamedTuple):
    """Everything that can change in a house."""

    room: str
    places: tuple[str | None, ...]
    opened: frozenset[str]


def predict(house: House) -> StateGraph:
    """The state graph of the house's game, numbered as exploration numbers it: breadth first, commands in alphabetical order."""
    start = Situation(house.start, tuple(place for _, place in house.contents), frozenset())
    rooms = {room: _Room(house, room) for room in house.rooms}
    wanted = [dict(house.errands).get(thing) for thing, _ in house.contents]
    number, frontier = {start: 0}, deque([start])
    texts, moves, won = [], [], set()
    while frontier:
        here = frontier.popleft()
        room = rooms[here.room]
        texts.append(room.text(here))
        moves.append({})
        if all(piece is None or place == piece for place, piece in zip(here.places, wanted, strict=True)):
            won.add(number[here])
            continue
        for command, there in sorted(room.moves(here), key=itemgetter(0)):
            if there not in number:
                number[there] = len(number)
                frontier.append(there)
            moves[-1][command] = number[there]
    return StateGraph(tuple(texts), tuple(moves), frozenset(won))


class _Room:
    """What is seen and what can be done in one room."""

    def __init__(self, house: House, name: str):
        self.name, self.goal = name, house.goal
        self.things = [thing for thing, _ in house.contents]
        self.furniture = [(piece, container) for piece, container, room in house.furniture if room == name]
        self.exits = {direction: b for a, direction, b in house.doors if a == name}
        self.exits |= {OPPOSITE[direction]: a for a, direction, b in house.doors if b == name}

    def text(self, here: Situation) -> str:
        def at(place: str | None) -> list[str]:
            return [thing for thing, there in zip(self.things, here.places, strict=True) if there == place]

        seen = [(piece, None if container and piece not in here.opened else at(piece)) for piece, container in self.furniture]
        return describe(self.name, seen, list(self.exits), at(CARRIED), self.goal)

    def moves(self, here: Situation) -> Iterator[tuple[str, Situation]]:
        """Every admissible command and what it leads to."""
        places, opened = here.places, here.opened
        for direction, room in self.exits.items():
            yield f"go {direction}", Situation(room, places, opened)
        for piece, container in self.furniture:
            if container and piece not in opened:
                yield f"open {piece}", Situation(self.name, places, opened | {piece})
                continue
            if container:
                yield f"close {piece}", Situation(self.name, places, opened - {piece})
            for i, (thing, place) in enumerate(zip(self.things, places, strict=True)):
                if place == piece:
                    yield f"take {thing} from {piece}", Situation(self.name, (*places[:i], CARRIED, *places[i + 1 :]), opened)
                elif place is CARRIED:
                    command = place_command(thing, piece, container)
                    yield command, Situation(self.name, (*places[:i], piece, *places[i + 1 :]), opened)
