"""Houses to search: rooms, furniture, things, and an errand whose shortest solution has a given length.

A house is drawn from a seed with no interpreter at hand; `hierlab.envs.textworld` turns it into a TextWorld game.
The errand is ALFWorld's pick-and-place in small: find the target, which may lie in a closed container in another
room, and bring it to its destination. There may be several errands, as in ALFWorld's pick-two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hierlab.seeds import derive_seed

# fmt: off
ROOMS = (
    "attic", "bathroom", "bedroom", "cellar", "garage", "garden", "hall", "kitchen", "library", "lounge", "office", "pantry", "porch",
    "studio"
)
CONTAINERS = ("basket", "box", "cabinet", "case", "chest", "cupboard", "drawer", "fridge", "locker", "safe", "toolbox", "trunk")
SUPPORTERS = ("bench", "counter", "desk", "mantel", "pedestal", "plate", "rack", "shelf", "sofa", "stand", "stool", "table")
THINGS = (
    "apple", "book", "bottle", "candle", "carrot", "coin", "cup", "doll", "fork", "glove", "hammer", "hat", "knife", "lamp", "map",
    "onion", "pen", "radio", "ring", "rope", "shoe", "soap", "towel", "watch"
)
# fmt: on
COMPASS = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}

WORDS = (
    *(*ROOMS, *CONTAINERS, *SUPPORTERS, *THINGS, *COMPASS, "go", "open", "close", "take", "from", "put", "on", "insert", "into"),
    *("closed", "empty", "exits", "carrying", "nothing", "goal", ".", ",", ":"),
)
"""Every word and mark that the player of any house can read or may write."""


@dataclass(frozen=True)
class GameSettings:
    """What a game is drawn from, besides its seed.

    Attributes:
        rooms: number of rooms, connected as a tree.
        objects: number of pieces of furniture: containers, which are closed at first, and supporters.
        things: number of things that can be carried; some are targets, the others distract, and all multiply the states.
        quest_length: number of commands in a shortest solution of the first errand, were it the only one.
        errands: number of things to bring somewhere; the game is won when all are in their places at once.
    """

    rooms: int = 4
    objects: int = 5
    things: int = 1
    quest_length: int = 6
    errands: int = 1

    def __post_init__(self):
        limits = {
            "rooms": (1, len(ROOMS)),
            "objects": (2, len(CONTAINERS)),
            "things": (1, len(THINGS)),
            "quest_length": (2, 2 * self.rooms + 2),
            "errands": (1, self.things),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")


@dataclass(frozen=True)
class House:
    """A house and its errand.

    Attributes:
        rooms: names of the rooms; the first is where the map was begun, not where the player starts.
        doors: (room, direction, room) for each passage, once.
        furniture: (name, is a container, room) of each piece.
        contents: (thing, piece of furniture it lies in or on) for each thing.
        start: the player's room.
        target: the thing to bring.
        destination: the piece of furniture to bring it to.
        further: (thing, piece of furniture to bring it to) of each further errand.
    """

    rooms: tuple[str, ...]
    doors: tuple[tuple[str, str, str], ...]
    furniture: tuple[tuple[str, bool, str], ...]
    contents: tuple[tuple[str, str], ...]
    start: str
    target: str
    destination: str
    further: tuple[tuple[str, str], ...] = ()

    @property
    def errands(self) -> tuple[tuple[str, str], ...]:
        """Every thing to bring, and the piece of furniture to bring it to."""
        return (self.target, self.destination), *self.further

    @property
    def goal(self) -> str:
        """The command that ends each errand; with one errand, that is the command that wins."""
        container = {name: is_container for name, is_container, _ in self.furniture}
        return ", ".join(place_command(thing, piece, container[piece]) for thing, piece in self.errands)


def place_command(thing: str, piece: str, container: bool) -> str:
    """The command that puts a thing into a container or on a supporter."""
    return f"insert {thing} into {piece}" if container else f"put {thing} on {piece}"


def describe(
    room: str, furniture: Sequence[tuple[str, Sequence[str] | None]], exits: Sequence[str], carried: Sequence[str], goal: str
) -> str:
    """An observation: one line that is the same whenever the same things are to be seen.

    Args:
        room: where the player is.
        furniture: each piece with the things in or on it; None for a closed container.
        exits: directions that lead on.
        carried: things the player has.
        goal: the errand.

    >>> describe("hall", [("box", None), ("desk", ["pen", "cup"]), ("rack", [])], ["east"], [], "put pen on rack")
    'hall. box closed. desk: cup, pen. rack empty. exits east. carrying nothing. goal: put pen on rack'
    """
    parts = [room]
    for piece, things in furniture:
        parts.append(f"{piece} closed" if things is None else f"{piece}: {', '.join(sorted(things))}" if things else f"{piece} empty")
    for name, words in (("exits", exits), ("carrying", carried)):
        parts.append(f"{name} {', '.join(sorted(words)) or 'nothing'}")
    return ". ".join([*parts, f"goal: {goal}"])


def draw_house(settings: GameSettings, seed: int, *, attempts: int = 200) -> House:
    """The house of this seed. Its first errand, were it the only one, takes exactly `settings.quest_length` commands.

    Raises:
        ValueError: if none of `attempts` maps has room for an errand of this length; the message says which lengths they had.
    """
    rng = np.random.default_rng(derive_seed("house", seed))
    lengths: set[int] = set()
    for _ in range(attempts):
        rooms, doors = _draw_map(settings.rooms, rng)
        furniture = _draw_furniture(settings.objects, rooms, rng)
        errands = _errands(rooms, doors, furniture)
        lengths.update(errands)
        if settings.quest_length in errands:
            fitting = errands[settings.quest_length]
            start, source, destination = fitting[rng.integers(len(fitting))]
            things = [str(name) for name in rng.choice(THINGS, settings.things, replace=False)]
            places = [source, *(furniture[i][0] for i in rng.integers(len(furniture), size=settings.things - 1))]
            contents = tuple(zip(things, places, strict=True))
            further = tuple((thing, _elsewhere(place, furniture, rng)) for thing, place in contents[1 : settings.errands])
            return House(rooms, doors, furniture, contents, start, things[0], destination, further)
    raise ValueError(f"no house of {settings} in {attempts} drawn maps; errands there take {sorted(lengths)} commands")


def _elsewhere(place: str, furniture: tuple, rng: np.random.Generator) -> str:
    """Another piece of furniture."""
    others = [name for name, _, _ in furniture if name != place]
    return others[rng.integers(len(others))]


def _draw_map(number: int, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[tuple[str, str, str], ...]]:
    """Rooms on a grid, each new one beside a random earlier one that has a free side."""
    rooms = [str(name) for name in rng.choice(ROOMS, number, replace=False)]
    cell = {(0, 0): rooms[0]}
    doors = []
    for room in rooms[1:]:
        free = [(place, side) for place in cell for side, step in COMPASS.items() if _beside(place, step) not in cell]
        place, side = free[rng.integers(len(free))]
        cell[_beside(place, COMPASS[side])] = room
        doors.append((cell[place], side, room))
    return tuple(rooms), tuple(doors)


def _beside(place: tuple[int, int], step: tuple[int, int]) -> tuple[int, int]:
    return place[0] + step[0], place[1] + step[1]


def _draw_furniture(number: int, rooms: tuple[str, ...], rng: np.random.Generator) -> tuple[tuple[str, bool, str], ...]:
    """Pieces of random kind in random rooms; no name twice."""
    containers = int(rng.binomial(number, 0.5))
    names = [*rng.choice(CONTAINERS, containers, replace=False), *rng.choice(SUPPORTERS, number - containers, replace=False)]
    return tuple((str(name), i < containers, rooms[rng.integers(len(rooms))]) for i, name in enumerate(names))


def _errands(rooms: tuple[str, ...], doors: tuple[tuple[str, str, str], ...], furniture: tuple) -> dict[int, list[tuple[str, str, str]]]:
    """Every errand (start room, source, destination) by the number of commands it takes: walk, open, take, walk, open, put."""
    steps = _walking_distances(rooms, doors)
    errands: dict[int, list[tuple[str, str, str]]] = {}
    for start in rooms:
        for source, closed, source_room in furniture:
            for destination, shut, room in furniture:
                if source != destination:
                    length = steps[start, source_room] + closed + 1 + steps[source_room, room] + shut + 1
                    errands.setdefault(length, []).append((start, source, destination))
    return errands


def _walking_distances(rooms: tuple[str, ...], doors: tuple[tuple[str, str, str], ...]) -> dict[tuple[str, str], int]:
    """Number of doors between any two rooms (Floyd-Warshall)."""
    far = len(rooms)
    steps = {(a, b): 0 if a == b else far for a in rooms for b in rooms}
    for a, _, b in doors:
        steps[a, b] = steps[b, a] = 1
    for via in rooms:
        for a in rooms:
            for b in rooms:
                steps[a, b] = min(steps[a, b], steps[a, via] + steps[via, b])
    return steps
