r"""Virtual values: what a click is worth to the seller, given that its buyer keeps what he does not have to reveal.

A buyer whose value is drawn from $F$ with density $f$ brings, in expectation, his *virtual value*

$$\phi(v)=v-\frac{1-F(v)}{f(v)}.$$

It is the slope of the revenue curve $R(q)=q\,F^{-1}(1-q)$, the revenue from selling with probability $q$. Where $\phi$ falls, no
truthful rule can follow it; the curve is replaced by its concave hull there, and $\phi$ by the hull's slope, the same for a whole
interval of values (*ironing*). The *reserve* is the smallest value whose virtual value is not negative.

Source: R. Myerson, Optimal auction design, 1981.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

_FRACTIONS = np.arange(1, 64) / 64


class Distribution(Protocol):
    """What is asked of a distribution of values; a frozen continuous distribution of `scipy.stats` has it."""

    def cdf(self, x: Any) -> Any:
        """F(x)."""

    def pdf(self, x: Any) -> Any:
        """f(x)."""

    def ppf(self, q: Any) -> Any:
        """The value below which a share q lies."""

    def support(self) -> tuple[float, float]:
        """The smallest and largest value."""


@dataclass(frozen=True)
class Uniform:
    """All values between `low` and `high` alike.

    Raises:
        ValueError: if not 0 <= low < high, both finite.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if not 0 <= self.low < self.high < np.inf:
            raise ValueError(f"a uniform distribution of values needs 0 <= low < high, got {self.low} and {self.high}")

    def cdf(self, x: Any) -> Any:
        """F(x)."""
        return np.clip((np.asarray(x) - self.low) / (self.high - self.low), 0.0, 1.0)

    def pdf(self, x: Any) -> Any:
        """f(x)."""
        return np.where((np.asarray(x) >= self.low) & (np.asarray(x) <= self.high), 1.0 / (self.high - self.low), 0.0)

    def ppf(self, q: Any) -> Any:
        """The value below which a share q lies."""
        return self.low + np.asarray(q) * (self.high - self.low)

    def support(self) -> tuple[float, float]:
        """The smallest and largest value."""
        return self.low, self.high


@dataclass(frozen=True)
class Exponential:
    """Memoryless values: one minus F(x) is exp(-x / mean).

    Raises:
        ValueError: if the mean is not positive.
    """

    mean: float = 1.0

    def __post_init__(self):
        if not 0 < self.mean < np.inf:
            raise ValueError(f"the mean of an exponential distribution must be positive, got {self.mean}")

    def cdf(self, x: Any) -> Any:
        """F(x)."""
        return -np.expm1(-np.maximum(x, 0.0) / self.mean)

    def pdf(self, x: Any) -> Any:
        """f(x)."""
        return np.where(np.asarray(x) >= 0, np.exp(-np.maximum(x, 0.0) / self.mean) / self.mean, 0.0)

    def ppf(self, q: Any) -> Any:
        """The value below which a share q lies."""
        return -self.mean * np.log1p(-np.asarray(q))

    def support(self) -> tuple[float, float]:
        """The smallest and largest value."""
        return 0.0, np.inf


@dataclass(frozen=True)
class Mixture:
    """Several kinds of buyers, each a share of all: often not regular.

    Attributes:
        kinds: their distributions.
        shares: how common each is; positive, adding up to 1.

    Raises:
        ValueError: if there is not one positive share a kind, or they do not add up to 1.
    """

    kinds: tuple[Distribution, ...]
    shares: tuple[float, ...]

    def __post_init__(self):
        if len(self.kinds) != len(self.shares) or not self.kinds or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(
                f"a mixture needs one positive share a kind, adding up to 1; got {len(self.kinds)} kinds, shares {self.shares}"
            )

    def cdf(self, x: Any) -> Any:
        """F(x)."""
        return sum(share * kind.cdf(x) for share, kind in zip(self.shares, self.kinds, strict=True))

    def pdf(self, x: Any) -> Any:
        """f(x)."""
        return sum(share * kind.pdf(x) for share, kind in zip(self.shares, self.kinds, strict=True))

    def ppf(self, q: Any) -> Any:
        """The value below which a share q lies, by bisection."""
        q = np.asarray(q, dtype=np.float64)
        ends = np.array([kind.ppf(q) for kind in self.kinds], dtype=np.float64)
        return _smallest(self.cdf, q, ends.min(0), ends.max(0))

    def support(self) -> tuple[float, float]:
        """The smallest and largest value."""
        lows, highs = zip(*(kind.support() for kind in self.kinds), strict=True)
        return min(lows), max(highs)


class VirtualValue:
    """The virtual value of one distribution, ironed where it falls.

    Args:
        distribution: of a buyer's value per click, not negative; ours, or a frozen continuous one of `scipy.stats`.
        points: on how many quantiles the revenue curve is looked at for ironing. An interval's ends are found between two of them.

    Attributes:
        lowest, highest: virtual values at the ends of the support.
        ironed: the intervals of values that share one virtual value, as (low, high, virtual value).
        reserve: the smallest value that is served at all.

    Raises:
        ValueError: if the distribution lacks one of cdf, pdf, ppf and support, or has values below 0.
    """

    def __init__(self, distribution: Distribution, *, points: int = 4001):
        if missing := [name for name in ("cdf", "pdf", "ppf", "support") if not hasattr(distribution, name)]:
            raise ValueError(f"a distribution of values needs cdf, pdf, ppf and support; {type(distribution).__name__} lacks {missing}")
        if isinstance(points, bool) or not isinstance(points, int) or points < 3:
            raise ValueError(f"points must be a whole number of at least 3, got {points!r}")
        self.distribution = distribution
        self.low, self.high = map(float, distribution.support())
        if self.low < 0:
            raise ValueError(f"values per click are not negative, but the support begins at {self.low}")
        self.ironed = _ironed(distribution, points)
        self.lowest = float(self(self.low))
        self.highest = float(self(self.high)) if np.isfinite(self.high) else np.inf
        self.reserve = float(self.inverse(0.0))

    @property
    def regular(self) -> bool:
        """Whether nothing had to be ironed."""
        return not self.ironed

    def raw(self, value: Any) -> np.ndarray:
        """The formula, before ironing: minus infinity below the support, the value itself from its end on."""
        value = np.asarray(value, dtype=np.float64)
        inside = np.clip(value, self.low, self.high)
        density = np.asarray(self.distribution.pdf(inside), dtype=np.float64)
        beyond = 1.0 - np.asarray(self.distribution.cdf(inside), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            hazard = np.where(beyond > 0, beyond / density, 0.0)
        return np.where(value < self.low, -np.inf, value - hazard)

    def __call__(self, value: Any) -> np.ndarray:
        """The virtual value of each value, never falling.

        Raises:
            ValueError: if a value is not a number.
        """
        value = np.asarray(value, dtype=np.float64)
        if np.isnan(value).any():
            raise ValueError("values must be numbers, got NaN")
        result = self.raw(value)
        for low, high, level in self.ironed:
            result = np.where((value >= low) & (value <= high), level, result)
        return result

    def inverse(self, virtual: Any) -> np.ndarray:
        """The smallest value of at least this virtual value: the bid a winner must not fall short of."""
        virtual = np.asarray(virtual, dtype=np.float64)
        # A value is never below its virtual value; and far enough up, where few are better, hardly above it.
        top = np.maximum(virtual, self.low)
        if np.isfinite(self.high):
            top = np.maximum(top, self.high)
        else:
            while (self(top) < virtual).any():
                top = np.where(self(top) < virtual, 2.0 * top + 1.0, top)
        return _smallest(self, virtual, np.full(virtual.shape, self.low), top)


def _smallest(rising: Callable[[np.ndarray], np.ndarray], target: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The smallest x between low and high at which a function that never falls reaches its target; high, if nothing before does.

    Each round looks at 63 points at once, and keeps one gap of 64: ten rounds leave neighbouring numbers.
    """
    low, high = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
    high = np.where(rising(low) >= target, low, high)
    while (np.nextafter(low, high) < high).any():
        between = low[..., None] + (high - low)[..., None] * _FRACTIONS
        ends = np.concatenate([low[..., None], between, high[..., None]], axis=-1)
        first = (rising(between) < target[..., None]).sum(-1)[..., None]
        narrowed = np.take_along_axis(ends, first, -1)[..., 0], np.take_along_axis(ends, first + 1, -1)[..., 0]
        if (narrowed[0] == low).all() and (narrowed[1] == high).all():
            break
        low, high = narrowed
    return high


def _ironed(distribution: Distribution, points: int) -> tuple[tuple[float, float, float], ...]:
    """The intervals of values over which the revenue curve lies below its concave hull."""
    sold = np.linspace(0.0, 1.0, points)
    sold[0] = 1e-9  # an unbounded support has no highest value to sell at
    # The highest price at which the share still buys: where no one has certain values, the upper end of the gap.
    value = np.asarray(distribution.ppf(np.minimum(1.0 - sold + 1e-12, 1.0 - sold[0])), dtype=np.float64)
    value[-1] = distribution.support()[0]
    revenue = sold * value
    on_hull = _concave_hull(sold, revenue)
    # A chord over neighbours of a straight piece is no dent: ask for more than rounding.
    found = []
    for start, end in pairwise(on_hull):
        inner = slice(start + 1, end)
        chord = revenue[start] + (revenue[end] - revenue[start]) * (sold[inner] - sold[start]) / (sold[end] - sold[start])
        if end - start > 1 and (chord - revenue[inner]).max() > 1e-9 * max(1.0, np.abs(revenue).max()):
            slope = (revenue[end] - revenue[start]) / (sold[end] - sold[start])
            found.append((float(value[end]), float(value[start]), float(slope)))
    return tuple(reversed(found))


def _concave_hull(x: np.ndarray, y: np.ndarray) -> Sequence[int]:
    """Which points of a curve lie on its upper hull. [h] indices, increasing."""
    hull: list[int] = []
    for point in range(len(x)):
        while len(hull) > 1 and _turns_up(x, y, hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_up(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    return bool((y[b] - y[a]) * (x[c] - x[b]) < (y[c] - y[b]) * (x[b] - x[a]))
