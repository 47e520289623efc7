"""Several objectives at once: dominance, the non-dominated front, its hypervolume, and one choice from it.

Points are rows, objectives are columns, and `maximise` says for all objectives or for each which way is better, so that accuracy
and cost can stand side by side:

    kept = front(points, maximise=(True, False))
    hypervolume(points[kept], reference=(0.0, 2.5), maximise=(True, False))

A point *dominates* another if it is at least as good in every objective and better in one. Points that are equal in every
objective do not dominate each other; of such duplicates a front keeps the first, or all of them if asked to.

Front and hypervolume are computed by moocore (exact; Fonseca, Paquete and López-Ibáñez 2006 and successors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierlab.checks import check_choice

Directions = bool | Sequence[bool]
"""Whether more is better: for all objectives, or one entry an objective."""
Duplicates = Literal["first", "all"]


def dominates(one: ArrayLike, other: ArrayLike, *, maximise: Directions = True) -> bool:
    """Whether `one` is at least as good as `other` in every objective and better in at least one.

    Args:
        one: [M] objectives of a point.
        other: [M] objectives of another.
        maximise: whether more is better.

    Raises:
        ValueError: if the points are not finite or do not have the same objectives.
    """
    a, b = (_points(name, np.atleast_1d(point)[None]) for name, point in (("one", one), ("other", other)))
    if a.shape != b.shape:
        raise ValueError(f"one and other must have the same objectives, got {a.shape[1]} and {b.shape[1]}")
    gain = (a - b)[0] * _signs(maximise, a.shape[1])
    return bool((gain >= 0).all() and (gain > 0).any())


def front(points: ArrayLike, *, maximise: Directions = True, duplicates: Duplicates = "first") -> NDArray[np.intp]:
    """The rows that no other row dominates, in the order of the rows.

    Args:
        points: [N, M] one row a point; N may be 0.
        maximise: whether more is better.
        duplicates: of rows that are equal in every objective, keep the "first" or "all".

    Returns:
        [F] row numbers.

    Raises:
        ValueError: if points is not a finite matrix with at least one column, or a switch has an unknown value.
    """
    import moocore

    check_choice("duplicates", duplicates, Duplicates)
    matrix = _points("points", points)
    cost = -matrix * _signs(maximise, matrix.shape[1])
    if matrix.shape[1] == 1:
        return _best_of_one(cost[:, 0], duplicates)
    if not len(matrix):
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(moocore.is_nondominated(cost, keep_weakly=duplicates == "all"))


def hypervolume(points: ArrayLike, reference: ArrayLike, *, maximise: Directions = True) -> float:
    """The volume of all that the points dominate and that dominates the reference point.

    A point that is not better than the reference in every objective adds nothing; no points have the volume 0. It depends on the
    reference: say which one was taken.

    Args:
        points: [N, M] one row a point, dominated ones may be among them.
        reference: [M] a bad point, or one number for all objectives.
        maximise: whether more is better.

    Raises:
        ValueError: if a number is not finite or the shapes do not fit.
    """
    import moocore

    matrix = _points("points", points)
    objectives = matrix.shape[1]
    signs = _signs(maximise, objectives)
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape not in ((), (objectives,)) or not np.isfinite(corner).all():
        raise ValueError(f"reference must be finite: one number, or one for each of {objectives} objectives, got {reference!r}")
    gain = (matrix - corner) * signs
    gain = gain[(gain > 0).all(1)]
    if objectives == 1 or len(gain) < 2:
        return float(gain.prod(1).max(initial=0.0))
    return float(moocore.hypervolume(-gain, ref=np.zeros(objectives)))


def weighted_choice(points: ArrayLike, preference: ArrayLike, *, maximise: Directions = True) -> int:
    """The row with the best weighted sum of objectives; the first one on ties.

    The preference is scaled to length 1, which changes no choice but keeps the sums comparable between preferences.

    Args:
        points: [N, M] one row a point, at least one.
        preference: [M] how much each objective matters; not negative, not all 0.
        maximise: whether more is better; objectives of which less is better enter the sum with a minus.

    Raises:
        ValueError: if there are no points, or the preference does not fit them.
    """
    matrix = _points("points", points)
    if not len(matrix):
        raise ValueError("there is nothing to choose from: points has no rows")
    weights = np.asarray(preference, dtype=np.float64)
    if weights.shape != (matrix.shape[1],) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"preference must be {matrix.shape[1]} numbers of at least 0, not all of them 0, one an objective, got {preference!r}"
        )
    weights = weights / np.linalg.norm(weights)
    return int(np.argmax((matrix * _signs(maximise, matrix.shape[1])) @ weights))


def mean_distance(points: ArrayLike, reference: ArrayLike) -> float:
    """Mean Euclidean distance from each point to the nearest reference point.

    From a found front to the true one it is the *generational distance*: is what was found good? The other way round it is the
    *inverted generational distance*: was all of the true front found?

    Args:
        points: [N, M], at least one row.
        reference: [K, M], at least one row.

    Raises:
        ValueError: if either is empty, not finite, or their columns differ.
    """
    from scipy.spatial import cKDTree

    a, b = _points("points", points), _points("reference", reference)
    if not len(a) or not len(b) or a.shape[1] != b.shape[1]:
        raise ValueError(f"points and reference must have rows and the same objectives, got shapes {a.shape} and {b.shape}")
    return float(cKDTree(b).query(a)[0].mean())


def _points(name: str, points: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(points, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise ValueError(f"{name} must be a matrix, one row a point and at least one column an objective, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"{name} must be finite, got {matrix[row, column]} in row {row}, objective {column}")
    return matrix


def _signs(maximise: Directions, objectives: int) -> NDArray[np.float64]:
    """+1 where more is better, -1 where less is."""
    more = np.asarray(maximise)
    if more.dtype != bool or more.shape not in ((), (objectives,)):
        raise ValueError(f"maximise must be True, False, or one truth value for each of {objectives} objectives, got {maximise!r}")
    return np.where(np.broadcast_to(more, objectives), 1.0, -1.0)


def _best_of_one(cost: NDArray[np.float64], duplicates: Duplicates) -> NDArray[np.intp]:
    """The front of a single objective: the best value, once or as often as it occurs."""
    best = np.flatnonzero(cost == cost.min()) if len(cost) else np.zeros(0, dtype=np.intp)
    return best if duplicates == "all" else best[:1]
