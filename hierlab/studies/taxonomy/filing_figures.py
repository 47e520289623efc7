"""Pictures of filing: where label vectors start, one text's probability flowing up the tree, the penalty for broken paths, arms as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.lab.figures import COLOURS, NEUTRAL, house_style
from hierlab.taxonomy import LabelTree, penalty

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Results


def shortened(name: str, length: int = 26) -> str:
    """A label's name that fits on a phone."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def vector_map(tree: LabelTree, starts: dict[str, Tensor]) -> go.Figure:
    """Label vectors in the plane of their first two principal components, an edge from each child to its parent; buttons choose a start.

    Args:
        tree: the labels.
        starts: by name, [V, H] vectors; all are seen in the plane of the first.
    """
    import plotly.graph_objects as go

    centre = next(iter(starts.values())).double().mean(0)
    axes = torch.linalg.svd(next(iter(starts.values())).double() - centre, full_matrices=False).Vh[:2]
    figure, roots = go.Figure(), {root: number for number, root in enumerate(tree.roots)}
    for place, vectors in enumerate(starts.values()):
        flat = ((vectors.double() - centre) @ axes.T).tolist()
        for root, number in roots.items():
            below = tree.descendants(root)
            edge = [point for label in below for point in (flat[tree.parents[label]], flat[label], [None, None])]
            rounded = [[None if v is None else round(v, 3) for v in point] for point in edge]
            colour, first = COLOURS[number % len(COLOURS)], place == 0
            name = shortened(tree.names[root], 34)
            line = {"color": colour, "width": 1}
            x, y = [p[0] for p in rounded], [p[1] for p in rounded]
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, opacity=0.5, hoverinfo="skip", showlegend=False, visible=first))
            labels = [root, *below]
            marker = {"color": colour, "size": [14 if label == root else 7 for label in labels]}
            figure.add_trace(
                go.Scatter(
                    x=[round(flat[label][0], 3) for label in labels], y=[round(flat[label][1], 3) for label in labels],
                    mode="markers", marker=marker, name=name, text=[tree.names[label] for label in labels],
                    hovertemplate="%{text}<extra></extra>", visible=first,
                )
            )  # fmt: skip
    block = 2 * len(roots)
    buttons = [
        {"method": "update", "label": name, "args": [{"visible": [i // block == place for i in range(block * len(starts))]}]}
        for place, name in enumerate(starts)
    ]
    place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "direction": "right", "type": "buttons"}
    figure.update_layout(
        updatemenus=[{"buttons": buttons, "showactive": True, "font": {"color": NEUTRAL}, **place}],
        legend={"orientation": "h", "x": 0, "y": -0.12, "yanchor": "top"},
        xaxis={"zeroline": False},
        yaxis={"zeroline": False, "scaleanchor": "x"},
    )
    return house_style(figure, height=520)


def flow(tree: LabelTree, leaves: Sequence[float], roots: Sequence[float], gold: int) -> go.Figure:
    """One text's probability: what the leaves' classifier says, and what that adds up to beside what the roots' own classifier says.

    Args:
        tree: two levels.
        leaves: the leaves' probabilities.
        roots: the roots' probabilities by their own classifier.
        gold: the text's leaf; its path is marked.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [shortened(name) + (" ✓" if label in tree.path(gold) else "") for label, name in enumerate(tree.names)]
    summed = tree.pooled(torch.tensor(leaves, dtype=torch.float64), 1).tolist()
    titles = ["leaves, by their classifier", "roots: their own, and the sum"]
    share = {"row_heights": [len(tree.leaves), 1.6 * len(tree.roots)], "vertical_spacing": 0.14}
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, **share)

    def bar(row: int, labels: Sequence[int], values: Sequence[float], colours: list[str], name: str, *, listed: bool) -> None:
        texts = [f"{value:.2f}" for value in values]
        look = {"marker": {"color": colours}, "text": texts, "cliponaxis": False, "name": name, "showlegend": listed}
        across = {"x": [round(float(v), 4) for v in values], "y": [names[label] for label in labels], "orientation": "h"}
        figure.add_trace(go.Bar(**across, **look), row=row, col=1)

    shade = [COLOURS[tree.position[tree.path(leaf)[0]] % len(COLOURS)] for leaf in tree.leaves]
    bar(1, tree.leaves, leaves, shade, "leaves", listed=False)
    bar(2, tree.roots, roots, [NEUTRAL] * len(tree.roots), "own classifier", listed=True)
    bar(2, tree.roots, summed, [COLOURS[i % len(COLOURS)] for i in range(len(tree.roots))], "sum of their leaves (in colour)", listed=True)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, 1.12])
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.08, "yanchor": "top"}, bargap=0.3)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=120 + 34 * len(tree.leaves) + 58 * len(tree.roots))


def penalty_curve() -> go.Figure:
    """The factor gamma against invalid labels per gold label, below 0 as well, where only the official count goes."""
    import plotly.graph_objects as go

    share = [round(-1 + 0.05 * i, 2) for i in range(81)]
    values = [round(penalty(round(100 * a), 100), 4) for a in share]
    figure = go.Figure()
    for name, colour, part in (
        ("more labels than paths need", COLOURS[0], [i for i, a in enumerate(share) if a >= 0]),
        ("reached by the released count only", COLOURS[1], [i for i, a in enumerate(share) if a <= 0]),
    ):
        line = {"color": colour, "width": 2}
        figure.add_trace(go.Scatter(x=[share[i] for i in part], y=[values[i] for i in part], name=name, line=line))
    figure.update_layout(
        xaxis={"title": {"text": "a, invalid labels per gold label"}},
        yaxis={"title": {"text": "γ"}, "rangemode": "tozero"},
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
    )
    return house_style(figure, height=380)


def bars(results: Results, metrics: dict[str, str]) -> go.Figure:
    """Each arm's mean and 95 % interval at its own best rate, a panel a metric.

    Args:
        results: the experiment.
        metrics: what each metric is called in the picture.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from hierlab.lab.results import summary

    figure = make_subplots(rows=len(metrics), cols=1, subplot_titles=list(metrics.values()), vertical_spacing=0.08)
    for row, metric in enumerate(metrics, start=1):
        found = {arm: summary(results.best(arm)[metric]) for arm in results.arms}
        for number, (arm, numbers) in enumerate(found.items()):
            mean = numbers["mean"]
            spread = [0.0, 0.0] if numbers["low"] is None else [numbers["high"] - mean, mean - numbers["low"]]
            error = {"type": "data", "array": [round(spread[0], 4)], "arrayminus": [round(spread[1], 4)], "color": NEUTRAL}
            marker = {"color": COLOURS[number % len(COLOURS)], "size": 9}
            dot = go.Scatter(x=[round(mean, 4)], y=[arm], error_x=error, mode="markers", marker=marker, showlegend=False)
            figure.add_trace(dot, row=row, col=1)
        figure.update_yaxes(autorange="reversed", type="category", row=row, col=1)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=60 + len(metrics) * (60 + 21 * len(results.arms)))
