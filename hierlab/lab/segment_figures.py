"""Pictures of segments: how sure the policy was of each token of a response, where that cuts it, and how its value moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

if TYPE_CHECKING:
    import plotly.graph_objects as go


def staircase(
    words: Sequence[str],
    probability: Sequence[float],
    start: Sequence[bool],
    value: Sequence[float],
    reward: float,
    *,
    continuations: int,
    threshold: float = 0.9,
) -> go.Figure:
    r"""One response of T tokens: probabilities above, the value of the state before each segment and the reward below.

    Args:
        words: [T] the tokens.
        probability: [T] of each token when it was sampled.
        start: [T] whether a segment starts at it.
        value: [T] where one starts, the value of the state before it.
        reward: of the response.
        continuations: behind each value; its whiskers are $\pm\sqrt{V(1-V)/N}$.
        threshold: below which a token is a cutpoint.

    Raises:
        ValueError: if the columns are not of one length, or empty.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    if not len(words) or len({len(words), len(probability), len(start), len(value)}) > 1:
        raise ValueError(f"columns must be as long as the response, got {len(words)}, {len(probability)}, {len(start)} and {len(value)}")
    places = list(range(len(words)))
    kinds = [("cutpoint, starts a segment", 2), ("cutpoint", 1), ("confident", 0)]
    kind = [2 if starts else 1 if p < threshold else 0 for p, starts in zip(probability, start, strict=True)]
    titles = ["probability of each token", "value before each segment, and the reward"]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.14, subplot_titles=titles)
    for (name, number), colour in zip(kinds, (COLOURS[6], COLOURS[1], NEUTRAL), strict=True):
        chosen = [i for i in places if kind[i] == number]
        bars = go.Bar(x=chosen, y=[round(probability[i], 4) for i in chosen], name=name, marker={"color": colour}, width=0.7)
        figure.add_trace(bars, row=1, col=1)
    figure.add_hline(y=threshold, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, row=1, col=1)
    at = [i for i in places if start[i]]
    levels = [round(float(value[i]), 4) for i in at]
    error = [round(math.sqrt(max(0.0, v * (1 - v)) / continuations), 4) for v in levels]
    line = {"color": COLOURS[0], "width": 2, "shape": "hv"}
    whiskers = {"type": "data", "array": [*error, 0], "thickness": 1.5}
    ends = [*(i - 0.5 for i in at), len(words) - 0.5]
    steps = go.Scatter(
        x=ends, y=[*levels, reward], mode="lines+markers", line=line, error_y=whiskers, name="value", showlegend=False, marker={"size": 9}
    )
    figure.add_trace(steps, row=2, col=1)
    figure.update_xaxes(tickvals=places, ticktext=list(words), range=[-0.7, len(words) - 0.3], tickangle=0)
    figure.update_xaxes(showticklabels=True, row=1, col=1)
    figure.update_yaxes(range=[-0.05, 1.08])
    legend = {"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0}
    figure.update_layout(barmode="overlay", legend=legend, margin={"l": 44, "r": 12, "t": 36, "b": 44})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=460)


def stacked(names: Sequence[str], parts: dict[str, Sequence[float]], title: str) -> go.Figure:
    """Horizontal bars of several parts each, the first name on top."""
    import plotly.graph_objects as go

    bars = [
        go.Bar(y=list(names), x=[float(f"{max(0.0, v):.4g}") for v in values], name=part, orientation="h", marker={"color": COLOURS[i]})
        for i, (part, values) in enumerate(parts.items())
    ]
    figure = go.Figure(bars)
    figure.update_layout(barmode="stack", legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"})
    figure.update_xaxes(title={"text": title, "font": {"size": 13}})
    figure.update_yaxes(categoryorder="array", categoryarray=list(names)[::-1])
    figure.update_layout(margin={"l": 44, "r": 12, "t": 56, "b": 44})
    return house_style(figure, height=150 + 34 * len(names))
