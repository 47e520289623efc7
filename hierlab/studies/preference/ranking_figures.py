"""Figures of preference pairs: how hard each is, what loss it must reach, and what training did to the rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, house_style
from hierlab.lab.results import summary

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Results

RIGHT, WRONG = COLOURS[2], COLOURS[1]
CURVE = 41
"""Points of a drawn function."""
_LEGEND = {"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0}
_SLIDER = {"len": 1, "x": 0, "pad": {"t": 128, "b": 4}, "bordercolor": NEUTRAL, "bgcolor": GRID, "activebgcolor": COLOURS[0]}
_SLIDER |= {"font": {"color": NEUTRAL}, "tickcolor": NEUTRAL}


def difficulty_plane(difficulty: Sequence[float], agreement: Sequence[float], betas: Sequence[float]) -> go.Figure:
    r"""Pairs by how wrong the reference is and how sure raters are, with the boundary $\alpha=\sigma(\beta c)$; a slider over beta.

    Args:
        difficulty: [N] $c$ of each pair, in nats.
        agreement: [N] the share of raters who prefer the chosen answer.
        betas: what the slider goes through.
    """
    import plotly.graph_objects as go

    c, alpha = np.asarray(difficulty, dtype=float), np.asarray(agreement, dtype=float)
    reach = 1.05 * float(np.abs(c).max())
    line = np.linspace(-reach, reach, CURVE)
    figure = go.Figure()
    for number, beta in enumerate(betas):
        right = alpha > _sigmoid(beta * c)
        for name, kept, colour in (("ideally right", right, RIGHT), ("ideally wrong", ~right, WRONG)):
            figure.add_trace(_dots(c[kept], alpha[kept], name, colour, visible=number == 0))
        boundary = {"color": NEUTRAL, "width": 2}
        figure.add_trace(
            go.Scatter(x=_short(line), y=_short(_sigmoid(beta * line)), mode="lines", line=boundary, name="α = σ(βc)", visible=number == 0)
        )
    shares = [float((alpha > _sigmoid(beta * c)).mean()) for beta in betas]
    titles = [f"β = {beta:g}: {share:.0%} of the pairs are ideally right" for beta, share in zip(betas, shares, strict=True)]
    _slide(figure, [f"{beta:g}" for beta in betas], titles, traces=3)
    figure.update_xaxes(title_text="difficulty c, nats", range=[-reach, reach])
    figure.update_yaxes(title_text="agreement α", range=[-0.03, 1.03])
    return house_style(figure, height=520)


def turning_losses(
    difficulty: Sequence[float], margins: Mapping[str, Sequence[float]], *, beta: float, gamma: float = 1.0, most: int = 200
) -> go.Figure:
    r"""Every pair by its difficulty and its DPO loss, with the loss $\ell^\star(c)$ at which its ranking turns, stage by stage.

    Args:
        difficulty: [N] $c$ of each pair, in nats.
        margins: the policy's log-ratio of the two answers, [N], at each stage of training, by the stage's name.
        beta: of the loss.
        gamma: weight of the reference in it.
        most: draw so many pairs.
    """
    import plotly.graph_objects as go

    c = np.asarray(difficulty, dtype=float)[:most]
    reach = 1.05 * float(np.abs(c).max())
    line = np.linspace(-reach, reach, CURVE)
    figure, titles = go.Figure(), []
    highest = 0.0
    for number, (stage, values) in enumerate(margins.items()):
        margin = np.asarray(values, dtype=float)[:most]
        loss = np.logaddexp(0, -beta * (margin + gamma * c))
        highest = max(highest, float(loss.max()))
        for name, kept, colour in (("ranked right", margin >= 0, RIGHT), ("ranked wrong", margin < 0, WRONG)):
            figure.add_trace(_dots(c[kept], loss[kept], name, colour, visible=number == 0))
        titles.append(f"{stage}: {float((margin >= 0).mean()):.0%} ranked right, mean loss {float(loss.mean()):.2f}")
    turning = np.logaddexp(0, -beta * gamma * line)
    figure.add_trace(
        go.Scatter(x=_short(line), y=_short(turning), mode="lines", line={"color": NEUTRAL, "width": 2}, name="loss that turns it")
    )
    figure.update_layout(legend=_LEGEND)
    if len(margins) > 1:
        _slide(figure, list(margins), titles, traces=2, fixed=1)
    figure.update_xaxes(title_text="difficulty c, nats", range=[-reach, reach])
    figure.update_yaxes(title_text="DPO loss, nats", range=[0, min(1.05 * highest, 2.5)])
    return house_style(figure, height=520 if len(margins) > 1 else 400)


def group_areas(steps: Sequence[float], shares: Mapping[str, Sequence[float]]) -> go.Figure:
    """The four groups of pairs over training, stacked to 1."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (name, values) in enumerate(shares.items()):
        colour = COLOURS[(2, 6, 0, 1)[number % 4]]
        area = {"stackgroup": "pairs", "mode": "lines", "line": {"width": 0.5, "color": colour}, "fillcolor": colour}
        figure.add_trace(go.Scatter(x=list(steps), y=_short(values), name=name, **area))
    figure.update_xaxes(title_text="steps")
    figure.update_yaxes(title_text="share of held-out pairs", range=[0, 1], tickformat=".0%")
    figure.update_layout(legend={**_LEGEND, "traceorder": "normal"})
    return house_style(figure, height=400)


def curves_of(results: Results, arm: str, x: str, curves: Mapping[str, str], *, title: str) -> go.Figure:
    """Several quantities of one arm over training: means over seeds with 95 % intervals.

    Args:
        results: the experiment.
        arm: whose.
        x: the curve along the axis, averaged over seeds.
        curves: what to draw, legend by name of the curve.
        title: of the axis.
    """
    import plotly.graph_objects as go

    measured = results.best(arm)
    along = np.mean([list(values) for values in measured[x]], axis=0)
    figure = go.Figure()
    for number, (name, legend) in enumerate(curves.items()):
        points = [summary(list(values)) for values in zip(*measured[name], strict=True)]
        colour = COLOURS[number]
        if points[0]["low"] is not None:
            edge = _short([p["high"] for p in points] + [p["low"] for p in reversed(points)])
            band = {"fill": "toself", "fillcolor": colour, "opacity": 0.15, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            figure.add_trace(go.Scatter(x=_short([*along, *along[::-1]]), y=edge, legendgroup=name, **band))
        line = {"line": {"color": colour, "width": 2}, "legendgroup": name}
        figure.add_trace(go.Scatter(x=_short(along), y=_short([p["mean"] for p in points]), name=legend, mode="lines", **line))
    figure.update_xaxes(title_text=title)
    figure.update_yaxes(title_text="share", tickformat=".0%")
    figure.update_layout(legend=_LEGEND)
    return house_style(figure, height=400)


def arm_dots(results: Results, metrics: Mapping[str, str], *, title: str) -> go.Figure:
    """Numbers of every arm at its own best rate, a line an arm: means over seeds with 95 % intervals.

    Args:
        results: the experiment.
        metrics: what to draw, legend by name of the metric.
        title: of the axis.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (metric, legend) in enumerate(metrics.items()):
        points = [summary(list(results.best(arm)[metric])) for arm in results.arms]
        reach = [0.0 if p["low"] is None else p["high"] - p["mean"] for p in points]
        figure.add_trace(
            go.Scatter(
                x=_short([p["mean"] for p in points]),
                y=[place + 0.22 * (number - (len(metrics) - 1) / 2) for place in range(len(points))],
                error_x={"array": _short(reach), "thickness": 1.5, "width": 0},
                mode="markers",
                marker={"color": COLOURS[number], "size": 9, "symbol": ("circle", "diamond", "square", "x")[number % 4]},
                name=legend,
                hovertext=list(results.arms),
            )
        )
    ticks = {"tickmode": "array", "tickvals": list(range(len(results.arms))), "ticktext": list(results.arms)}
    figure.update_yaxes(**ticks, range=[len(results.arms) - 0.5, -0.5])
    figure.update_xaxes(title_text=title, tickformat=".0%", rangemode="tozero")
    figure.update_layout(legend=_LEGEND)
    return house_style(figure, height=120 + 44 * len(results.arms))


def _dots(x: np.ndarray, y: np.ndarray, name: str, colour: str, *, visible: bool) -> go.Scatter:
    import plotly.graph_objects as go

    marker = {"color": colour, "size": 6, "opacity": 0.75, "symbol": "circle" if colour == RIGHT else "x"}
    return go.Scatter(x=_short(x), y=_short(y), mode="markers", marker=marker, name=name, visible=visible)


def _slide(figure: go.Figure, labels: Sequence[str], titles: Sequence[str], *, traces: int, fixed: int = 0) -> None:
    """A slider that shows `traces` traces at a time, and the last `fixed` always."""
    steps = []
    for number, label in enumerate(labels):
        visible = [place // traces == number for place in range(traces * len(labels))] + [True] * fixed
        steps.append({"method": "update", "label": label, "args": [{"visible": visible}, {"annotations[0].text": titles[number]}]})
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 6, "showarrow": False}
    figure.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"visible": False}, **_SLIDER}],
        annotations=[{"text": titles[0], "font": {"size": 13, "color": NEUTRAL}, **place}],
        legend={**_LEGEND, "y": -0.17},
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(np.asarray(x) / 2))


def _short(values: Sequence[float]) -> list[float | None]:
    """Numbers at four digits: small in a published figure."""
    return [float(f"{float(v):.4g}") if math.isfinite(v) else None for v in values]
