"""What a search may spend: every evaluation of a merged model on a task is counted, and kept.

A *task evaluation* is one merged model measured on one task; a whole scale vector costs one for each task. Comparing methods by it
is fair to those that look at some tasks only (nested and Bayesian MAP).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from hierlab.adaptation.quadratic_surrogate import as_scales
from hierlab.adaptation.scale_sampling import Floats

Evaluate = Callable[[Floats, Sequence[int]], ArrayLike]
"""[K, N] scale vectors and the numbers of n tasks to [K, n] metrics: the expensive step."""


class BudgetError(RuntimeError):
    """More evaluations were asked for than the budget has left."""


class CountedEvaluations:
    """An evaluation function that counts and remembers.

    Args:
        evaluate: measures merged models, see `Evaluate`.
        tasks: N.
        limit: task evaluations that may be spent; None for any number.

    Attributes:
        spent: task evaluations so far.
        scales: the scale vectors that were measured on all tasks, [K, N].
        measured: their metrics, [K, N].
    """

    def __init__(self, evaluate: Evaluate, tasks: int, *, limit: int | None = None):
        if tasks < 1:
            raise ValueError(f"tasks must be at least 1, got {tasks}")
        self.evaluate, self.tasks, self.limit = evaluate, tasks, limit
        self.spent = 0
        self.scales, self.measured = np.zeros((0, tasks)), np.zeros((0, tasks))

    @property
    def scale_vectors(self) -> float:
        """What was spent, in whole scale vectors: task evaluations divided by the number of tasks."""
        return self.spent / self.tasks

    def __call__(self, scales: ArrayLike, tasks: Sequence[int] | None = None) -> Floats:
        """Measure merged models.

        Args:
            scales: [K, N] scale vectors.
            tasks: the numbers of the tasks to measure; None for all.

        Returns:
            [K, n] metrics, one column a task asked for.

        Raises:
            BudgetError: if they cost more than is left; nothing is measured then.
            ValueError: if scales or tasks do not fit, or `evaluate` returns another shape or a number that is not finite.
        """
        c = as_scales(scales)
        wanted = list(range(self.tasks)) if tasks is None else list(tasks)
        if c.shape[1] != self.tasks or not wanted or not set(wanted) <= set(range(self.tasks)):
            raise ValueError(f"there are {self.tasks} tasks, got scale vectors of length {c.shape[1]} and tasks {wanted}")
        cost = len(c) * len(wanted)
        if self.limit is not None and self.spent + cost > self.limit:
            raise BudgetError(f"{cost} task evaluations were asked for, {self.limit - self.spent} of {self.limit} are left")
        values = np.asarray(self.evaluate(c, wanted), dtype=np.float64)
        if values.shape != (len(c), len(wanted)) or not np.isfinite(values).all():
            raise ValueError(f"evaluate must return finite metrics [{len(c)}, {len(wanted)}], got shape {values.shape}")
        self.spent += cost
        if wanted == list(range(self.tasks)):
            self.scales, self.measured = np.concatenate([self.scales, c]), np.concatenate([self.measured, values])
        return values


def counted(evaluate: Evaluate | CountedEvaluations, tasks: int) -> CountedEvaluations:
    """`evaluate` as it is if it counts already, else wrapped.

    Raises:
        ValueError: if it counts evaluations of another number of tasks.
    """
    if not isinstance(evaluate, CountedEvaluations):
        return CountedEvaluations(evaluate, tasks)
    if evaluate.tasks != tasks:
        raise ValueError(f"evaluate has {evaluate.tasks} tasks, but {tasks} were asked for")
    return evaluate
