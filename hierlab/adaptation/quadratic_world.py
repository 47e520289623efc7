r"""A world whose front is known: every metric is a sigmoid of a quadratic function of the scales, with its peak at a place of its own.

$$M_n(c)=\sigma\big(h-s\,\|c-p_n\|^2\big)$$

A point is on the front exactly if it lies in the convex hull of the peaks $p_n$: from any point outside, moving towards its nearest
point of the hull brings it closer to every peak at once, and inside no direction does. So MAP's surrogate is exact here, its front is
known in closed form, and whatever a method misses is the method's own error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hierlab.adaptation.quadratic_surrogate import as_scales, through
from hierlab.adaptation.scale_sampling import Floats, Randomness
from hierlab.checks import check_range


class QuadraticWorld:
    """Merged models without models.

    Args:
        tasks: N.
        height: h, the metric's logit at its peak.
        slope: s, how fast it falls with the squared distance.
        reach: where the peaks are: task n is best at `reach` of its own vector and 0.1 of every other.

    Attributes:
        peaks: [N, N] one row a task: the scale vector that serves it best.
    """

    def __init__(self, tasks: int, *, height: float = 2.5, slope: float = 4.0, reach: float = 0.8):
        check_range("tasks", tasks, 1)
        check_range("slope", slope, 0)
        check_range("reach", reach, 0.1, 1)
        self.tasks, self.height, self.slope = tasks, height, slope
        self.peaks = np.full((tasks, tasks), 0.1) + (reach - 0.1) * np.eye(tasks)

    def evaluate(self, scales: ArrayLike, tasks: Sequence[int] | None = None) -> Floats:
        """The metrics, [K, n], of scale vectors [K, N] on some tasks, or all.

        Raises:
            ValueError: if scales is not a finite matrix with N columns.
        """
        c = as_scales(scales)
        if c.shape[1] != self.tasks:
            raise ValueError(f"scales must have {self.tasks} columns, got {c.shape[1]}")
        peaks = self.peaks if tasks is None else self.peaks[list(tasks)]
        return through(self.height - self.slope * np.square(c[:, None] - peaks[None]).sum(-1), "sigmoid")

    def front(self, count: int, random: Randomness) -> tuple[Floats, Floats]:
        """Points of the true front, drawn uniformly from the hull of the peaks, the peaks themselves among them.

        Args:
            count: how many, at least N.
            random: draws them.

        Returns:
            Scale vectors and metrics, both [count, N].

        Raises:
            ValueError: if count is below N.
        """
        check_range("count", count, self.tasks)
        weights = np.concatenate([np.eye(self.tasks), random.dirichlet(np.ones(self.tasks), count - self.tasks)])
        scales = weights @ self.peaks
        return scales, self.evaluate(scales)
