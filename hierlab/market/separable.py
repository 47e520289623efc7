r"""The classical baselines: rank advertisements as if click rates were the product of an advertisement's and a position's quality.

Sponsored search assumes $p_{ij}=\alpha_i\beta_j$ and no substitution. Then the best advertisement, by $v_i\alpha_i$, belongs at the
best position, and so on down; the generalised second price (GSP) charges each the bid that would just have kept its place, and the
VCG price averages such bids over the positions below. Where the assumption fails, both still run: this module is what it costs.

*Additive matching* drops the product but keeps the additivity: every pair has its own stand-alone click rate, and the matching of
greatest total is exact for a world without substitution.

Source: H. Varian, Position auctions, 2007; Edelman, Ostrovsky, Schwarz, 2007; arXiv 2506.03309 names these as what it departs from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from hierlab.checks import check_choice
from hierlab.market.cascade import check_cascade
from hierlab.market.matching import match
from hierlab.market.mechanism import Optimum, Outcome, check_bids
from hierlab.market.placements import NOWHERE, chosen

Pricing = Literal["gsp", "vcg"]


def separable_fit(rate: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Quality of advertisements and of positions: the means of stand-alone click rates over the other index.

    Args:
        rate: [n, m] stand-alone click rates.

    Returns:
        $\alpha$ [n] and $\beta$ [m], the latter divided by the overall mean, so that $\alpha_i\beta_j$ is the rate itself where the
        assumption holds.

    Raises:
        ValueError: if rates are no matrix of numbers in [0, 1].
    """
    rate = np.asarray(rate, dtype=np.float64)
    _, rate, _ = check_cascade(np.zeros(len(rate)), rate, None)
    mean = rate.mean() if rate.size else 0.0
    return rate.mean(1), rate.mean(0) / mean if mean > 0 else np.zeros(rate.shape[1])


def separable_ranking(value: Any, rate: Any, k: int | None = None) -> np.ndarray:
    """The k advertisements of greatest value times quality at the k best positions, best at best. [n]

    Args:
        value: [n] value of a click; an advertisement of no positive value is not shown.
        rate: [n, m] stand-alone click rates.
        k: at most so many; None: as many as there are positions.

    Raises:
        ValueError: if shapes do not fit or a number is out of range.
    """
    value, rate, k = check_cascade(value, rate, k)
    return _ranked(value, *separable_fit(rate), k)


def _ranked(value: np.ndarray, quality: np.ndarray, position: np.ndarray, k: int) -> np.ndarray:
    score = value * quality
    order = np.argsort(-score, kind="stable")[:k]
    order = order[score[order] > 0]
    placement = np.full(len(value), NOWHERE, dtype=np.int64)
    placement[order] = np.argsort(-position, kind="stable")[: len(order)]
    return placement


def additive_matching(value: Any, rate: Any, k: int | None = None) -> Optimum:
    """The matching of greatest sum of value times stand-alone click rate: the optimum of a world without substitution.

    Args:
        value: [n] value of a click.
        rate: [n, m] stand-alone click rates.
        k: at most so many; None: as many as there are positions.

    Returns:
        The optimum of that world: rates and welfare are what it expects, not what a world with substitution has.

    Raises:
        ValueError: as `separable_ranking`.
    """
    value, rate, k = check_cascade(value, rate, k)
    placement = match(value[:, None] * rate, k)
    expected = chosen(rate, placement)
    return Optimum(placement, expected, float(np.dot(value, expected)))


def separable_auction(
    bids: Any, rate: Any, click_rates: Callable[[np.ndarray], np.ndarray], k: int | None = None, *, pricing: Pricing = "gsp"
) -> Outcome:
    r"""The separable ranking with its prices per click, charged for the clicks that the real world gives.

    With bids ordered by $b_i\alpha_i$, GSP asks of the advertisement at rank $s$ for $b_{s+1}\alpha_{s+1}/\alpha_s$ a click; VCG for
    $\frac{1}{\alpha_s\beta_s}\sum_{t\ge s}(\beta_t-\beta_{t+1})\,b_{t+1}\alpha_{t+1}$, with $\beta_{K+1}=0$.

    Args:
        bids: [n] not negative.
        rate: [n, m] stand-alone click rates, from which qualities are fitted.
        click_rates: the world: the click rate of each advertisement under a placement. [n] to [n]
        k: at most so many are shown; None: as many as there are positions.
        pricing: "gsp" or "vcg".

    Raises:
        ValueError: if shapes do not fit, a number is out of range, or the pricing is unknown.
    """
    check_choice("pricing", pricing, Pricing)
    bids, rate, k = check_cascade(check_bids(bids), rate, k)
    quality, position = separable_fit(rate)
    placement = _ranked(bids, quality, position, k)
    score = np.sort(bids * quality)[::-1]
    winners = np.flatnonzero(placement != NOWHERE)
    winners = winners[np.argsort(-(bids * quality)[winners], kind="stable")]
    next_score = np.append(score, 0.0)[1 : len(winners) + 1]
    beta = np.append(np.sort(position)[::-1][: len(winners)], 0.0)
    if pricing == "gsp":
        asked = next_score
    else:
        owed = np.cumsum(((beta[:-1] - beta[1:]) * next_score)[::-1])[::-1]
        asked = np.divide(owed, beta[:-1], out=np.zeros(len(winners)), where=beta[:-1] > 0)
    price = np.zeros(len(bids))
    price[winners] = asked / quality[winners]
    rates = np.asarray(click_rates(placement), dtype=np.float64)
    return Outcome(placement, rates, price * rates)
