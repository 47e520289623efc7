"""MAP and direct search on the losses of merged language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from hierlab.adaptation.amortised_front import AmortisedFront
from hierlab.adaptation.direct_search import full_grid, grid_scales, random_scales
from hierlab.adaptation.evaluations import CountedEvaluations
from hierlab.adaptation.quadratic_surrogate import FitError
from hierlab.adaptation.scale_sampling import Floats
from hierlab.pareto import front, hypervolume, mean_distance
from hierlab.studies.adaptation.merge_problems import REMEMBERED, Numbers, Report, random_state
from hierlab.train.merged_language_model import MergedLanguageModel, MergeSettings, train_merged_language_model


@lru_cache(maxsize=REMEMBERED)
def language_problem(seed: int, base_steps: int, fine_steps: int) -> MergedLanguageModel:
    """Tiny language models fine-tuned to sums and to reversals, trained once a process."""
    return train_merged_language_model(seed, MergeSettings(base_steps=base_steps, fine_steps=fine_steps))


def language_fronts(
    arm: Mapping[str, Any], *, seed: int, budgets: Sequence[int], again: int, side: int, steps: tuple[int, int], report: Report
) -> Numbers:
    """What a method finds for two losses of merged language models.

    Volumes are measured from the worst loss of each kind on the dense grid, as shares of the dense grid's volume, and re-evaluations are
    charged. `distance` is the mean distance of the found front's points to the dense one's, in nats, at the largest budget.

    Args:
        arm: {"search": "random" or "grid"}, or {"settings": ...} of `AmortisedFront`.
        seed: of the models and the search.
        budgets: scale vectors for the search.
        again: points of MAP's front that are re-evaluated; direct search gets as many more.
        side: of the dense grid.
        steps: of training the base, and of fine-tuning.
        report: moves the progress bar.
    """
    problem = language_problem(seed, *steps)
    _, losses = dense_losses(seed, side, steps)
    worst, best = losses.max(0), losses[front(losses, maximise=False)]
    whole = hypervolume(losses, worst, maximise=False)
    found: Numbers = {}
    for number, budget in enumerate(budgets, start=1):
        measure = CountedEvaluations(problem.evaluate, 2)
        if "search" in arm:
            draw = {"random": random_scales, "grid": grid_scales}[arm["search"]]
            measure(draw(budget + again, 2, random_state("language", seed, budget)))
        else:
            settings = {"link": "softplus", "maximise": False, **arm["settings"]}
            fitted = AmortisedFront(budget=budget, random_state=random_state("language", seed, budget), **settings)
            with suppress(FitError):  # then it gives no front, and has its samples only
                fitted.fit(measure, 2).reevaluate(measure, again)
        found[f"loss volume {budget}"] = hypervolume(measure.measured, worst, maximise=False) / whole
        kept = measure.measured[front(measure.measured, maximise=False)]
        report(number, len(budgets))
    return found | {"distance": mean_distance(kept, best), "missed": mean_distance(best, kept)}


@lru_cache(maxsize=REMEMBERED)
def dense_losses(seed: int, side: int, steps: tuple[int, int]) -> tuple[Floats, Floats]:
    """Scale vectors of a dense grid and the losses there, both [side², 2]."""
    grid = full_grid(side, 2)
    return grid, language_problem(seed, *steps).evaluate(grid)
