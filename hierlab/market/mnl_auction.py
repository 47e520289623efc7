r"""Winner determination under the multinomial logit: the exact optimum of a ratio, by a handful of matchings.

A reader of the answer clicks at most one advertisement, as a multinomial logit with a "no click" of weight 1 has it. If
advertisement $i$ at position $j$ has the weight $w_{ij}=e^{\rho_{ij}}$, its click rate in the placement $x$ and the welfare are

$$\pi_i(x)=\frac{\sum_jx_{ij}w_{ij}}{1+\sum_{i'j'}x_{i'j'}w_{i'j'}},\qquad W(x)=\sum_iv_i\pi_i(x).$$

Every advertisement lowers the click rate of all others, so $W$ is no sum over edges. But $W(x)\ge\lambda$ says the same as
$\sum_{ij}x_{ij}w_{ij}(v_i-\lambda)\ge\lambda$, whose left side is one. With $h(\lambda)$ its maximum, a maximum-weight matching with at
most $K$ edges, the optimum is the one fixed point of $h$, and Dinkelbach's iteration $\lambda\leftarrow W(\text{the matching at
}\lambda)$ climbs to it in a few steps: the last one is exact, not a limit.

That the optimum can be computed in polynomial time is the paper's theorem; that it is done by this fixed point is our reading, as
the paper's own algorithm was not accessible to us. The optimal welfare is one number, whatever computes it.

Source: Position Auctions in AI-Generated Content, arXiv 2506.03309; W. Dinkelbach, On nonlinear fractional programming, 1967.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from hierlab.checks import check_choice
from hierlab.market.matching import edges, match
from hierlab.market.mechanism import Optimum
from hierlab.market.placements import NOWHERE, all_placements, check_auction, check_placement, chosen, placed
from hierlab.market.submodular import greedy, one_each
from hierlab.trace import recording, show

Method = Literal["dinkelbach", "bisection", "exhaustive"]


def stand_alone_rates(weight: Any) -> np.ndarray:
    """The click rate of each advertisement at each position if it were shown alone, w / (1 + w). [n, m]"""
    weight = np.asarray(weight, dtype=np.float64)
    return weight / (1.0 + weight)


def mnl_click_rates(weight: Any, placement: Any) -> np.ndarray:
    """Click rate of each advertisement; what is missing to 1 is the chance that nothing is clicked.

    Args:
        weight: [n, m] weight of each advertisement at each position, exp of its utility.
        placement: [..., n] position of each advertisement, -1 for nowhere.

    Returns:
        [..., n]

    Raises:
        ValueError: if shapes do not fit, a weight is negative or not finite, or a placement is none.
    """
    weight = np.asarray(weight, dtype=np.float64)
    check_auction(np.zeros(len(weight)), weight, None, name="weight")
    return _rates(weight, check_placement(placement, *weight.shape))


def _rates(weight: np.ndarray, placement: np.ndarray) -> np.ndarray:
    taken = chosen(weight, placement)
    return taken / (1.0 + taken.sum(-1, keepdims=True))


def mnl_optimum(value: Any, weight: Any, k: int | None = None, *, method: Method = "dinkelbach") -> Optimum:
    r"""The placement of greatest welfare.

    Args:
        value: [n] value of a click on each advertisement; virtual values may be negative, and such an advertisement is never shown.
        weight: [n, m] weight of each advertisement at each position, exp of its utility.
        k: at most so many advertisements are shown; None: as many as there are positions.
        method: "dinkelbach"; "bisection", the slower search for the same fixed point; "exhaustive", every placement.

    Returns:
        The optimum; its steps are the thresholds $\lambda$ that were tried.

    Raises:
        ValueError: if shapes do not fit, a number is not finite, a weight is negative, k is not a whole number of at least 0, or
            the method is unknown.

    Source: arXiv 2506.03309, the multinomial logit model.
    """
    check_choice("method", method, Method)
    value, weight, k = check_auction(value, weight, k, name="weight")
    if recording():
        show("click weight", weight, r"w_{ij}=e^{\rho_{ij}}")
        show("click rate alone", stand_alone_rates(weight), r"p_{ij}=w_{ij}/(1+w_{ij})")
    placement, steps = _SEARCHES[method](value, weight, k)
    rates = _rates(weight, placement)
    show("click rate", rates, r"\pi_i=\frac{\sum_jx_{ij}w_{ij}}{1+\sum_{i'j'}x_{i'j'}w_{i'j'}}")
    return Optimum(placement, rates, float(np.dot(value, rates)), steps)


def mnl_greedy(value: Any, weight: Any, k: int | None = None) -> Optimum:
    """Advertisement by advertisement, the one at the place that adds most welfare, as long as one adds any: a baseline.

    Args:
        value: [n] value of a click on each advertisement.
        weight: [n, m] weight of each advertisement at each position, exp of its utility.
        k: at most so many advertisements are shown; None: as many as there are positions.

    Returns:
        What greedy found, which need not be the optimum; its steps are the welfare after each advertisement.

    Raises:
        ValueError: as `mnl_optimum`.
    """
    value, weight, k = check_auction(value, weight, k, name="weight")
    n, m = weight.shape
    worth, flat = (value[:, None] * weight).ravel(), weight.ravel()

    def gains(edges: tuple[int, ...]) -> np.ndarray:
        taken = list(edges)
        above, below = worth[taken].sum(), 1.0 + flat[taken].sum()
        return (above + worth) / (below + flat) - above / below

    found = greedy(gains, k, allowed=one_each(n, m))
    placement = placed(found.items, n, m)
    rates = _rates(weight, placement)
    return Optimum(placement, rates, float(np.dot(value, rates)), found.values)


def relaxed_gain(threshold: float, value: Any, weight: Any, k: int | None = None) -> float:
    r"""$h(\lambda)=\max_x\sum_{ij}x_{ij}w_{ij}(v_i-\lambda)$: convex, piecewise linear, falling; its fixed point is the optimum.

    Raises:
        ValueError: as `mnl_optimum`.
    """
    value, weight, k = check_auction(value, weight, k, name="weight")
    reduced = weight * (value[:, None] - threshold)
    return float(chosen(reduced, match(reduced, k)).sum())


def _dinkelbach(value: np.ndarray, weight: np.ndarray, k: int) -> tuple[np.ndarray, tuple[float, ...]]:
    steps = [0.0]
    best: tuple[np.ndarray, np.ndarray] = edges(weight, 0)
    while True:
        reduced = weight * (value[:, None] - steps[-1])
        row, column = edges(reduced, k)
        taken = weight[row, column]
        welfare = float(value[row] @ taken / (1.0 + taken.sum()))
        if recording():
            show(f"reduced weight at λ = {steps[-1]:.4g}", reduced, r"w_{ij}(v_i-\lambda)")
            used = _placed((row, column), len(value))[:, None] == np.arange(weight.shape[1])
            total = float(reduced[row, column].sum())
            show(
                f"matching at λ = {steps[-1]:.4g}",
                np.where(used, reduced, 0.0),
                rf"h(\lambda)=\sum x_{{ij}}w_{{ij}}(v_i-\lambda)={total:.4g}",
            )
        if welfare <= steps[-1] * (1 + 1e-14):
            return _placed(best, len(value)), tuple(steps)
        best = row, column
        steps.append(welfare)


def _placed(matching: tuple[np.ndarray, np.ndarray], n: int) -> np.ndarray:
    placement = np.full(n, NOWHERE, dtype=np.int64)
    placement[matching[0]] = matching[1]
    return placement


def _bisection(value: np.ndarray, weight: np.ndarray, k: int) -> tuple[np.ndarray, tuple[float, ...]]:
    low, high = 0.0, max(0.0, float(value.max(initial=0.0)))
    steps, best = [], match(weight * value[:, None], k)
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        steps.append(middle)
        reduced = weight * (value[:, None] - middle)
        placement = match(reduced, k)
        if chosen(reduced, placement).sum() >= middle:
            low, best = middle, placement
        else:
            high = middle
    return best, tuple(steps)


def _exhaustive(value: np.ndarray, weight: np.ndarray, k: int) -> tuple[np.ndarray, tuple[float, ...]]:
    placements = all_placements(*weight.shape, k)
    return placements[int(np.argmax(_rates(weight, placements) @ value))], ()


_SEARCHES = {"dinkelbach": _dinkelbach, "bisection": _bisection, "exhaustive": _exhaustive}
