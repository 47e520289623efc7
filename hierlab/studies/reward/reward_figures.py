"""Pictures of reward benchmarks: scores against truth, one pair of the Ties domain, its terms, domains, and judges' places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, house_style
from hierlab.reward.judge import LETTERS
from hierlab.reward.rewardbench2 import DOMAINS
from hierlab.reward.simulated import exact_accuracy, largest_of
from hierlab.reward.ties import WEIGHTS, TiesRow, margin_term, ties_score
from hierlab.seeds import derive_seed
from hierlab.studies.reward.reward_study import BENCHMARK_WORLD, Simulation

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hierlab.lab.results import Results

_LEGEND = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}


def against_truth(seed: int = 0, *, models: int = 24, prompts: int = 1000, candidates: int = 16) -> go.Figure:
    """Measured accuracy and gain of simulated reward models beside their exact values, over the correlation of score and utility."""
    from plotly.subplots import make_subplots

    from hierlab.reward.best_of_n import best_of_n_accuracy, best_of_n_value
    from hierlab.reward.simulated import AnswerWorld, SimulatedReward

    draw, world = np.random.default_rng(derive_seed(seed, "against truth")), AnswerWorld()
    population = [SimulatedReward(float(q)) for q in np.linspace(0, 1, models)]
    grid = 1 - np.linspace(1, 0, 17) ** 2  # closer together where the curves bend
    titles = ("accuracy", f"utility of the favourite of {candidates}")
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.14, shared_xaxes=True)
    for number, (name, answers) in enumerate({"two answers": 2, "four answers": 4}.items()):
        drawn = world.draw(prompts, answers, draw)
        seen = [best_of_n_accuracy(model.score(*drawn, draw)) for model in population]
        for trace in _dots_on_line(population, seen, grid, [exact_accuracy(c, answers) for c in grid], name, COLOURS[number]):
            figure.add_trace(trace, row=1, col=1)
    drawn = world.draw(prompts, candidates, draw)
    seen = [float(best_of_n_value(model.score(*drawn, draw), drawn[0]).mean()) for model in population]
    exact = [c * largest_of(candidates) for c in grid]
    for trace in _dots_on_line(population, seen, grid, exact, "best of n", COLOURS[2]):
        figure.add_trace(trace, row=2, col=1)
    figure.update_xaxes(title_text="correlation of score and utility", row=2, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.12})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
    return house_style(figure, height=560)


def _dots_on_line(population: Sequence, seen: Sequence[float], grid: np.ndarray, exact: Sequence[float], name: str, colour: str) -> list:
    import plotly.graph_objects as go

    line = {"color": colour, "width": 2}
    return [
        go.Scatter(x=_short(grid), y=_short(exact), name=name, mode="lines", line=line),
        go.Scatter(
            x=_short([m.quality for m in population]),
            y=_short(seen),
            name=f"{name}, measured",
            mode="markers",
            marker={"color": colour},
            showlegend=False,
        ),
    ]


def score_against_use(simulation: Simulation) -> go.Figure:
    """Benchmark score against gain in use, one dot a model; a slider makes long candidates worse."""
    import plotly.graph_objects as go

    kinds = {"no length bias": ~simulation.biased, "likes length": simulation.biased}
    figure = go.Figure()
    for number in range(len(simulation.shifts)):
        for colour, (name, chosen) in zip(COLOURS, kinds.items(), strict=False):
            figure.add_trace(
                go.Scatter(
                    x=_short(100 * simulation.fours[chosen]),
                    y=_short(simulation.gains[number][chosen]),
                    name=name,
                    mode="markers",
                    marker={"color": colour, "size": 8},
                    visible=number == 0,
                )
            )
    steps = [
        {
            "method": "update",
            "label": f"{shift:+g}",
            "args": [
                {"visible": [other == number for other in range(len(simulation.shifts)) for _ in kinds]},
                {"annotations[0].text": f"r = {simulation.correlation(shift):.2f}"},
            ],
        }
        for number, shift in enumerate(simulation.shifts)
    ]
    slider = {"steps": steps, "currentvalue": {"prefix": "length and utility in use: r = "}, "pad": {"t": 56}, "bordercolor": NEUTRAL}
    slider |= {"bgcolor": GRID, "activebgcolor": COLOURS[0], "font": {"color": NEUTRAL}, "tickcolor": NEUTRAL}
    top = float(simulation.gains.max())
    low = float(simulation.gains.min())
    r = {"text": f"r = {simulation.correlation(simulation.shifts[0]):.2f}", "x": 0.02, "y": 0.98, "xref": "paper", "yref": "paper"}
    figure.update_layout(
        sliders=[slider],
        annotations=[{**r, "showarrow": False, "xanchor": "left", "yanchor": "top", "font": {"size": 16}}],
        xaxis={"title": {"text": "best-of-4 accuracy, %"}},
        yaxis={"title": {"text": "utility of the favourite of 16"}, "range": [low - 0.1, top + 0.1]},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"l": 44, "r": 12, "t": 48, "b": 44},
    )
    return house_style(figure, height=500)


def correlation_by_shift(simulations: Sequence[Simulation]) -> go.Figure:
    """Pearson's r of score and gain, against the correlation of length and utility in use: mean and range over populations."""
    import plotly.graph_objects as go

    shifts = simulations[0].shifts
    families = {
        "all models": [[s.correlation(shift) for s in simulations] for shift in shifts],
        "no length bias": [[s.correlation(shift, ~s.biased) for s in simulations] for shift in shifts],
        "likes length": [[s.correlation(shift, s.biased) for s in simulations] for shift in shifts],
    }
    figure = go.Figure()
    for colour, (name, found) in zip(COLOURS, families.items(), strict=False):
        mean = [float(np.mean(values)) for values in found]
        spread = {
            "type": "data",
            "symmetric": False,
            "array": _short([max(v) - m for v, m in zip(found, mean, strict=True)]),
            "arrayminus": _short([m - min(v) for v, m in zip(found, mean, strict=True)]),
            "thickness": 1,
        }
        figure.add_trace(
            go.Scatter(x=list(shifts), y=_short(mean), name=name, mode="lines+markers", line={"color": colour, "width": 2}, error_y=spread)
        )
    figure.add_hline(y=0.8, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    own = BENCHMARK_WORLD.length_correlation
    figure.update_layout(
        xaxis={"title": {"text": f"r of length and utility in use (test: {own:+g})"}, "autorange": "reversed"},
        yaxis={"title": {"text": "r of score and gain"}, "range": [-0.2, 1.05]},
        legend=_LEGEND,
    )
    return house_style(figure, height=420)


def ranking_lines(sizes: Sequence[int], found: Sequence[Mapping[str, Sequence[float]]]) -> go.Figure:
    """Kendall's tau with the true quality against the number of prompts, mean over seeds with 95 % intervals."""
    from hierlab.lab.blocks import Interval
    from hierlab.lab.level_lines import level_lines
    from hierlab.lab.results import summary

    def interval(values: Sequence[float]) -> Interval:
        s = summary(values)
        return Interval(s["mean"], s["mean"] if s["low"] is None else s["low"], s["mean"] if s["high"] is None else s["high"])

    measured = {name: [{"tau": interval([f[name][level] for f in found])} for level in range(len(sizes))] for name in found[0]}
    return level_lines(list(sizes), measured, {"tau": "Kendall's τ with the true quality"}, along="prompts", logarithmic=True)


def tied_pair(rows: Mapping[str, Sequence[TiesRow]], prompt: str = "0") -> go.Figure:
    """One prompt of the Ties domain as several models see it: right and wrong scores on a line, with spread and gaps as bars.

    Args:
        rows: by model, both rows of the prompt (and any others).
        prompt: which one.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    shown: set[str] = set()

    def once(name: str) -> bool:
        return not (name in shown or shown.add(name))

    def draw(line: str, name: str, values: list[float], look: dict) -> None:
        legend = {"name": name, "legendgroup": name, "showlegend": once(name)}
        figure.add_trace(go.Scatter(x=_short(values), y=[line] * len(values), **legend, **look))

    def dots(colour: str, symbol: str) -> dict:
        return {"mode": "markers", "marker": {"color": colour, "size": 10, "symbol": symbol}}

    def bar(colour: str) -> dict:
        return {"mode": "lines", "line": {"color": colour, "width": 5}, "opacity": 0.6}

    wanted = [(name, row) for name, own in rows.items() for kind in ("ref", "tied") for row in own if row.id == f"{kind}:{prompt}"]
    for name, row in wanted:
        line, right, wrong = f"{name}<br>{row.kind}", list(row.scores[: row.num_correct]), list(row.scores[row.num_correct :])
        draw(line, "gap g", [max(wrong), min(right)], bar(COLOURS[2]))
        if len(right) > 1:
            draw(line, "spread d", [min(right), max(right)], bar(COLOURS[3]))
        draw(line, "right", right, dots(COLOURS[0], "circle"))
        draw(line, "wrong", wrong, dots(COLOURS[1], "x"))
    figure.update_layout(
        xaxis={"title": {"text": "score"}}, yaxis={"type": "category", "autorange": "reversed"}, legend={**_LEGEND, "y": -0.14}
    )
    return house_style(figure, height=80 * len(wanted) + 120)


def ties_terms(rows: Mapping[str, Sequence[TiesRow]]) -> go.Figure:
    """What the five terms add to the Ties score of several models: stacked bars."""
    import plotly.graph_objects as go

    found = {name: ties_score(own) for name, own in rows.items()}
    figure = go.Figure()
    for colour, term in zip(COLOURS, WEIGHTS, strict=False):
        values = [score.terms[term] for score in found.values()]
        figure.add_trace(go.Bar(y=list(found), x=_short(values), name=term, orientation="h", marker={"color": colour}))
    totals = [
        {"x": max(0.0, s.overall), "y": name, "text": f" {s.overall:.3f}", "showarrow": False, "xanchor": "left"}
        for name, s in found.items()
    ]
    figure.update_layout(
        barmode="relative",
        annotations=totals,
        xaxis={"title": {"text": "Ties score, official"}, "range": [-0.02, 1.15]},
        yaxis={"autorange": "reversed"},
        legend={**_LEGEND, "y": -0.3},
    )
    return house_style(figure, height=60 * len(found) + 160)


def tie_break_curve() -> go.Figure:
    """The smallest term against the ratio of gap and spread, with what happens where both are 0."""
    import plotly.graph_objects as go

    ratio = np.linspace(-2, 5, 71)
    figure = go.Figure(
        go.Scatter(x=_short(ratio), y=_short(margin_term(ratio, np.ones_like(ratio))), name="d > 0", line={"color": COLOURS[0], "width": 2})
    )
    for colour, variant in zip(COLOURS[1:], ("official", "corrected"), strict=False):
        value = float(margin_term(np.zeros(1), np.zeros(1), variant=variant)[0])
        marker = {"color": colour, "size": 11, "symbol": "diamond"}
        figure.add_trace(go.Scatter(x=[0], y=_short([value]), mode="markers", name=f"g = d = 0, {variant}", marker=marker))
    figure.update_layout(xaxis={"title": {"text": "smaller gap / spread"}}, yaxis={"title": {"text": "margin term"}}, legend=_LEGEND)
    return house_style(figure, height=380)


def domain_bars(reports: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Domain scores in per cent, one panel a domain, one bar a model.

    Args:
        reports: by model, score by domain.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=3, cols=2, subplot_titles=DOMAINS, shared_yaxes=True, vertical_spacing=0.1, horizontal_spacing=0.1)
    names = list(reports)
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(names))]
    for place, domain in enumerate(DOMAINS):
        row, column = divmod(place, 2)
        values = [100 * reports[name][domain] for name in names]
        texts = {"text": [f"{v:.0f}" for v in values], "textposition": "outside", "textangle": 0, "cliponaxis": False}
        bar = go.Bar(y=names, x=_short(values), orientation="h", marker={"color": colours}, **texts)
        figure.add_trace(bar, row=row + 1, col=column + 1)
        if domain != "Ties":
            figure.add_vline(x=25, line={"color": NEUTRAL, "dash": "dot", "width": 1}, row=row + 1, col=column + 1)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, 112], tickvals=[0, 50, 100])
    figure.update_layout(showlegend=False, bargap=0.25)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL})
    return house_style(figure, height=3 * (26 * len(names) + 70))


def trained_scatter(results: Results) -> go.Figure:
    """Benchmark score of each trained reward model against the share of right answers among its favourites of 16."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, arm in enumerate(results.arms):
        units = [values for (name, _, _), values in results.units.items() if name == arm]
        figure.add_trace(
            go.Scatter(
                x=_short([100 * u["score"] for u in units]),
                y=_short([100 * u["best_of_16"] for u in units]),
                name=arm,
                mode="markers",
                marker={"color": COLOURS[number % len(COLOURS)], "size": 9},
            )
        )
    figure.update_layout(
        xaxis={"title": {"text": "benchmark score, %"}}, yaxis={"title": {"text": "right among favourites of 16, %"}}, legend=_LEGEND
    )
    return house_style(figure, height=420)


def judge_places(results: Results) -> go.Figure:
    """How often each place held the right answer, and how often each judge chose it.

    Args:
        results: an experiment with the lists `held` and `chose`, and one seed.
    """
    import plotly.graph_objects as go

    found = {arm: results.best(arm) for arm in results.arms}
    letters = [*LETTERS, "error"]
    held = next(iter(found.values()))["held"][0]
    figure = go.Figure(go.Bar(x=letters, y=held, name="right answer stood here", marker={"color": NEUTRAL}))
    for number, (name, measured) in enumerate(found.items()):
        colour = COLOURS[number % len(COLOURS)]
        figure.add_trace(go.Bar(x=letters, y=measured["chose"][0], name=f"{name} chose it", marker={"color": colour}))
    figure.update_layout(xaxis={"title": {"text": "place"}}, yaxis={"title": {"text": "items"}}, legend=_LEGEND, bargap=0.25)
    return house_style(figure, height=400)


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in np.asarray(values, dtype=float).tolist()]
