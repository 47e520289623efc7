"""One figure to step through a method: a slider over the quantities it recorded, each with its formula and picture.

The slider switches traces on and off, which needs no server: the same object works in marimo, in Jupyter, and on a static page.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hierlab.lab.figures import COLOURS, DIVERGING, GRID, NEUTRAL, SEQUENTIAL, house_style
from hierlab.lab.formulas import formula_html, visible_length

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.trace import Step, Tape

Layout = Literal["auto", "rows", "grid"]
MAX_ROWS, MAX_COLUMNS = 64, 128
MAX_TEXT_ROWS, MAX_TEXT_COLUMNS = 16, 10  # more cells than that have no room for their numbers on a phone
_LINE = 44  # characters that fit beside each other on a phone
_TITLE = {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 8}
_TITLE |= {"align": "left", "showarrow": False, "font": {"size": 15}}


@dataclass(frozen=True)
class Picture:
    """One step, ready to be drawn.

    Attributes:
        kind: "rows" (bars along the rows), "grid" (trajectory by turn), "matrix" (row by position).
        title: name, shape and formula, in Plotly's tags.
        values: what is drawn, NaN where there is nothing: [N], or a matrix.
        names: what stands for each number of a group, if the values are groups.
    """

    kind: str
    title: str
    values: np.ndarray
    names: tuple[str, ...] = ()


def stepper(
    tape: Tape | Sequence[Step],
    *,
    trajectory: Sequence[Hashable] | None = None,
    turn: Sequence[int] | None = None,
    layout: Layout = "auto",
    row_names: Sequence[str] | None = None,
) -> go.Figure:
    """The recorded steps as one figure with its own slider.

    Numbers are bars or, where `trajectory` and `turn` place the rows, cells of a grid; [N, T] is a heat map; groups (names, or
    integers numbered from 0 in order of appearance) have colours of their own. Of large batches the first rows are shown.

    Args:
        tape: a tape, or its steps.
        trajectory: [N] the trajectory of each row.
        turn: [N] the place of each row in its trajectory.
        layout: "grid" wants `trajectory` and `turn`; "rows" ignores them; "auto" uses them if they are given.
        row_names: [N] what to call the rows along the axis.

    Raises:
        ValueError: if there are no steps, a step has more than two dimensions, or the columns do not fit the rows.
    """
    import plotly.graph_objects as go

    steps = list(getattr(tape, "steps", tape))
    if not steps:
        raise ValueError("the tape is empty: call the method inside `with Tape() as tape:`")
    if layout not in ("auto", "rows", "grid"):
        raise ValueError(f"layout must be auto, rows or grid, got {layout!r}")
    place = None if layout == "rows" else _places(trajectory, turn, required=layout == "grid")
    pictures = [_picture(number, len(steps), step, place) for number, step in enumerate(steps, start=1)]
    kinds = list(dict.fromkeys(p.kind for p in pictures))
    figure = go.Figure([_trace(p, kinds.index(p.kind), place, row_names) for p in pictures])
    for number, trace in enumerate(figure.data):
        trace.visible = number == 0
    _axes(figure, kinds, pictures, numbered=row_names is None)
    buttons = [_slider_step(number, pictures, kinds) for number in range(len(pictures))]
    slider = {"steps": buttons, "currentvalue": {"visible": False}, "pad": {"t": 44, "b": 4}, "len": 1, "x": 0, "bordercolor": NEUTRAL}
    slider |= {"bgcolor": GRID, "activebgcolor": COLOURS[0], "font": {"color": NEUTRAL}, "tickcolor": NEUTRAL}
    figure.update_layout(
        annotations=[{"text": pictures[0].title, **_TITLE}],
        sliders=[slider],
        margin={"l": 48, "r": 12, "t": 36 + 20 * max(1 + p.title.count("<br>") for p in pictures), "b": 40},
        showlegend=False,
        bargap=0.25,
    )
    return house_style(figure, height=460)


Places = tuple[np.ndarray, np.ndarray, list[str]]


def _places(trajectory: Sequence[Hashable] | None, turn: Sequence[int] | None, *, required: bool) -> Places | None:
    """Grid row and grid column of every row, and the trajectories' names."""
    if trajectory is None or turn is None:
        if required or (trajectory is None) != (turn is None):
            raise ValueError("a grid needs both trajectory and turn, one entry a row")
        return None
    names = list(dict.fromkeys(_plain_list(trajectory)))
    number = {name: i for i, name in enumerate(names)}
    rows = np.array([number[t] for t in _plain_list(trajectory)], dtype=int)
    columns = np.array(_plain_list(turn), dtype=int)
    if len(rows) != len(columns):
        raise ValueError(f"trajectory and turn must have one entry a row, got {len(rows)} and {len(columns)}")
    return rows, columns, [str(name) for name in names]


def _picture(number: int, total: int, step: Step, place: Places | None) -> Picture:
    values, names = _numbers(step)
    title = _title(f"{number} of {total} · {step.name}", step.formula, np.shape(values))
    if values.ndim == 2:
        shown = values[:MAX_ROWS, :MAX_COLUMNS]
        return Picture("matrix", title + _cut(values.shape, shown.shape), shown, names)
    if place is not None and len(values) == len(place[0]):
        grid = np.full((place[0].max() + 1, place[1].max() + 1), np.nan) if len(values) else np.full((0, 0), np.nan)
        grid[place[0], place[1]] = values
        shown = grid[:MAX_ROWS, :MAX_COLUMNS]
        return Picture("grid", title + _cut(grid.shape, shown.shape, "trajectories"), shown, names)
    shown = values[:MAX_ROWS]
    return Picture("rows", title + _cut(values.shape, shown.shape), shown, names)


def _numbers(step: Step) -> tuple[np.ndarray, tuple[str, ...]]:
    """A step's value as float64 with NaN for what is not finite, and the names of groups if it is made of groups."""
    value = _plain_list(step.value)
    flat = value if isinstance(value, list) else [value]
    if any(isinstance(v, str) for v in flat) or (flat and isinstance(flat[0], tuple)):
        names = list(dict.fromkeys(flat))
        return np.array([names.index(v) for v in flat], dtype=float), tuple(map(str, names))
    try:
        array = np.atleast_1d(np.asarray(flat if isinstance(value, list) else value, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(
            f"step {step.name!r} is a {type(step.value).__name__}: the stepper draws numbers, names, rows and matrices"
        ) from None
    if array.ndim > 2:
        raise ValueError(f"step {step.name!r} has shape {array.shape}: the stepper draws at most two dimensions")
    array = np.where(np.isfinite(array), array, np.nan)
    return array, _group_names(flat) if array.ndim == 1 else ()


def _group_names(flat: list[Any]) -> tuple[str, ...]:
    """Names of groups, if these are integers numbered from 0 in the order of their appearance, and more than one."""
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in flat):
        return ()
    order = list(dict.fromkeys(flat))
    return tuple(map(str, order)) if len(order) > 1 and order == list(range(len(order))) else ()


def _plain_list(value: Any) -> Any:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, tuple | range) else value


def _title(name: str, formula: str, shape: tuple[int, ...]) -> str:
    html = formula_html(formula) if formula else ""
    if visible_length(html) > _LINE:
        html = html.replace(" = ", "<br>= ", 1)
    size = f" <span style='font-size:11px'>[{', '.join(map(str, shape))}]</span>" if math.prod(shape) > 1 else ""
    return f"<b>{name}</b>{size}<br>{html}" if html else f"<b>{name}</b>{size}"


def _cut(full: tuple[int, ...], shown: tuple[int, ...], what: str = "rows") -> str:
    if full == shown:
        return ""
    columns = f" and {shown[1]} of {full[1]} columns" if len(full) > 1 and full[1] != shown[1] else ""
    return f"<br><span style='font-size:11px'>the first {shown[0]} of {full[0]} {what}{columns}</span>"


def _trace(picture: Picture, axis: int, place: Places | None, row_names: Sequence[str] | None) -> Any:
    import plotly.graph_objects as go

    on = {"xaxis": f"x{axis + 1 if axis else ''}", "yaxis": f"y{axis + 1 if axis else ''}"}
    values = picture.values
    if picture.kind == "rows":
        colours = [COLOURS[int(v) % len(COLOURS)] for v in values] if picture.names else COLOURS[0]
        names = list(row_names[: len(values)]) if row_names is not None else list(range(len(values)))
        heights = np.ones(len(values)) if picture.names else values
        texts = [picture.names[int(v)] for v in values] if picture.names else [_label(v) for v in values]
        return go.Bar(x=names, y=_json(heights), marker={"color": colours}, text=texts, hovertext=texts, **on)
    rows = [f"{name}" for name in place[2][: len(values)]] if picture.kind == "grid" else None
    scale = _colours(values, picture.names)
    texts = {}
    if values.shape[0] <= MAX_TEXT_ROWS and values.shape[1] <= MAX_TEXT_COLUMNS:
        shown = [[_label(v) if not picture.names or np.isnan(v) else picture.names[int(v)] for v in line] for line in values]
        texts = {"text": shown, "texttemplate": "%{text}", "textfont": {"size": 11}}
    hover = "trajectory %{y}, turn %{x}: %{z:.4g}" if picture.kind == "grid" else "row %{y}, position %{x}: %{z:.4g}"
    return go.Heatmap(z=_json(values), y=rows, xgap=2, ygap=2, hovertemplate=f"{hover}<extra></extra>", **scale, **texts, **on)


def _colours(values: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """One colour a group; a scale centred on 0 for signed numbers; a plain scale for the rest."""
    if names:
        count = len(names)
        edges = [(edge, COLOURS[i % len(COLOURS)]) for i in range(count) for edge in (i / count, (i + 1) / count)]
        return {"colorscale": edges, "zmin": -0.5, "zmax": count - 0.5, "showscale": False}
    finite = values[np.isfinite(values)]
    bar = {"colorbar": {"thickness": 10, "len": 0.9, "outlinewidth": 0, "tickfont": {"color": NEUTRAL}}}
    if finite.size and finite.min() < 0:
        reach = float(np.abs(finite).max())
        return {"colorscale": DIVERGING, "zmin": -reach, "zmax": reach, **bar}
    return {"colorscale": SEQUENTIAL, "zmin": 0, "zmax": float(finite.max()) if finite.size and finite.max() > 0 else 1.0, **bar}


def _axes(figure: go.Figure, kinds: list[str], pictures: list[Picture], *, numbered: bool) -> None:
    """One pair of axes a kind of picture, all in the same place; the slider shows the pair it needs."""
    titles = {"rows": ("row", ""), "grid": ("turn", "trajectory"), "matrix": ("position", "row")}
    for number, kind in enumerate(kinds):
        suffix, across, upwards = (str(number + 1) if number else ""), *titles[kind]
        upward = {"title": {"text": upwards}, "anchor": f"x{suffix}", "visible": kind == pictures[0].kind}
        if kind != "rows":
            upward |= {"autorange": "reversed", "type": "category" if kind == "grid" else "linear"}
        along = {"title": {"text": across}, "anchor": f"y{suffix}", "visible": kind == pictures[0].kind, "domain": [0, 1]}
        if kind != "rows":
            width = max(p.values.shape[1] for p in pictures if p.kind == kind)
            along |= {"tick0": 0, "dtick": max(1, math.ceil(width / 8)), "showgrid": False, "zeroline": False}
            upward |= {"showgrid": False, "zeroline": False}
        elif numbered:
            along |= {"tick0": 0, "dtick": max(1, math.ceil(max(len(p.values) for p in pictures if p.kind == kind) / 8))}
        figure.update_layout({f"xaxis{suffix}": along, f"yaxis{suffix}": upward | {"domain": [0, 1]}})


def _slider_step(number: int, pictures: list[Picture], kinds: list[str]) -> dict[str, Any]:
    layout: dict[str, Any] = {"annotations[0].text": pictures[number].title}
    for axis, kind in enumerate(kinds):
        suffix = str(axis + 1) if axis else ""
        layout |= {f"xaxis{suffix}.visible": kind == pictures[number].kind, f"yaxis{suffix}.visible": kind == pictures[number].kind}
    visible = [other == number for other in range(len(pictures))]
    return {"method": "update", "label": str(number + 1), "args": [{"visible": visible}, layout]}


def _label(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.2f}".replace("-", "−")


def _json(values: np.ndarray) -> Any:
    """Numbers at four digits, None for NaN: small and readable in a published figure."""
    if values.ndim == 2:
        return [_json(line) for line in values]
    return [None if math.isnan(v) else float(f"{v:.4g}") for v in values.tolist()]
