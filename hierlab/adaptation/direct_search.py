"""The baselines without a model: evaluate scale vectors from a grid, or at random, and keep what nothing else beats."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hierlab.adaptation.evaluations import CountedEvaluations, Evaluate, counted
from hierlab.adaptation.scale_sampling import Floats, Randomness
from hierlab.checks import check_range
from hierlab.pareto import Directions, front


def random_scales(count: int, tasks: int, random: Randomness) -> Floats:
    """[count, N] scale vectors uniform in [0, 1)^N."""
    check_range("count", count, 0)
    check_range("tasks", tasks, 1)
    return random.uniform(0, 1, (count, tasks))


def full_grid(side: int, tasks: int) -> Floats:
    """All points of the regular lattice on [0, 1]^N with `side` points a side, [side^N, N].

    Raises:
        ValueError: if side is below 2 or tasks below 1.
    """
    check_range("side", side, 2)
    check_range("tasks", tasks, 1)
    return np.indices([side] * tasks).reshape(tasks, -1).T / (side - 1)


def grid_scales(count: int, tasks: int, random: Randomness) -> Floats:
    """[count, N] points, without repetition, of the coarsest regular lattice that has so many.

    Raises:
        ValueError: if count or tasks is below 1.
    """
    check_range("count", count, 1)
    side = max(2, math.ceil(count ** (1 / tasks) - 1e-9))
    return full_grid(side, tasks)[random.choice(side**tasks, count, replace=False)]


def direct_front(scales: ArrayLike, evaluate: Evaluate | CountedEvaluations, *, maximise: Directions = True) -> tuple[Floats, Floats]:
    """Evaluate every scale vector and keep the front.

    Args:
        scales: [K, N].
        evaluate: measures merged models.
        maximise: whether more of a metric is better.

    Returns:
        Scale vectors and metrics of the front, both [F, N].
    """
    c = np.asarray(scales, dtype=np.float64)
    measured = counted(evaluate, c.shape[1])(c)
    kept = front(measured, maximise=maximise)
    return c[kept], measured[kept]


def win_rate(ours: ArrayLike, theirs: ArrayLike, random: Randomness, *, maximise: Directions = True) -> float:
    """How often a point of one front is better than one of another, a task at a time.

    As many points are drawn from each front as the smaller one has. Over all pairs and all tasks, it is the share in which ours is
    better; ties count one half. The paper reports a rate of this kind and its definition could not be found, so this one is ours.

    Args:
        ours: [F, N] metrics.
        theirs: [G, N] metrics.
        random: draws the points.
        maximise: whether more of a metric is better.

    Returns:
        A share in [0, 1]; one half for two equal fronts.

    Raises:
        ValueError: if a front is empty or their columns differ.
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or not a.size or not b.size or a.shape[1] != b.shape[1]:
        raise ValueError(f"both fronts must have rows and the same columns, got shapes {a.shape} and {b.shape}")
    size = min(len(a), len(b))
    a, b = (points[random.choice(len(points), size, replace=False)] for points in (a, b))
    gain = (a[:, None] - b[None]) * np.where(np.asarray(maximise), 1.0, -1.0)
    return float(((gain > 0) + 0.5 * (gain == 0)).mean())
