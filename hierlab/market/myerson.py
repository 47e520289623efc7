r"""Myerson's payments for any exact optimiser, from the exact steps of the allocation.

What an advertiser gets is a step function of his own bid: for fixed others the optimum is a maximum of lines in his (virtual)
value, one for each allocation, whose slope is his click rate. So the optimum is convex in it, and the click rate, its slope, never
falls. The steps are found by intersecting lines, not by a grid: take the optimal lines at both ends; where they cross, either
nothing lies above, and there is the step, or a third line does, and both halves are searched alike. The truthful payment is

$$t_i=v_i\pi_i(v)-\int_0^{v_i}\pi_i(z,v_{-i})\,dz=\sum_sz_s\,\Delta_s,$$

the sum over the steps up to $v_i$ of the bid $z_s$ at which each begins, times the gain $\Delta_s$ in click rate: every extra
click costs the bid that would just have got it. With virtual values in the place of values, the expected revenue is the
greatest of all truthful mechanisms.

Source: R. Myerson, Optimal auction design, 1981; used by arXiv 2506.03309 with the algorithm of `mnl_auction`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hierlab.market.mechanism import Optimiser, Outcome, check_bids, unheard
from hierlab.market.virtual_values import VirtualValue
from hierlab.trace import show


@dataclass(frozen=True)
class Steps:
    """A non-decreasing step function.

    Attributes:
        starts: [s] where each step begins, increasing; the first is the left end of the search.
        heights: [s] the value from there on.
    """

    starts: tuple[float, ...]
    heights: tuple[float, ...]

    def __call__(self, x: float) -> float:
        """The value at x; 0 left of the first step."""
        at = int(np.searchsorted(self.starts, x, side="right")) - 1
        return self.heights[at] if at >= 0 else 0.0

    def threshold_sum(self, bid_of: Callable[[np.ndarray], np.ndarray]) -> float:
        """Sum over the steps of the bid at which each begins, times its rise."""
        rises = np.diff(self.heights, prepend=0.0)
        return float(np.dot(bid_of(np.asarray(self.starts)), rises))


def step_function(optimum_at: Callable[[float], tuple[float, float]], low: float, high: float) -> Steps:
    """The slope of a convex, piecewise linear function between two points, with its exact breakpoints.

    It takes two evaluations a breakpoint, and two more.

    Args:
        optimum_at: gives slope and value at a point; a maximum of finitely many lines.
        low: the left end.
        high: the right end.

    Raises:
        ValueError: if the slope falls somewhere, as it may where an optimiser is not exact, or the ends are in the wrong order.
    """
    if not low <= high:
        raise ValueError(f"low must not exceed high, got {low} and {high}")
    left, right = _line(optimum_at, low), _line(optimum_at, high)
    starts, heights = [low], [left[0]]
    for start, height in _between(optimum_at, low, left, high, right):
        if height > heights[-1]:
            starts.append(start)
            heights.append(height)
    return Steps(tuple(starts), tuple(heights))


Line = tuple[float, float]  # slope and intercept


def _line(optimum_at: Callable[[float], tuple[float, float]], x: float) -> Line:
    slope, value = optimum_at(x)
    return slope, value - slope * x


def _between(
    optimum_at: Callable[[float], tuple[float, float]], low: float, left: Line, high: float, right: Line
) -> list[tuple[float, float]]:
    """(start, slope) of every step between two points whose optimal lines are known."""
    rise = right[0] - left[0]
    if rise < -1e-9:
        raise ValueError(
            f"the click rate falls from {left[0]:.6g} at {low:.6g} to {right[0]:.6g} at {high:.6g}: an exact optimiser's never does, "
            "and without monotonicity there are no truthful payments"
        )
    if rise <= 1e-14:
        return []
    crossing = min(max((left[1] - right[1]) / rise, low), high)
    found = _line(optimum_at, crossing)
    above = found[0] * crossing + found[1] - max(left[0] * crossing + left[1], right[0] * crossing + right[1])
    if above <= 1e-13 * max(1.0, abs(left[1]), abs(right[1])) or not left[0] < found[0] < right[0]:
        return [(crossing, right[0])]
    return [
        *_between(optimum_at, low, left, crossing, found),
        *_between(optimum_at, crossing, found, high, right),
    ]


def own_steps(i: int, value: Any, optimise: Optimiser, *, low: float = 0.0, high: float | None = None) -> Steps:
    """The click rate of one advertiser as a function of his own (virtual) value, the others' held fixed.

    Args:
        i: which advertiser.
        value: [n] (virtual) values.
        optimise: an exact optimiser.
        low: where to begin; below 0 nothing is shown.
        high: where to end; his own value by default.

    Raises:
        ValueError: as `step_function`.
    """
    value = np.asarray(value, dtype=np.float64)

    def optimum_at(x: float) -> tuple[float, float]:
        best = optimise(np.where(np.arange(len(value)) == i, x, value))
        return float(best.rates[i]), best.welfare

    return step_function(optimum_at, low, float(value[i]) if high is None else high)


def myerson(bids: Any, optimise: Optimiser, virtual: VirtualValue | Sequence[VirtualValue] | None = None) -> Outcome:
    r"""The allocation of greatest virtual welfare, at Myerson's payments.

    Args:
        bids: [n] what each advertiser says a click is worth to him; not negative.
        optimise: an exact optimiser, such as `partial(mnl_optimum, weight=weight, k=2)`.
        virtual: $\phi$ of the distribution all values come from, or one for each advertiser; None: the values themselves, which
            maximises welfare, and whose payments are those of VCG.

    Raises:
        ValueError: if a bid is negative or not finite, there is not one virtual value for each advertiser, or the optimiser is
            caught not being exact.
    """
    bids = check_bids(bids)
    each = list(virtual) if isinstance(virtual, Sequence) else [virtual] * len(bids)
    if len(each) != len(bids):
        raise ValueError(f"virtual must be one for all or one for each of {len(bids)} advertisers, got {len(each)}")
    value = np.array([bid if phi is None else float(phi(bid)) for phi, bid in zip(each, bids, strict=True)])
    value = np.where(np.isfinite(value), value, -1.0)  # a bid below the support; how far below 0 makes no difference
    show("virtual value", value, r"\phi_i(v_i)=v_i-\frac{1-F_i(v_i)}{f_i(v_i)}")
    best = optimise(value)
    payments = np.zeros(len(bids))
    for i in np.flatnonzero(best.rates > 0):
        phi = each[i]
        with unheard():
            steps = own_steps(int(i), value, optimise, low=0.0 if phi is None else min(max(0.0, phi.lowest), value[i]))
        payments[i] = steps.threshold_sum((lambda x: x) if phi is None else phi.inverse)
    show("payment", payments, r"t_i=\sum_s z_s\Delta_s")
    outcome = Outcome(best.placement, best.rates, payments)
    show("price per click", outcome.prices, r"t_i/\pi_i")
    return outcome
