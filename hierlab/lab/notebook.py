"""A lab's file, read without running it: its cells, how they depend on each other, its settings.

marimo keeps a notebook as a Python file: one function a cell. Everything here works on its syntax tree.
"""

from __future__ import annotations

import ast
import builtins
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from hierlab.lab.errors import Refused
from hierlab.lab.places import shown
from hierlab.lab.settings import Choice, setting, settings


@dataclass(frozen=True)
class Cell:
    """One cell: its name ("_" if it has none), its first line in the file, its statements."""

    name: str
    line: int
    body: tuple[ast.stmt, ...] = field(repr=False)

    @cached_property
    def markdown(self) -> str | None:
        """The text of a cell that is nothing but `mo.md("...")`, else None."""
        body = [s for s in self.body if not isinstance(s, ast.Return)]
        match body:
            case [ast.Expr(ast.Call(func=ast.Attribute(value=ast.Name("mo"), attr="md"), args=[ast.Constant(str(text))]))]:
                return textwrap.dedent(text)
        return None

    @cached_property
    def defines(self) -> frozenset[str]:
        """The names other cells can use: assigned at any depth outside functions, imported, or defined."""
        return frozenset(name for statement in self.body for name in _bound(statement))

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names it reads, its own and Python's left out."""
        names = {n.id for s in self.body if not isinstance(s, ast.Return) for n in ast.walk(s) if isinstance(n, ast.Name)}
        return frozenset(names - self.defines - set(dir(builtins)))

    def calls(self, attribute: str) -> Iterator[ast.Call]:
        """Every call of a function or method of this name, such as `stepper(...)` or `bench.compare(...)`."""
        for statement in self.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and (getattr(node.func, "attr", None) or getattr(node.func, "id", None)) == attribute:
                    yield node


@dataclass(frozen=True)
class Notebook:
    """A lab's file and its cells, in the order of the file."""

    path: Path
    cells: tuple[Cell, ...]

    def ancestors(self, cell: Cell) -> tuple[Cell, ...]:
        """The cell and all it depends on, in the order of the file."""
        wanted, open_cells = {cell}, [cell]
        while open_cells:
            names = open_cells.pop().uses
            found = [c for c in self.cells if c not in wanted and c.defines & names]
            wanted.update(found)
            open_cells += found
        return tuple(c for c in self.cells if c in wanted)

    def experiment_cell(self, experiment: str) -> Cell:
        """The cell that calls `bench.compare("<experiment>", ...)`.

        Raises:
            Refused: if there is none, or more than one.
        """
        found = [c for c in self.cells if any(_first_text(call) == experiment for call in c.calls("compare"))]
        if len(found) != 1:
            raise Refused(
                f"{shown(self.path)}: {'no cell calls' if not found else 'more than one cell calls'} bench.compare({experiment!r}, ...); "
                "an experiment's name is a literal text, used once"
            )
        return found[0]

    def settings(self, scale: str, overrides: Mapping[str, Any]) -> Choice:
        """The settings that the lab chooses for this scale and these overrides, found without running the lab.

        Raises:
            Refused: as `hierlab.lab.settings.settings`, and if the lab has not exactly one `class Settings` and one call of
                `settings`, or these use anything but literals.
        """
        cells = [c for c in self.cells if any(isinstance(s, ast.ClassDef) and s.name == "Settings" for s in c.body)]
        calls = [call for c in self.cells for call in c.calls("settings")]
        if len(cells) != 1 or len(calls) != 1:
            raise Refused(f"{shown(self.path)}: wants one cell with class Settings and one call settings(Settings, scale, overrides, ...)")
        definition = next(s for s in cells[0].body if isinstance(s, ast.ClassDef) and s.name == "Settings")
        namespace: dict[str, Any] = {
            "__name__": __name__,
            "dataclass": dataclass,
            "Literal": Literal,
            "Annotated": Annotated,
            "setting": setting,
            "settings": settings,
            "scale": scale,
            "overrides": dict(overrides),
        }
        try:
            exec(compile(ast.Module([definition], []), str(self.path), "exec", dont_inherit=True), namespace)
            return eval(compile(ast.Expression(calls[0]), str(self.path), "eval", dont_inherit=True), namespace)
        except Refused:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise Refused(f"{shown(self.path)}: class Settings and settings(...) may use literals only ({problem})") from error


def read_notebook(path: Path) -> Notebook:
    """The cells of a marimo file.

    Raises:
        Refused: if the file cannot be read, is not Python, or has no cells.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise Refused(f"{shown(path)}: cannot be read as a marimo notebook: {error}") from error
    cells = tuple(cell for statement in tree.body if (cell := _cell(statement)))
    if not cells:
        raise Refused(f"{shown(path)}: is no marimo notebook: it has no @app.cell")
    return Notebook(path, cells)


def _cell(statement: ast.stmt) -> Cell | None:
    match statement:
        case ast.With(items=[ast.withitem(context_expr=ast.Attribute(value=ast.Name("app"), attr="setup"))]):
            return Cell("setup", statement.lineno, tuple(statement.body))
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if statement.decorator_list:
            kinds = {_app_attribute(d) for d in statement.decorator_list}
            if "cell" in kinds:
                return Cell(statement.name, statement.lineno, tuple(statement.body))
            if kinds & {"function", "class_definition"}:
                statement.decorator_list = [d for d in statement.decorator_list if not _app_attribute(d)]
                return Cell(statement.name, statement.lineno, (statement,))
    return None


def _app_attribute(decorator: ast.expr) -> str | None:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.attr if isinstance(target, ast.Attribute) and getattr(target.value, "id", None) == "app" else None


def _first_text(call: ast.Call) -> str | None:
    return call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None


def _bound(node: ast.AST) -> Iterator[str]:
    """Names a statement binds in its cell's scope."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)
