"""MAP and direct search in a world whose front is known in closed form: what is missed is the method's own error.

Metrics are measured as accuracies on a test set are, as the share of a number of independent answers that are right, or exactly. What a
method found is judged by the true metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hierlab.adaptation.amortised_front import AmortisedFront
from hierlab.adaptation.direct_search import grid_scales, random_scales
from hierlab.adaptation.evaluations import CountedEvaluations
from hierlab.adaptation.quadratic_surrogate import FitError
from hierlab.adaptation.quadratic_world import QuadraticWorld
from hierlab.adaptation.scale_sampling import Floats, default_budget
from hierlab.lab.verdicts import interval
from hierlab.pareto import hypervolume
from hierlab.studies.adaptation.merge_problems import random_state


def known_front(arm: Mapping[str, Any], *, tasks: int, answers: int, again: int, seed: int, points: int = 4000) -> tuple[float, float]:
    """How much of a known front a method finds at MAP's own budget, and how wrong MAP's predicted front is.

    Args:
        arm: {"search": "random" or "grid"}, or {"settings": ...} of `AmortisedFront`.
        tasks: N.
        answers: of which a metric is the share that is right; 0 for exact metrics.
        again: points that MAP re-evaluates; direct search evaluates as many more.
        seed: of noise and search.
        points: drawn from the true front.

    Returns:
        The volume under the true metrics of what was measured, as a share of that under the true front; and the mean absolute error
        of the predicted front's metrics, NaN for direct search.
    """
    world = QuadraticWorld(tasks)
    noise = random_state("noise", seed, tasks)

    def evaluate(scales: Floats, wanted: Sequence[int]) -> Floats:
        true = world.evaluate(scales, wanted)
        return noise.binomial(answers, true) / answers if answers else true

    measure, budget = CountedEvaluations(evaluate, tasks), default_budget(tasks)
    error = np.nan
    if "search" in arm:
        draw = {"random": random_scales, "grid": grid_scales}[arm["search"]]
        measure(draw(budget + again, tasks, random_state("world", seed, tasks)))
    else:
        fitted = AmortisedFront(budget=budget, random_state=random_state("world", seed, tasks), **arm["settings"])
        with suppress(FitError):  # then it has its samples only
            fitted.fit(measure, tasks).reevaluate(measure, again)
            error = float(np.abs(fitted.front_predicted_ - world.evaluate(fitted.front_scales_)).mean())
    whole = hypervolume(world.front(points, random_state("front", tasks))[1], 0)
    return hypervolume(world.evaluate(measure.scales), 0) / whole, error


def known_fronts(
    arms: Mapping[str, Mapping[str, Any]], *, sizes: Sequence[int], answers: int, again: int, repeats: int
) -> dict[str, list[tuple[list[float], list[float]]]]:
    """`known_front` for every arm and number of tasks: by arm, per size, the shares and the errors of all repeats."""
    return {
        name: [
            tuple(map(list, zip(*(known_front(arm, tasks=n, answers=answers, again=again, seed=s) for s in range(repeats)), strict=True)))
            for n in sizes
        ]
        for name, arm in arms.items()
    }


def table(found: Mapping[str, Sequence[tuple[list[float], list[float]]]], sizes: Sequence[int]) -> dict[str, Any]:
    """Columns and rows of `known_fronts`: mean share and its 95 % interval, and the mean error where there is one."""
    rows = []
    for name, at in found.items():
        shares = [_with_interval(values) for values, _ in at]
        errors = [f"{np.nanmean(e):.4f}" if np.isfinite(e).any() else "none" for _, e in at]
        rows.append([name, *shares, *errors])
    return {"columns": ["method", *(f"share, {n} tasks" for n in sizes), *(f"error, {n} tasks" for n in sizes)], "rows": rows}


def _with_interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    mean, low, high = interval(values)
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"
