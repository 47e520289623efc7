"""The site's pages: which there are, and how the markers in them are filled.

A hand-written page under `docs/` may hold markers, each of which is replaced by a piece of `hierlab.lab.page`:

    {{ figure microscope }}      {{ value "searchhouse: auc" GiGPO }}      {{ claims }}

A paper whose article nobody has written gets a page made of the same pieces, so all pages have one skeleton.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hierlab.lab import page
from hierlab.lab.errors import Refused, suggest
from hierlab.lab.page import Entry
from hierlab.papers import FAMILIES

PACKAGE = Path(__file__).parents[1]
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
    every = tuple(shelf.values())
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
        "papers": lambda: page.papers_filter(every) + page.papers_table(every, to_root),
        "families": lambda: _families(every),
    }


def _families(every: Sequence[Entry]) -> str:
    """All families, each with what its papers share and how many they are."""
    items = []
    for family in FAMILIES.values():
        members = [e for e in every if e.paper.family == family.slug]
        count = f"{len(members)} paper{'s' * (len(members) != 1)}, {sum(e.lab is not None for e in members)} with a lab"
        items.append(f"[{family.title}]({family.slug}/index.md)\n:   {family.description} *{count}.*")
    return "\n\n".join(items)


def _family_markers(slug: str, to_root: str, shelf: Mapping[str, Entry]) -> dict[str, Marker]:
    members = [e for e in shelf.values() if e.paper.family == slug]

    def figure(lab: str, name: str) -> str:
        if lab not in shelf:
            raise Refused(f"no paper {lab!r}")
        return page.figure(shelf[lab], name, to_root)

    return {"methods": lambda: page.papers_table(members, to_root, with_family=False), "figure": figure}


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
        "tables": lambda: rest("table", record.get("tables", {}), lambda name: page.ledger_table(entry, name)),
        "experiment": experiment,
        "experiments": lambda: rest("experiment", record.get("experiments", {}), experiment),
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
        f"::: {module}\n    options: {{skip_local_inventory: true, heading_level: 3}}"
        if module in modules()
        else page.escape(entry.paper.idea)
    )
    return _WRITTEN.format(name=entry.paper.name, method=method)


def modules() -> dict[str, str]:
    """Every public module of hierlab, with the first sentence of its docstring, in alphabetical order; nothing is imported."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found[".".join(parts)] = _first_line(file)
    return dict(sorted(found.items()))


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("|", "\\|")


def reference_pages() -> dict[str, str]:
    """A page for every module, by path below `docs/`; a package's page lists its modules."""
    every = modules()
    pages = {}
    for name in every:
        path = _reference_path(name)
        if not path.endswith("index.md"):
            pages[path] = f"# {name}\n\n::: {name}\n"
            continue
        inside = [m for m in every if m.rpartition(".")[0] == name]
        rows = "".join(f"| [`{m.rpartition('.')[2]}`]({_relative(m, name)}) | {every[m]} |\n" for m in inside)
        listing = f"| module | what it is |\n| --- | --- |\n{rows}" if inside else ""
        # What a package imports from its modules stands on their pages; what it defines itself stands here.
        own = "".join(
            f"::: {name}.{member}\n    options: {{show_root_heading: true, show_root_full_path: false}}\n\n" for member in _defined(name)
        )
        pages[path] = f"# {name}\n\n::: {name}\n    options: {{members: false}}\n\n{listing}\n{own}"
    return pages


def _defined(package: str) -> list[str]:
    """The public functions, classes and values that a package's own file defines."""
    body = ast.parse((PACKAGE.parent.joinpath(*package.split(".")) / "__init__.py").read_text(encoding="utf-8")).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names += [node.targets[0].id for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return [name for name in names if not name.startswith("_")]


def _reference_path(name: str) -> str:
    parts = name.split(".")[1:]
    package = (PACKAGE.joinpath(*parts) / "__init__.py").is_file()
    return "/".join(["reference", *parts, "index.md"] if package else ["reference", *parts]) + ("" if package else ".md")


def _relative(target: str, package: str) -> str:
    return _reference_path(target).removeprefix(_reference_path(package).removesuffix("index.md"))


def navigation(shelf: Mapping[str, Entry]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The generated parts of the navigation: families with their papers, and the reference by package."""
    families: list[Any] = ["families/index.md"]
    for family in FAMILIES.values():
        members = [{e.paper.name: f"labs/{e.paper.slug}.md"} for e in shelf.values() if e.paper.family == family.slug]
        families.append({family.title: [f"families/{family.slug}/index.md", *members]})
    return {"Families": families}, {"Reference": _reference_navigation(PACKAGE.name)}


def _reference_navigation(package: str) -> list[Any]:
    every = modules()
    inside = [m for m in every if m.rpartition(".")[0] == package]
    items: list[Any] = [_reference_path(package)]
    for name in inside:
        path, label = _reference_path(name), name.rpartition(".")[2]
        items.append({label: _reference_navigation(name) if path.endswith("index.md") else path})
    return items
