"""Hold labs to the common skeleton, and published results to the lab, the code and the arithmetic that made them."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hierlab.lab import ledger
from hierlab.lab.claims import outcome, rejudged
from hierlab.lab.digests import differences, lab_code
from hierlab.lab.errors import Refused
from hierlab.lab.export import PARAMETERS
from hierlab.lab.notebook import Cell, Notebook, read_notebook
from hierlab.lab.places import SCALES, figures_folder, lab_file, labs, register, result_file, root, shown
from hierlab.lab.publish import check_figure
from hierlab.lab.results import from_record, summary

SECTIONS = ("Step through", "Microscope", "Experiment", "Verdicts", "Take it home")
CALLS = {"Step through": "stepper", "Experiment": "compare", "Verdicts": "verdicts"}


def check_labs(slugs: Sequence[str] | None = None) -> tuple[list[str], str]:
    """Check labs and what is published of them.

    Args:
        slugs: which labs; all of them, and every result file, if none is named.

    Returns:
        The findings, one line each, and what was checked, in words.

    Raises:
        Refused: if a named lab does not exist.
    """
    paths = [lab_file(slug) for slug in dict.fromkeys(slugs)] if slugs else list(labs().values())
    wanted = [result_file(path.stem, scale) for path in paths for scale in SCALES]
    results = [p for p in wanted if p.is_file()] if slugs else sorted((root() / "data" / "results").glob("*.json"))
    findings = [f for path in paths for f in check_lab(path)] + [f for path in results for f in check_result(path)]
    return findings, f"{len(paths)} lab{'s' * (len(paths) != 1)}, {len(results)} published result{'s' * (len(results) != 1)}"


def check_lab(path: Path) -> list[str]:
    """What is wrong with a lab's file, one line each, without running it."""
    try:
        notebook = read_notebook(path)
        for scale in SCALES:
            notebook.settings(scale, {})
    except Refused as error:
        return [str(error)]
    parts = (_register, _parameters, _names, _skeleton)
    return [f"{shown(path)}{f':{line}' if line else ''}: {words}" for part in parts for line, words in part(notebook)]


def check_result(path: Path) -> list[str]:
    """What is wrong with a published result, one line each."""
    slug, _, scale = path.stem.rpartition(".")
    try:
        if scale not in SCALES or not slug:
            raise Refused(f"{shown(path)}: a result file is named <lab>.<scale>.json")
        record = ledger.read(path)
        notebook = read_notebook(lab_file(slug))
        choice = notebook.settings(scale, {})
    except Refused as error:
        return [str(error)]
    again = f"run and publish {slug} again, or restore the code"
    if (record["lab"], record["scale"]) != (slug, scale):
        return [f"{shown(path)}: holds the result of {record['lab']} at {record['scale']} scale"]
    found = []
    if record["settings_hash"] != choice.hash:
        found.append(f"was made with other settings: {', '.join(_changed(record['settings'], choice.record))}; {again}")
    if changed := differences(record["code"], lab_code(notebook)):
        found.append(f"was made by other code: {', '.join(changed)}; {again}")
    return [f"{shown(path)}: {words}" for words in [*found, *_arithmetic(record), *_figures(record)]]


def _changed(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]


def _arithmetic(record: dict[str, Any]) -> Iterator[str]:
    """Whether intervals, verdicts and best rates follow from the measurements that the record holds."""
    for arm, metrics in record["metrics"].items():
        for name, numbers in metrics.items():
            if not _same(numbers, summary(numbers["per_seed"])):
                yield f"metric {name!r} of {arm}: mean or interval do not follow from its seeds"
    for name, experiment in record["experiments"].items():
        try:
            results = from_record(name, experiment, "")
        except ValueError as error:
            yield str(error)
            continue
        for arm in results.arms:
            best = results.best(arm)
            for metric in best.numbers:
                if not _same(list(best[metric]), record["metrics"].get(arm, {}).get(f"{name}: {metric}", {}).get("per_seed")):
                    yield f"metric {f'{name}: {metric}'!r} of {arm} does not follow from the experiment's units"
    ids = [claim.id for paper in register() if paper.slug == record["lab"] for claim in paper.claims]
    if ids != [claim["id"] for claim in record["claims"]]:
        yield f"claims are {', '.join(c['id'] for c in record['claims'])}; the register has {', '.join(ids)}"
    for claim in record["claims"]:
        parts = [rejudged(part) for part in claim["parts"]]
        if not _same(parts, claim["parts"]) or (
            parts and not _same(outcome(parts, record["scale"]), {k: claim[k] for k in outcome(parts, "")})
        ):
            yield f"claim {claim['id']}: effect, interval or verdict do not follow from its measurements"


def _figures(record: dict[str, Any]) -> Iterator[str]:
    folder = figures_folder(record["lab"], record["scale"])
    for figure in record["figures"]:
        try:
            check_figure(folder / f"{figure['name']}.json", figure["digest"])
        except Refused as error:
            yield str(error)
    known = {figure["name"] for figure in record["figures"]}
    for path in sorted(folder.glob("*.json")):
        if path.stem not in known:
            yield f"figure {shown(path)} belongs to no published result; delete it"


def _same(a: Any, b: Any) -> bool:
    """Equal, numbers up to what another machine's arithmetic may change."""
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def _register(notebook: Notebook) -> Iterator[tuple[int, str]]:
    slug, folder = notebook.path.stem, notebook.path.parent.name
    paper = next((p for p in register() if p.slug == slug), None)
    if paper is None:
        yield 0, "its name is no paper's slug; `hierlab list` shows them"
    elif paper.family != folder:
        yield 0, f"belongs in labs/{paper.family}/"
    for cell in notebook.cells:
        for call in cell.calls("Bench"):
            if not (call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == slug):
                yield cell.line, f"wants Bench({slug!r}, ...)"


def _parameters(notebook: Notebook) -> Iterator[tuple[int, str]]:
    cells = [c for c in notebook.cells if c.name != "setup"]
    named = [c for c in cells if c.name == "parameters"]
    if len(named) != 1 or cells[0] is not named[0]:
        yield (named[0].line if named else 0), "the first cell must be the one named parameters"
        return
    values = {}
    for statement in named[0].body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                try:
                    values[name] = ast.literal_eval(value)
                except ValueError:
                    values[name] = ...
    if values != {"scale": "reduced", "seeds": 0, "overrides": {}}:
        yield named[0].line, f'the parameters cell holds {", ".join(PARAMETERS)}, as scale = "reduced", seeds = 0, overrides = {{}}'


def _names(notebook: Notebook) -> Iterator[tuple[int, str]]:
    """marimo refuses a notebook in which two cells define one name."""
    first: dict[str, Cell] = {}
    for cell in notebook.cells:
        for name in sorted(n for n in cell.defines if not n.startswith("_")):
            if (other := first.setdefault(name, cell)) is not cell:
                yield cell.line, f"{name} is defined here and in line {other.line}; marimo wants one cell a name"


def _skeleton(notebook: Notebook) -> Iterator[tuple[int, str]]:
    """Whether the sections stand in the common order, each with the call it is there for."""
    headings = [(position, _section(cell)) for position, cell in enumerate(notebook.cells) if _section(cell)]
    names = [name for _, name in headings]
    if missing := [section for section in SECTIONS if section not in names]:
        yield 0, f"lacks the section{'s' * (len(missing) > 1)} {', '.join(missing)} (a cell of mo.md headed '## {missing[0]}')"
    if twice := [section for section in SECTIONS if names.count(section) > 1]:
        yield 0, f"has two sections headed {', '.join(twice)}"
    if sorted(names, key=SECTIONS.index) != names:
        yield 0, f"sections stand in the order {', '.join(names)}; the common one is {', '.join(SECTIONS)}"
    begin = headings[0][0] if headings else len(notebook.cells)
    if not any(list(cell.calls("paper")) for cell in notebook.cells[:begin]):
        yield 0, f"bench.paper() must stand before the section '{SECTIONS[0]}'"
    for (start, name), (end, _) in pairwise([*headings, (len(notebook.cells), "")]):
        call = CALLS.get(name)
        if call and not any(list(cell.calls(call)) for cell in notebook.cells[start:end]):
            yield notebook.cells[start].line, f"the section '{name}' must call {call}(...)"


def _section(cell: Cell) -> str | None:
    """The section a cell of text begins, if it begins one."""
    lines = [line.strip() for line in (cell.markdown or "").splitlines() if line.strip().startswith("## ")]
    return next((section for line in lines for section in SECTIONS if line[3:].startswith(section)), None)
