"""What MAP and direct search find in digit views against what they evaluate, and how well surrogates predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from hierlab.adaptation.amortised_front import AmortisedFront
from hierlab.adaptation.bayesian_map import BayesianMAP
from hierlab.adaptation.direct_search import grid_scales, random_scales, win_rate
from hierlab.adaptation.evaluations import CountedEvaluations
from hierlab.adaptation.quadratic_surrogate import FitError
from hierlab.adaptation.scale_sampling import Floats, default_budget
from hierlab.pareto import front, hypervolume, mean_distance
from hierlab.studies.adaptation.merge_problems import (
    LEAN,
    REMEMBERED,
    Material,
    Numbers,
    Problem,
    Report,
    dense_front,
    merge_problem,
    random_state,
)


def front_volumes(
    arm: Mapping[str, Any], *, material: Material, seed: int, views: int, budgets: Sequence[int], again: int, reference: int, report: Report
) -> Numbers:
    """The volume under what a method found, against what it evaluated.

    With `views` tasks, at every budget: `volume B`, where MAP's re-evaluations are not charged, and `charged B`, where direct search gets
    as many further evaluations as MAP re-evaluates. With two and three tasks at MAP's own budget likewise. All volumes are shares of
    that under `reference` random scale vectors.

    Args:
        arm: {"search": "random" or "grid"}, or {"settings": ...} of `AmortisedFront`.
        material: what is merged.
        seed: of the networks and the search.
        views: N.
        budgets: scale vectors for the search.
        again: points of MAP's front that are re-evaluated.
        reference: random scale vectors that volumes are shares of.
        report: moves the progress bar.
    """
    problem = merge_problem(material, seed, views)
    found: Numbers = {}
    volumes, charged = [], []
    cases = [(views, budget, again) for budget in budgets] + [(n, default_budget(n), LEAN) for n in range(2, views + 1)]
    for number, (tasks, budget, extra) in enumerate(cases):
        part = problem if tasks == views else problem.only(range(tasks))
        whole = _reference_volume(material, seed, views, tasks, reference)
        free, paid, wins = _volumes(arm, part, budget, extra, seed, _rival(material, seed, views, tasks, budget + extra))
        if number < len(budgets):
            volumes.append(free / whole)
            charged.append(paid / whole)
            found |= {f"volume {budget}": free / whole, f"charged {budget}": paid / whole, f"wins {budget}": wins}
        else:
            found[f"charged with {tasks} tasks"] = paid / whole
        report(number + 1, len(cases))
    return found | {"evaluations": [float(b) for b in budgets], "volume": volumes, "charged": charged}


@lru_cache(maxsize=REMEMBERED)
def _reference_volume(material: Material, seed: int, views: int, tasks: int, count: int) -> float:
    problem = merge_problem(material, seed, views).only(range(tasks))
    return hypervolume(problem.evaluate(random_scales(count, tasks, random_state("reference", seed, tasks))), 0)


def _volumes(arm: Mapping[str, Any], problem: Problem, budget: int, again: int, seed: int, rival: Floats) -> tuple[float, float, float]:
    """Volume with re-evaluations free, with them charged, and the win rate against a rival's front at equal, charged cost."""
    if "search" in arm:
        free, paid = (_searched(arm["search"], problem, budget + extra, seed) for extra in (0, again))
    else:
        measure = CountedEvaluations(problem.evaluate, problem.tasks)
        fitted = AmortisedFront(budget=budget, random_state=random_state("map", seed, budget), **arm["settings"])
        with suppress(FitError):  # then it gives no front, and has its samples only
            fitted.fit(measure, problem.tasks).reevaluate(measure, again)
        free = paid = measure.measured
    wins = win_rate(paid[front(paid)], rival, random_state("wins", seed, budget))
    return hypervolume(free, 0), hypervolume(paid, 0), wins


@lru_cache(maxsize=REMEMBERED)
def _rival(material: Material, seed: int, views: int, tasks: int, count: int) -> Floats:
    """The front of a random search of its own."""
    found = _searched("random", merge_problem(material, seed, views).only(range(tasks)), count, seed + 10_000)
    return found[front(found)]


def _searched(search: str, problem: Problem, count: int, seed: int) -> Floats:
    scales = {"random": random_scales, "grid": grid_scales}[search](count, problem.tasks, random_state(search, seed, count))
    return problem.evaluate(scales)


def surrogate_quality(
    arm: Mapping[str, Any], *, material: Material, seed: int, views: int, unseen: int, side: int, report: Report
) -> Numbers:
    """How well surrogates predict, with two to `views` tasks at MAP's own budget, and how close to the dense front they lead.

    `R² N` is the mean over tasks on random scale vectors not fitted to. With two tasks, against the front of a dense grid:
    `predicted`, the mean distance of the predicted front's points to it; `measured`, that of the same points once evaluated; `missed`,
    the mean distance of the dense front's points to those. In shares of right answers. `volume N` is that under samples and 20
    re-evaluated points, as a share of that under the unseen ones.

    Args:
        arm: {"rounds": whether to sample in rounds, "settings": ...}.
        material: what is merged.
        seed: of the networks and the search.
        views: the most tasks.
        unseen: random scale vectors that surrogates are tested on.
        side: of the dense grid.
        report: moves the progress bar.
    """
    found: Numbers = {}
    for tasks in range(2, views + 1):
        problem = merge_problem(material, seed, views).only(range(tasks))
        test, truth = _unseen(material, seed, views, tasks, unseen)
        measure = CountedEvaluations(problem.evaluate, tasks)
        fitted = _fit(arm, measure, tasks, seed)
        found[f"R² {tasks}"] = float(np.mean([s.score(test, y) for s, y in zip(fitted.surrogates_, truth.T, strict=True)]))
        _, again = fitted.reevaluate(measure, LEAN)
        found[f"volume {tasks}"] = hypervolume(measure.measured, 0) / hypervolume(truth, 0)
        if tasks == 2:
            dense = _dense(material, seed, views, side)
            found |= {
                "predicted": mean_distance(fitted.front_predicted_, dense),
                "measured": mean_distance(again, dense),
                "missed": mean_distance(dense, again),
            }
        report(tasks - 1, views - 1)
    return found


@lru_cache(maxsize=REMEMBERED)
def _unseen(material: Material, seed: int, views: int, tasks: int, count: int) -> tuple[Floats, Floats]:
    """Random scale vectors, and their metrics."""
    scales = random_scales(count, tasks, random_state("unseen", seed, tasks))
    return scales, merge_problem(material, seed, views).only(range(tasks)).evaluate(scales)


@lru_cache(maxsize=REMEMBERED)
def _dense(material: Material, seed: int, views: int, side: int) -> Floats:
    return dense_front(merge_problem(material, seed, views).only((0, 1)).evaluate, side)[1]


def _fit(arm: Mapping[str, Any], measure: CountedEvaluations, tasks: int, seed: int) -> AmortisedFront:
    """A fit at MAP's own budget; in rounds, four fifths of it (or as many as there are coefficients) in the first one."""
    budget, state = default_budget(tasks), random_state("surrogate", seed, tasks)
    if not arm.get("rounds"):
        return AmortisedFront(budget=budget, random_state=state, **arm["settings"]).fit(measure, tasks)
    update = max(1, budget // 10)
    return BayesianMAP(schedule=(budget - 2 * update, update, update), random_state=state, **arm["settings"]).fit(measure, tasks)
