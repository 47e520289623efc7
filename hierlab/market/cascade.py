r"""The cascade: a reader goes through the answer and stops at the first advertisement that is clicked.

$$\pi_i(x,\sigma)=p_{ij}\prod_{(i',j')\text{ read before}}(1-p_{i'j'})$$

An advertisement takes clicks only from those read after it, so the order matters. Two readings of the paper's abstract, both here:

* *Free order.* The seller also chooses the order. Exchanging two neighbours $a,b$ changes the welfare by $p_ap_b(v_a-v_b)$: the
  best order is by falling value, whatever the click rates. In it the welfare is $E[\max_iv_iB_i]$ with independent
  $B_i\sim\text{Bernoulli}(p_{ij})$, a monotone submodular function of the set of edges, so that greedy is within a third of the
  optimum.
* *Fixed order.* Positions are read from first to last, or in an order that is given. A poor advertisement early on does harm, the
  welfare is not monotone, and greedy has no such guarantee.

The formulas of the paper's cascade section were not accessible to us. The two facts above are our derivation, and 1/3 is the
factor of greedy for monotone submodular functions under two matroids, not a factor quoted from the paper.

Source: arXiv 2506.03309 (the model); Fisher, Nemhauser, Wolsey, An analysis of approximations for maximizing submodular set
functions II, 1978 (greedy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from hierlab.market.mechanism import Optimum
from hierlab.market.placements import NOWHERE, all_placements, check_auction, check_placement, chosen, placed
from hierlab.market.submodular import greedy, one_each
from hierlab.trace import recording, show

Order = Literal["free", "fixed"] | Sequence[int]


def cascade_click_rates(rate: Any, placement: Any, *, order: Order = "fixed", value: Any = None) -> np.ndarray:
    """Click rate of each advertisement.

    Args:
        rate: [n, m] chance of a click on each advertisement at each position once it is read, in [0, 1].
        placement: [..., n] position of each advertisement, -1 for nowhere.
        order: "fixed", positions are read from 0 on; a sequence [m], the positions in the order in which they are read; or "free",
            advertisements are read by falling value.
        value: [n] needed for the free order.

    Returns:
        [..., n]

    Raises:
        ValueError: if shapes do not fit, a rate is outside [0, 1], a placement or an order is none, or the free order lacks values.
    """
    rate = np.asarray(rate, dtype=np.float64)
    if value is None and isinstance(order, str) and order == "free":
        raise ValueError("the free order reads advertisements by falling value: it needs value")
    value, rate, _ = check_cascade(np.zeros(len(rate)) if value is None else value, rate, None)
    return _rates(value, rate, check_placement(placement, *rate.shape), check_order(order, rate.shape[1]))


def cascade_optimum(value: Any, rate: Any, k: int | None = None, *, order: Order = "free") -> Optimum:
    """The placement of greatest welfare, by looking at every one: for small auctions, and as the yardstick of others.

    Args:
        value: [n] value of a click on each advertisement; may be negative (virtual values).
        rate: [n, m] chance of a click on each advertisement at each position once it is read, in [0, 1].
        k: at most so many advertisements are shown; None: as many as there are positions.
        order: as in `cascade_click_rates`.

    Raises:
        ValueError: as `cascade_click_rates`, or if there are too many placements to look at.
    """
    value, rate, k = check_cascade(value, rate, k)
    order = check_order(order, rate.shape[1])
    placements = all_placements(*rate.shape, k)
    rates = _rates(value, rate, placements, order)
    best = int(np.argmax(rates @ value))
    return _shown(value, rate, placements[best], rates[best])


def cascade_greedy(value: Any, rate: Any, k: int | None = None, *, order: Order = "free") -> Optimum:
    """Advertisement by advertisement, the one at the place that adds most welfare, as long as one adds any.

    Within a third of the optimum for the free order; without a guarantee for a fixed one. It is not exact, so its click rates need
    not be monotone in a bid, and VCG or Myerson payments computed from it need not be truthful.

    Args:
        value: [n] value of a click on each advertisement.
        rate: [n, m] chance of a click on each advertisement at each position once it is read, in [0, 1].
        k: at most so many advertisements are shown; None: as many as there are positions.
        order: as in `cascade_click_rates`.

    Returns:
        What greedy found; its steps are the welfare after each advertisement.

    Raises:
        ValueError: as `cascade_click_rates`.
    """
    value, rate, k = check_cascade(value, rate, k)
    order = check_order(order, rate.shape[1])
    n, m = rate.shape

    row, column = np.divmod(np.arange(n * m), m)

    def gains(edges: tuple[int, ...]) -> np.ndarray:
        placement = placed(edges, n, m)
        tried = np.tile(placement, (n * m, 1))
        tried[np.arange(n * m), row] = column
        return _rates(value, rate, tried, order) @ value - _rates(value, rate, placement, order) @ value

    found = greedy(gains, k, allowed=one_each(n, m))
    placement = placed(found.items, n, m)
    return _shown(value, rate, placement, _rates(value, rate, placement, order), found.values)


def check_cascade(value: Any, rate: Any, k: int | None) -> tuple[np.ndarray, np.ndarray, int]:
    """As `check_auction`, for click rates.

    Raises:
        ValueError: as `check_auction`, or if a rate exceeds 1.
    """
    value, rate, k = check_auction(value, rate, k, name="rate")
    if (rate > 1).any():
        row, column = map(int, np.argwhere(rate > 1)[0])
        raise ValueError(f"rate must lie in [0, 1], got {rate[row, column]} for advertisement {row} at position {column}")
    return value, rate, k


def check_order(order: Order, m: int) -> np.ndarray | None:
    """When each position is read, None for the free order. [m]

    Raises:
        ValueError: if the order is neither "free", "fixed", nor a sequence of all positions.
    """
    if isinstance(order, str):
        if order not in ("free", "fixed"):
            raise ValueError(f"order must be 'free', 'fixed' or the {m} positions in the order in which they are read, got {order!r}")
        return None if order == "free" else np.arange(m)
    positions = np.asarray(order)
    if positions.shape != (m,) or sorted(positions.tolist()) != list(range(m)):
        raise ValueError(f"order must name each of the {m} positions once, got {positions.tolist()}")
    return np.argsort(positions)


def _rates(value: np.ndarray, rate: np.ndarray, placement: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Click rates, by a running product along the order of reading. [..., n]"""
    clicked = chosen(rate, placement)
    if order is None:
        turn = np.argsort(-value, kind="stable")
        missed = np.cumprod(1.0 - clicked[..., turn], axis=-1)
        reached = np.ones_like(missed)
        reached[..., 1:] = missed[..., :-1]
        survival = np.empty_like(reached)
        survival[..., turn] = reached
        return clicked * survival
    moment = np.where(placement == NOWHERE, len(order), order[placement])
    turn = np.argsort(moment, axis=-1, kind="stable")
    missed = np.cumprod(1.0 - np.take_along_axis(clicked, turn, -1), axis=-1)
    reached = np.ones_like(missed)
    reached[..., 1:] = missed[..., :-1]
    survival = np.empty_like(reached)
    np.put_along_axis(survival, turn, reached, -1)
    return clicked * survival


def _shown(value: np.ndarray, rate: np.ndarray, placement: np.ndarray, rates: np.ndarray, steps: tuple[float, ...] = ()) -> Optimum:
    if recording():
        show("click rate once read", rate, r"p_{ij}")
        show("placement", (placement[:, None] == np.arange(rate.shape[1])) * rate, r"x_{ij}p_{ij}")
        show("click rate", rates, r"\pi_i=p_{ij}\prod(1-p_{i'j'})")
    return Optimum(placement, rates, float(np.dot(value, rates)), steps)
