r"""MAP: a whole Pareto front of merged models for the price of a few evaluations (arXiv 2406.07529).

1. Evaluate a few scale vectors $c$, drawn by `sample_scales`: the only expensive step.
2. Fit one `QuadraticSurrogate` a task to what was measured.
3. Search the surrogates for their Pareto front, by `search_front`.

The front's points are predictions. `reevaluate` measures a spread-out part of them, and counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from hierlab.adaptation.evaluations import CountedEvaluations, Evaluate, counted
from hierlab.adaptation.nsga3 import Bounds, search_front
from hierlab.adaptation.quadratic_surrogate import Link, QuadraticSurrogate, Start
from hierlab.adaptation.scale_sampling import Floats, default_budget, sample_scales
from hierlab.checks import check_range
from hierlab.pareto import front, weighted_choice
from hierlab.trace import show


class AmortisedFront:
    """MAP, fitted to an evaluation function.

    Args:
        budget: scale vectors to evaluate, all tasks each; 0 for (N + 1)(N + 2).
        link: "sigmoid" for accuracies, "softplus" for losses, "identity" for any other metric.
        low: the metric's lower end, for the two links that have one.
        high: its upper end, for "sigmoid".
        maximise: whether more of the metric is better; False for losses.
        start: where the fit starts, see `QuadraticSurrogate`; "ones" is the released code's.
        bounds: of every scale in the search. By default the box that was sampled; (-3, 3) is the released code's, whose front may then
            consist of extrapolations.
        isotropic: share of the samples for the diagonal, see `sample_scales`.
        population: of NSGA-III.
        generations: of NSGA-III; the released callers use 25.
        random_state: seeds samples and search; an int, or a NumPy generator.

    Attributes:
        scales_: [K, N] the evaluated scale vectors.
        measured_: [K, N] their metrics.
        surrogates_: [N] fitted, one a task.
        front_scales_: [F, N] the scale vectors of the predicted front.
        front_predicted_: [F, N] what the surrogates say of them.
    """

    def __init__(
        self,
        *,
        budget: int = 0,
        link: Link = "sigmoid",
        low: float = 0.0,
        high: float = 1.0,
        maximise: bool = True,
        start: Start = "linearised",
        bounds: Bounds = (0.0, 1.0),
        isotropic: float = 0.0,
        population: int = 100,
        generations: int = 25,
        random_state: int | np.random.Generator = 0,
    ):
        self.budget, self.link, self.low, self.high, self.maximise = budget, link, low, high, maximise
        self.start, self.bounds, self.isotropic = start, bounds, isotropic
        self.population, self.generations, self.random_state = population, generations, random_state

    def fit(self, evaluate: Evaluate | CountedEvaluations, tasks: int) -> Self:
        """Sample, evaluate, fit, search.

        Args:
            evaluate: measures merged models; give a `CountedEvaluations` to know, or limit, what it costs.
            tasks: N.

        Raises:
            ValueError: if the budget is below the number of coefficients, or as `QuadraticSurrogate.fit`.
            FitError: if a surrogate does not converge.
            BudgetError: if `evaluate` has a limit and it is reached.
        """
        check_range("budget", self.budget, 0)
        random = np.random.default_rng(self.random_state)
        scales = sample_scales(tasks, self.budget or default_budget(tasks), random, isotropic=self.isotropic)
        return self._fit_to(scales, counted(evaluate, tasks)(scales), random)

    def fit_to(self, scales: ArrayLike, measured: ArrayLike) -> Self:
        """Fit and search only, on scale vectors [K, N] whose metrics [K, N] are known.

        Raises:
            ValueError: as `fit`.
            FitError: if a surrogate does not converge.
        """
        return self._fit_to(np.asarray(scales, dtype=float), np.asarray(measured, dtype=float), np.random.default_rng(self.random_state))

    def _fit_to(self, scales: Floats, measured: Floats, random: np.random.Generator) -> Self:
        if scales.ndim != 2 or measured.shape != scales.shape:
            raise ValueError(f"scales and measured must be [K, N], one metric a task, got shapes {scales.shape} and {measured.shape}")
        self.scales_ = show("scale vectors", scales, r"c^{(1)},\dots,c^{(K)}")
        self.measured_ = show("measured metrics", measured, r"M_n(c)")
        self.surrogates_ = [self._surrogate().fit(scales, metric) for metric in measured.T]
        show("predicted at the samples", self.predict(scales), r"\widetilde M_n(c)=\sigma(c^\top A_n c+b_n^\top c+e_n)")
        self.front_scales_, self.front_predicted_ = self._search(random)
        show("scale vectors of the front", self.front_scales_, r"c^\star")
        show("predicted front", self.front_predicted_, r"\widetilde M(c^\star)")
        return self

    def _surrogate(self) -> QuadraticSurrogate:
        return QuadraticSurrogate(self.link, low=self.low, high=self.high, start=self.start)

    def _search(self, random: np.random.Generator) -> tuple[Floats, Floats]:
        sizes = {"bounds": self.bounds, "population": self.population, "generations": self.generations}
        return search_front(self.predict, len(self.surrogates_), random, maximise=self.maximise, **sizes)

    def predict(self, scales: ArrayLike) -> Floats:
        """What the surrogates say of scale vectors [K, N]: [K, N].

        Raises:
            ValueError: if nothing is fitted, or the shape does not fit.
        """
        if not hasattr(self, "surrogates_"):
            raise ValueError("no surrogates are fitted: call fit(evaluate, tasks) first")
        return np.stack([surrogate.predict(scales) for surrogate in self.surrogates_], axis=1)

    def choose(self, preference: Sequence[float]) -> Floats:
        """The scale vector of the predicted front that serves a preference best, [N]; see `hierlab.pareto.weighted_choice`.

        Raises:
            ValueError: if nothing is fitted, or the preference does not fit.
        """
        if not hasattr(self, "front_scales_"):
            raise ValueError("there is no front to choose from: call fit(evaluate, tasks) first")
        return self.front_scales_[weighted_choice(self.front_predicted_, preference, maximise=self.maximise)]

    def reevaluate(self, evaluate: Evaluate | CountedEvaluations, count: int = 100) -> tuple[Floats, Floats]:
        """Measure a part of the predicted front for real.

        Args:
            evaluate: as in `fit`; a `CountedEvaluations` counts this too.
            count: how many of the front's points at most, spread out in the space of predicted metrics.

        Returns:
            Scale vectors and their measured metrics, both [at most count, N].

        Raises:
            ValueError: if nothing is fitted or count is below 1.
            BudgetError: if `evaluate` has a limit and it is reached.
        """
        if not hasattr(self, "front_scales_"):
            raise ValueError("there is no front to re-evaluate: call fit(evaluate, tasks) first")
        chosen = self.front_scales_[spread(self.front_predicted_, count)]
        return chosen, counted(evaluate, chosen.shape[1])(chosen)

    def found(self, scales: ArrayLike, measured: ArrayLike) -> tuple[Floats, Floats]:
        """The front of everything measured: the samples of the fit, and further scale vectors with their metrics.

        Returns:
            Scale vectors and metrics of the non-dominated rows.
        """
        every_scale, every_metric = np.concatenate([self.scales_, scales]), np.concatenate([self.measured_, measured])
        kept = front(every_metric, maximise=self.maximise)
        return every_scale[kept], every_metric[kept]


def spread(points: ArrayLike, count: int) -> np.ndarray:
    """Rows that lie far apart: the best in each column first, then always the row farthest from those already taken.

    Args:
        points: [F, M].
        count: how many at most.

    Returns:
        [min(count, F)] row numbers, in order of choice.

    Raises:
        ValueError: if count is below 1, or points is no matrix with rows.
    """
    check_range("count", count, 1)
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"points must be a matrix with rows and columns, got shape {x.shape}")
    chosen = list(dict.fromkeys(x.argmax(axis=0).tolist()))[:count]
    distance = np.min([np.linalg.norm(x - x[row], axis=1) for row in chosen], axis=0)
    distance[chosen] = -1
    while len(chosen) < min(count, len(x)):
        row = int(distance.argmax())
        chosen.append(row)
        distance = np.minimum(distance, np.linalg.norm(x - x[row], axis=1))
        distance[chosen] = -1
    return np.array(chosen)
