"""One drawing for whatever is measured at several levels: a panel a metric, a line with intervals for each estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hierlab.lab.blocks import Interval

if TYPE_CHECKING:
    import plotly.graph_objects as go

Measured = Mapping[str, Sequence[Mapping[str, Interval | None]]]
"""By estimator, one set of metrics a level."""


def level_lines(
    levels: Sequence[float], measured: Measured, titles: Mapping[str, str], *, along: str, logarithmic: bool = False
) -> go.Figure:
    """Panels one below the other, over one axis.

    Args:
        levels: [L] where each measurement stands on the axis.
        measured: by estimator, [L] metrics.
        titles: of the metrics to draw, by name.
        along: what the levels are.
        logarithmic: whether the axis is; its ticks are then the levels.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

    rows = len(titles)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, subplot_titles=list(titles.values()), vertical_spacing=0.2 / rows)
    for row, metric in enumerate(titles, start=1):
        for number, (name, at) in enumerate(measured.items()):
            points = [(level, found[metric]) for level, found in zip(levels, at, strict=True) if found[metric]]
            above, below = [v.high - v.value for _, v in points], [v.value - v.low for _, v in points]
            line = go.Scatter(
                x=[level for level, _ in points],
                y=[v.value for _, v in points],
                error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1},
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                line={"color": COLOURS[number % len(COLOURS)], "width": 2},
            )
            figure.add_trace(line, row=row, col=1)
    if logarithmic:
        figure.update_xaxes(type="log", tickvals=list(levels), ticktext=[f"{level:g}" for level in levels])
    figure.update_xaxes(title={"text": along, "font": {"size": 13}}, row=rows, col=1)
    legend = {"orientation": "h", "y": -0.3 / rows, "yanchor": "top", "x": 0}
    figure.update_layout(legend=legend, margin={"l": 44, "r": 12, "t": 36, "b": 44})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=210 * rows + 90)
