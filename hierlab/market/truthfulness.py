"""Is the truth a best bid? A search for profitable lies, the worst a truthful bidder can get, and whether more bid buys more clicks.

A search can only find lies, not exclude them. It is therefore aimed: a bidder's outcome changes only where his bid crosses that of
a competitor, so beside an even grid it tries every other bid, scaled bids, and bids a hair to either side, and closes in on the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hierlab.market.mechanism import Mechanism, check_bids

HAIR = 1e-7


@dataclass(frozen=True)
class Lies:
    """What a search for profitable misreports found, one entry an advertiser.

    Attributes:
        truthful: [n] utility of bidding one's value.
        best: [n] the greatest utility that was found.
        bid: [n] the bid that had it; the value itself if no lie was better.
    """

    truthful: np.ndarray
    best: np.ndarray
    bid: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """How much the best lie is worth, at least 0. [n]"""
        return self.best - self.truthful


def best_lies(mechanism: Mechanism, value: Any, *, points: int = 21, rounds: int = 2, highest: float | None = None) -> Lies:
    """For each advertiser, the best bid that a search finds while the others bid their values.

    Where the truth is dominant, it is a best bid whatever the others bid, their values among it; values drawn at random make the
    others' bids arbitrary.

    Args:
        mechanism: from bids to an outcome.
        value: [n] value of a click to each.
        points: bids on the even grid, and in each round.
        rounds: how often to look more closely around the best bid.
        highest: upper end of the grid; by default 1.5 times the highest value.

    Raises:
        ValueError: if values are negative or not finite, or there are fewer than 3 points.
    """
    value = check_bids(value)
    if points < 3 or rounds < 0:
        raise ValueError(f"points must be at least 3 and rounds at least 0, got {points} and {rounds}")
    truthful = mechanism(value).utilities(value)
    best, bid = truthful.copy(), value.copy()
    top = 1.5 * float(value.max(initial=0.0)) if highest is None else highest
    for i in range(len(value)):
        tried = _first_bids(value, i, top, points)
        step = top / (points - 1)
        for _ in range(rounds + 1):
            for lie in tried:
                utility = utility_of(mechanism, value, i, lie)
                if utility > best[i]:
                    best[i], bid[i] = utility, lie
            tried = np.clip(np.linspace(bid[i] - step, bid[i] + step, points), 0.0, None)
            step = 2 * step / (points - 1)
    return Lies(truthful, best, bid)


def _first_bids(value: np.ndarray, i: int, top: float, points: int) -> np.ndarray:
    others = np.delete(value, i)
    near = np.concatenate([others, value[i] * np.array([0.5, 0.9, 1.1, 2.0])])
    return np.unique(np.clip(np.concatenate([np.linspace(0.0, top, points), near - HAIR, near + HAIR]), 0.0, None))


def utility_of(mechanism: Mechanism, value: Any, i: int, bid: float) -> float:
    """What advertiser i gets if he bids `bid` and the others their values."""
    value = np.asarray(value, dtype=np.float64)
    outcome = mechanism(np.where(np.arange(len(value)) == i, bid, value))
    return float(value[i] * outcome.rates[i] - outcome.payments[i])


def rates_by_bid(mechanism: Mechanism, value: Any, i: int, bids: Any) -> np.ndarray:
    """Click rate of advertiser i at each of some bids, the others bidding their values. [b]"""
    value = np.asarray(value, dtype=np.float64)
    own = np.arange(len(value)) == i
    return np.array([mechanism(np.where(own, bid, value)).rates[i] for bid in np.asarray(bids, dtype=np.float64)])


def largest_drop(rates: Any) -> float:
    """By how much click rates fall at most from one bid to a higher one; 0 if they never do.

    Args:
        rates: [b] click rates at rising bids.
    """
    rates = np.asarray(rates, dtype=np.float64)
    return float((np.maximum.accumulate(rates) - rates).max(initial=0.0))
