"""Publish a complete run: its ledger into data/results, its figures into figures/<lab>."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hierlab.files import read_json, replacing, write_atomic
from hierlab.lab import ledger
from hierlab.lab.digests import differences, lab_code
from hierlab.lab.errors import Refused
from hierlab.lab.execute import STATE
from hierlab.lab.notebook import read_notebook
from hierlab.lab.places import figures_folder, lab_file, result_file, run_folder, runs_folder, shown

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
STILL = {"width": 760, "height": 460, "scale": 1.5}


def publish_lab(slug: str, scale: str = "reduced", *, stills: bool = True) -> list[str]:
    """Publish the run with the lab's own settings at this scale, and say what was written, one line each.

    The ledger is written last, so a publication that is interrupted never shows a result without its figures.

    Raises:
        Refused: if there is no such run, it is incomplete, has fewer seeds than the scale asks for, was made by other code than the
            present, is at smoke scale, or one of its files was changed.
        OSError: if the files cannot be written.
    """
    folder, record = publishable(slug, scale)
    target = figures_folder(slug, scale)
    figures = {f["name"]: folder / "figures" / f"{f['name']}.json" for f in record["figures"]}
    for name, path in figures.items():
        write_atomic(target / f"{name}.json", path.read_bytes())
    for old in [*target.glob("*.json"), *target.glob("*.png")]:
        if old.stem not in figures:
            old.unlink()
    lines = list(_stills(figures, target)) if stills and figures else []
    write_atomic(result_file(slug, scale), (folder / ledger.NAME).read_bytes())
    return [f"{slug}: published {shown(result_file(slug, scale))} and {len(figures)} figures in {shown(target)}", *lines]


def publishable(slug: str, scale: str) -> tuple[Path, dict[str, Any]]:
    """The folder and the ledger of the run that may be published.

    Raises:
        Refused: as `publish_lab`.
    """
    path = lab_file(slug)
    notebook = read_notebook(path)
    choice = notebook.settings(scale, {})
    again = f"run `hierlab run {slug} --scale {scale}`"
    if scale == "smoke":
        raise Refused(f"{slug}: a smoke run shows that the code runs, and is not published; run `hierlab run {slug}`")
    folder = run_folder(slug, scale, choice.hash)
    state = _state(folder)
    if state is None:
        others = len(list(runs_folder(slug).glob(f"{scale}-*")))
        hint = f" (the {others} there {'is' if others == 1 else 'are'} of other settings)" if others else ""
        raise Refused(f"{slug}: no {scale} run with the lab's own settings{hint}; {again}")
    if state["status"] != "complete":
        raise Refused(f"{slug}: the run in {shown(folder)} is not complete ({state['status']}); {again}, which goes on from there")
    record = ledger.read(folder / ledger.NAME)
    if len(record["seeds"]) < choice.seeds:
        raise Refused(f"{slug}: the run has {len(record['seeds'])} seeds, {scale} scale asks for {choice.seeds}; {again}")
    if changed := differences(record["code"], lab_code(notebook)):
        raise Refused(f"{slug}: the run was made by other code: {', '.join(changed)}; {again}")
    for figure in record["figures"]:
        check_figure(folder / "figures" / f"{figure['name']}.json", figure["digest"])
    return folder, record


def check_figure(path: Path, digest: str) -> None:
    """Refuse a figure that is missing or not the one its ledger names.

    Raises:
        Refused: naming the file.
    """
    if not path.is_file():
        raise Refused(f"figure {shown(path)} is missing; restore it from git, or publish again")
    if ledger.text_digest(path.read_text(encoding="utf-8", errors="replace")) != digest:
        raise Refused(f"figure {shown(path)} was changed after it was written; restore it from git, or publish again")


def browser() -> str | None:
    """The Chromium that draws stills, if there is one."""
    return os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / STATE, what="run state")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Refused(str(error)) from error


def _stills(figures: dict[str, Path], target: Path) -> Iterator[str]:
    """Draw every figure as a PNG; say so if that cannot be done, for the figures themselves are published all the same."""
    path = browser()
    if not path:
        yield "no stills: no Chromium found; install it (Debian: apt install chromium) or set BROWSER_PATH, and publish again"
        return
    os.environ["BROWSER_PATH"] = path
    from hierlab.lab.figures import load_figure

    try:
        for name, source in figures.items():
            figure = load_figure(source)
            size = STILL | {"height": figure.layout.height or STILL["height"]}
            with replacing(target / f"{name}.png") as temporary:
                figure.write_image(temporary, format="png", **size)
    except Exception as error:  # whatever a browser may do must not stop a publication
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        yield f"no stills: {path} could not draw them ({first}); the figures themselves are published"
