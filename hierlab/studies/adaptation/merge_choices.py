"""One merge instead of a front: for a preference, and for many tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from hierlab.adaptation.amortised_front import AmortisedFront
from hierlab.adaptation.direct_search import random_scales
from hierlab.adaptation.evaluations import CountedEvaluations
from hierlab.adaptation.nested_map import NestedMAP
from hierlab.adaptation.quadratic_surrogate import coefficient_count
from hierlab.adaptation.scale_sampling import Floats
from hierlab.adaptation.sparse_merging import dare, ties, ties_vectors
from hierlab.pareto import weighted_choice
from hierlab.seeds import generator
from hierlab.studies.adaptation.merge_problems import REMEMBERED, Material, Numbers, Problem, Report, merge_problem, random_state


def preferences(tasks: int) -> Floats:
    """All tasks alike, and each task three times as important as any other: [N + 1, N], rows sum to 1."""
    weights = np.ones((tasks + 1, tasks)) + 2 * np.eye(tasks + 1)[:, :tasks]
    return weights / weights.sum(1, keepdims=True)


def preference_scores(arm: str, *, material: Material, seed: int, views: int, budget: int, generations: int, report: Report) -> Numbers:
    """Preference-weighted accuracy of the one merge a method chooses, on images it did not choose by.

    The held-out images are halved: methods choose by one half, and are scored on the other. `evaluations` counts scale vectors. Methods
    that tune a shared scale try `budget` of them; MAP evaluates `budget` in all, the chosen points included.

    Args:
        arm: the method's name, one of `MERGERS`.
        material: what is merged.
        seed: of the networks and the search.
        views: N.
        budget: scale vectors.
        generations: of NSGA-III.
        report: moves the progress bar.
    """
    chosen_by, scored_on = merge_problem(material, seed, views).halves()
    wishes = preferences(views)
    vectors, scales, evaluations = MERGERS[arm](Ask(chosen_by, wishes, budget, seed, generations))
    report(1, 2)
    rows = [
        (scored_on if own is None else scored_on.with_vectors(own)).evaluate(c[None])[0] @ wish
        for own, c, wish in zip(vectors, scales, wishes, strict=True)
    ]
    return {"equal": float(rows[0]), "mean": float(np.mean(rows)), "worst": float(min(rows)), "evaluations": float(evaluations)}


class Ask(NamedTuple):
    """What a method is asked for.

    Attributes:
        problem: what is merged, measured on the images to choose by.
        wishes: [W, N] preferences, one merge is wanted for each.
        budget: scale vectors it may evaluate.
        seed: of the search.
        generations: of NSGA-III.
    """

    problem: Problem
    wishes: Floats
    budget: int
    seed: int
    generations: int


Chosen = tuple[list[torch.Tensor | None], list[Floats], float]
"""For each preference: other task vectors if it has any, and a scale vector; and how many scale vectors all that cost."""


def _fixed(scale: float) -> Callable[..., Chosen]:
    def merger(ask: Ask) -> Chosen:
        return [None] * len(ask.wishes), [np.full(ask.problem.tasks, scale)] * len(ask.wishes), 0

    return merger


def _fine_tuned(ask: Ask) -> Chosen:
    """The best single fine-tuned model for each preference."""
    corners = np.eye(ask.problem.tasks)
    measured = ask.problem.evaluate(corners)
    return [None] * len(ask.wishes), [corners[weighted_choice(measured, wish)] for wish in ask.wishes], ask.problem.tasks


def _shared_scale(thin: Callable[[Problem, int], torch.Tensor] | None = None) -> Callable[..., Chosen]:
    """The best of `budget` scales from 0 to 1.5 that all tasks share, for each preference."""

    def merger(ask: Ask) -> Chosen:
        own = None if thin is None else thin(ask.problem, ask.seed)
        part = ask.problem if own is None else ask.problem.with_vectors(own)
        scales = np.repeat(np.linspace(0, 1.5, ask.budget + 1)[1:, None], part.tasks, axis=1)
        measured = part.evaluate(scales)
        return [own] * len(ask.wishes), [scales[weighted_choice(measured, wish)] for wish in ask.wishes], ask.budget

    return merger


def _ties_merged(problem: Problem, seed: int) -> torch.Tensor:
    """TIES's one merged vector, a share of it in each task's row, so that a shared scale scales it as a whole."""
    return (ties(problem.vectors) / problem.tasks).expand_as(problem.vectors).contiguous()


def _dare(problem: Problem, seed: int) -> torch.Tensor:
    return dare(problem.vectors, 0.5, generator=generator("map lab", "dare", seed))


def _map(thin: Callable[[Problem, int], torch.Tensor] | None = None) -> Callable[..., Chosen]:
    """MAP, then for each preference the best of what was measured, the point chosen from the predicted front among it."""

    def merger(ask: Ask) -> Chosen:
        own = None if thin is None else thin(ask.problem, ask.seed)
        part = ask.problem if own is None else ask.problem.with_vectors(own)
        measure = CountedEvaluations(part.evaluate, part.tasks)
        budget, state = ask.budget - len(ask.wishes), random_state("choice", ask.seed)
        fitted = AmortisedFront(budget=budget, generations=ask.generations, random_state=state).fit(measure, part.tasks)
        measure(np.stack([fitted.choose(wish) for wish in ask.wishes]))
        best = [measure.scales[weighted_choice(measure.measured, wish)] for wish in ask.wishes]
        return [own] * len(ask.wishes), best, measure.scale_vectors

    return merger


def _random(ask: Ask) -> Chosen:
    scales = random_scales(ask.budget, ask.problem.tasks, random_state("choice, random", ask.seed))
    measured = ask.problem.evaluate(scales)
    return [None] * len(ask.wishes), [scales[weighted_choice(measured, wish)] for wish in ask.wishes], ask.budget


MERGERS: dict[str, Callable[..., Chosen]] = {
    "pre-trained": _fixed(0.0),
    "best fine-tuned": _fine_tuned,
    "task arithmetic, 0.3": _fixed(0.3),
    "task arithmetic, tuned": _shared_scale(),
    "TIES, tuned": _shared_scale(_ties_merged),
    "DARE, tuned": _shared_scale(_dare),
    "random search": _random,
    "MAP": _map(),
    "MAP on TIES vectors": _map(lambda problem, seed: ties_vectors(problem.vectors)),
    "MAP on DARE vectors": _map(_dare),
}
"""Methods that give one merge for a preference."""


TREES = ("nested MAP", "plain MAP", "random search", "task arithmetic, tuned")
"""Methods that give one merge for all tasks alike."""


def tree_scores(arm: str, *, material: Material, seed: int, sizes: Sequence[int], pairs: int, generations: int, report: Report) -> Numbers:
    """Accuracy of one merge for all tasks alike, and its cost, as tasks become more.

    Every method may spend as many task evaluations as nested MAP did. Methods choose by one half of the held-out images and are
    scored on the other. `growth` is what merging with most tasks cost, beside pairs * N log2 N.

    Args:
        arm: one of `TREES`.
        material: what is merged.
        seed: of the networks and the search.
        sizes: numbers of tasks.
        pairs: scale pairs at every merge.
        generations: of NSGA-III.
        report: moves the progress bar.
    """
    found: Numbers = {}
    for number, tasks in enumerate(sizes, start=1):
        chosen_by, scored_on = merge_problem(material, seed, max(sizes)).only(range(tasks)).halves()
        scales, spent, depth = _nested(material, seed, tasks, max(sizes), pairs, generations)
        if arm != "nested MAP":
            wish = np.full((1, tasks), 1 / tasks)
            merger = {"plain MAP": _plain_map, "random search": _random, "task arithmetic, tuned": _shared_scale()}[arm]
            _, (scales,), vectors = merger(Ask(chosen_by, wish, int(spent // tasks), seed, generations))
            spent = vectors * tasks
        found[f"accuracy {tasks}"] = float(scored_on.evaluate(scales[None])[0].mean())
        found[f"task evaluations {tasks}"] = float(spent)
        if tasks == max(sizes):
            merging = _nested(material, seed, tasks, tasks, pairs, generations)[1] - tasks
            found |= {"growth": merging / (pairs * tasks * np.log2(tasks)), "depth": float(depth)}
        report(number, len(sizes))
    return found


def _plain_map(ask: Ask) -> Chosen:
    """MAP where the budget allows a surrogate; elsewhere it has nothing to offer but random search."""
    enough = ask.budget - len(ask.wishes) >= coefficient_count(ask.problem.tasks)
    return _map()(ask) if enough else _random(ask)


@lru_cache(maxsize=REMEMBERED)
def _nested(material: Material, seed: int, tasks: int, views: int, pairs: int, generations: int) -> tuple[Floats, int, int]:
    """Nested MAP's scales, all it spent in task evaluations, and its tree's depth."""
    chosen_by, _ = merge_problem(material, seed, views).only(range(tasks)).halves()
    settings, state = {"generations": generations}, random_state("nested", seed, tasks)
    nested = NestedMAP(pairs=pairs, settings=settings, random_state=state).fit(chosen_by.evaluate, tasks)
    return nested.scales_, nested.task_evaluations_, nested.tree_.depth
