"""Text games: the rules of a turn, and a session with a game that TextWorld can play.

A *world* knows where commands lead; `TextEnvironment` adds what a turn costs and when an episode ends. Worlds are
interchangeable: a running interpreter (`Interpreter`), or a game written down in full (`hierlab.envs.state_graph`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hierlab.envs.environment import Observation, Step


@dataclass(frozen=True)
class Rules:
    """What a turn is worth, and how many there are. The defaults are those of the GiGPO paper, whose ALFWorld limit is 50 turns.

    Attributes:
        success: reward of the turn that solves the task.
        failure: reward of the turn on which an episode ends unsolved.
        invalid: added for a command that is not admissible.
        turns: after so many turns an episode ends.
    """

    success: float = 10.0
    failure: float = 0.0
    invalid: float = -0.1
    turns: int = 15

    def __post_init__(self):
        if isinstance(self.turns, bool) or not isinstance(self.turns, int) or self.turns < 1:
            raise ValueError(f"turns must be a positive integer, got {self.turns!r}")


RULES = Rules()


@dataclass(frozen=True)
class Scene:
    """A moment of a game: what is seen, and whether the game is won or otherwise over."""

    observation: Observation
    won: bool = False
    over: bool = False


class World(Protocol):
    """A game without rewards or turn limit."""

    def start(self) -> Scene:
        """Begin the game anew."""

    def move(self, command: str) -> Scene:
        """Follow a command that is admissible in the present scene."""


class TextEnvironment:
    """Episodes of one game. A command that is not admissible costs a turn, changes nothing, and never reaches the game.

    Args:
        world: where commands lead.
        rules: rewards and turn limit.
    """

    def __init__(self, world: World, rules: Rules):
        self.world = world
        self.rules = rules
        self._scene: Scene | None = None
        self._turn = 0

    def reset(self) -> Observation:
        """Begin a new episode from the game's initial state."""
        self._scene = self.world.start()
        self._turn = 0
        return self._scene.observation

    def step(self, action: str) -> Step:
        """Follow a command, whatever its case and spacing.

        Raises:
            RuntimeError: if no episode is running: before the first `reset`, or after the turn that ended one.
        """
        if self._scene is None:
            raise RuntimeError("no episode is running; call reset() first")
        command = normalise(action)
        valid = command in self._scene.observation.admissible
        if valid:
            self._scene = self.world.move(command)
        self._turn += 1
        scene = self._scene
        done = scene.won or scene.over or self._turn >= self.rules.turns
        reward = 0.0 if valid else self.rules.invalid
        if done:
            reward += self.rules.success if scene.won else self.rules.failure
            self._scene = None
        return Step(scene.observation, reward, done, valid=valid, success=scene.won)


def normalise(action: str) -> str:
    """The command as a game knows it: lower case, words one blank apart."""
    return " ".join(action.lower().split())


def brief(turns: Sequence[tuple[str, str]], now: Observation) -> str:
    """A transcript for small models: of a remembered observation, only its first sentence is kept, which names the place.

    >>> brief([("hall. box closed. exits east", "go east")], Observation("kitchen. exits west"))
    'hall > go east kitchen. exits west >'
    """
    return " ".join([*(f"{seen.partition('.')[0]} > {command}" for seen, command in turns), f"{now.text} >"])


class Interpreter:
    """A world played by TextWorld itself, whatever the game's format.

    Args:
        path: the game file.
        observe: makes an observation out of TextWorld's game state, given also the state in which the game began.
        infos: names of the fields of TextWorld's game state that `observe` reads, besides `feedback`.
        wrappers: further TextWorld wrappers, innermost first.

    Raises:
        FileNotFoundError: if there is no such game.
    """

    def __init__(
        self, path: Path | str, observe: Callable[[Any, Any], Observation], *, infos: Sequence[str] = (), wrappers: Sequence[Callable] = ()
    ):
        import textworld

        if not Path(path).is_file():
            raise FileNotFoundError(f"no game file at {path}")
        requested = textworld.EnvInfos(**dict.fromkeys({"feedback", "admissible_commands", "won", "lost", *infos}, True))
        self._game = textworld.start(str(path), requested, list(wrappers))
        self._observe = observe
        self._opening: Any = None

    def start(self) -> Scene:
        """Begin the game anew."""
        self._opening = self._game.reset()
        return self._scene(self._opening)

    def move(self, command: str) -> Scene:
        """Send a command to the game."""
        return self._scene(self._game.step(command)[0])

    def _scene(self, state: Any) -> Scene:
        return Scene(self._observe(state, self._opening), won=bool(state["won"]), over=bool(state["won"] or state["lost"]))
