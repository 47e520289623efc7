"""Small pieces of HTML that several of the site's pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]


def chip(verdict: str, count: int | None = None) -> str:
    """A verdict as a small label; with a count, several of them."""
    words = verdict if count is None else f"{count} {verdict}"
    return f'<span class="chip chip--{verdict.split()[0]}">{escape(words)}</span>'


def duration(seconds: float) -> str:
    """A time a reader can feel: "41 s", "4 min 12 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    big, small, names = (*divmod(whole, 60), ("min", "s")) if whole < 3600 else (*divmod(round(whole / 60), 60), ("h", "min"))
    return f"{big} {names[0]}" + (f" {small} {names[1]}" if small else "")


def month(text: str) -> str:
    """ "2025-05" as "May 2025"."""
    year, number = text.split("-")
    return f"{_MONTHS[int(number) - 1]} {year}"


def table(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table that scrolls sideways on a phone instead of breaking the page; numbers are set to the right."""
    rows = [list(row) for row in rows]
    right = [bool(rows) and all(_numeric(row[i]) for row in rows) for i in range(len(columns))]

    def line(cells: Sequence[Any], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if n else ''}>{escape(_cell(c))}</{tag}>" for c, n in zip(cells, right, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{line(columns, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value[:1].isdigit()) or (value or "")[:1] in ("+", "-", "−")


def definitions(pairs: Iterable[tuple[str, str]], name: str) -> str:
    """A list of terms and what they are; the second half is HTML already."""
    items = "".join(f"<div><dt>{escape(term)}</dt> <dd>{meaning}</dd></div>" for term, meaning in pairs if meaning)
    return f'<dl class="{name}">{items}</dl>'
