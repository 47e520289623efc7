"""Pictures of the strategies of in-context learning: one context, evidence and complexity, odds, and networks in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, SEQUENTIAL, house_style
from hierlab.studies.theory.icl_strategies import PUBLISHED, Evidence
from hierlab.theory import generalised_urns, memorised_urns, strategy_posterior
from hierlab.theory.memorising import ball_counts
from hierlab.trace import Tape

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Measured

M_COLOUR, G_COLOUR, NETWORK_COLOUR, ACCOUNT_COLOUR = COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[3]
_LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}


def one_context(tasks: Tensor, draws: Tensor) -> go.Figure:
    """One sequence, ball by ball: M's posterior over its urns, G's pseudo-counts, and what each expects next; a slider draws.

    Args:
        tasks: [D, V] urns.
        draws: [1, C + 1] one sequence with its start token.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    with Tape() as tape:
        memorised = memorised_urns(tasks, draws)[0].exp()
    alphabet, length = tasks.shape[1], draws.shape[1]
    pseudo = ball_counts(draws, alphabet)[0] + 1
    generalised = generalised_urns(torch.ones(alphabet, dtype=torch.float64), draws)[0].exp()
    titles = ("M: which urn?", "G: pseudo-counts", "the next ball")
    figure = make_subplots(rows=3, cols=1, subplot_titles=titles, vertical_spacing=0.13)
    urns, balls = [f"urn {d + 1}" for d in range(len(tasks))], [f"ball {v + 1}" for v in range(alphabet)]
    for t in range(length):
        shown = {"visible": t == 0}
        figure.add_trace(go.Bar(x=urns, y=_numbers(tape["posterior over urns"][t]), marker={"color": M_COLOUR}, **shown), row=1, col=1)
        figure.add_trace(go.Bar(x=balls, y=_numbers(pseudo[t]), marker={"color": G_COLOUR}, **shown), row=2, col=1)
        for name, predicted, colour in (("M", memorised, M_COLOUR), ("G", generalised, G_COLOUR)):
            bar = go.Bar(x=balls, y=_numbers(predicted[t]), name=name, marker={"color": colour}, **shown)
            figure.add_trace(bar, row=3, col=1)
    figure.update_yaxes(range=[0, 1], row=1, col=1)
    figure.update_yaxes(range=[0, float(pseudo.max())], row=2, col=1)
    figure.update_yaxes(range=[0, float(max(memorised.max(), generalised.max()))], row=3, col=1)
    labels = ["–", *(str(ball + 1) for ball in draws[0, 1:].tolist())]
    figure.update_layout(sliders=[_slider(labels, 4, "drawn: ball ")], showlegend=False, margin={"l": 44, "r": 12, "t": 36, "b": 44})
    _left_titles(figure)
    return house_style(figure, height=620)


def losses_and_bits(evidence: Evidence) -> go.Figure:
    """What M and G lose, and what they weigh, against the number of tasks."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=1, subplot_titles=("mean loss on training sequences, nats", "complexity, bits"), vertical_spacing=0.16
    )
    for row, values in enumerate((evidence.losses, evidence.bits), start=1):
        for place, (name, colour) in enumerate((("M", M_COLOUR), ("G", G_COLOUR))):
            look = {"mode": "lines+markers", "line": {"color": colour, "width": 2}, "legendgroup": name, "showlegend": row == 1}
            figure.add_trace(go.Scatter(x=list(evidence.tasks), y=_numbers(values[:, place]), name=name, **look), row=row, col=1)
        figure.update_xaxes(type="log", tickvals=list(evidence.tasks), row=row, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(type="log", dtick=1, row=2, col=1)
    figure.update_xaxes(title="D, training tasks", row=2, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.14}, margin={"l": 56, "r": 12, "t": 36, "b": 44})
    _left_titles(figure)
    return house_style(figure, height=520)


def compression(tasks: Sequence[int], raw: Sequence[int], compressed: Sequence[int]) -> go.Figure:
    """The bits of the table of tasks, as it is and compressed: both grow in proportion to D."""
    import plotly.graph_objects as go

    names = [str(number) for number in tasks]
    bars = [
        go.Bar(x=names, y=list(values), name=name, marker={"color": colour})
        for name, values, colour in (("raw", raw, NEUTRAL), ("compressed", compressed, M_COLOUR))
    ]
    figure = go.Figure(bars)
    figure.update_layout(xaxis={"title": {"text": "D, training tasks"}, "type": "category"}, legend=_LEGEND)
    figure.update_yaxes(title="bits of the table", type="log", dtick=1)
    return house_style(figure, height=360)


def odds(evidence: Evidence, shown: Sequence[int], parameters: Mapping[str, float] = PUBLISHED, *, last: float = 1e6) -> go.Figure:
    """Log prior odds, log Bayes factor and log posterior odds of M over G against training steps; a slider chooses D."""
    import plotly.graph_objects as go

    steps = torch.logspace(0, np.log10(last), 40, dtype=torch.float64)
    figure = go.Figure()
    starts = evidence.transitions(**parameters)
    for number in shown:
        place = evidence.tasks.index(number)
        losses, bits = torch.from_numpy(evidence.losses[place]), torch.from_numpy(evidence.bits[place])
        found = strategy_posterior(losses, bits, steps, **parameters)
        lines = (
            ("log prior odds", found.log_prior_odds.expand(len(steps)), G_COLOUR),
            ("log Bayes factor", found.log_bayes_factor, M_COLOUR),
            ("log posterior odds", found.log_posterior_odds, NETWORK_COLOUR),
        )
        visible = {"visible": number == shown[0]}
        for name, values, colour in lines:
            line = {"color": colour, "width": 3 if name == "log posterior odds" else 2}
            figure.add_trace(go.Scatter(x=_numbers(steps), y=_numbers(values), name=name, mode="lines", line=line, **visible))
        mark = {"size": 12, "color": ACCOUNT_COLOUR, "symbol": "diamond"}
        point = go.Scatter(x=[float(f"{starts[place]:.4g}")], y=[0], name="N*", mode="markers", marker=mark, **visible)
        figure.add_trace(point)
    figure.update_layout(
        sliders=[_slider([str(n) for n in shown], 4, "D = ")], legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    )
    figure.update_xaxes(type="log", title="N, training steps", dtick=1)
    figure.update_yaxes(title="nats in favour of M", range=[-8, 12])
    figure.update_layout(margin={"l": 48, "r": 12, "t": 84, "b": 44})
    return house_style(figure, height=520)


def transitions(evidence: Evidence, betas: Sequence[float], parameters: Mapping[str, float] = PUBLISHED) -> go.Figure:
    """The predicted transition step against D, with a line of slope 1 for comparison; a slider chooses the complexity's exponent."""
    import plotly.graph_objects as go

    figure, labels = go.Figure(), []
    tasks = list(evidence.tasks)
    chosen = min(range(len(betas)), key=lambda place: abs(betas[place] - parameters["beta"]))
    for place, beta in enumerate(betas):
        at = {**parameters, "beta": beta}
        steps = evidence.transitions(**at)
        labels.append(f"{beta:g}, slope {evidence.slope(**at):.2f}")
        proportional = [steps[0] * number / tasks[0] for number in tasks]
        for name, values, look in (
            ("predicted N*", steps, {"color": M_COLOUR, "width": 2}),
            ("in proportion to D", proportional, {"color": NEUTRAL, "width": 2, "dash": "dash"}),
        ):
            line = go.Scatter(x=tasks, y=_numbers(values), name=name, mode="lines+markers", line=look, visible=place == chosen)
            figure.add_trace(line)
    slider = _slider([f"{beta:g}" for beta in betas], 2, "β = ", active=chosen)
    for step, label in zip(slider["steps"], labels, strict=True):
        step["args"].append({"annotations[0].text": f"β = {label}"})
    note = {"text": f"β = {labels[chosen]}", "x": 0, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"}
    figure.update_layout(
        sliders=[{**slider, "currentvalue": {"visible": False}}],
        annotations=[{**note, "showarrow": False, "font": {"size": 14, "color": NEUTRAL}}],
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        xaxis={"type": "log", "title": {"text": "D, training tasks"}, "tickvals": tasks},
        yaxis={"type": "log", "title": {"text": "N*, training steps"}, "dtick": 1},
        margin={"l": 56, "r": 12, "t": 60, "b": 44},
    )
    return house_style(figure, height=480)


def slope_map(
    evidences: Sequence[Evidence], alphas: Sequence[float], betas: Sequence[float], gamma: float = PUBLISHED["gamma"]
) -> go.Figure:
    """Slope of log N* on log D, mean over seeds, for every pair of exponents; the scale γ does not change it."""
    import plotly.graph_objects as go

    gamma = PUBLISHED["gamma"]
    slopes = [[np.mean([e.slope(alpha=a, beta=b, gamma=gamma) for e in evidences]) for a in alphas] for b in betas]
    values = [[float(f"{v:.3g}") for v in line] for line in slopes]
    names = {"x": [f"{a:g}" for a in alphas], "y": [f"{b:g}" for b in betas]}
    text = {"text": [[f"{v:.1f}" for v in line] for line in values], "texttemplate": "%{text}", "textfont": {"size": 11}}
    hover = "α %{x}, β %{y}: slope %{z}<extra></extra>"
    figure = go.Figure(go.Heatmap(z=values, **names, **text, colorscale=SEQUENTIAL, showscale=False, xgap=2, ygap=2, hovertemplate=hover))
    figure.update_layout(
        xaxis={"title": {"text": "α, how sub-linear the evidence"}, "type": "category", "showgrid": False},
        yaxis={"title": {"text": "β, exponent of complexity"}, "type": "category", "showgrid": False},
    )
    return house_style(figure, height=400)


def three_settings(records: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Losses of M and G on trained and on fresh tasks against D, one panel a setting."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    settings = list(dict.fromkeys(record["setting"] for record in records))
    figure = make_subplots(rows=len(settings), cols=1, subplot_titles=settings, vertical_spacing=0.09)
    lines = {
        "M, trained tasks": ("M trained", M_COLOUR, "solid"),
        "M, fresh tasks": ("M fresh", M_COLOUR, "dash"),
        "G, trained tasks": ("G trained", G_COLOUR, "solid"),
        "G, fresh tasks": ("G fresh", G_COLOUR, "dash"),
        "looks at nothing": ("constant", NEUTRAL, "dot"),
    }
    for row, setting in enumerate(settings, start=1):
        chosen = [record for record in records if record["setting"] == setting]
        x = [record["tasks"] for record in chosen]
        for name, (key, colour, dash) in lines.items():
            look = {"line": {"color": colour, "width": 2, "dash": dash}, "legendgroup": name, "showlegend": row == 1}
            figure.add_trace(go.Scatter(x=x, y=_numbers([r[key] for r in chosen]), name=name, mode="lines+markers", **look), row=row, col=1)
        figure.update_xaxes(type="log", tickvals=x, row=row, col=1)
        figure.update_yaxes(type="log", dtick=1, title="nats", row=row, col=1)
    figure.update_xaxes(title="D, training tasks", row=len(settings), col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.1}, margin={"l": 56, "r": 12, "t": 36, "b": 44})
    _left_titles(figure)
    return house_style(figure, height=260 * len(settings) + 80)


def weight_maps(measured: Measured, tasks: Sequence[int]) -> go.Figure:
    """The weight of M over training steps and numbers of tasks, as measured and as the account has it; mean over seeds.

    Seeds whose grids begin at different checkpoints are averaged from the latest beginning on.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    kept = min(len(steps) for steps in measured.kept_steps)
    steps = measured.kept_steps[0][-kept:]
    figure = make_subplots(rows=2, cols=1, subplot_titles=("measured", "predicted by the account"), vertical_spacing=0.16)
    axes = {"x": [f"{step:.0f}" for step in steps], "y": [str(number) for number in tasks]}
    hover = "N %{x}, D %{y}: weight of M %{z:.2f}<extra></extra>"
    bar = {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": NEUTRAL}}
    for row, name in enumerate(("weight", "predicted"), start=1):
        values = [_numbers(np.mean([curve[-kept:] for curve in measured[f"{name}_{number}"]], axis=0)) for number in tasks]
        look = {"colorscale": SEQUENTIAL, "zmin": 0, "zmax": 1, "colorbar": bar, "showscale": row == 1, "xgap": 2, "ygap": 2}
        figure.add_trace(go.Heatmap(z=values, **axes, **look, hovertemplate=hover), row=row, col=1)
        figure.update_xaxes(type="category", showgrid=False, row=row, col=1)
        figure.update_yaxes(type="category", title="D", showgrid=False, row=row, col=1)
    figure.update_xaxes(title="N, training steps", row=2, col=1)
    _left_titles(figure)
    return house_style(figure, height=520)


def collapse(measured: Measured, tasks: Sequence[int]) -> go.Figure:
    """The measured weight of M against steps, and against their fitted power, one line a number of tasks; mean over seeds."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    alpha = float(np.mean(measured.alpha))
    titles = ("against N", f"against N<sup>1−α</sup>, α = {alpha:.2f}")
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.2)
    steps = np.array(measured.steps[0])
    for row, x in enumerate((steps, steps ** (1 - alpha)), start=1):
        for place, number in enumerate(tasks):
            y = np.mean(measured[f"weight_{number}"], axis=0)
            look = {"line": {"color": COLOURS[place % len(COLOURS)], "width": 2}, "legendgroup": str(number), "showlegend": row == 1}
            figure.add_trace(go.Scatter(x=_numbers(x), y=_numbers(y), name=f"D = {number}", mode="lines+markers", **look), row=row, col=1)
        figure.update_yaxes(title="weight of M", range=[0, 1], row=row, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.1}, margin={"l": 48, "r": 12, "t": 36, "b": 44})
    _left_titles(figure)
    return house_style(figure, height=560)


def next_ball(measured: Measured) -> go.Figure:
    """One context: what M, G, the trained network and the account expect next; the first seed's."""
    import plotly.graph_objects as go

    names = {"M": M_COLOUR, "G": G_COLOUR, "network": NETWORK_COLOUR, "account": ACCOUNT_COLOUR}
    figure = go.Figure()
    for name, colour in names.items():
        values = measured[f"example_{name}"][0]
        balls = [f"ball {place + 1}" for place in range(len(values))]
        figure.add_trace(go.Bar(x=balls, y=_numbers(values), name=name, marker={"color": colour}))
    figure.update_layout(yaxis={"title": {"text": "probability"}}, legend=_LEGEND)
    return house_style(figure, height=380)


def _numbers(values: Any) -> list[float | None]:
    """At four digits, None for what is not finite."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in listed]


def _slider(labels: Sequence[str], traces: int, prefix: str, active: int = 0) -> dict[str, Any]:
    """A slider whose every position shows as many traces as stand behind one label."""
    steps = []
    for place, label in enumerate(labels):
        visible = [other == place for other in range(len(labels)) for _ in range(traces)]
        steps.append({"method": "update", "label": label, "args": [{"visible": visible}]})
    look = {"currentvalue": {"prefix": prefix}, "pad": {"t": 50}, "bordercolor": NEUTRAL, "bgcolor": GRID, "activebgcolor": COLOURS[0]}
    return {"steps": steps, "active": active, "font": {"color": NEUTRAL}, "tickcolor": NEUTRAL, **look}


def _left_titles(figure: go.Figure) -> None:
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
