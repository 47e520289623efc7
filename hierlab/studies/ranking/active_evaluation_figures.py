"""Pictures of active evaluation: one evaluation step by step, tasks that disagree, errors over rounds, a loss that is nearly a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, house_style
from hierlab.lab.results import Results, summary
from hierlab.ranking import (
    Profile,
    ScoreTable,
    SoftCondorcet,
    approval,
    batch_elo,
    borda,
    copeland,
    evaluate,
    identification_error,
    kemeny,
    plurality,
    ranked_pairs,
    ranking_error,
    schulze,
    wrong_pairs,
)
from hierlab.ranking.rules import BatchElo
from hierlab.studies.ranking.active_evaluation import ALGORITHMS, Algorithm, make_evaluator, random_source
from hierlab.trace import Step, Tape

if TYPE_CHECKING:
    import plotly.graph_objects as go

MENU = {"x": 0, "xanchor": "left", "y": 1.04, "yanchor": "bottom"}


def walk(table: ScoreTable, rounds: int, algorithm: str, seed: int = 0) -> list[Step]:
    """One evaluation as steps: what the tasks think, what was sampled, what was concluded from it, and how wrong that is.

    Args:
        table: a small one.
        rounds: how many games are played.
        algorithm: a name of `ALGORITHMS`.
        seed: of the games.
    """
    evaluator = make_evaluator(ALGORITHMS[algorithm], table, seed, "walk")
    found = evaluate(evaluator, table, rounds, random_source("noise", seed, "walk"), every=rounds)
    seen, ranking = evaluator.seen, found.rankings[-1]
    places = np.argsort(np.argsort(-table.scores, axis=1), axis=1) + 1.0
    ratings = evaluator.rule.rate(seen)
    with Tape() as tape:
        if isinstance(evaluator.rule, BatchElo):  # the reference's iteration, of which the rule takes the limit
            batch_elo(seen.wins, seen.draws, smoothing=evaluator.rule.smoothing)
    m = len(table.agents)
    return [
        Step("the tasks' own rankings", places, r"\text{row: task, column: agent; 1 is best}"),
        Step("times sampled", seen.counts, r"n_{v,a}\text{, row: task, column: agent}"),
        Step("mean scores seen", seen.cell_means, r"\overline{s}(v,a)\text{, row: task, column: agent}"),
        Step("games won", seen.wins, r"\text{wins}_{ij}\text{, row over column}"),
        *[step for step in tape.steps if step.name.startswith("strengths")],
        Step("ratings", ratings, r"\text{what the ranking is made of}"),
        Step("places published", np.argsort(ranking) + 1.0, r">_t"),
        Step("true places", np.argsort(table.truth) + 1.0, r">^{*}"),
        Step("pairs in the wrong order", wrong_pairs(ranking, table.truth).astype(float), r"\text{rows and columns in the true order}"),
        Step("errors for k = 1, 2, ...", _errors(ranking, table.truth, m), r"\text{rows: IDE, }K_n\text{, GRE; column }k-1"),
    ]


def _errors(ranking: np.ndarray, truth: np.ndarray, m: int) -> np.ndarray:
    """IDE, K_n among the true first k, and GRE, for every k. [3, m]"""
    wrong = wrong_pairs(ranking, truth)
    among = [wrong[:k, :k].sum() / max(k * (k - 1) / 2, 1) for k in range(1, m + 1)]
    ide = [float(identification_error(ranking, truth, k)) for k in range(1, m + 1)]
    return np.array([ide, among, [float(ranking_error(ranking, truth, k)) for k in range(1, m + 1)]])


def bump_chart(tables: Mapping[str, ScoreTable]) -> go.Figure:
    """The place that each task gives each agent, one line an agent, tasks side by side; a menu chooses the table.

    Args:
        tables: by the words of the menu; all with the same number of agents. The agents are coloured by their true place.
    """
    import plotly.graph_objects as go

    figure, owners = go.Figure(), []
    for name, table in tables.items():
        places = np.argsort(np.argsort(-table.scores, axis=1, kind="stable"), axis=1) + 1
        for place, agent in enumerate(table.truth):
            line = {"color": COLOURS[place % len(COLOURS)], "width": 3 if place < 3 else 1.5}
            words = f"{table.agents[agent]}, truly {place + 1}"
            figure.add_scatter(
                x=list(range(1, len(places) + 1)), y=places[:, agent].tolist(), name=words, line=line, mode="lines", showlegend=False
            )
            owners.append(name)
    _menu(figure, owners, list(tables), "Tasks")
    figure.update_xaxes(title="task", showgrid=False)
    figure.update_yaxes(title="place", autorange="reversed", dtick=1)
    return house_style(figure, height=420)


def error_curves(panels: Mapping[str, tuple[Results, str]], arms: Sequence[str]) -> go.Figure:
    """The mean error and its 95 % interval against rounds, one line an arm; a menu chooses the data.

    Args:
        panels: by the words of the menu, an experiment and the name of the curve in it.
        arms: which arms.
    """
    import plotly.graph_objects as go

    figure, owners = go.Figure(), []
    for panel, (results, metric) in panels.items():
        for number, arm in enumerate(arms):
            colour = NEUTRAL if arm == "random order" else COLOURS[number % len(COLOURS)]
            measured = results.best(arm)
            points = [summary(values) for values in zip(*measured[metric], strict=True)]
            along = list(measured["rounds"][0])
            if points[0]["low"] is not None:
                edge = [_short(p["high"]) for p in points] + [_short(p["low"]) for p in reversed(points)]
                band = {"fill": "toself", "fillcolor": colour, "opacity": 0.12, "line": {"width": 0}, "hoverinfo": "skip"}
                figure.add_scatter(x=along + along[::-1], y=edge, showlegend=False, legendgroup=arm, **band)
                owners.append(panel)
            line = {"color": colour, "width": 2, "dash": "solid" if number < len(COLOURS) else "dot"}
            figure.add_scatter(x=along, y=[_short(p["mean"]) for p in points], name=arm, legendgroup=arm, mode="lines", line=line)
            owners.append(panel)
    _menu(figure, owners, list(panels), "Data")
    figure.update_xaxes(title="rounds")
    figure.update_yaxes(title="GRE", rangemode="tozero")
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0})
    return house_style(figure, height=520)


def error_bars(panels: Mapping[str, tuple[Results, str]], arms: Sequence[str]) -> go.Figure:
    """One number an arm with its 95 % interval, arms from top to bottom; a menu chooses the data.

    Args:
        panels: by the words of the menu, an experiment and a metric in it.
        arms: which arms.
    """
    import plotly.graph_objects as go

    figure, owners = go.Figure(), []
    for panel, (results, metric) in panels.items():
        found = [summary(results.best(arm)[metric]) for arm in arms]
        reach = [0 if f["low"] is None else _short(f["mean"] - f["low"]) for f in found]
        bar = {"x": [_short(f["mean"]) for f in found], "y": list(arms), "error_x": {"array": reach, "color": NEUTRAL, "thickness": 1.5}}
        colours = [NEUTRAL if arm in ("random order", "oracle, true means") else COLOURS[0] for arm in arms]
        figure.add_bar(orientation="h", marker={"color": colours}, showlegend=False, **bar)
        owners.append(panel)
    _menu(figure, owners, list(panels), "Data")
    figure.update_xaxes(title="AGRE", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return house_style(figure, height=120 + 26 * len(arms))


def sigmoid_curves(temperatures: Sequence[float]) -> go.Figure:
    """The loss of one pair against how far its ratings are apart, at several temperatures; as they fall, Kemeny's step."""
    import plotly.graph_objects as go

    gap = np.linspace(-5, 5, 41)
    figure = go.Figure()
    for number, temperature in enumerate(temperatures):
        loss = 1 / (1 + np.exp(np.clip(gap / temperature, -700, 700)))
        line = {"color": COLOURS[number % len(COLOURS)], "width": 2}
        figure.add_scatter(x=gap.tolist(), y=[_short(v) for v in loss], name=f"τ = {temperature:g}", mode="lines", line=line)
    figure.add_scatter(x=[-5, 0, 0, 5], y=[1, 1, 0, 0], name="Kemeny's count", mode="lines", line={"color": NEUTRAL, "dash": "dot"})
    figure.update_xaxes(title="rating of the preferred, minus the other's")
    figure.update_yaxes(title="loss")
    figure.update_layout(legend={"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0})
    return house_style(figure, height=360)


def descent_paths(profile: Profile, steps: Sequence[int], **switches: float) -> go.Figure:
    """The ratings of Soft Condorcet Optimization after so many steps of full gradient descent, one line an alternative."""
    import plotly.graph_objects as go

    ratings = np.array([SoftCondorcet(iterations=count, **switches).fit(profile).ratings_ for count in steps])
    figure = go.Figure()
    for number, name in enumerate(profile.alternatives):
        line = {"color": COLOURS[number % len(COLOURS)], "width": 2}
        heights = [float(f"{v:.6g}") for v in ratings[:, number]]
        figure.add_scatter(x=list(steps), y=heights, name=str(name), mode="lines+markers", line=line)
    figure.update_xaxes(title="gradient steps")
    figure.update_yaxes(title="rating θ")
    return house_style(figure, height=340)


def verdict_table(profile: Profile) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: how each rule ranks and scores one profile. Equal scores share a place: "A = C > B"."""
    fitted = SoftCondorcet().fit(profile)
    scores = {
        "plurality": plurality(profile).scores,
        "approval of two": approval(profile, 2).scores,
        "Borda": borda(profile).scores,
        "batch Elo": dict(zip(profile.alternatives, batch_elo(profile.preferences), strict=True)),
        "Copeland": copeland(profile).scores,
        "Kemeny": kemeny(profile).scores,
        "ranked pairs": ranked_pairs(profile).scores,
        "Schulze": schulze(profile).scores,
        "Soft Condorcet": dict(zip(profile.alternatives, fitted.ratings_, strict=True)),
    }
    names = [str(name) for name in profile.alternatives]
    return ["rule", "ranking", *names], [
        [rule, _chain(found), *(f"{found[name]:.3f}".rstrip("0").rstrip(".") for name in profile.alternatives)]
        for rule, found in scores.items()
    ]


def _chain(scores: Mapping[Any, float]) -> str:
    """Alternatives by falling score; those within a billionth are equal."""
    order = sorted(scores, key=lambda name: -scores[name])
    words = str(order[0])
    for before, after in pairwise(order):
        words += f" {'=' if abs(scores[before] - scores[after]) < 1e-6 else '>'} {after}"
    return words


def _menu(figure: go.Figure, owners: Sequence[str], names: Sequence[str], label: str) -> None:
    """A menu that shows the traces of one owner at a time, the first at first. A single owner needs none."""
    for trace, owner in zip(figure.data, owners, strict=True):
        trace.visible = owner == names[0]
    if len(names) > 1:
        buttons = [{"label": name, "method": "update", "args": [{"visible": [owner == name for owner in owners]}]} for name in names]
        figure.update_layout(updatemenus=[{"buttons": buttons, "name": label, "bgcolor": GRID, **MENU}])
        figure.update_layout(margin={"l": 48, "r": 12, "t": 56, "b": 44})


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def rule_names() -> dict[str, Algorithm]:
    """The arms whose rules differ though they see the same games: uniform choice, no controls."""
    return {name: a for name, a in ALGORITHMS.items() if a.choice == "uniform" and a.rule not in ("random", "fenchel-young")}
