"""Bayesian MAP: spend the evaluations in rounds, each where the surrogates of the round before erred most.

The name is the paper's. No prior is involved: a round's samples are drawn by a softmax over scored bins of directions (the released
code accepts a prior and does not use it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from hierlab.adaptation.amortised_front import AmortisedFront
from hierlab.adaptation.angle_bins import Bins, draw_scales, score_bins
from hierlab.adaptation.evaluations import CountedEvaluations, Evaluate, counted
from hierlab.adaptation.scale_sampling import sample_scales
from hierlab.trace import show


class BayesianMAP(AmortisedFront):
    """MAP whose surrogates choose where they are measured next, each on samples of its own.

    The first round measures common scale vectors on all tasks. In later rounds each task draws `update` scale vectors where *its*
    surrogate errs, and is alone measured there. A whole fit so costs N times the schedule's sum in task evaluations, like plain MAP with
    that budget.

    Args:
        schedule: (first, update, update, ...) samples a task in each round.
        bins: along each angle; None for 4 up to three tasks, else 2.
        temperature: of the softmax over bins.
        weight: of the errors' deviation in a bin's score.
        radius: shortest and longest of new scale vectors.
        faithful: thin the errors and cut the bins as the released code does, see `uncertain_mean` and `score_bins`.
        settings: as of `AmortisedFront`, without `budget`.

    Attributes:
        task_scales_: [N] per task, the scale vectors it was measured at, [K, N].
        task_measured_: [N] per task, its metric there, [K].
        bins_: per round, per task, the scored bins.

    `scales_` and `measured_` are those of the first round; the other attributes are as of `AmortisedFront`.
    """

    def __init__(
        self,
        *,
        schedule: Sequence[int] = (15, 3, 3),
        bins: int | None = None,
        temperature: float = 0.07,
        weight: float = 0.5,
        radius: tuple[float, float] = (0.2, 0.8),
        faithful: bool = False,
        **settings,
    ):
        super().__init__(**settings)
        self.schedule, self.bins, self.temperature = schedule, bins, temperature
        self.weight, self.radius, self.faithful = weight, radius, faithful

    def fit(self, evaluate: Evaluate | CountedEvaluations, tasks: int) -> Self:
        """Sample, then fit, score and sample again for each later round, then fit and search.

        Args:
            evaluate: measures merged models; give a `CountedEvaluations` to know, or limit, what it costs.
            tasks: N, at least 2.

        Raises:
            ValueError: if the first round has fewer samples than a surrogate has coefficients, the schedule is empty or has a number
                below 1, `budget` is given, or there is one task only.
            FitError: if a surrogate does not converge.
            BudgetError: if `evaluate` has a limit and it is reached.
        """
        if not len(self.schedule) or min(self.schedule) < 1 or tasks < 2:
            raise ValueError(f"schedule wants numbers of at least 1 and tasks at least 2, got {self.schedule} and {tasks}")
        if self.budget:
            raise ValueError("the schedule is the budget: leave budget at 0")
        random, measure = np.random.default_rng(self.random_state), counted(evaluate, tasks)
        self.scales_ = sample_scales(tasks, self.schedule[0], random, isotropic=self.isotropic)
        self.measured_ = measure(self.scales_)
        self.task_scales_, self.task_measured_ = [self.scales_] * tasks, list(self.measured_.T)
        self.bins_: list[list[Bins]] = []
        for update in self.schedule[1:]:
            self._fit_each()
            self.bins_.append([self._score(n, random) for n in range(tasks)])
            for n, found in enumerate(self.bins_[-1]):
                new = show(f"next samples of task {n}", draw_scales(found, update, random, radius=self.radius), "c")
                self.task_measured_[n] = np.concatenate([self.task_measured_[n], measure(new, [n])[:, 0]])
                self.task_scales_[n] = np.concatenate([self.task_scales_[n], new])
        self._fit_each()
        self.front_scales_, self.front_predicted_ = self._search(random)
        return self

    def _fit_each(self) -> None:
        pairs = zip(self.task_scales_, self.task_measured_, strict=True)
        self.surrogates_ = [self._surrogate().fit(scales, metric) for scales, metric in pairs]

    def _score(self, n: int, random: np.random.Generator) -> Bins:
        errors = np.square(self.surrogates_[n].predict(self.task_scales_[n]) - self.task_measured_[n])
        switches = {"bins": self.bins, "temperature": self.temperature, "weight": self.weight, "faithful": self.faithful}
        found = score_bins(self.task_scales_[n], errors, random, **switches)
        show(f"bins of task {n}", found.probabilities, r"\mathrm{softmax}(\mathrm{score}/0.07)")
        return found
