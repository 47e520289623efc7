r"""Which scale vectors to evaluate: one-hot ones, and points on a lattice, along the diagonal, or near either.

Every function takes a NumPy generator. With a legacy `RandomState(seed)` the draws are those of the released code (luli-git/MAP,
`Sampling.py`) after `np.random.seed(seed)`, in its order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hierlab.adaptation.quadratic_surrogate import coefficient_count
from hierlab.checks import check_range

Floats = NDArray[np.float64]
Randomness = np.random.Generator | np.random.RandomState


def default_budget(tasks: int) -> int:
    """How many scale vectors MAP evaluates: twice as many as a surrogate has coefficients, (N + 1)(N + 2)."""
    return 2 * coefficient_count(tasks)


def isotropic_points(count: int, tasks: int, random: Randomness) -> Floats:
    """[count, N] points u (1, ..., 1) with u uniform in [0, 1): the same share of every task."""
    return np.repeat(random.uniform(0, 1, count)[:, None], tasks, axis=1)


def disturbed_points(around: Floats, count: int, random: Randomness, *, deviation: float = 0.1) -> Floats:
    """[count, N] rows of `around`, drawn with replacement, plus normal noise, clipped to [0, 1]."""
    if not count:
        return np.zeros((0, around.shape[1]))
    chosen = around[random.choice(len(around), size=count)]
    return np.clip(chosen + random.normal(0, deviation, chosen.shape), 0, 1)


def lattice_points(count: int, tasks: int, random: Randomness) -> Floats:
    """Points of a regular lattice on [0, 1]^N that are not on its well-trodden paths.

    The lattice has ceil((2 count)^(1/N)) points a side. Left out are the points whose coordinates sum to exactly 1, the one-hot
    vectors among them, and the diagonal. If more than `count` remain, so many are drawn without replacement, in random order; if fewer, all
    are given, in the lattice's order.

    Args:
        count: how many are wanted.
        tasks: N.
        random: draws them.

    Returns:
        [at most count, N]

    Raises:
        ValueError: if count is negative or tasks below 1.

    Source: luli-git/MAP `Sampling.py: generate_adjusted_nd_points`, whose switch to keep one-hot vectors is undone by the rule of the sum.
    """
    check_range("count", count, 0)
    check_range("tasks", tasks, 1)
    side = math.ceil((count / 0.5) ** (1 / tasks))
    if side < 2:
        return np.zeros((0, tasks))
    points = np.indices([side] * tasks).reshape(tasks, -1).T / (side - 1)
    kept = (points.sum(axis=1) != 1) & ~(points == points[:, :1]).all(axis=1)
    points = points[kept]
    return points[random.choice(len(points), count, replace=False)] if len(points) > count else points


def sample_scales(tasks: int, total: int, random: Randomness, *, isotropic: float = 0.0, one_hot: float = 0.0) -> Floats:
    """The scale vectors that MAP evaluates: all one-hot ones, and the rest split between three kinds.

    Of the total - N remaining points, int(isotropic * rest) are for the diagonal, half of them on it and half disturbed;
    int(one_hot * rest) for disturbed one-hot vectors, of which half are drawn, as in the released code; all others for the lattice.
    The result may have fewer than `total` rows: halves are rounded down, and a lattice can run out of points.

    Args:
        tasks: N.
        total: how many scale vectors at most; above N.
        random: draws them.
        isotropic: share for the diagonal; MAP and Bayesian MAP use 0, nested MAP 0.2.
        one_hot: share for disturbed one-hot vectors; 0 in all of the released callers.

    Returns:
        [at most total, N] in [0, 1]: diagonal, disturbed diagonal, one-hot, disturbed one-hot, lattice.

    Raises:
        ValueError: if total is not above N, or the shares are not in [0, 1] or add up to more than 1.

    Source: luli-git/MAP `Sampling.py: generate_combined_points`.
    """
    check_range("tasks", tasks, 1)
    if total <= tasks:
        raise ValueError(f"total must be above the number of tasks, {tasks}, whose one-hot vectors are always among them, got {total}")
    check_range("isotropic", isotropic, 0, 1)
    check_range("one_hot", one_hot, 0, 1)
    if isotropic + one_hot > 1:
        raise ValueError(f"isotropic and one_hot are shares of one whole, got {isotropic} and {one_hot}")
    rest = total - tasks
    diagonal_count, near_count = int(isotropic * rest), int(one_hot * rest)
    corners = np.eye(tasks)
    diagonal = isotropic_points(diagonal_count // 2, tasks, random)
    off_diagonal = disturbed_points(diagonal, diagonal_count // 2, random)
    near = disturbed_points(corners, near_count // 2, random)
    lattice = lattice_points(rest - diagonal_count - near_count, tasks, random)
    return np.concatenate([diagonal, off_diagonal, corners, near, lattice])
