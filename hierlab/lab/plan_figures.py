"""Pictures of plans: whose decision a token is, a trajectory on its time line, how much noise each decision adds to a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from hierlab.credit.hae import HAE
from hierlab.credit.plan_execute import Plans, ValueMasks
from hierlab.lab.figures import COLOURS, NEUTRAL, house_style
from hierlab.rollout.rollouts import Rollouts

if TYPE_CHECKING:
    import plotly.graph_objects as go

DECISIONS = {"switch": COLOURS[1], "subgoal": COLOURS[2], "action": COLOURS[0]}
"""The colour of each decision in all pictures."""
MAX_TOKENS = 48


def response_figure(pieces: Sequence[str], plans: Plans, values: ValueMasks, row: int = 0) -> go.Figure:
    """One response from top to bottom, token by token: the decision each belongs to, and where the critic is read.

    Args:
        pieces: the text of each token of the response.
        plans: what `parse_plans` found.
        values: what `value_masks` says.
        row: which of the parsed responses it is.

    Raises:
        ValueError: if the response has more than 48 tokens, too many to be read.
    """
    import plotly.graph_objects as go

    if len(pieces) > MAX_TOKENS:
        raise ValueError(f"a response of {len(pieces)} tokens has no room in one picture, {MAX_TOKENS} have")
    spans = {"switch": plans.switch_mask, "subgoal": plans.subgoal_mask, "action": plans.action_mask}
    heads = {"V switch": values.switch, "V high": values.high, "V low": values.low}
    columns = {**spans, **heads}
    number = {name: i + 1 for i, name in enumerate(spans)} | dict.fromkeys(heads, len(spans) + 1)
    cells = [[number[name] if bool(mask[row, t]) else None for name, mask in columns.items()] for t in range(len(pieces))]
    tokens = [f"{t} {_visible(piece)}" for t, piece in enumerate(pieces)]
    shades = [*DECISIONS.values(), COLOURS[3]]
    scale = [(edge, shade) for i, shade in enumerate(shades) for edge in (i / len(shades), (i + 1) / len(shades))]
    figure = go.Figure(
        go.Heatmap(
            z=cells, x=list(columns), y=tokens, colorscale=scale, zmin=0.5, zmax=len(shades) + 0.5, showscale=False, xgap=3, ygap=2,
            hovertemplate="%{y}: %{x}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, tickfont={"size": 11}, dtick=1)
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_layout(margin={"l": 44, "r": 12, "t": 40, "b": 12})
    return house_style(figure, height=70 + 19 * len(pieces))


def _visible(piece: str) -> str:
    """A token as text that Plotly does not take for a tag, its blanks visible."""
    return piece.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(" ", "␣").replace("\n", "⏎")


def timeline_figure(rollouts: Rollouts, credit: HAE, subgoals: Sequence[str], position: Tensor, paper: Tensor | None = None) -> go.Figure:
    """One trajectory on a time line: where it went with which subgoal, how likely it was to switch, what was foreseen, who is credited.

    Args:
        rollouts: the turns of one trajectory in order, with the columns of `hierlab.train.tabular_plans` and a critic's values.
        credit: what `hae` makes of them.
        subgoals: what each subgoal is called.
        position: [N] what is drawn of each state, such as the cell.
        paper: [N] the paper's switch advantage, to be drawn beside the code's.

    Raises:
        ValueError: if the rows are not the turns of one trajectory, in order.
    """
    from plotly.subplots import make_subplots

    turns = rollouts.turn.tolist()
    if turns != list(range(len(turns))) or len(set(rollouts.trajectory)) != 1:
        raise ValueError("a time line wants the turns of one trajectory, in order")
    titles = ["position, coloured by subgoal", "probability of switching; a mark where it switched", "values", "advantages"]
    figure = make_subplots(rows=4, cols=1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.07, row_heights=[3, 2, 3, 4])
    chosen = rollouts["subgoal"].tolist()
    for number, name in enumerate(subgoals):
        at = [t for t in turns if chosen[t] == number]
        dots = {"color": COLOURS[(number + 3) % len(COLOURS)], "size": 11, "symbol": "square"}
        figure.add_scatter(x=at, y=position[at].tolist(), mode="markers", marker=dots, name=name, row=1, col=1)
    path = {"color": NEUTRAL, "width": 1}
    figure.add_scatter(x=turns, y=position.tolist(), mode="lines", line=path, showlegend=False, hoverinfo="skip", row=1, col=1)
    beta, switched = rollouts["switch_probability"].tolist(), rollouts["switch"].tolist()
    figure.add_bar(
        x=turns, y=beta, marker={"color": NEUTRAL, "opacity": 0.5}, name="probability of switching", showlegend=False, row=2, col=1
    )
    marks = [t for t in turns if switched[t]]
    mark = {"color": DECISIONS["switch"], "size": 10, "symbol": "triangle-up"}
    figure.add_scatter(x=marks, y=[beta[t] for t in marks], mode="markers", marker=mark, name="a segment starts", row=2, col=1)
    heads = {"value_low": ("V low", "action"), "value_high": ("V high", "subgoal"), "value_switch": ("V switch", "switch")}
    for column, (name, decision) in heads.items():
        line = {"color": DECISIONS[decision], "width": 2, "dash": "dot" if column == "value_switch" else "solid"}
        figure.add_scatter(x=turns, y=_short(rollouts[column]), mode="lines", line=line, name=name, row=3, col=1)
    figure.add_bar(x=turns, y=_short(credit.action), marker={"color": DECISIONS["action"]}, name="A low", row=4, col=1)
    starts = [t for t in turns if bool(credit.boundary[t])]
    stairs = {"color": DECISIONS["subgoal"], "width": 2, "shape": "hv"}
    levels = _short(credit.subgoal[starts])
    figure.add_scatter(
        x=[*starts, len(turns)], y=[*levels, levels[-1]], mode="lines+markers", line=stairs, name="A high, one step a segment", row=4, col=1
    )
    rated = {"A switch, code": (credit.switch, "circle"), "A switch, paper": (paper, "diamond-open")}
    for name, (values, symbol) in rated.items():
        if values is not None:
            dot = {"color": DECISIONS["switch"], "size": 8, "symbol": symbol}
            figure.add_scatter(x=turns[1:], y=_short(values[1:]), mode="markers", marker=dot, name=name, row=4, col=1)
    figure.update_xaxes(title_text="turn", row=4, col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.09, "yanchor": "top", "x": 0}, margin={"l": 44, "r": 12, "t": 30, "b": 30})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=860)


def variance_figure(traces: Mapping[str, Sequence[float]], reference: str) -> go.Figure:
    """How noisy each estimator's gradient is, and in which of the three decisions: stacked bars, in shares of a reference.

    Args:
        traces: variance of one episode's gradient by estimator, for switch, subgoal and action.
        reference: the estimator whose total is 1.

    Raises:
        ValueError: if the reference is none of the estimators.
    """
    import plotly.graph_objects as go

    if reference not in traces:
        raise ValueError(f"the reference must be one of {', '.join(traces)}, got {reference!r}")
    whole = sum(traces[reference])
    figure = go.Figure()
    for number, (decision, colour) in enumerate(DECISIONS.items()):
        shares = [trace[number] / whole for trace in traces.values()]
        hover = "%{y}, " + decision + ": %{x:.3f}<extra></extra>"
        figure.add_bar(x=shares, y=list(traces), orientation="h", name=decision, marker={"color": colour}, hovertemplate=hover)
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "traceorder": "normal"}
    figure.update_layout(barmode="stack", legend=legend, bargap=0.35)
    figure.update_layout(margin={"l": 44, "r": 12, "t": 12, "b": 32})
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text=f"variance, {reference} = 1")
    return house_style(figure, height=120 + 34 * len(traces))


def dots_figure(measured: Mapping[str, Mapping[str, Sequence[float]]], along: str, upwards: str) -> go.Figure:
    """Means with 95 % intervals over seeds, one line a series, along named places.

    Args:
        measured: by series and place, one number a seed.
        along: what the places are.
        upwards: what was measured.
    """
    import plotly.graph_objects as go

    from hierlab.lab.results import summary

    figure = go.Figure()
    for number, (name, places) in enumerate(measured.items()):
        points = [summary(list(values)) for values in places.values()]
        whisker = None
        if points[0]["low"] is not None:
            whisker = {"type": "data", "array": [p["high"] - p["mean"] for p in points], "thickness": 1}
        figure.add_scatter(
            x=list(places), y=[p["mean"] for p in points], error_y=whisker, mode="lines+markers", name=name,
            line={"color": COLOURS[number % len(COLOURS)], "width": 2},
        )  # fmt: skip
    figure.update_layout(legend={"orientation": "h", "y": -0.3, "yanchor": "top", "x": 0})
    figure.update_xaxes(title_text=along, type="category")
    figure.update_yaxes(title_text=upwards)
    return house_style(figure, height=420)


def _short(values: Tensor) -> list[float]:
    return [float(f"{v:.4g}") for v in values.tolist()]
