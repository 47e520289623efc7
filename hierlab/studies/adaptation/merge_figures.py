"""Pictures of merging: landscapes, fronts with a preference, generations of a search, bins of directions, merge trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hierlab.adaptation.angle_bins import Bins, hyperspherical
from hierlab.adaptation.nested_map import Merge
from hierlab.adaptation.scale_sampling import Floats
from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, SEQUENTIAL, house_style
from hierlab.pareto import front, weighted_choice

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ABOVE = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


def landscapes(axis: Floats, measured: Floats, predicted: Mapping[str, Floats], samples: Floats, names: tuple[str, str]) -> go.Figure:
    """A metric over two scales, measured on a grid and as surrogates predict it, one below the other, with the samples of the fit.

    Args:
        axis: [S] the grid's values along both scales.
        measured: [S * S] the metric, first scale slowest.
        predicted: the same by surrogate.
        samples: [K, 2] scale vectors that the surrogates were fitted to.
        names: of the two tasks.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    maps = {"measured": measured, **predicted}
    figure = make_subplots(rows=len(maps), cols=1, subplot_titles=list(maps), vertical_spacing=0.1, shared_xaxes=True)
    limits = {"start": float(np.floor(20 * measured.min()) / 20), "end": float(np.ceil(20 * measured.max()) / 20), "size": 0.05}
    scale = {"colorscale": SEQUENTIAL, "contours": limits, "zmin": limits["start"], "zmax": limits["end"]}
    bar = {"thickness": 10, "len": 0.9, "outlinewidth": 0, "tickfont": {"color": NEUTRAL}}
    for row, values in enumerate(maps.values(), start=1):
        z = _short(values.reshape(len(axis), len(axis)).T)
        contour = go.Contour(x=_short(axis), y=_short(axis), z=z, **scale, line={"width": 0.5}, showscale=row == 1, colorbar=bar)
        figure.add_trace(contour, row=row, col=1)
        dots = {"size": 6, "color": "rgba(0,0,0,0)", "line": {"color": "#ffffff", "width": 1.5}}
        points = go.Scatter(
            x=_short(samples[:, 0]), y=_short(samples[:, 1]), mode="markers", marker=dots, hoverinfo="skip", showlegend=False
        )
        figure.add_trace(points, row=row, col=1)
        figure.update_yaxes(title_text=f"scale of {names[1]}", row=row, col=1)
    figure.update_xaxes(title_text=f"scale of {names[0]}", row=len(maps), col=1)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=300 * len(maps) + 60)


def fitted_against_measured(truth: Floats, predicted: Mapping[str, Floats]) -> go.Figure:
    """Predictions for scale vectors that were not fitted to, against what was measured there.

    Args:
        truth: [K] measured.
        predicted: [K] predictions by surrogate.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (name, values) in enumerate(predicted.items()):
        marker = {"size": 4, "color": COLOURS[number], "opacity": 0.7}
        figure.add_trace(go.Scatter(x=_short(truth), y=_short(values), mode="markers", name=name, marker=marker))
    ends = [float(truth.min()), float(truth.max())]
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, name="exact", hoverinfo="skip"))
    figure.update_layout(xaxis={"title": {"text": "measured"}}, yaxis={"title": {"text": "predicted"}}, legend=_ABOVE)
    return house_style(figure, height=400)


def fronts_with_preference(
    found: Mapping[str, Floats], choose_from: str, names: tuple[str, str], *, maximise: bool = True, choices: int = 11
) -> go.Figure:
    """Several fronts of two metrics on common axes; a slider moves the preference, a ring shows the point it chooses.

    Args:
        found: [F, 2] metrics by front; the dominated ones among them are left out.
        choose_from: the front that the preference chooses from.
        names: of the two metrics.
        maximise: whether more is better.
        choices: positions of the slider.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (name, points) in enumerate(found.items()):
        kept = points[front(points, maximise=maximise)]
        kept = kept[np.argsort(kept[:, 0])]
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, 60).round().astype(int))]
        look = {"line": {"color": COLOURS[number], "width": 1}, "marker": {"size": 5}, "mode": "lines+markers"}
        figure.add_trace(go.Scatter(x=_short(kept[:, 0]), y=_short(kept[:, 1]), name=name, **look))
    options = found[choose_from]
    shares = np.linspace(0, 1, choices)
    for share in shares:
        x, y = options[weighted_choice(options, [1 - share, share], maximise=maximise)]
        ring = {"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": COLOURS[6], "width": 3}}
        figure.add_trace(
            go.Scatter(x=[_short(x)], y=[_short(y)], mode="markers", marker=ring, name="chosen", visible=bool(share == shares[5]))
        )
    always = [True] * len(found)
    steps = [
        {"method": "update", "label": f"{share:.1f}", "args": [{"visible": always + [bool(other == share) for other in shares]}]}
        for share in shares
    ]
    figure.update_layout(
        sliders=[_slider(steps, 5, f"weight of {names[1]} = ")],
        xaxis={"title": {"text": names[0]}},
        yaxis={"title": {"text": names[1]}},
        legend=_ABOVE,
        margin={"l": 44, "r": 12, "t": 84, "b": 44},
    )
    return house_style(figure, height=520)


def generations(populations: Sequence[Floats], names: tuple[str, str], shown: Sequence[int] = (0, 1, 2, 4, 8, 16, 25)) -> go.Figure:
    """A search's population in the space of predicted metrics, a slider over its generations.

    Args:
        populations: per generation, [P, 2] predicted metrics.
        names: of the two metrics.
        shown: which generations; those there are.
    """
    import plotly.graph_objects as go

    shown = [number for number in shown if number < len(populations)]
    figure = go.Figure()
    for number in shown:
        points = populations[number]
        marker = {"size": 6, "color": COLOURS[0], "opacity": 0.7}
        figure.add_trace(
            go.Scatter(x=_short(points[:, 0]), y=_short(points[:, 1]), mode="markers", marker=marker, visible=number == shown[-1])
        )
    steps = [{"method": "update", "label": str(n), "args": [{"visible": [other == n for other in shown]}]} for n in shown]
    every = np.concatenate([populations[n] for n in shown])
    ranges = [[float(low - 0.02), float(high + 0.02)] for low, high in zip(every.min(0), every.max(0), strict=True)]
    figure.update_layout(
        sliders=[_slider(steps, len(shown) - 1, "generation ")],
        xaxis={"title": {"text": f"predicted, {names[0]}"}, "range": ranges[0]},
        yaxis={"title": {"text": f"predicted, {names[1]}"}, "range": ranges[1]},
        showlegend=False,
    )
    return house_style(figure, height=480)


def fan(found: Bins, before: Floats, new: Floats, names: tuple[str, str]) -> go.Figure:
    """Two scales in polar form: each bin of directions as a wedge as long as its probability, samples before, and the next ones.

    Args:
        found: scored bins of two tasks.
        before: [K, 2] samples that were scored.
        new: [n, 2] samples drawn.
        names: of the two tasks: the first lies at 0°, the second at 90°.
    """
    import plotly.graph_objects as go

    degrees = np.degrees(found.centres[:, 0])
    wedges = go.Barpolar(
        r=_short(found.probabilities),
        theta=_short(degrees),
        width=[float(np.degrees(found.width))] * len(degrees),
        marker={"color": COLOURS[2], "opacity": 0.45, "line": {"color": NEUTRAL, "width": 1}},
        name="probability of a bin",
    )
    figure = go.Figure([wedges])
    for points, name, colour, symbol in ((before, "samples so far", COLOURS[0], "circle"), (new, "next samples", COLOURS[1], "star")):
        angles, radii = hyperspherical(points)
        marker = {"color": colour, "symbol": symbol, "size": 9}
        spots = {"r": _short(radii), "theta": _short(np.degrees(angles[:, 0])), "mode": "markers", "name": name}
        figure.add_trace(go.Scatterpolar(**spots, marker=marker))
    ring = {"gridcolor": GRID, "linecolor": GRID, "tickfont": {"color": NEUTRAL, "size": 11}}
    angular = {**ring, "tickvals": [0, 22.5, 45, 67.5, 90], "ticktext": [names[0], "22.5°", "45°", "67.5°", names[1]]}
    figure.update_layout(
        polar={"sector": [0, 90], "radialaxis": {**ring, "range": [0, 1.45]}, "angularaxis": angular, "bgcolor": "rgba(0,0,0,0)"},
        legend=_ABOVE,
        margin={"l": 24, "r": 60, "t": 70, "b": 24},
    )
    return house_style(figure, height=440)


def merge_tree(root: Merge, names: Sequence[str]) -> go.Figure:
    """A merge tree from its leaves on the left: at every merge the two scales and the score.

    Args:
        root: the model with all tasks.
        names: [N] of the tasks.
    """
    import plotly.graph_objects as go

    place: dict[int, tuple[float, float]] = {}
    nodes: list[Merge] = []

    def lay_out(node: Merge, row: int) -> int:
        first = row
        for child in node.children:
            row = lay_out(child, row)
        heights = [place[id(child)][1] for child in node.children]
        place[id(node)] = (float(node.depth), float(np.mean(heights)) if heights else float(first))
        nodes.append(node)
        return row if node.children else first + 1

    lay_out(root, 0)
    figure = go.Figure()
    for node in nodes:
        x, y = place[id(node)]
        for child, scale in zip(node.children, node.pair or (), strict=True):
            a, b = place[id(child)]
            line = go.Scatter(x=[a, x, x], y=[b, b, y], mode="lines", line={"color": NEUTRAL, "width": 1 + 3 * scale}, hoverinfo="skip")
            figure.add_trace(line)
            figure.add_annotation(x=x, y=b, text=f"× {scale:.2f}", showarrow=False, xanchor="right", yshift=9, xshift=-3)
    spots = {"x": [place[id(n)][0] for n in nodes], "y": [place[id(n)][1] for n in nodes]}
    texts = [f"{names[n.tasks[0]]} {n.score:.3f}" if not n.children else f"{n.score:.3f}" for n in nodes]
    marker = {"size": 9, "color": [COLOURS[0] if n.children else COLOURS[2] for n in nodes]}
    where = ["middle right" if n.children else "top right" for n in nodes]
    figure.add_trace(go.Scatter(**spots, mode="markers+text", text=texts, textposition=where, marker=marker, hoverinfo="text"))
    figure.update_layout(
        showlegend=False,
        xaxis={"visible": False, "range": [-0.1, root.depth + 0.6]},
        yaxis={"visible": False, "range": [-0.6, len(names) - 0.2]},
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
    )
    return house_style(figure, height=64 * len(names) + 60)


def _slider(steps: list[dict[str, Any]], active: int, prefix: str) -> dict[str, Any]:
    look = {"bordercolor": NEUTRAL, "bgcolor": GRID, "activebgcolor": COLOURS[0], "font": {"color": NEUTRAL}, "tickcolor": NEUTRAL}
    return {"steps": steps, "active": active, "currentvalue": {"prefix": prefix}, "pad": {"t": 56}, **look}


def _short(values: Any) -> Any:
    """Numbers at four digits, as Plotly's JSON wants them."""
    if np.ndim(values):
        return [_short(value) for value in values]
    return float(f"{float(values):.4g}")
