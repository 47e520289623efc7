"""Pictures of A-GRAE: what a group weighs, what a step does to logits, and Pass@k against Pass@1 along training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from hierlab.credit.a_grae import task_weight
from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, SEQUENTIAL, house_style
from hierlab.lab.symmetry import LogitSteps

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Results

STATES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEGEND = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}
_VARIANTS = {"paper": "paper: √(1−p)", "code": "released code: 1−√p"}


def weight_map(points: int = 41) -> go.Figure:
    """The weight of a task over success rate and training state, as the paper has it or as the code has; a menu chooses."""
    import plotly.graph_objects as go

    rate, state = torch.linspace(0.02, 0.98, points, dtype=torch.float64), torch.linspace(0, 1, points, dtype=torch.float64)
    axes = {"x": [round(p, 3) for p in rate.tolist()], "y": [round(w, 3) for w in state.tolist()]}
    bar = {"thickness": 10, "len": 0.9, "outlinewidth": 0, "tickfont": {"color": NEUTRAL}, "title": {"text": "× A"}}
    figure = go.Figure()
    for variant in _VARIANTS:
        weight = task_weight(rate[None, :], state[:, None], variant=variant)
        values = [[float(f"{value:.3g}") for value in line] for line in weight.tolist()]
        look = {"colorscale": SEQUENTIAL, "zmin": 0, "zmax": 3, "colorbar": bar, "visible": variant == "paper"}
        figure.add_trace(go.Heatmap(z=values, **axes, **look, hovertemplate="p %{x}, ω %{y}: A × %{z}<extra></extra>"))
    figure.update_layout(
        updatemenus=[_menu("easy factor", [_button(label, [v == variant for v in _VARIANTS]) for variant, label in _VARIANTS.items()])],
        xaxis={"title": {"text": "p, the group's share of success"}, "showgrid": False},
        yaxis={"title": {"text": "ω, training state"}, "showgrid": False},
    )
    return house_style(figure, height=420)


def total_weights(group_size: int = 8, points: int = 41) -> go.Figure:
    """What a whole group weighs, before the damping, against its success rate; a slider moves the training state.

    The released factor grows without bound towards p = 1, and leaves the picture.
    """
    import plotly.graph_objects as go

    rate = torch.linspace(0.02, 0.98, points, dtype=torch.float64)
    symmetric = 2 * group_size * (rate * (1 - rate)).sqrt()
    names = {"GRPO": None, "A-GRAE, paper": "paper", "A-GRAE, released factor": "code"}
    figure = go.Figure()
    for state in STATES:
        for number, (name, variant) in enumerate(names.items()):
            weight = 1.0 if variant is None else task_weight(rate, torch.tensor(state, dtype=torch.float64), variant=variant)
            values = [float(f"{value:.4g}") for value in (symmetric * weight).tolist()]
            line = {"color": COLOURS[number], "width": 2}
            x = [round(p, 4) for p in rate.tolist()]
            figure.add_trace(go.Scatter(x=x, y=values, name=name, line=line, mode="lines", visible=state == STATES[2]))
    steps = [_button(f"{state:g}", [other == state for other in STATES for _ in names]) for state in STATES]
    slider = {"steps": steps, "active": 2, "currentvalue": {"prefix": "ω = "}, "pad": {"t": 56}, "bordercolor": NEUTRAL, "bgcolor": GRID}
    slider |= {"activebgcolor": COLOURS[0], "font": {"color": NEUTRAL}, "tickcolor": NEUTRAL}
    figure.update_layout(
        sliders=[slider],
        xaxis={"title": {"text": "p, the group's share of success"}},
        yaxis={"title": {"text": f"Σ|A| of {group_size} attempts"}, "range": [0, 2 * group_size]},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 44, "r": 12, "t": 84, "b": 44},
    )
    return house_style(figure, height=500)


def logit_bars(seen: Mapping[str, LogitSteps]) -> go.Figure:
    """The mean step of the logits of right, wrong and unsampled behaviours: one panel a kind, one bar an estimator."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    means = {name: steps.means() for name, steps in seen.items()}
    kinds = list(next(iter(means.values())))
    figure = make_subplots(rows=len(kinds), cols=1, subplot_titles=kinds, vertical_spacing=0.14)
    for row, kind in enumerate(kinds, start=1):
        values = [0.0 if abs(found[kind]) < 1e-12 else float(f"{found[kind]:.3g}") for found in means.values()]
        colours = [COLOURS[number % len(COLOURS)] for number in range(len(values))]
        texts = [f"{value:+.3g}" if value else "0" for value in values]
        bar = go.Bar(x=values, y=list(means), orientation="h", marker={"color": colours}, text=texts, cliponaxis=False)
        figure.add_trace(bar, row=row, col=1)
        figure.update_yaxes(autorange="reversed", row=row, col=1)
    figure.update_layout(showlegend=False, bargap=0.3, margin={"l": 44, "r": 48, "t": 36, "b": 32})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=190 * len(kinds) + 40)


def paths(results: Results, arms: Sequence[str], k: int) -> go.Figure:
    """Pass@k against Pass@1 along training, each arm at its own best rate: what diversity is left at equal skill.

    Args:
        results: an experiment with the curves `pass_1_curve` and `pass_K_curve`.
        arms: which arms to draw.
        k: number of answers.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, arm in enumerate(arms):
        best = results.best(arm)
        x, y = (_mean(best[f"pass_{answers}_curve"]) for answers in (1, k))
        line = {"color": COLOURS[number % len(COLOURS)], "width": 2}
        figure.add_trace(go.Scatter(x=x, y=y, name=arm, mode="lines+markers", line=line, marker={"size": 4}))
    figure.update_layout(xaxis={"title": {"text": "Pass@1"}}, yaxis={"title": {"text": f"Pass@{k}"}}, legend=_LEGEND)
    return house_style(figure, height=460)


def _mean(curves: Sequence[Sequence[float]]) -> list[float]:
    return [float(f"{sum(values) / len(values):.4g}") for values in zip(*curves, strict=True)]


def _button(label: str, visible: list[bool]) -> dict:
    return {"method": "update", "label": label, "args": [{"visible": visible}]}


def _menu(name: str, buttons: list[dict]) -> dict:
    place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "direction": "right", "type": "buttons"}
    return {"name": name, "buttons": buttons, "showactive": True, "font": {"color": NEUTRAL}, **place}
