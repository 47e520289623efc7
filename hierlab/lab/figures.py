"""Figures that are legible on a phone, in light and in dark, and small enough to publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierlab.files import write_atomic
from hierlab.lab.errors import Refused

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Measured, Results

# Mid-tones with at least 3:1 contrast on white and on the dark page, told apart by people with colour-vision deficiency.
COLOURS = ("#2f7ed8", "#d9730d", "#2a9d8f", "#c0479b", "#8a6fd1", "#b5842b", "#d64550", "#6b8f23")
NEUTRAL = "#7d8590"
GRID = "rgba(125,133,144,0.25)"
SEQUENTIAL = ((0.0, "#3b2f80"), (0.5, "#2a9d8f"), (1.0, "#f2d06b"))
DIVERGING = ((0.0, "#c0479b"), (0.5, "#a9b0b8"), (1.0, "#2f7ed8"))  # opaque: Plotly chooses a cell's text colour by its own
LIMIT_BYTES = 1_000_000


def house_style(figure: go.Figure, *, height: int | None = None) -> go.Figure:
    """Give the figure our layout: transparent, neutral text, no fixed width, room for a thumb. Changes it in place."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "automargin": True}
    figure.update_layout(
        template={"layout": {"colorway": list(COLOURS), "xaxis": axis, "yaxis": axis}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": NEUTRAL, "size": 13},
        hoverlabel={"font": {"size": 13}},
    )
    if figure.layout.margin.to_plotly_json() == {}:
        figure.update_layout(margin={"l": 44, "r": 12, "t": 36, "b": 44})
    if height:
        figure.update_layout(height=height)
    return figure


def figure_json(figure: go.Figure, name: str) -> str:
    """The figure as compact JSON.

    Raises:
        Refused: if it is larger than a page should carry.
    """
    text = json.dumps(json.loads(figure.to_json()), separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    if len(text.encode()) > LIMIT_BYTES:
        raise Refused(f"figure {name!r} is {len(text.encode()) / 1e6:.1f} MB, the limit is {LIMIT_BYTES / 1e6:.0f} MB: draw fewer points")
    return text


def write_figure(figure: go.Figure, path: Path) -> str:
    """Write the figure's JSON and give it back.

    Raises:
        Refused: as `figure_json`.
        OSError: if the file cannot be written.
    """
    text = figure_json(figure, path.stem)
    write_atomic(path, text)
    return text


def load_figure(path: Path) -> go.Figure:
    """A figure that was kept or published."""
    import plotly.io

    return plotly.io.from_json(path.read_text(encoding="utf-8"))


def learning_curves(results: Results, x: str, y: str, *, rate: str | float = "both") -> go.Figure:
    """Mean and 95 % interval over seeds against `x`; see `Results.plot`."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    if rate == "both" and len(results.rates) == 1:
        rate = "best"
    panels = ["shared", "best"] if rate == "both" else [rate]
    names = [_panel_title(results, panel) for panel in panels]
    figure = make_subplots(rows=len(panels), cols=1, subplot_titles=names, vertical_spacing=0.16) if len(panels) > 1 else go.Figure()
    for row, panel in enumerate(panels, start=1):
        place = {"row": row, "col": 1} if len(panels) > 1 else {}
        arms = {arm: results.best(arm) for arm in results.arms} if panel == "best" else results.at(panel)
        for number, measured in enumerate(arms.values()):
            for trace in _curve(measured, x, y, COLOURS[number % len(COLOURS)], first=row == 1):
                figure.add_trace(trace, **place)
        figure.update_xaxes(title_text=in_words(x) if row == len(panels) else None, **place)
        figure.update_yaxes(title_text=in_words(y), **place)
    figure.update_layout(legend={"orientation": "h", "y": -0.2 / len(panels), "yanchor": "top", "x": 0})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL})
    return house_style(figure, height=320 * len(panels) + 60)


def in_words(metric: str) -> str:
    """What an axis calls a metric: `click_rate_curve` is the click rate."""
    return metric.removesuffix("_curve").replace("_", " ")


def _panel_title(results: Results, panel: str | float) -> str:
    if panel == "best":
        return "each arm at its own best rate"
    return f"all arms at rate {results.shared_rate if panel == 'shared' else panel:g}"


def _curve(measured: Measured, x: str, y: str, colour: str, *, first: bool) -> list[Any]:
    """A line through the means and a band of their intervals."""
    import plotly.graph_objects as go

    from hierlab.lab.results import summary

    positions, curves = measured[x], measured[y]
    if any(list(p) != list(positions[0]) for p in positions) or any(len(c) != len(positions[0]) for c in curves):
        raise ValueError(f"{measured.arm}: {x!r} must be one list for all seeds, as long as every list {y!r}")
    points = [summary(values) for values in zip(*curves, strict=True)]
    along = [round(p, 6) for p in positions[0]]
    name, group = measured.arm, {"legendgroup": measured.arm}
    line = go.Scatter(
        x=along, y=[_short(p["mean"]) for p in points], name=name, line={"color": colour, "width": 2}, showlegend=first, **group
    )
    if points[0]["low"] is None:
        return [line]
    edge = [_short(p["high"]) for p in points] + [_short(p["low"]) for p in reversed(points)]
    band = {"fill": "toself", "fillcolor": colour, "opacity": 0.15, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    return [go.Scatter(x=along + along[::-1], y=edge, **band, **group), line]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
