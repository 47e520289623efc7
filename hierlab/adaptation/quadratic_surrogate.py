r"""MAP's surrogate: a merged model's metric as a quadratic function of the scales, pushed through a link.

Task vectors are short beside the pre-trained parameters, so to second order around these
$M(c)\approx e+b^\top c+\frac12c^\top A\,c$. Nobody computes $A$, $b$ and $e$; they are fitted to a few measured merges. A metric with
bounds keeps them by a link: an accuracy goes through a sigmoid, a loss through a softplus.

The paper fits by gradient descent; the released code (luli-git/MAP, `MAP.py: fit_quadratic_from_json`) by Levenberg-Marquardt from
all coefficients 1. From there a sigmoid of many terms is saturated, and the fit often ends where it began. `start` chooses:

* "ones" is the released code's, pinned by its reference vectors.
* "linearised", the default, first solves the linear least-squares problem of the metric pulled back through the link, which needs
  no start, and goes on from its solution.
"""

from __future__ import annotations

import warnings
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierlab.checks import check_choice, check_range

Floats = NDArray[np.float64]
Link = Literal["identity", "sigmoid", "softplus"]
Start = Literal["linearised", "ones"]


class FitError(RuntimeError):
    """The fit did not converge."""


def coefficient_count(tasks: int) -> int:
    """How many coefficients a quadratic function of so many scales has: (N + 1)(N + 2) / 2."""
    return (tasks + 1) * (tasks + 2) // 2


def quadratic_terms(scales: ArrayLike) -> Floats:
    """Squares, products, the scales themselves and 1: what the coefficients multiply, in the released code's order.

    Args:
        scales: [K, N] one scale vector a row.

    Returns:
        [K, P] with P = (N + 1)(N + 2) / 2: c_i², then c_i c_j for i < j in lexicographic order, then c_i, then 1.

    Raises:
        ValueError: if scales is not a finite matrix with at least one column.
    """
    c = as_scales(scales)
    one, other = np.triu_indices(c.shape[1], 1)
    return np.concatenate([c**2, c[:, one] * c[:, other], c, np.ones((len(c), 1))], axis=1)


def quadratic(scales: ArrayLike, coefficients: ArrayLike, link: Link = "identity") -> Floats:
    """A quadratic function of the scales, through a link.

    Args:
        scales: [K, N] one scale vector a row.
        coefficients: [P] in the order of `quadratic_terms`.
        link: "identity"; "sigmoid", its argument clipped to [-500, 500]; or "softplus".

    Returns:
        [K]

    Raises:
        ValueError: if the number of coefficients does not fit, or the link is unknown.

    Source: luli-git/MAP `MAP.py: quadratic_model`, which has its points in columns.
    """
    check_choice("link", link, Link)
    terms, p = quadratic_terms(scales), np.asarray(coefficients, dtype=np.float64)
    if p.shape != terms.shape[1:]:
        n = np.shape(scales)[1]
        raise ValueError(f"{n} scales want {terms.shape[1]} coefficients, got shape {p.shape}")
    return through(terms @ p, link)


def through(x: Floats, link: Link) -> Floats:
    """The link's value: identity, logistic function, or log(1 + exp x)."""
    if link == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return np.logaddexp(0, x) if link == "softplus" else x


def back_through(y: Floats, link: Link, margin: float = 1e-3) -> Floats:
    """The link's inverse. Values at or beyond its ends are moved inside by `margin` first, so that they stay finite."""
    if link == "sigmoid":
        y = np.clip(y, margin, 1 - margin)
        return np.log(y / (1 - y))
    if link == "softplus":
        y = np.maximum(y, margin)
        return y + np.log(-np.expm1(-y))
    return y


class QuadraticSurrogate:
    """One metric as a quadratic function of the scales.

    Args:
        link: "sigmoid" for a metric in [low, high], "softplus" for one that is at least `low`, "identity" for any.
        low: the least value of the metric; "identity" wants 0.
        high: the largest, for "sigmoid".
        start: "linearised" or "ones", see above.
        max_evaluations: how often the fit may evaluate the function; 0 for SciPy's own limit.

    Attributes:
        coefficients_: [P] in the order of `quadratic_terms`.
        squared_error_: sum of squared differences at the points it was fitted to.
        tasks_: N, the number of scales.
    """

    def __init__(
        self, link: Link = "sigmoid", *, low: float = 0.0, high: float = 1.0, start: Start = "linearised", max_evaluations: int = 0
    ):
        self.link, self.low, self.high, self.start, self.max_evaluations = link, low, high, start, max_evaluations

    def fit(self, scales: ArrayLike, metric: ArrayLike) -> Self:
        """Fit by least squares.

        Args:
            scales: [K, N] scale vectors, at least as many as there are coefficients.
            metric: [K] what was measured there.

        Raises:
            ValueError: if shapes do not fit, there are too few points, a number is not finite, or the metric leaves its range.
            FitError: if the fit does not converge.
        """
        check_choice("link", self.link, Link)
        check_choice("start", self.start, Start)
        check_range("max_evaluations", self.max_evaluations, 0)
        terms, y = quadratic_terms(scales), self._to_unit(metric)
        if y.shape != terms.shape[:1]:
            raise ValueError(f"metric must have one number a scale vector, [{len(terms)}], got shape {y.shape}")
        if len(terms) < terms.shape[1]:
            raise ValueError(f"{terms.shape[1]} coefficients want at least as many scale vectors, got {len(terms)}")
        first = np.ones(terms.shape[1]) if self.start == "ones" else _linearised(terms, y, self.link)
        self.coefficients_ = _least_squares(terms, y, self.link, first, self.max_evaluations)
        self.tasks_ = np.shape(scales)[1]
        self.squared_error_ = float(np.square(self.predict(scales) - np.asarray(metric, dtype=np.float64)).sum())
        return self

    def predict(self, scales: ArrayLike) -> Floats:
        """The metric at these scales, [K], through the link.

        Raises:
            ValueError: if scales does not have the columns it was fitted with.
        """
        if not hasattr(self, "coefficients_"):
            raise ValueError("the surrogate is not fitted: call fit(scales, metric) first")
        return self._from_unit(quadratic(scales, self.coefficients_, self.link))

    def score(self, scales: ArrayLike, metric: ArrayLike) -> float:
        """The share of the metric's variance that is predicted, R²; negative if worse than predicting its mean.

        Raises:
            ValueError: if the metric is constant or shapes do not fit.
        """
        y = np.asarray(metric, dtype=np.float64)
        if y.ndim != 1 or y.shape != np.shape(scales)[:1]:
            raise ValueError(f"metric must have one number a scale vector, got shapes {y.shape} and {np.shape(scales)}")
        spread = float(np.square(y - y.mean()).sum())
        if spread == 0:
            raise ValueError("the metric is the same everywhere: there is no variance to predict")
        return 1 - float(np.square(y - self.predict(scales)).sum()) / spread

    def _to_unit(self, metric: ArrayLike) -> Floats:
        """The metric in the link's own range: [0, 1] for a sigmoid, from 0 for a softplus."""
        y = np.asarray(metric, dtype=np.float64)
        low, high = float(self.low), float(self.high if self.link == "sigmoid" else np.inf)
        if self.link == "identity":
            if low:
                raise ValueError(f"low belongs to a metric with a bound; link='identity' has none, got {low:g}")
            low = -np.inf
        if not low < high:
            raise ValueError(f"low must be below high, got {low:g} and {high:g}")
        if not np.isfinite(y).all() or (y < low).any() or (y > high).any():
            bad = y[~(np.isfinite(y) & (y >= low) & (y <= high))][0]
            raise ValueError(f"metric must be finite and in [{low:g}, {high:g}] with link={self.link!r}, got {bad:g}")
        return y if self.link == "identity" else (y - low) / (high - low if self.link == "sigmoid" else 1.0)

    def _from_unit(self, y: Floats) -> Floats:
        return y if self.link == "identity" else self.low + y * (self.high - self.low if self.link == "sigmoid" else 1.0)


def as_scales(scales: ArrayLike) -> Floats:
    """Scale vectors as a float64 matrix.

    Raises:
        ValueError: if they are not a finite matrix with at least one column.
    """
    c = np.asarray(scales, dtype=np.float64)
    if c.ndim != 2 or not c.shape[1] or not np.isfinite(c).all():
        raise ValueError(f"scales must be a finite matrix [K, N], one scale vector a row, got shape {c.shape}")
    return c


def _linearised(terms: Floats, y: Floats, link: Link) -> Floats:
    """Least squares behind the link, each point weighted by the link's slope there, so that flat ends do not dominate."""
    behind = back_through(y, link)
    inside = through(behind, link)
    slope = {"sigmoid": inside * (1 - inside), "softplus": -np.expm1(-inside), "identity": np.ones_like(y)}[link]
    return np.linalg.lstsq(terms * slope[:, None], behind * slope, rcond=None)[0]


def _least_squares(terms: Floats, y: Floats, link: Link, first: Floats, max_evaluations: int) -> Floats:
    from scipy.optimize import OptimizeWarning, curve_fit

    def model(_: Floats, *coefficients: float) -> Floats:
        return through(terms @ np.asarray(coefficients), link)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # no covariance of the coefficients, which nobody asked for
        try:
            found, _ = curve_fit(model, np.arange(len(y)), y, p0=first, maxfev=max_evaluations)
        except RuntimeError as error:
            raise FitError(f"the quadratic surrogate did not converge: {error}") from error
    if not np.isfinite(found).all():
        raise FitError("the quadratic surrogate did not converge: its coefficients are not finite")
    return found
