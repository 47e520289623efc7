r"""Where a surrogate errs: scale vectors by their direction, errors by bins of directions, and new samples from the worst bins.

A scale vector's direction says how the tasks are mixed, its length how strongly. Angles are hyperspherical,

$$\phi_j=\operatorname{atan2}\Big(\sqrt{\textstyle\sum_{k>j}c_k^2},\ c_j\Big),\qquad j=1,\dots,N-1,$$

and every angle's range $[0,\pi/2]$ is cut into equal bins. Scales are assumed not to be negative: the sign of the last one is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from hierlab.adaptation.quadratic_surrogate import as_scales
from hierlab.adaptation.scale_sampling import Floats, Randomness
from hierlab.checks import check_range

LONGEST = 1.5
"""Radii of new samples are clipped to [0, LONGEST], as in the released code."""


@dataclass(frozen=True)
class Bins:
    """Scores of all bins of directions.

    Attributes:
        centres: [B, N - 1] the middle of each bin, in radians.
        width: of a bin along every angle, in radians.
        scores: [B]; minus infinity where there is no sample.
        probabilities: [B] softmax of the scores.
    """

    centres: Floats
    width: float
    scores: Floats
    probabilities: Floats


def default_bins(tasks: int) -> int:
    """Bins along each angle: 4 for up to three tasks, else 2. The released code warns above six tasks."""
    return 4 if tasks < 4 else 2


def hyperspherical(scales: ArrayLike) -> tuple[Floats, Floats]:
    """Directions and lengths.

    Args:
        scales: [K, N] with N of at least 2.

    Returns:
        Angles in radians, [K, N - 1], and radii, [K].

    Raises:
        ValueError: if scales is not a finite matrix with at least two columns.

    Source: luli-git/MAP `utils.py: batch_cartesian_to_hyperspherical`.
    """
    c = as_scales(scales)
    if c.shape[1] < 2:
        raise ValueError("one task has no direction: angles want at least two scales")
    beyond = np.cumsum(np.square(c)[:, ::-1], axis=1)[:, ::-1]  # [K, N]: sum of squares from column j on
    return np.arctan2(np.sqrt(beyond[:, 1:]), c[:, :-1]), np.linalg.norm(c, axis=1)


def cartesian(angles: ArrayLike, radii: ArrayLike) -> Floats:
    """The way back: [K, N] from angles [K, N - 1] and radii [K].

    Raises:
        ValueError: if the shapes do not fit.
    """
    phi, r = np.asarray(angles, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    if phi.ndim != 2 or r.shape != phi.shape[:1]:
        raise ValueError(f"angles must be [K, N - 1] and radii [K], got shapes {phi.shape} and {r.shape}")
    ones = np.ones((len(phi), 1))
    sines = np.concatenate([ones, np.cumprod(np.sin(phi), axis=1)], axis=1)
    return r[:, None] * sines * np.concatenate([np.cos(phi), ones], axis=1)


def uncertain_mean(
    errors: ArrayLike, random: Randomness, *, weight: float = 0.5, drop: float = 0.2, repeats: int = 30, faithful: bool = False
) -> float:
    """Mean error plus a share of its bootstrap deviation: large where errors are large, or differ.

    The deviation is that of the means of randomly thinned copies.

    Args:
        errors: [n] squared errors; none give minus infinity.
        random: thins.
        weight: of the deviation.
        drop: the share left out each time, int(drop * n) of n; below 1.
        repeats: how many thinned copies.
        faithful: as the released code does: each copy is thinned from the one before, so that after a few repeats only so many are
            left that int(drop * n) is 0, and the deviation is that of a shrinking set.

    Raises:
        ValueError: if a number is out of range.

    Source: luli-git/MAP `utils.py: mean_plus_half_std`.
    """
    check_range("drop", drop, 0, 1)
    check_range("repeats", repeats, 1)
    if drop == 1:
        raise ValueError("drop must be below 1: nothing would be left")
    x = np.asarray(errors, dtype=np.float64)
    if not len(x):
        return -np.inf
    kept, means = np.arange(len(x)), []
    for _ in range(repeats):
        left = kept if faithful else np.arange(len(x))
        kept = np.setdiff1d(left, random.choice(left, int(drop * len(left)), replace=False))
        means.append(x[kept].mean())
    return float(x.mean() + weight * np.std(means))


def score_bins(
    scales: ArrayLike,
    squared_errors: ArrayLike,
    random: Randomness,
    *,
    bins: int | None = None,
    temperature: float = 0.07,
    weight: float = 0.5,
    drop: float = 0.2,
    repeats: int = 30,
    faithful: bool = False,
) -> Bins:
    """How much each bin of directions wants another sample.

    Args:
        scales: [K, N] the samples.
        squared_errors: [K] of the surrogate there.
        random: thins, see `uncertain_mean`.
        bins: along each angle; by default `default_bins`.
        temperature: of the softmax over bins.
        weight: of the deviation.
        drop: share left out when thinning.
        repeats: thinned copies.
        faithful: thin as the released code, and leave every bin open above as it does, so that an angle of exactly 90 degrees, which
            all one-hot vectors but the first have, is in no bin. By default the last bin includes its end.

    Raises:
        ValueError: if shapes do not fit, or there are no samples.

    Source: luli-git/MAP `MAP.py: bayesian_compute_score_per_bin`, `utils.py: normalize_dict`.
    """
    angles, _ = hyperspherical(scales)
    errors = np.asarray(squared_errors, dtype=np.float64)
    if errors.shape != angles.shape[:1] or not len(errors) or not np.isfinite(errors).all():
        raise ValueError(f"squared_errors must be one finite number a scale vector, [{len(angles)}], got shape {errors.shape}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    count = default_bins(angles.shape[1] + 1) if bins is None else bins
    check_range("bins", count, 1)
    edges = np.linspace(0, np.pi / 2, count + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, np.pi / 2 / count
    centres = np.array(list(product(middles, repeat=angles.shape[1])))
    end = angles == np.pi / 2
    scores = []
    for centre in centres:
        inside = (angles >= centre - width / 2) & (angles < centre + width / 2)
        if not faithful:
            inside |= end & (centre == middles[-1])
        thinning = {"weight": weight, "drop": drop, "repeats": repeats, "faithful": faithful}
        scores.append(uncertain_mean(errors[inside.all(axis=1)], random, **thinning))
    if not np.isfinite(max(scores)):
        raise ValueError("no sample lies in any bin: scales must not be negative")
    odds = np.exp((np.array(scores) - max(scores)) / temperature)
    return Bins(centres, width, np.array(scores), odds / odds.sum())


def draw_scales(found: Bins, count: int, random: Randomness, *, radius: tuple[float, float] = (0.2, 0.8)) -> Floats:
    """New scale vectors: a bin by its probability, a direction uniformly from the bin, a length uniformly from `radius`.

    Args:
        found: scored bins.
        count: how many.
        random: draws.
        radius: shortest and longest; clipped to [0, 1.5].

    Returns:
        [count, N]

    Raises:
        ValueError: if count is negative or radius is not an interval of numbers of at least 0.
    """
    check_range("count", count, 0)
    if not 0 <= radius[0] <= radius[1]:
        raise ValueError(f"radius must be a shortest and a longest length of at least 0, got {radius}")
    chosen = found.centres[random.choice(len(found.centres), size=count, p=found.probabilities)]
    angles = chosen + found.width * (random.uniform(0, 1, chosen.shape) - 0.5)
    return cartesian(angles, np.clip(random.uniform(*radius, count), 0, LONGEST))
