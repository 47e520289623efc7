"""Pictures of HGPO's nested groups: the company a turn keeps at each depth, what the depths weigh, and where they are lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.credit.hgpo import Weights, context_groups, hgpo, level_advantages
from hierlab.lab.figures import COLOURS, NEUTRAL, house_style
from hierlab.lab.results import Measured, summary
from hierlab.ops import group_size
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.trace import Step, Tape

if TYPE_CHECKING:
    import plotly.graph_objects as go

KEPT = ("compared", "exactly the mean", "alone", "too short a history")
MEANS = {"all": "whole group", "other_rows": "other turns", "other_trajectories": "other rollouts"}
PANELS = {"squared_bias": "squared bias", "variance": "variance", "squared_error": "mean squared error, their sum"}


def by_level(tape: Tape) -> list[Step]:
    """The steps of a tape with one step for each level, so that each can be drawn on the grid of trajectories and turns."""
    steps = []
    for step in tape.steps:
        if isinstance(step.value, Tensor) and step.value.dim() == 2:
            levels = enumerate(step.value.unbind(1))
            steps += [Step(f"{step.name}, k = {k}", value, step.formula) for k, value in levels]
        else:
            steps.append(step)
    return steps


def most_telling(rollouts: Rollouts, history: int) -> int:
    """The row of which the deepest level says most: that whose return lies farthest from its group's mean there.

    Raises:
        ValueError: if no row differs from its group there.
    """
    distance = estimate(rollouts, level_advantages, history=history, scale="none")[:, -1].abs()
    if not len(distance) or float(distance.max()) == 0:
        raise ValueError(f"no two turns that share their last {history + 1} observations differ in return: play more episodes")
    return int(distance.argmax())


def nested_groups(rollouts: Rollouts, row: int, *, history: int, gamma: float = 0.95) -> go.Figure:
    """Who one turn is compared with at each depth: the members' returns, their mean, and the turn's own return.

    Args:
        rollouts: as a collector gives them.
        row: the turn.
        history: the deepest level.
        gamma: discount of the returns.
    """
    import plotly.graph_objects as go

    with Tape() as tape:
        estimate(rollouts, level_advantages, history=history, gamma=gamma, scale="none")
    returns, groups = tape["return to go"], tape["context group"]
    shared = (groups == groups[row]).sum(1) - 1  # the deepest level at which each row keeps the turn company
    own = float(returns[row])
    figure = go.Figure()
    for level in range(history + 1):
        inside = ((shared >= level) & (torch.arange(len(returns)) != row)).nonzero()[:, 0]
        hover = [f"{rollouts.trajectory[i]}, turn {int(rollouts.turn[i])}: return {float(returns[i]):.3g}" for i in inside.tolist()]
        spread = [level + 0.5 * (i / max(1, len(inside) - 1) - 0.5) for i in range(len(inside))]  # equal returns side by side
        dots = {"color": COLOURS[level % len(COLOURS)], "size": 8, "opacity": 0.7}
        figure.add_scatter(x=_short(returns[inside]), y=spread, mode="markers", marker=dots, hovertext=hover, hoverinfo="text")
        mean = float(returns[shared >= level].mean())
        tick = {"mode": "lines", "line": {"color": NEUTRAL, "width": 4}, "hovertext": f"mean {mean:.3g}", "hoverinfo": "text"}
        figure.add_scatter(x=[mean, mean], y=[level - 0.3, level + 0.3], **tick)
    figure.add_vline(x=own, line={"color": COLOURS[6], "width": 2, "dash": "dot"})
    names = [f"k = {level}<br>n = {int((shared >= level).sum())}" for level in range(history + 1)]
    figure.update_yaxes(tickvals=list(range(history + 1)), ticktext=names, autorange="reversed", zeroline=False)
    figure.update_xaxes(title_text="return to go")
    figure.update_layout(showlegend=False, margin={"l": 56, "r": 12, "t": 12, "b": 44})
    return house_style(figure, height=90 * (history + 1) + 80)


def level_weights(rollouts: Rollouts, *, history: int, alphas: Sequence[float] = (0, 0.5, 1, 1.5, 2, 3)) -> go.Figure:
    """What the levels weigh in a turn that keeps all of them: the paper's and the code's weights, with a slider for alpha.

    Raises:
        ValueError: if no turn of the rollouts keeps all levels.
    """
    import plotly.graph_objects as go

    kept = (estimate(rollouts, level_advantages, history=history) != 0).all(1).nonzero()
    if not len(kept):
        raise ValueError(f"no turn is compared at all {history + 1} levels: play more episodes, or look less far back")
    figure = go.Figure()
    depths = [f"k = {level}" for level in range(history + 1)]
    for alpha in alphas:
        for number, (weights, name) in enumerate((("paper", "paper: (k + 1)<sup>α</sup>"), ("code", "code: (k + 2)<sup>α</sup>"))):
            shares = _weights(rollouts, history, alpha, weights)[int(kept[0])]
            texts = [f"{share:.2f}" for share in shares.tolist()]
            bars = {"marker": {"color": COLOURS[number]}, "visible": alpha == 1, "text": texts, "textposition": "outside"}
            figure.add_bar(x=depths, y=_short(shares), name=name, **bars)
    steps = [
        {"method": "restyle", "label": f"{alpha:g}", "args": [{"visible": [other == alpha for other in alphas for _ in range(2)]}]}
        for alpha in alphas
    ]
    prefix = {"prefix": "alpha: ", "font": {"color": NEUTRAL}}
    slider = {"active": list(alphas).index(1), "steps": steps, "currentvalue": prefix, "pad": {"t": 44}, "font": {"color": NEUTRAL}}
    figure.update_yaxes(title_text="weight", range=[0, 1])
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    figure.update_layout(sliders=[slider], legend=legend, margin={"l": 48, "r": 12, "t": 44, "b": 44})
    return house_style(figure, height=420)


def _weights(rollouts: Rollouts, history: int, alpha: float, weights: Weights) -> Tensor:
    """[N, K + 1] as `hgpo` shows them."""
    with Tape() as tape:
        estimate(rollouts, hgpo, history=history, alpha=alpha, weights=weights)
    return tape["level weight"]


def lost_levels(rollouts: Rollouts, *, history: int) -> go.Figure:
    """At each level, the share of turns that are compared there, and why the others are not."""
    import plotly.graph_objects as go

    levels = estimate(rollouts, level_advantages, history=history)
    groups = estimate(rollouts, context_groups, history=history)
    size = torch.stack([group_size(group) for group in groups.unbind(1)], dim=1)
    early = rollouts.turn[:, None] < torch.arange(history + 1)
    fate = torch.where(levels != 0, 0, torch.where(size > 1, 1, torch.where(early, 3, 2)))  # places in KEPT
    figure = go.Figure()
    for number, name in enumerate(KEPT):
        shares = (fate == number).double().mean(0)
        figure.add_bar(
            y=[f"k = {k}" for k in range(history + 1)], x=_short(shares), name=name, orientation="h", marker={"color": COLOURS[number]}
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="share of turns", range=[0, 1])
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    figure.update_layout(barmode="stack", legend=legend, margin={"l": 48, "r": 12, "t": 72, "b": 44})
    return house_style(figure, height=48 * (history + 1) + 170)


def level_errors(measured: Measured) -> go.Figure:
    """Bias, variance and error of the levels over their depth, for each way to take the mean: what `context_levels` measured.

    Args:
        measured: one house over all seeds, such as `levels.best("4 rooms, K = 4")`.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(PANELS), cols=1, subplot_titles=list(PANELS.values()), vertical_spacing=0.09)
    depth = measured["depth"][0]
    for row, part in enumerate(PANELS, start=1):
        for number, (mean, name) in enumerate(MEANS.items()):
            points = [summary(values) for values in zip(*measured[f"{mean}_{part}"], strict=True)]
            whiskers = {"type": "data", "symmetric": False, "thickness": 1}
            if points[0]["low"] is not None:
                whiskers["array"] = [_round(p["high"] - p["mean"]) for p in points]
                whiskers["arrayminus"] = [_round(p["mean"] - p["low"]) for p in points]
            look = {"line": {"color": COLOURS[number], "width": 2}, "name": name, "legendgroup": mean, "showlegend": row == 1}
            line = go.Scatter(x=depth, y=[_round(p["mean"]) for p in points], error_y=whiskers, mode="lines+markers", **look)
            figure.add_trace(line, row=row, col=1)
        figure.update_yaxes(rangemode="tozero", row=row, col=1)
        figure.update_xaxes(tickvals=depth, title_text="depth k" if row == len(PANELS) else None, row=row, col=1)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    legend = {"orientation": "h", "y": -0.08, "yanchor": "top", "x": 0}
    figure.update_layout(legend=legend, margin={"l": 44, "r": 12, "t": 36, "b": 44})
    return house_style(figure, height=230 * len(PANELS) + 90)


def _short(values: Tensor) -> list[float]:
    return [_round(value) for value in values.tolist()]


def _round(value: float) -> float:
    return float(f"{value:.4g}")
