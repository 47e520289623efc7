r"""What an auction decides, and the Vickrey-Clarke-Groves (VCG) price for any optimiser that is exact.

An optimiser maps values [n] to an `Optimum`. If it maximises $W=\sum_iv_i\pi_i$ over a fixed set of allocations, *exactly*, then
charging each advertiser the welfare that the others lose by his presence,

$$t_i=W^*(v_{-i})-\sum_{j\neq i}v_j\pi_j(x^*),$$

makes the truth his best bid whatever the others do, and never costs him more than his clicks are worth. For an optimiser that is
merely good, the same formula promises neither.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from hierlab.trace import Tape, recording, show


@dataclass(frozen=True)
class Optimum:
    """The best an optimiser found for some values.

    Attributes:
        placement: [n] position of each advertisement, -1 for nowhere.
        rates: [n] click rate of each.
        welfare: sum of value times click rate.
        steps: what the optimiser went through, such as the thresholds it tried.
    """

    placement: np.ndarray
    rates: np.ndarray
    welfare: float
    steps: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What an auction decides for some bids.

    Attributes:
        placement: [n] position of each advertisement, -1 for nowhere.
        rates: [n] click rate of each.
        payments: [n] expected payment of each for one impression of the answer.
    """

    placement: np.ndarray
    rates: np.ndarray
    payments: np.ndarray

    @property
    def revenue(self) -> float:
        """What all pay together."""
        return float(self.payments.sum())

    @property
    def prices(self) -> np.ndarray:
        """Price per click of each; NaN where nothing is clicked. [n]"""
        clicked = self.rates > 0
        return np.where(clicked, self.payments / np.where(clicked, self.rates, 1.0), np.nan)

    def welfare(self, value: Any) -> float:
        """Sum of value times click rate."""
        return float(np.dot(np.asarray(value, dtype=np.float64), self.rates))

    def utilities(self, value: Any) -> np.ndarray:
        """Value of the clicks less the payment, for each advertiser. [n]"""
        return np.asarray(value, dtype=np.float64) * self.rates - self.payments


Optimiser = Callable[[np.ndarray], Optimum]
Mechanism = Callable[[np.ndarray], Outcome]


def vcg(bids: Any, optimise: Optimiser) -> Outcome:
    """The allocation of greatest welfare, at VCG prices.

    The optimum without an advertiser is taken with his bid at 0: in a world where an advertisement only takes clicks from others,
    one that is worth nothing changes nothing.

    Args:
        bids: [n] what each advertiser says a click is worth to him; not negative.
        optimise: an exact optimiser, such as `partial(mnl_optimum, weight=weight, k=2)`.

    Raises:
        ValueError: if a bid is negative or not finite.
    """
    bids = check_bids(bids)
    best = optimise(bids)
    without = np.full(len(bids), best.welfare)
    with unheard():
        for i in np.flatnonzero(best.rates > 0):
            without[i] = optimise(np.where(np.arange(len(bids)) == i, 0.0, bids)).welfare
    show("welfare without i", without, r"W^*(v_{-i})")
    shown = best.rates > 0
    payments = np.where(shown, np.maximum(without - (best.welfare - bids * best.rates), 0.0), 0.0)
    show("payment", payments, r"t_i=W^*(v_{-i})-\sum_{j\neq i}v_j\pi_j")
    outcome = Outcome(best.placement, best.rates, payments)
    show("price per click", outcome.prices, r"t_i/\pi_i")
    return outcome


def first_price(bids: Any, optimise: Optimiser) -> Outcome:
    """The same allocation, everyone paying his bid for every click: the plainest rule, and not a truthful one.

    Raises:
        ValueError: as `vcg`.
    """
    bids = check_bids(bids)
    best = optimise(bids)
    return Outcome(best.placement, best.rates, bids * best.rates)


def unheard() -> AbstractContextManager:
    """A block whose narration reaches no tape: the many further optima that a payment takes."""
    return Tape() if recording() else nullcontext()


def check_bids(bids: Any) -> np.ndarray:
    """Bids as an array.

    Raises:
        ValueError: if they are not one finite number of at least 0 for each advertiser.
    """
    bids = np.asarray(bids, dtype=np.float64)
    if bids.ndim != 1 or not np.isfinite(bids).all() or (bids < 0).any():
        wrong = bids[~(np.isfinite(bids) & (bids >= 0))] if bids.ndim == 1 else bids.shape
        raise ValueError(f"bids must be one finite number of at least 0 for each advertiser, got {wrong}")
    return bids
