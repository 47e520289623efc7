"""The reference: a page for every public module, found without importing anything, so that a new module is never forgotten.

It holds what modules promise; the code of a method stands on the page of its lab, where it is explained. Of the bench it holds what
the author of a lab calls; what runs, stores and presents labs is left to its source, and so are the studies of single labs, which their
pages tell about.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
AUTHORS = {
    *("hierlab.lab.bench", "hierlab.lab.blocks", "hierlab.lab.claims", "hierlab.lab.credit_bench", "hierlab.lab.display"),
    *("hierlab.lab.errors", "hierlab.lab.figures", "hierlab.lab.formulas", "hierlab.lab.microscope", "hierlab.lab.plan_testbed"),
    *("hierlab.lab.results", "hierlab.lab.settings", "hierlab.lab.stepper", "hierlab.lab.sweep", "hierlab.lab.testbed"),
    *("hierlab.lab.token_testbed", "hierlab.lab.verdicts"),
}
"""What of the bench the author of a lab calls."""


@cache
def modules() -> dict[str, str]:
    """Every module with a page, with the first sentence of its docstring, in alphabetical order; nothing is imported."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = ".".join(parts)
        if "._" not in name and (name in AUTHORS or not name.startswith(("hierlab.lab.", "hierlab.studies"))):
            found[name] = _first_line(file)
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
            pages[path] = f"# {name}\n\n::: {name}\n    options: {{show_source: false}}\n"
            continue
        inside = [m for m in every if m.rpartition(".")[0] == name]
        rows = "".join(f"| [`{m.rpartition('.')[2]}`]({_relative(m, name)}) | {every[m]} |\n" for m in inside)
        listing = f"| module | what it is |\n| --- | --- |\n{rows}" if inside else ""
        # What a package imports from its modules stands on their pages; what it defines itself stands here.
        how = "{show_root_heading: true, show_root_full_path: false, show_source: false}"
        own = "".join(f"::: {name}.{member}\n    options: {how}\n\n" for member in _defined(name))
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


def reference_navigation(package: str = PACKAGE.name) -> list[Any]:
    """The reference's part of the navigation, packages as sections."""
    every = modules()
    inside = [m for m in every if m.rpartition(".")[0] == package]
    items: list[Any] = [_reference_path(package)]
    for name in inside:
        path, label = _reference_path(name), name.rpartition(".")[2]
        items.append({label: reference_navigation(name) if path.endswith("index.md") else path})
    return items
