"""Showing text and tables: the same call in marimo, in Jupyter, and headlessly."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def headless() -> bool:
    """Whether `hierlab run` executes the notebook: nobody watches, and the experiment runs."""
    return os.environ.get("HIERLAB_HEADLESS") == "1"


def in_marimo() -> bool:
    """Whether marimo executes the notebook."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and marimo.running_in_notebook()


@dataclass(frozen=True)
class Markdown:
    """Text that Jupyter renders."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text


def markdown(text: str) -> Any:
    """Markdown with formulas, as the notebook at hand renders it. Put it last in a cell."""
    if in_marimo():
        return sys.modules["marimo"].md(text)
    return Markdown(text)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, texts to the left and numbers to the right."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    return "\n".join([line(columns), line(["---:" if n else ":---" for n in numeric]), *map(line, rows)])


def stop(message: str) -> None:
    """End the cell, and all that depend on it, with a message instead of an error."""
    if in_marimo():
        sys.modules["marimo"].stop(True, markdown(message))
    raise NotYetRun(message)


class NotYetRun(Exception):  # noqa: N818 (no error: nothing went wrong)
    """There is nothing to show, because nothing has been run. Jupyter shows its message alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def show_controls_in_jupyter() -> None:
    """Let Jupyter show marimo's controls as text: it has no way to move them, so it says where the value stands."""
    if in_marimo() or "IPython" not in sys.modules or (shell := sys.modules["IPython"].get_ipython()) is None:
        return
    for kind, show in (("text/plain", _control_as_text), ("text/html", _nothing), ("text/markdown", _nothing)):
        formatter = shell.display_formatter.formatters[kind]
        formatter.for_type_by_name("marimo._plugins.ui._core.ui_element", "UIElement", show)


def _nothing(control: Any) -> None:
    """marimo's own markup, which only marimo's page brings to life."""


def _control_as_text(control: Any, printer: Any, cycle: bool) -> None:
    printer.text(f"{type(control).__name__} = {control.value!r} (marimo moves it; here, change value= above and run again)")
