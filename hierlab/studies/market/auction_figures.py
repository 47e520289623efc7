"""Pictures of position auctions: the fixed point, what a bid buys, virtual values, and how full an answer should be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hierlab.lab.figures import COLOURS, NEUTRAL, house_style
from hierlab.market import (
    Exponential,
    Mixture,
    Uniform,
    VirtualValue,
    cascade_optimum,
    mnl_click_rates,
    mnl_optimum,
    own_steps,
    relaxed_gain,
    utility_of,
)
from hierlab.market.placements import chosen
from hierlab.studies.market.auctions import MECHANISMS, PLACE, Auction, draws, forced_fillings

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Results

_LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}


def named_axes(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """A stepper's matrices with advertisements by name and gaps counted from 1. Changes the figure in place."""
    for trace in figure.data:
        if trace.type != "heatmap":
            continue
        columns = len(trace.z[0])
        suffix = trace.xaxis.removeprefix("x")
        figure.layout[f"xaxis{suffix}"].update(
            tickmode="array", tickvals=list(range(columns)), ticktext=[str(n + 1) for n in range(columns)], title={"text": "gap"}
        )
        figure.layout[f"yaxis{suffix}"].update(
            tickmode="array", tickvals=list(range(len(names))), ticktext=list(names), title={"text": "advertisement"}
        )
        trace.hovertemplate = "advertisement %{y}, gap %{x}: %{z:.4g}<extra></extra>"
    return figure


def share_axes(figure: go.Figure, along: str, *, logarithmic: bool = False) -> go.Figure:
    """Learning curves as shares of the optimum: titles in words, ticks where the points are. Changes the figure in place."""
    for trace in figure.data:
        if trace.fill:
            trace.mode = "lines"  # a band of few points would get a dot at each
    at = sorted({x for trace in figure.data for x in trace.x})
    figure.update_xaxes(title_text=along, tickmode="array", tickvals=at, ticktext=[f"{x:g}" if x >= 1 else f"{x:.2g}" for x in at])
    if logarithmic:
        figure.update_xaxes(type="log")
    figure.update_yaxes(title_text="welfare / optimum")
    return figure


def fixed_point(auction: Auction, k: int, points: int = 41) -> go.Figure:
    """h against the diagonal, and Dinkelbach's way to where they meet."""
    import plotly.graph_objects as go

    found = mnl_optimum(auction.value, auction.weight, k)
    top = 1.25 * found.welfare
    threshold = np.linspace(0.0, top, points)
    gain = [relaxed_gain(t, auction.value, auction.weight, k) for t in threshold]
    at = [relaxed_gain(t, auction.value, auction.weight, k) for t in found.steps]
    figure = go.Figure()
    figure.add_trace(_line(threshold, gain, "h(λ)", COLOURS[0]))
    figure.add_trace(_line([0, top], [0, top], "λ", NEUTRAL, dash="dot"))
    names = [str(number) for number in range(1, len(at) + 1)]
    steps = {"mode": "markers+text", "text": names, "textposition": ["top right"] * (len(at) - 1) + ["bottom left"]}
    marker = {"color": COLOURS[1], "size": 9}
    figure.add_trace(go.Scatter(x=_short(found.steps), y=_short(at), name="a matching", marker=marker, textfont={"size": 12}, **steps))
    figure.update_layout(xaxis={"title": {"text": "λ"}}, yaxis={"title": {"text": "h(λ)"}}, legend=_LEGEND)
    return house_style(figure, height=400)


def own_bid(auction: Auction, k: int, i: int, names: Sequence[str], points: int = 51) -> go.Figure:
    """What one advertiser's bid buys, above, and what is left of its worth, below, under several mechanisms.

    Above, the shaded area, between VCG's step function and its height at the truth, is the payment.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    optimise = partial(mnl_optimum, weight=auction.weight, k=k)
    phi = VirtualValue(Uniform())
    in_bids, in_phi = own_steps(i, auction.value, optimise, high=1.25), own_steps(i, phi(auction.value), optimise, high=1.25)
    bought = {
        "VCG": (np.array(in_bids.starts), in_bids.heights),
        "Myerson": (np.array([float(phi.inverse(start)) for start in in_phi.starts]), in_phi.heights),
    }
    jumps = np.concatenate([starts for starts, _ in bought.values()])
    around = np.concatenate([np.linspace(0.0, 1.25, points), [auction.value[i]], jumps - 1e-6, jumps + 1e-6])
    bids = np.unique(np.clip(around, 0.0, 1.25))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=["click rate", "utility"])
    figure.add_trace(_payment(*bought["VCG"], float(auction.value[i])), row=1, col=1)
    for number, (name, (starts, heights)) in enumerate(bought.items()):
        x, y = np.append(starts, 1.25), np.append(heights, heights[-1])
        line = {"color": COLOURS[number], "width": 2, "shape": "hv", "dash": "solid" if number == 0 else "dash"}
        if starts[0] > 0:
            x, y = np.append(0.0, x), np.append(0.0, y)
        figure.add_trace(
            go.Scatter(x=_short(x), y=_short(y), name=name, mode="lines", line=line, legendgroup=name, showlegend=False), row=1, col=1
        )
    for number, name in enumerate(names):
        mechanism = MECHANISMS[name](auction, k)
        utility = [utility_of(mechanism, auction.value, i, bid) for bid in bids]
        figure.add_trace(_line(bids, utility, name, COLOURS[number], legendgroup=name), row=2, col=1)
    figure.add_vline(x=float(auction.value[i]), line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="bid; the dotted line is the truth", row=2, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.12})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=560)


def _payment(starts: np.ndarray, heights: Sequence[float], truth: float) -> Any:
    """The area above a step function, up to what the truth buys."""
    import plotly.graph_objects as go

    below = [(start, height) for start, height in zip(starts, heights, strict=True) if start <= truth]
    top = below[-1][1]
    x, y, level = [0.0], [0.0], 0.0
    for start, height in below:
        x, y, level = [*x, start, start], [*y, level, height], height
    area = {"fill": "toself", "fillcolor": COLOURS[0], "opacity": 0.2, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    return go.Scatter(x=_short([*x, 0.0]), y=_short([*y, top]), mode="lines", **area)


def virtual_curves(points: int = 81) -> go.Figure:
    """Virtual values of three kinds of buyers; a dot is a reserve, a dotted line what ironing replaces."""
    import plotly.graph_objects as go

    shown = {
        "uniform": VirtualValue(Uniform(0, 1)),
        "exponential, mean 1": VirtualValue(Exponential(1.0)),
        "two kinds": VirtualValue(Mixture((Uniform(0, 1), Uniform(2, 3)), (0.8, 0.2))),
    }
    figure = go.Figure()
    for number, (name, phi) in enumerate(shown.items()):
        colour = COLOURS[number]
        value = np.linspace(phi.low + 0.005, min(phi.high, 3.0), points)
        figure.add_trace(_line(value, phi(value), name, colour, legendgroup=name))
        if not phi.regular:
            raw = np.where(np.abs(phi.raw(value)) < 10, phi.raw(value), np.nan)
            figure.add_trace(_line(value, raw, f"{name}, before ironing", colour, dash="dot"))
        dot = {"color": colour, "size": 9}
        figure.add_trace(go.Scatter(x=_short([phi.reserve]), y=_short(phi([phi.reserve])), mode="markers", marker=dot, showlegend=False))
    figure.add_hline(y=0, line={"color": NEUTRAL, "width": 1})
    figure.update_layout(
        xaxis={"title": {"text": "value of a click"}}, yaxis={"title": {"text": "virtual value"}, "range": [-2, 3]}, legend=_LEGEND
    )
    return house_style(figure, height=420)


def click_shares(auction: Auction, k: int, names: Sequence[str]) -> go.Figure:
    """Who is clicked, and how often nobody, under several ways to place: one bar a way, its welfare at the end."""
    import plotly.graph_objects as go

    generator = draws("shares")
    rates = {name: mnl_click_rates(auction.weight, PLACE[name](auction, k, generator)) for name in ways_of(names)}
    labels = [f"{name}<br>welfare {found @ auction.value:.3f}" for name, found in rates.items()]
    figure = go.Figure()
    for i, value in enumerate(auction.value):
        share = [found[i] for found in rates.values()]
        text = [f"{s:.0%}" if s > 0.06 else "" for s in share]
        bar = {"orientation": "h", "marker": {"color": COLOURS[i % len(COLOURS)]}, "text": text, "textposition": "inside"}
        figure.add_trace(go.Bar(x=_short(share), y=labels, name=f"{chr(65 + i)}, worth {value:.2f}", **bar))
    rest = [1 - found.sum() for found in rates.values()]
    look = {"orientation": "h", "marker": {"color": NEUTRAL}, "text": [f"{s:.0%}" for s in rest], "textposition": "inside"}
    look |= {"insidetextfont": {"color": "white"}}
    figure.add_trace(go.Bar(x=_short(rest), y=labels, name="no click", **look))
    figure.update_layout(
        barmode="stack",
        xaxis={"title": {"text": "share of readers"}, "range": [0, 1], "tickformat": ".0%"},
        yaxis={"autorange": "reversed"},
        legend=_LEGEND,
    )
    return house_style(figure, height=110 * len(rates) + 180)


def ways_of(names: Sequence[str]) -> Sequence[str]:
    """The names, if all are ways to place.

    Raises:
        ValueError: naming the first that is none.
    """
    for name in names:
        if name not in PLACE:
            raise ValueError(f"no way to place is called {name!r}; there are {', '.join(PLACE)}")
    return names


def fillings(auction: Auction, names: Sequence[str]) -> go.Figure:
    """Welfare of every placement by the number of advertisements it shows, and where several ways to place end up."""
    import plotly.graph_objects as go

    number, least, middle, most = zip(*forced_fillings(auction), strict=True)
    band = {"fill": "toself", "fillcolor": NEUTRAL, "opacity": 0.15, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure = go.Figure()
    figure.add_trace(go.Scatter(x=[*number, *number[::-1]], y=_short([*most, *least[::-1]]), mode="lines", **band))
    figure.add_trace(_line(number, most, "best placement of so many", NEUTRAL))
    figure.add_trace(_line(number, middle, "median placement", NEUTRAL, dash="dot"))
    generator = draws("fillings")
    for place, name in enumerate(ways_of(names)):
        rates = mnl_click_rates(auction.weight, PLACE[name](auction, max(number), generator))
        dot = {"color": COLOURS[place], "size": 11, "symbol": ("circle", "square", "diamond", "x", "cross")[place % 5]}
        at = {"x": [int((rates > 0).sum())], "y": _short([rates @ auction.value])}
        figure.add_trace(go.Scatter(name=name, mode="markers", marker=dot, **at))
    figure.update_layout(
        xaxis={"title": {"text": "advertisements shown"}, "dtick": 1},
        yaxis={"title": {"text": "welfare"}, "rangemode": "tozero"},
        legend=_LEGEND,
    )
    return house_style(figure, height=460)


def survival(auction: Auction, k: int) -> go.Figure:
    """How many readers are still there, and how many click, down an answer: the best free and the best fixed order."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    titles, orders = [], {}
    for order in ("free", "fixed"):
        best = cascade_optimum(auction.value, auction.rate, k, order=order)
        shown = np.flatnonzero(best.placement >= 0)
        turn = shown[np.argsort(-auction.value[shown] if order == "free" else best.placement[shown], kind="stable")]
        orders[order] = (turn, best)
        titles.append(f"{order} order, welfare {best.welfare:.3f}")
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.22)
    for row, (turn, best) in enumerate(orders.values(), start=1):
        own = chosen(auction.rate, best.placement)[turn]
        left = np.append(1.0, np.cumprod(1.0 - own)[:-1])
        names = [f"{chr(65 + i)} at {best.placement[i] + 1}<br>worth {auction.value[i]:.2f}" for i in turn]
        for name, height, colour in (("still reading", left, NEUTRAL), ("click here", best.rates[turn], COLOURS[0])):
            bar = {"marker": {"color": colour}, "text": [f"{h:.0%}" for h in height], "textposition": "outside", "cliponaxis": False}
            figure.add_trace(go.Bar(x=names, y=_short(height), name=name, legendgroup=name, showlegend=row == 1, **bar), row=row, col=1)
        figure.update_yaxes(range=[0, 1.15], tickformat=".0%", row=row, col=1)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    figure.update_layout(legend={**_LEGEND, "y": -0.16}, bargap=0.25)
    return house_style(figure, height=560)


def timing_lines(results: Results) -> go.Figure:
    """Time against size, both logarithmic: as many positions as advertisers above, a few positions below."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels = {"size": ("milliseconds", "as many positions as advertisers"), "crowd": ("crowd_milliseconds", "a few positions")}
    titles = [f"milliseconds, {words}" for _, words in panels.values()]
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.18)
    for row, (x, (y, _)) in enumerate(panels.items(), start=1):
        for number, arm in enumerate(results.arms):
            best = results.best(arm)
            line = {"color": COLOURS[number], "width": 2}
            mean = np.exp(np.log(np.array(best[y])).mean(0))
            trace = go.Scatter(x=list(best[x][0]), y=_short(mean), name=arm, mode="lines+markers", line=line, legendgroup=arm)
            figure.add_trace(trace.update(showlegend=row == 1), row=row, col=1)
            figure.update_xaxes(type="log", tickvals=list(best[x][0]), ticktext=[f"{v:g}" for v in best[x][0]], row=row, col=1)
        figure.update_yaxes(type="log", dtick=1, exponentformat="none", row=row, col=1)
    figure.update_xaxes(title_text="advertisers", row=2, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.12})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=560)


def _line(x: Any, y: Any, name: str, colour: str, *, dash: str = "solid", **more: Any) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(x=_short(x), y=_short(y), name=name, mode="lines", line={"color": colour, "width": 2, "dash": dash}, **more)


def _short(values: Any) -> list[float | None]:
    return [None if not np.isfinite(v) else float(f"{float(v):.4g}") for v in values]
