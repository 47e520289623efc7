r"""Nested MAP: merge two models at a time, up a binary tree, so that every surrogate has two inputs only.

A front over N scales wants (N + 1)(N + 2) / 2 coefficients a task, and a lattice over them exponentially many points. Nested MAP asks
for one good merge for one preference instead of a front: it merges the two models with the closest scores, chooses a point of their
two-dimensional front by the preference, and puts the merged model back, until one is left.

Merging is linear, so a merged model is a scale vector over all tasks, and nothing but the evaluation function is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from hierlab.adaptation.amortised_front import AmortisedFront
from hierlab.adaptation.evaluations import CountedEvaluations, Evaluate, counted
from hierlab.adaptation.scale_sampling import Floats, sample_scales
from hierlab.trace import show


@dataclass(frozen=True)
class Merge:
    """A model in the tree.

    Attributes:
        tasks: the tasks merged into it.
        scales: [N] its scale vector over all tasks.
        score: preference-weighted mean metric over its tasks.
        pair: the two scales given to its children; none for a fine-tuned model.
        children: the two models it was merged from.
        front: the surrogates and the front of this merge.
    """

    tasks: tuple[int, ...]
    scales: Floats
    score: float
    pair: tuple[float, float] | None = None
    children: tuple[Merge, ...] = ()
    front: AmortisedFront | None = field(default=None, repr=False, compare=False)

    @property
    def depth(self) -> int:
        """How many merges lie between this model and its deepest fine-tuned one."""
        return 1 + max(child.depth for child in self.children) if self.children else 0


class NestedMAP:
    """Nested MAP, fitted to an evaluation function.

    Args:
        pairs: scale pairs evaluated at every merge.
        isotropic: share of them for the diagonal; the released code's 0.2.
        settings: of the two-dimensional fronts, keyword arguments of `AmortisedFront` such as `link` and `maximise`.
        random_state: seeds samples and searches; an int, or a NumPy generator.

    Attributes:
        scales_: [N] the final scale vector.
        tree_: the `Merge` with all tasks.
        nodes_: all models, fine-tuned ones first, then merges in order.
        task_evaluations_: what the fit cost.
    """

    def __init__(
        self, *, pairs: int = 20, isotropic: float = 0.2, settings: dict | None = None, random_state: int | np.random.Generator = 0
    ):
        self.pairs, self.isotropic, self.settings, self.random_state = pairs, isotropic, settings, random_state

    def fit(
        self,
        evaluate: Evaluate | CountedEvaluations,
        tasks: int,
        *,
        preference: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> Self:
        """Merge until one model is left.

        At every merge all pairs, and then the chosen one, are measured on the tasks inside. In a balanced tree of N tasks that makes
        N log2 N times (pairs + 1) task evaluations; in a chain, N (N + 1) / 2 - 1 times as many.

        Args:
            evaluate: measures merged models; give a `CountedEvaluations` to know, or limit, what it costs.
            tasks: N.
            preference: [N] how much each task matters, above 0; equally by default.
            scores: [N] the metric of each fine-tuned model on its own task; measured, and paid for, if not given.

        Raises:
            ValueError: if the preference or the scores do not fit, or a metric leaves its range.
            FitError: if a surrogate does not converge.
            BudgetError: if `evaluate` has a limit and it is reached.

        Source: luli-git/MAP `run_MAP.py: run_MAP_nested`. There, scores of fine-tuned models are percentages and those of merged ones
        are shares, so that after the first merge closeness compares different units; here all are what `evaluate` returns.
        """
        wish = _positive("preference", np.ones(tasks) if preference is None else preference, tasks)
        measure, random = counted(evaluate, tasks), np.random.default_rng(self.random_state)
        before = measure.spent
        corners = np.eye(tasks)
        if scores is None:
            scores = [float(measure(corners[n : n + 1], [n])[0, 0]) for n in range(tasks)]
        elif np.shape(scores) != (tasks,) or not np.isfinite(scores).all():
            raise ValueError(f"scores must be {tasks} finite numbers, one a task, got {scores!r}")
        pool = [Merge((n,), corners[n], float(scores[n])) for n in range(tasks)]
        self.nodes_ = list(pool)
        pairs = sample_scales(2, self.pairs, random, isotropic=self.isotropic)
        while len(pool) > 1:
            a, b = closest([node.score for node in pool])
            merged = self._merge(pool[a], pool[b], pairs, wish, measure, random)
            pool = [node for number, node in enumerate(pool) if number not in (a, b)] + [merged]
            self.nodes_.append(merged)
        self.tree_, self.scales_ = pool[0], pool[0].scales
        self.task_evaluations_ = measure.spent - before
        show("final scales", self.scales_, "c")
        return self

    def _merge(self, a: Merge, b: Merge, pairs: Floats, wish: Floats, measure: CountedEvaluations, random: np.random.Generator) -> Merge:
        inside = a.tasks + b.tasks
        weight = wish[list(inside)]
        metrics = measure(pairs[:, :1] * a.scales + pairs[:, 1:] * b.scales, inside)  # [pairs, tasks inside]
        cut = len(a.tasks)
        sides = [np.average(part, axis=1, weights=w) for part, w in ((metrics[:, :cut], weight[:cut]), (metrics[:, cut:], weight[cut:]))]
        front = AmortisedFront(**(self.settings or {}), random_state=random).fit_to(pairs, np.stack(sides, axis=1))
        pair = front.choose([weight[:cut].sum(), weight[cut:].sum()])
        scales = pair[0] * a.scales + pair[1] * b.scales
        score = float(np.average(measure(scales[None], inside)[0], weights=weight))
        return Merge(inside, scales, score, (float(pair[0]), float(pair[1])), (a, b), front)


def closest(scores: ArrayLike) -> tuple[int, int]:
    """The two positions whose scores differ least; the first such pair, in lexicographic order.

    Raises:
        ValueError: if there are fewer than two.

    Source: luli-git/MAP `utils.py: find_closest_datasets`.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"a pair wants at least two scores, got shape {x.shape}")
    return min(combinations(range(len(x)), 2), key=lambda pair: abs(x[pair[0]] - x[pair[1]]))


def _positive(name: str, values: ArrayLike, tasks: int) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.shape != (tasks,) or not np.isfinite(x).all() or (x <= 0).any():
        raise ValueError(f"{name} must be {tasks} finite numbers above 0, one a task, got {values!r}")
    return x
