"""The site's pages: which there are, and how the markers in them are filled.

A hand-written page under `docs/` may hold markers, each of which is replaced by a piece of `hierlab.lab.page`:

    {{ figure microscope }}      {{ value "searchhouse: auc" GiGPO }}      {{ claims }}

A paper whose article nobody has written gets a page made of the same pieces, so all pages have one skeleton.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hierlab.lab import page
from hierlab.lab.entries import Entry
from hierlab.lab.errors import Refused, suggest
from hierlab.lab.html import duration
from hierlab.lab.papers_table import papers_filter, papers_table
from hierlab.lab.reference_pages import modules, reference_navigation
from hierlab.papers import FAMILIES

MARKER = re.compile(r"\{\{ (\w+)((?: [^{}]+)?) \}\}")
SECTIONS = ("paper", "claims", "cost", "commands", "source", "provenance")

_WRITTEN = """# {name}

{{{{ paper }}}}

## Claims and verdicts

{{{{ claims }}}}

## The method

{method}

## Figures

{{{{ figures }}}}

## Numbers

{{{{ experiments }}}}

{{{{ tables }}}}

## Cost

{{{{ cost }}}}

## Run it

{{{{ commands }}}}

## The lab's code {{ data-search-exclude="true" }}

{{{{ source }}}}

## Provenance

{{{{ provenance }}}}
"""
_UNWRITTEN = """# {name}

{{{{ paper }}}}

!!! absent "No lab yet"
    The lab for this paper is not written yet. Below is what the paper claims, in our words, with the figures it published:
    what a lab will hold it to.

## Claims

{{{{ claims }}}}
"""


def filled(text: str, where: str, to_root: str, shelf: Mapping[str, Entry]) -> str:
    """A page's Markdown with every marker replaced.

    Args:
        text: the Markdown.
        where: the page's path below `docs/`, such as "labs/gigpo.md"; it says which paper or family the page is about.
        to_root: the way from the page's address to the site's root, such as "../../".
        shelf: all papers by slug.

    Raises:
        Refused: if a marker is unknown, is given the wrong arguments, or asks for something that was not published; or if a
            paper's article lacks a section that every article has.
    """
    folder, _, stem = where.removesuffix(".md").removesuffix("/index").rpartition("/")
    markers = _site_markers(to_root, shelf)
    if folder == "families" and stem in FAMILIES:
        markers |= _family_markers(stem, to_root, shelf)
    if folder == "labs":
        if stem not in shelf:
            raise Refused(f"docs/{where}: no paper {stem!r}: {suggest(stem, shelf)}")
        markers |= _paper_markers(shelf[stem], to_root, placed={name: _arguments(text, name) for name in ("figure", "experiment", "table")})
        if shelf[stem].lab and (missing := [name for name in SECTIONS if f"{{{{ {name} }}}}" not in text]):
            raise Refused(f"docs/{where}: an article needs the markers {', '.join(missing)}")

    def fill(match: re.Match[str]) -> str:
        name, given = match[1], shlex.split(match[2])
        if name not in markers:
            raise Refused(f"docs/{where}: no marker {name!r}: {suggest(name, markers)}")
        try:
            inspect.signature(markers[name]).bind(*given)
            return markers[name](*given)
        except (TypeError, Refused) as error:
            raise Refused(f"docs/{where}: {match[0]}: {error}") from None

    return MARKER.sub(fill, text)


def _arguments(text: str, name: str) -> tuple[str, ...]:
    """The first argument of every marker of this name."""
    return tuple(shlex.split(m[2])[0] for m in MARKER.finditer(text) if m[1] == name and m[2].strip())


Marker = Callable[..., str]


def _site_markers(to_root: str, shelf: Mapping[str, Entry]) -> dict[str, Marker]:
    every = _most_to_show_first(e for e in shelf.values() if not e.companion)
    counts = {
        "papers": len(every),
        "claims": sum(len(e.paper.claims) for e in every),
        "tested": sum(e.tested for e in every),
        "labs": sum(e.lab is not None for e in every),
        "published": sum(e.shown is not None for e in every),
    }

    def count(what: str) -> str:
        if what not in counts:
            raise Refused(f"nothing counts {what!r}: {suggest(what, counts)}")
        return str(counts[what])

    return {
        "count": count,
        "papers": lambda: papers_filter(every) + papers_table(every, to_root),
        "families": lambda: _families(every),
    }


def _most_to_show_first(entries: Iterable[Entry]) -> list[Entry]:
    """Published results, then labs, then the rest, each in the register's order."""
    return sorted(entries, key=lambda entry: (entry.shown is None, entry.lab is None))


def _families(every: Sequence[Entry]) -> str:
    """All families, each with what its papers share and how many they are."""
    items = []
    for family in FAMILIES.values():
        members = [e for e in every if e.paper.family == family.slug]
        count = f"{len(members)} paper{'s' * (len(members) != 1)}, {sum(e.lab is not None for e in members)} with a lab"
        items.append(f"[{family.title}]({family.slug}/index.md)\n:   {family.description} *{count}.*")
    return "\n\n".join(items)


def _family_markers(slug: str, to_root: str, shelf: Mapping[str, Entry]) -> dict[str, Marker]:
    members = _most_to_show_first(e for e in shelf.values() if e.paper.family == slug)

    def of(lab: str) -> Entry:
        if lab not in shelf:
            raise Refused(f"no paper {lab!r}")
        return shelf[lab]

    return {
        "methods": lambda: papers_table(members, to_root, with_family=False),
        "figure": lambda lab, name: page.figure(of(lab), name, to_root, anchor=f"{lab}-{name}"),
        "table": lambda lab, name: page.ledger_table(of(lab), name),
        "experiment": lambda lab, name, *metrics: page.experiment(of(lab), name, *metrics),
        "costs": lambda: _costs(members, to_root),
    }


def _costs(members: Sequence[Entry], to_root: str) -> str:
    """What the published results of a family took, one row a lab."""
    rows = [
        (
            f'<a href="{to_root}labs/{e.paper.slug}/">{escape(e.paper.name)}</a>',
            duration(e.shown["wall_seconds"]),
            duration(e.shown["unit_seconds"]),
            f"{e.shown['peak_memory_mb'] / 1000:.2g} GB",
        )
        for e in members
        if e.shown
    ]
    if not rows:
        return '<p class="absent">Nothing is published yet.</p>'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Lab", "Wall time", "Work in all processes", "Peak memory"))
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _paper_markers(entry: Entry, to_root: str, placed: Mapping[str, Sequence[str]]) -> dict[str, Marker]:
    """The pieces of a paper's page. `figures`, `experiments` and `tables` are whatever was published and not placed by name."""
    record = entry.shown or {}

    def rest(kind: str, names: Iterable[str], draw: Callable[[str], str]) -> str:
        return "\n\n".join(draw(name) for name in names if name not in placed[kind])

    def experiment(name: str, *metrics: str) -> str:
        return page.experiment(entry, name, *metrics)

    def figure(name: str) -> str:
        return page.figure(entry, name, to_root)

    return {
        "paper": lambda: page.heading(entry, to_root),
        "claims": lambda: page.claims(entry),
        "figure": figure,
        "figures": lambda: rest("figure", (f["name"] for f in record.get("figures", ())), figure),
        "value": lambda metric, arm: page.value(entry, metric, arm),
        "table": lambda name: page.ledger_table(entry, name),
        "tables": lambda: rest("table", record.get("tables", {}), lambda name: page.named(name, page.ledger_table(entry, name))),
        "experiment": experiment,
        "experiments": lambda: rest("experiment", record.get("experiments", {}), lambda name: page.named(name, experiment(name))),
        "cost": lambda: page.cost(entry),
        "commands": lambda: page.commands(entry),
        "source": lambda: page.source(entry),
        "provenance": lambda: page.provenance(entry),
    }


# ---------------------------------------------------------------- pages that nobody writes


def paper_pages(shelf: Mapping[str, Entry]) -> dict[str, str]:
    """A page for every paper, by path below `docs/`: those with an article of their own are meant to replace it."""
    return {f"labs/{slug}.md": _paper_page(entry) for slug, entry in shelf.items()}


def _paper_page(entry: Entry) -> str:
    if entry.lab is None:
        return _UNWRITTEN.format(name=entry.paper.name)
    module = f"hierlab.{entry.paper.family}.{entry.paper.slug.replace('-', '_')}"
    method = (
        f"::: {module}\n    options: {{skip_local_inventory: true, heading_level: 3}}" if module in modules() else escape(entry.paper.idea)
    )
    return _WRITTEN.format(name=entry.paper.name, method=method)


def navigation(shelf: Mapping[str, Entry]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The generated parts of the navigation: families with their papers, and the reference by package."""
    families: list[Any] = ["families/index.md"]
    for family in FAMILIES.values():
        members = [{e.paper.name: f"labs/{e.paper.slug}.md"} for e in shelf.values() if e.paper.family == family.slug]
        families.append({family.title: [f"families/{family.slug}/index.md", *members]})
    return {"Families": families}, {"Reference": reference_navigation()}
