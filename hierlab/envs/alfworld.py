"""ALFWorld's household tasks, for runs at full scale.

ALFWorld's games are TextWorld games of another format, played by the same `Interpreter`. They come with the package
`alfworld` and a download of about 2 GB, neither of which is needed for anything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from hierlab.envs.environment import Observation
from hierlab.envs.text_games import Interpreter, Rules, TextEnvironment
from hierlab.files import read_json

SPLITS = ("train", "valid_seen", "valid_unseen")
FOLDER = "json_2.1.1"
TASK = "Your task is to:"
RULES = Rules(turns=50)
"""Those of the GiGPO paper."""


@dataclass(frozen=True)
class ALFWorldTask:
    """An ALFWorld game as a task; implements `EpisodicTask`.

    Attributes:
        path: the game file; its folder names the task.
        rules: rewards and turn limit.
        wrappers: TextWorld wrappers for the game: ALFWorld's, which gives objects readable names.
    """

    path: Path
    rules: Rules
    wrappers: tuple[Callable, ...] = ()

    @property
    def id(self) -> str:
        """Names the game: the last two folders of its path (kind of task and trial)."""
        return "/".join(self.path.parts[-3:-1])

    def environment(self) -> TextEnvironment:
        """A fresh environment with an interpreter of its own.

        Raises:
            FileNotFoundError: if the game file is gone.
        """
        return TextEnvironment(Interpreter(self.path, _observe, wrappers=self.wrappers), self.rules)


def alfworld_games(split: str = "train", *, limit: int | None = None, rules: Rules = RULES) -> list[ALFWorldTask]:
    """ALFWorld's games, in the order of their paths.

    Args:
        split: "train", "valid_seen" or "valid_unseen".
        limit: only so many.
        rules: rewards and turn limit.

    Raises:
        ValueError: if there is no such split.
        ModuleNotFoundError: if `alfworld` is not installed; the message says how to install it.
        FileNotFoundError: if its data are missing; the message says how to get them.
    """
    if split not in SPLITS:
        raise ValueError(f"ALFWorld has no split {split!r}; it has {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if find_spec("alfworld") is None:
        raise ModuleNotFoundError("ALFWorld is not installed; run: pip install 'hierlab[alfworld]'", name="alfworld")
    paths = find_games(data_folder() / FOLDER / split, limit)
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler

    return [ALFWorldTask(path, rules, (AlfredDemangler,)) for path in paths]


def data_folder() -> Path:
    """Where `alfworld-download` puts its data: `$ALFWORLD_DATA`, or `~/.cache/alfworld`."""
    return Path(os.environ.get("ALFWORLD_DATA") or Path.home() / ".cache" / "alfworld")


def find_games(folder: Path, limit: int | None = None) -> list[Path]:
    """The game files below a folder, in order. Those that ALFWorld leaves out are left out: sliced or movable objects, unsolvable.

    Raises:
        FileNotFoundError: if there is none.
    """
    files = sorted(folder.rglob("game.tw-pddl"))
    played = (path for path in files if not re.search("movable|Sliced", str(path.relative_to(folder))) and _is_solvable(path))
    if paths := list(islice(played, limit)):
        return paths
    raise FileNotFoundError(f"no ALFWorld games below {folder}; run: ALFWORLD_DATA={data_folder()} alfworld-download")


def _is_solvable(path: Path) -> bool:
    """What ALFWorld found out about the game, and wrote into it."""
    return bool(read_json(path, what="ALFWorld game").get("solvable", True))


def _observe(state: Any, opening: Any) -> Observation:
    """What the game answered, and the task, which the game itself states only once; `help` is no move."""
    room, _, task = _without_banner(opening["feedback"]).partition(TASK)
    seen = room if state is opening else _without_banner(state["feedback"])
    text = " ".join(seen.split())
    return Observation(
        f"{text} {TASK} {' '.join(task.split())}" if task else text, tuple(c for c in state["admissible_commands"] if c != "help")
    )


def _without_banner(feedback: str) -> str:
    """The feedback from the first line that is not ornament."""
    lines = feedback.splitlines()
    while lines and not (lines[0].strip() and lines[0].strip()[0].isalnum()):
        lines.pop(0)
    return "\n".join(lines)
