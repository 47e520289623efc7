"""The algorithms that the lab of active evaluation compares, and what it measures of one of them on one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hierlab.ranking import choices, rules
from hierlab.ranking.active import ActiveEvaluator, Evaluation, endless, evaluate
from hierlab.ranking.rank_metrics import error_over_places, identification_error, ranking_error
from hierlab.ranking.score_table import ScoreTable, atari_table, mallows_table
from hierlab.ranking.voting import kemeny_order
from hierlab.seeds import derive_seed

if TYPE_CHECKING:
    from hierlab.lab.results import Results
    from hierlab.ranking.win_matrix import Array

POINTS = 20
"""Points of an error curve in a ledger."""


@dataclass(frozen=True)
class Algorithm:
    """One arm: how it chooses games, how it rates agents, and the one number of it that is tuned.

    Attributes:
        choice: "uniform", "balanced", "representative" or "upper confidence".
        rule: a name of `RULES`.
        knob: the tuned number, as a multiple of the value it starts from (see `RULES` and `KNOBS`); 1 for arms without one.
    """

    choice: str = "uniform"
    rule: str = "mean"
    knob: float = 1.0


CHOICES: Mapping[str, Callable[..., Any]] = {
    "uniform": choices.Uniform,
    "balanced": choices.Balanced,
    "representative": choices.Representative,
    "upper confidence": choices.UpperConfidence,
}
RULES: Mapping[str, Callable[[ScoreTable, np.random.Generator, float], rules.Rule]] = {
    "mean": lambda table, generator, knob: rules.MeanScore(),
    "elo": lambda table, generator, knob: rules.BatchElo(0.1 * knob),
    "sco": lambda table, generator, knob: rules.SoftCondorcetRating(0.1 * knob),
    "sco of tasks": lambda table, generator, knob: rules.SoftCondorcetRating(0.1 * knob, votes="tasks"),
    "fenchel-young": lambda table, generator, knob: rules.FenchelYoungRating(generator, step_size=0.5 * knob),
    "nash": lambda table, generator, knob: rules.NashAveraging(),
    "copeland": lambda table, generator, knob: rules.TaskVotes(),
    "kemeny": lambda table, generator, knob: rules.TaskVotes(kemeny_order),
    "random": lambda table, generator, knob: rules.RandomOrder(generator),
    "true means": lambda table, generator, knob: rules.Known(table.scores.mean(axis=0)),
}
KNOBS: Mapping[str, str] = {
    "BasicUCB": "width c of the confidence bound, from 1",
    "BatchElo": "smoothing ε of every pair, from 0.1",
    "SCO": "temperature τ, from a tenth of the ratings' bound",
    "SCO, task votes": "temperature τ, from a tenth of the ratings' bound",
    "FY-SCO": "step size, from half of the noise σ",
}

ALGORITHMS: Mapping[str, Algorithm] = {
    "random order": Algorithm(rule="random"),
    "UniformAveraging": Algorithm(),
    "BasicUCB": Algorithm("upper confidence"),
    "BatchElo": Algorithm(rule="elo"),
    "SCO": Algorithm(rule="sco"),
    "FY-SCO": Algorithm(rule="fenchel-young"),
    "Nash averaging": Algorithm(rule="nash"),
    "VasE, Copeland": Algorithm(rule="copeland"),
    "VasE, Kemeny": Algorithm(rule="kemeny"),
    "SCO, task votes": Algorithm(rule="sco of tasks"),
    "representative tasks": Algorithm("representative"),
    "representative tasks, Elo": Algorithm("representative", "elo"),
    "balanced tasks": Algorithm("balanced"),
    "balanced tasks, Elo": Algorithm("balanced", "elo"),
    "oracle, true means": Algorithm(rule="true means"),
}
RIVALS = ("UniformAveraging", "BasicUCB", "BatchElo", "SCO", "FY-SCO", "Nash averaging")
RIVALS += ("VasE, Copeland", "VasE, Kemeny", "representative tasks")
"""The paper's algorithms: what "the best" is chosen among. Controls and the oracle are none of them."""


def make_evaluator(algorithm: Algorithm, table: ScoreTable, seed: int, *parts: int | str) -> ActiveEvaluator:
    """An evaluator for a table. Its choices, its rule and its ties have generators of their own, named by the seed and the parts."""
    n, m = table.shape
    chance = {name: random_source(name, seed, *parts) for name in ("choice", "rule", "ties")}
    extra = {"width": algorithm.knob} if algorithm.choice == "upper confidence" else {}
    choice = CHOICES[algorithm.choice](n, m, chance["choice"], **extra)
    return ActiveEvaluator(choice, RULES[algorithm.rule](table, chance["rule"], algorithm.knob), n, m, chance["ties"])


def random_source(*parts: int | str) -> np.random.Generator:
    """A generator of this lab, named by what it is for."""
    return np.random.default_rng(derive_seed("active-evaluation", *parts))


def synthetic(phi: float, seed: int, *, agents: int = 8, tasks: int = 50, noise: float = 0.5, stage: str = "test") -> ScoreTable:
    """The synthetic table of one seed; those of the stage "tuning" share nothing with those of "test"."""
    return mallows_table(agents, tasks, phi, random_source(stage, f"{phi:g}", seed), noise=noise)


def real(name: str, noise: float) -> ScoreTable:
    """The Atari table that ships here ("atari"), or one from a file."""
    return atari_table(noise=noise) if name == "atari" else atari_table(noise=noise, path=name)


def run(algorithm: Algorithm, table: ScoreTable, rounds: int, seed: int, *parts: int | str, every: int = 50) -> Evaluation:
    """One evaluation; algorithms that choose alike see the same games, and all see the same noise, round by round."""
    return evaluate(make_evaluator(algorithm, table, seed, *parts), table, rounds, random_source("noise", seed, *parts), every=every)


def measure(found: Evaluation, table: ScoreTable, name: str, *, k: int, early: int, deadline: int) -> dict[str, float | list[float]]:
    """What a ledger holds of one evaluation: numbers and a curve, named after the table.

    Args:
        found: the evaluation.
        table: what was evaluated.
        name: the table's, in the names of the metrics.
        k: how many places matter.
        early: the rounds that count as early.
        deadline: the round at which the top k are looked at.
    """
    errors = ranking_error(found.rankings, table.truth, k)
    at = int(np.argmin(np.abs(found.rounds - deadline)))
    shown = curve_points(len(errors))
    return {
        f"agre_{name}": _short(errors.mean()),
        f"early_{name}": _short(errors[found.rounds <= max(early, found.rounds[0])].mean()),
        f"missing_{name}": _short(identification_error(found.rankings[at], table.truth, k)),
        f"places_{name}": _short(error_over_places(found.rankings[-1], table.truth)),
        f"gre_{name}": [_short(e) for e in errors[shown]],
        "rounds": found.rounds[shown].tolist(),
    }


def curve_points(looks: int) -> Array:
    """Which looks a curve keeps: evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, looks - 1, min(POINTS, looks)).round().astype(int))


def endless_error(algorithm: Algorithm, table: ScoreTable, k: int, seed: int = 0) -> float:
    """The error GRE(k) of a rule on what uniform sampling would show without end."""
    evaluator = make_evaluator(algorithm, table, seed, "endless")
    evaluator.seen = endless(table)
    for _ in range(20 if "sco" in algorithm.rule else 1):  # a rule that descends needs looks to arrive
        ranking = evaluator.ranking()
    return float(ranking_error(ranking, table.truth, k))


def best_of(results: Results, metric: str, arms: Sequence[str]) -> list[float]:
    """The lowest of several arms, seed by seed: the arm is chosen by its mean over the *other* seeds, so that no seed helps to choose."""
    values = {arm: results.best(arm)[metric] for arm in arms}
    return [values[chosen][i] for i, chosen in enumerate(_chosen(values, low=0))]


def worst_of(results: Results, metric: str, arms: Sequence[str]) -> list[float]:
    """The highest of several arms in each seed itself."""
    return [max(values) for values in zip(*(results.best(arm)[metric] for arm in arms), strict=True)]


def lead(results: Results, metrics: Sequence[str], arm: str, rivals: Sequence[str], spare: int = 0) -> list[float]:
    """By how much an arm is below its best rival, seed by seed, on the metric where that lead is smallest.

    Args:
        results: the experiment.
        metrics: one a setting.
        arm: whose lead.
        rivals: whom it leads.
        spare: how many settings may be lost: 1 takes the second smallest lead. The setting is chosen by the other seeds' mean leads.
    """
    leads = {
        metric: [rival - own for own, rival in zip(results.best(arm)[metric], best_of(results, metric, rivals), strict=True)]
        for metric in metrics
    }
    return [leads[chosen][i] for i, chosen in enumerate(_chosen(leads, low=spare))]


def mean_over(results: Results, metrics: Sequence[str], arm: str) -> list[float]:
    """An arm's mean over several metrics, seed by seed."""
    return [sum(values) / len(metrics) for values in zip(*(results.best(arm)[metric] for metric in metrics), strict=True)]


def _chosen(values: Mapping[str, Sequence[float]], low: int) -> list[str]:
    """For each seed, the name whose mean over the other seeds is the lowest (or next lowest, ...); with one seed, over that one."""
    names = list(values)
    table = np.array([values[name] for name in names], dtype=float)
    seeds = table.shape[1]
    chosen = []
    for seed in range(seeds):
        others = np.delete(table, seed, axis=1) if seeds > 1 else table
        chosen.append(names[int(np.argsort(others.mean(axis=1), kind="stable")[low])])
    return chosen


def _short(value: float) -> float:
    return round(float(value), 4)
