"""Where things are: labs, runs, published results and figures, all below one root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hierlab.lab.errors import Refused, suggest

if TYPE_CHECKING:
    from hierlab.papers import Paper

SCALES = ("smoke", "reduced", "full")


def root() -> Path:
    """The repository: `$HIERLAB_ROOT`, or the folder that holds the package."""
    return Path(os.environ.get("HIERLAB_ROOT") or Path(__file__).parents[2]).resolve()


def labs() -> dict[str, Path]:
    """Every lab's file by slug, in order of family and name."""
    return {path.stem: path for path in sorted(root().glob("labs/*/*.py")) if not path.name.startswith("_")}


def register() -> tuple[Paper, ...]:
    """All papers in the register's order, and behind them its companions.

    Raises:
        Refused: if the register is broken or missing; the message names file, entry and field.
    """
    from hierlab.papers import companions, papers

    try:
        return (*papers(), *companions())
    except (ValueError, FileNotFoundError) as error:
        raise Refused(str(error)) from error


def lab_file(slug: str) -> Path:
    """The file of one lab.

    Raises:
        Refused: if there is no such lab; a paper that has no lab yet is told apart from an unknown name.
    """
    known = labs()
    if slug in known:
        return known[slug]
    if any(paper.slug == slug for paper in register()):
        raise Refused(f"{slug} has no lab yet; labs: {', '.join(known) or 'none'}; `hierlab list` shows all papers")
    raise Refused(f"no lab {slug!r}: {suggest(slug, known)}")


def run_folder(slug: str, scale: str, settings_hash: str) -> Path:
    """The folder of one run: a lab, at a scale, with these settings. Seeds share it, so that more seeds only add to it."""
    return runs_folder(slug) / f"{scale}-{settings_hash}"


def runs_folder(slug: str) -> Path:
    """All runs of one lab."""
    return root() / "runs" / slug


def result_file(slug: str, scale: str) -> Path:
    """The published ledger of a lab at a scale."""
    return root() / "data" / "results" / f"{slug}.{scale}.json"


def figures_folder(slug: str, scale: str = "reduced") -> Path:
    """The published figures of a lab: those of reduced scale directly, those of full scale in a folder of their own."""
    folder = root() / "figures" / slug
    return folder if scale == "reduced" else folder / scale


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shown(path: Path | str) -> str:
    """The path as a reader wants it: relative to where they stand, if that is above it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
