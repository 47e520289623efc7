"""What code made a result: a digest of the lab and of every hierlab module it stands on.

A digest is taken of the syntax tree without docstrings, so comments, formatting and documentation may change; anything else
that could change a number may not. `from hierlab.credit import gigpo` depends on the module that defines `gigpo`, not on its
neighbours. Modules of the bench that only run, present, store or name results are left out (`NOT_FOLLOWED`; a new module is in
until it is listed there). So is what turns measurements into intervals and verdicts: a published result holds its measurements, and
`hierlab check` computes intervals and verdicts from them anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from hierlab.files import digest
from hierlab.lab.notebook import Cell, Notebook

PACKAGE = Path(__file__).parents[1]
BENCH = (
    "bench check claims dead_links digests display entries errors execute export figures formulas html job kernel ledger local "
    "locks mathml notebook open orphans overview page papers_table places progress provenance publish reference_pages results run seal "
    "searchable settings site site_pages stepper units verdicts"
)
NOT_FOLLOWED = {
    *("hierlab", "hierlab.cli", "hierlab.files", "hierlab.lab", "hierlab.papers", "hierlab.trace"),
    *(f"hierlab.lab.{name}" for name in BENCH.split()),
}


def lab_code(notebook: Notebook) -> dict[str, str]:
    """Digest by module of everything a published result of this lab depends on; the lab itself is "lab"."""
    cells = [c for c in notebook.cells if c.markdown is None]
    return {"lab": _cells_digest(cells)} | _modules_digest(cells)


def experiment_code(notebook: Notebook, experiment: str) -> str:
    """One digest of everything the units of an experiment depend on: its cell, the cells before it that it uses, their imports."""
    cells = notebook.ancestors(notebook.experiment_cell(experiment))
    return digest({"cells": _cells_digest(cells), **_modules_digest(cells)})


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The modules in which two codes differ, each with how."""
    words = {(True, False): "no longer used", (False, True): "newly used", (True, True): "changed"}
    return [f"{m} {words[m in then, m in now]}" for m in sorted({*then, *now}) if then.get(m) != now.get(m)]


def imported_modules(tree: ast.AST, inside: str = "") -> set[str]:
    """The hierlab modules that a piece of code imports directly, names re-exported by a package traced to their home.

    Args:
        tree: the code.
        inside: the dotted name of the package it is in, for relative imports.
    """
    found: set[str] = set()
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(home for alias in node.names for home in _homes(_source(node, inside), alias.name))
    return {name for name in found if _file(name)}


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those below `if TYPE_CHECKING:`, which never run."""
    yield tree
    if not (isinstance(tree, ast.If) and getattr(tree.test, "id", "") == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(tree):
            yield from _run_time_nodes(child)


def _cells_digest(cells: Iterable[Cell]) -> str:
    return digest([_skeleton(s) for c in cells for s in c.body if not isinstance(s, ast.Return)])


def _modules_digest(cells: Iterable[Cell]) -> dict[str, str]:
    direct = {name for cell in cells for statement in cell.body for name in imported_modules(statement)}
    reached, waiting = set(), direct - NOT_FOLLOWED
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= _imports_of(name) - NOT_FOLLOWED - reached
    return {name: _module_digest(name) for name in sorted(reached)}


def _homes(package: str, name: str) -> Iterator[str]:
    """The module, or modules, that `from package import name` depends on."""
    file = _file(package)
    if not file:
        return
    if file.name != "__init__.py":
        yield package
        return
    exported = _exports(package)
    if name in exported:
        yield exported[name]
    elif _file(f"{package}.{name}"):
        yield f"{package}.{name}"
    else:
        yield package


@cache
def _exports(package: str) -> dict[str, str]:
    """Name -> home module of what a package's `__init__` imports from its own modules."""
    return {
        alias.asname or alias.name: home
        for node in _tree(package).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        for home in _homes(_source(node, package), alias.name)
    }


def _source(node: ast.ImportFrom, inside: str) -> str:
    """The dotted name of what a `from` statement imports from; `inside` is the package it stands in."""
    above = inside.split(".")[: len(inside.split(".")) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


@cache
def _imports_of(module: str) -> frozenset[str]:
    inside = module if _file(module).name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imported_modules(_tree(module), inside))


@cache
def _module_digest(module: str) -> str:
    return digest(_skeleton(_tree(module)))


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@cache
def _file(module: str) -> Path | None:
    """The source file of a hierlab module or package, if there is one."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*parts[1:])
    return next((f for f in (base / "__init__.py", base.with_suffix(".py")) if f.is_file()), None)


def _skeleton(node: object) -> object:
    """A syntax tree as plain lists, without positions, docstrings and empty fields, so that it is the same on every Python."""
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    if isinstance(node, ast.AST):
        pairs = [(name, value) for name, value in ast.iter_fields(node) if name not in ("type_comment", "type_ignores", "kind")]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            pairs = [(name, _without_docstring(value) if name == "body" else value) for name, value in pairs]
        return [type(node).__name__, *([name, _skeleton(value)] for name, value in pairs if value is not None and value != [])]
    return [_skeleton(item) for item in node] if isinstance(node, list) else node


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(ast.Constant(str())), *rest]:
            return rest
    return body
