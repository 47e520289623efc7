"""Auctions for the lab of position auctions: worlds to draw, ways to place, and what is measured in them.

Every function is seeded by what it is for; two arms of an experiment that share a seed see the same auctions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hierlab.envs.open_bandit import Campaign, Impressions, click_rates, load_open_bandit, log_file
from hierlab.lab.errors import Refused
from hierlab.market import (
    NOWHERE,
    ConditionalLogit,
    Mechanism,
    Optimum,
    Outcome,
    Uniform,
    VirtualValue,
    additive_matching,
    all_placements,
    best_lies,
    cascade_click_rates,
    cascade_greedy,
    cascade_optimum,
    count_placements,
    first_price,
    largest_drop,
    mnl_click_rates,
    mnl_greedy,
    mnl_optimum,
    myerson,
    random_placement,
    rates_by_bid,
    separable_auction,
    separable_ranking,
    stand_alone_rates,
    vcg,
)
from hierlab.seeds import derive_seed

MEAN, DEVIATION = -0.5, 1.2
"""Of utilities, over advertisements and positions together."""

Values = dict[str, float | list[float]]
Report = Callable[..., None]


def draws(*parts: int | str) -> np.random.Generator:
    """A numpy generator seeded by what it is for, as `hierlab.seeds` has it."""
    return np.random.default_rng(derive_seed("position-auctions", *parts))


@dataclass(frozen=True)
class Auction:
    """One auction.

    Attributes:
        value: [n] value of a click to each advertiser.
        weight: [n, m] weight of each advertisement at each position.
    """

    value: np.ndarray
    weight: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        """Stand-alone click rates. [n, m]"""
        return stand_alone_rates(self.weight)


def draw_auction(generator: np.random.Generator, n: int, m: int, spread: float = DEVIATION) -> Auction:
    """Uniform values, normal utilities.

    Args:
        generator: where the numbers come from.
        n: advertisers.
        m: positions.
        spread: deviation of utilities between the positions of one advertisement. The deviation over all is always `DEVIATION`; at
            spread 0 an advertisement is as good everywhere, at `DEVIATION` nothing is shared between its positions.

    Raises:
        ValueError: if the spread exceeds the deviation over all.
    """
    if not 0 <= spread <= DEVIATION:
        raise ValueError(f"spread must lie in [0, {DEVIATION}], got {spread}")
    own = generator.normal(0.0, 1.0, (n, 1)) * np.sqrt(DEVIATION**2 - spread**2)
    return Auction(generator.random(n), np.exp(MEAN + own + spread * generator.normal(0.0, 1.0, (n, m))))


Place = Callable[[Auction, int, np.random.Generator], np.ndarray]

PLACE: dict[str, Place] = {
    "optimum": lambda auction, k, _: mnl_optimum(auction.value, auction.weight, k).placement,
    "greedy": lambda auction, k, _: mnl_greedy(auction.value, auction.weight, k).placement,
    "additive matching": lambda auction, k, _: additive_matching(auction.value, auction.rate, k).placement,
    "separable ranking": lambda auction, k, _: separable_ranking(auction.value, auction.rate, k),
    "cascade optimum": lambda auction, k, _: cascade_optimum(auction.value, auction.rate, k).placement,
    "random": lambda auction, k, generator: random_placement(*auction.weight.shape, k, generator),
    "nothing": lambda auction, k, _: np.full(len(auction.value), NOWHERE),
}
"""Ways to place advertisements, from an auction, the number that may be shown, and a generator."""


def best_by_force(auction: Auction) -> np.ndarray:
    """The greatest welfare with at most k advertisements under the multinomial logit, for each k from 0, by trying every placement."""
    n, m = auction.weight.shape
    welfare = mnl_click_rates(auction.weight, all_placements(n, m)) @ auction.value
    ends = [count_placements(n, m, k) for k in range(min(n, m) + 1)]
    return np.array([welfare[:end].max() for end in ends])


def welfare_ratios(
    way: str, seed: int, *, auctions: int, size: int, most: int, spreads: Sequence[float], report: Report = lambda *_: None
) -> Values:
    """Welfare of one way to place under the multinomial logit, beside the best of all placements.

    Args:
        way: one of `PLACE`.
        seed: of the auctions.
        auctions: how many, at each spread.
        size: advertisers, and positions.
        most: k goes from 1 to here at the largest spread, and is `most - 1` at the others.
        spreads: deviations between positions, increasing.
        report: progress.

    Returns:
        Over all auctions and k at the largest spread: `ratio` and `worst`, mean and smallest; `share_optimal`; `gap`, the largest
        difference from the optimum; `shown`, `clicks`. Curves: `ratio_at_k` against `k`, `ratio_at_spread` against `spread`.
    """
    place, wild = PLACE[way], draws("random placements", seed)
    ks, middle = range(1, most + 1), max(1, most - 1)
    by_spread, by_k, gaps, shown, clicks = [], np.zeros((auctions, most)), [], [], []
    for number, spread in enumerate(spreads):
        generator = draws("welfare", seed, f"{spread:g}")
        last = number == len(spreads) - 1
        ratios = []
        for row in range(auctions):
            auction = draw_auction(generator, size, size, spread)
            best = best_by_force(auction)
            for k in ks if last else (middle,):
                rates = mnl_click_rates(auction.weight, place(auction, k, wild))
                welfare = float(rates @ auction.value)
                if last:
                    by_k[row, k - 1] = welfare / best[k]
                    gaps.append(abs(best[k] - welfare))
                    shown.append(int((rates > 0).sum()))
                    clicks.append(float(rates.sum()))
                if k == middle:
                    ratios.append(welfare / best[k])
            report(number * auctions + row + 1, len(spreads) * auctions)
        by_spread.append(float(np.mean(ratios)))
    return {
        "ratio": float(by_k.mean()),
        "worst": float(by_k.min()),
        "share_optimal": float((by_k > 1 - 1e-9).mean()),
        "gap": float(max(gaps)),
        "shown": float(np.mean(shown)),
        "clicks": float(np.mean(clicks)),
        "k": [float(k) for k in ks],
        "ratio_at_k": by_k.mean(0).tolist(),
        "spread": [float(spread) for spread in spreads],
        "ratio_at_spread": by_spread,
    }


IN_CASCADE: dict[str, Callable[[Auction, int, str, np.random.Generator], np.ndarray]] = {
    "optimum": lambda auction, k, order, _: cascade_optimum(auction.value, auction.rate, k, order=order).placement,
    "greedy": lambda auction, k, order, _: cascade_greedy(auction.value, auction.rate, k, order=order).placement,
    "additive matching": lambda auction, k, _, generator: PLACE["additive matching"](auction, k, generator),
    "separable ranking": lambda auction, k, _, generator: PLACE["separable ranking"](auction, k, generator),
    "logit optimum": lambda auction, k, _, generator: PLACE["optimum"](auction, k, generator),
    "random": lambda auction, k, _, generator: PLACE["random"](auction, k, generator),
}
"""Ways to place advertisements for readers of a cascade, from an auction, the number shown, the order of reading, and a generator."""


def cascade_ratios(way: str, seed: int, *, auctions: int, size: int, most: int, report: Report = lambda *_: None) -> Values:
    """Welfare of one way to place for readers of a cascade, beside the best of all placements, in free and in fixed order.

    Args:
        way: one of `IN_CASCADE`.
        seed: of the auctions.
        auctions: how many.
        size: advertisers, and positions.
        most: k goes from 1 to here.
        report: progress.

    Returns:
        `free_ratio`, `free_worst`, `fixed_ratio`, `fixed_worst`; curves `free_at_k`, `fixed_at_k` against `k`.
    """
    generator, wild = draws("cascade", seed), draws("random placements", seed)
    ratios = {order: np.zeros((auctions, most)) for order in ("free", "fixed")}
    for row in range(auctions):
        auction = draw_auction(generator, size, size)
        for order, found in ratios.items():
            for k in range(1, most + 1):
                placement = IN_CASCADE[way](auction, k, order, wild)
                rates = cascade_click_rates(auction.rate, placement, order=order, value=auction.value)
                found[row, k - 1] = rates @ auction.value / cascade_optimum(auction.value, auction.rate, k, order=order).welfare
        report(row + 1, auctions)
    return {
        **{f"{order}_ratio": float(found.mean()) for order, found in ratios.items()},
        **{f"{order}_worst": float(found.min()) for order, found in ratios.items()},
        "k": [float(k) for k in range(1, most + 1)],
        **{f"{order}_at_k": found.mean(0).tolist() for order, found in ratios.items()},
    }


UNIFORM = VirtualValue(Uniform())
"""Of the values that `draw_auction` draws."""


def _greedily_priced(auction: Auction, k: int) -> Mechanism:
    """VCG's formula on what greedy finds: the payment without the exactness that it rests on."""
    return lambda bids: vcg(bids, lambda value: mnl_greedy(value, auction.weight, k))


def _separably(auction: Auction, k: int, pricing: str) -> Mechanism:
    world = partial(mnl_click_rates, auction.weight)
    return lambda bids: separable_auction(bids, auction.rate, world, k, pricing=pricing)


def _exactly(rule: Callable[..., Outcome], auction: Auction, k: int, *parts: object) -> Mechanism:
    optimise: Callable[[np.ndarray], Optimum] = partial(mnl_optimum, weight=auction.weight, k=k)
    return lambda bids: rule(bids, optimise, *parts)


def _first_come(auction: Auction, k: int) -> Mechanism:
    """The first k advertisers at the first k positions, free of charge, whatever they bid: honest, and of no use."""
    n, m = auction.weight.shape
    placement = np.where(np.arange(n) < min(k, m), np.arange(n), NOWHERE)
    rates = mnl_click_rates(auction.weight, placement)
    return lambda bids: Outcome(placement, rates, np.zeros(n))


MECHANISMS: dict[str, Callable[[Auction, int], Mechanism]] = {
    "VCG": partial(_exactly, vcg),
    "Myerson": lambda auction, k: _exactly(myerson, auction, k, UNIFORM),
    "pay your bid": partial(_exactly, first_price),
    "greedy, VCG's formula": _greedily_priced,
    "separable, GSP": lambda auction, k: _separably(auction, k, "gsp"),
    "separable, VCG": lambda auction, k: _separably(auction, k, "vcg"),
    "first come, free": _first_come,
}
"""Mechanisms in the world of the multinomial logit, from an auction and the number that may be shown."""


def honesty(
    name: str, seed: int, *, auctions: int, searched: int, size: int, k: int, points: int, report: Report = lambda *_: None
) -> Values:
    """What a mechanism earns if all bid their values, and what lies a search finds.

    Args:
        name: one of `MECHANISMS`.
        seed: of the auctions.
        auctions: how many are held.
        searched: in how many of them lies are looked for, for each bidder.
        size: advertisers, and positions.
        k: at most so many are shown.
        points: bids a round of the search.
        report: progress.

    Returns:
        `revenue`, `welfare` and `virtual_welfare` an auction, at truthful bids; `lie`, the largest gain from a lie that was found,
        `liars`, the share of bidders with a gain above 1e-6, and `mean_lie`, their mean gain over all bidders; `lowest_utility` of a
        truthful bidder in any auction; `rate_drop`, the most clicks that a higher bid lost.
    """
    generator = draws("honesty", seed)
    revenue, welfare, virtual, lowest, gains, drops = [], [], [], [], [], []
    for row in range(auctions):
        auction = draw_auction(generator, size, size)
        mechanism = MECHANISMS[name](auction, k)
        outcome = mechanism(auction.value)
        revenue.append(outcome.revenue)
        welfare.append(outcome.welfare(auction.value))
        virtual.append(float(UNIFORM(auction.value) @ outcome.rates))
        lowest.append(outcome.utilities(auction.value).min())
        if row < searched:
            gains.append(best_lies(mechanism, auction.value, points=points, rounds=1).gain)
            drops += [largest_drop(rates_by_bid(mechanism, auction.value, i, np.linspace(0, 1.5, points))) for i in range(size)]
        report(min(row + 1, searched), searched)
    found = np.concatenate(gains)
    return {
        "revenue": float(np.mean(revenue)),
        "welfare": float(np.mean(welfare)),
        "virtual_welfare": float(np.mean(virtual)),
        "lie": float(found.max()),
        "mean_lie": float(found.mean()),
        "liars": float((found > 1e-6).mean()),
        "lowest_utility": float(min(lowest)),
        "rate_drop": float(max(drops)),
    }


SOLVERS: dict[str, Callable[[Auction, int], Optimum]] = {
    "Dinkelbach": lambda auction, k: mnl_optimum(auction.value, auction.weight, k),
    "bisection": lambda auction, k: mnl_optimum(auction.value, auction.weight, k, method="bisection"),
    "greedy": lambda auction, k: mnl_greedy(auction.value, auction.weight, k),
}
"""What is timed."""


def timings(
    name: str, seed: int, *, sizes: Sequence[int], crowds: Sequence[int], positions: int, repeats: int, report: Report = lambda *_: None
) -> Values:
    """Processor seconds to find the winners, as the auction grows.

    Args:
        name: one of `SOLVERS`.
        seed: of the auctions.
        sizes: numbers of advertisers with as many positions, half of which may be filled; increasing.
        crowds: numbers of advertisers for a few positions, all of which may be filled; increasing.
        positions: how many these are.
        repeats: auctions of each size; the median counts.
        report: progress.

    Returns:
        `growth`, the power with which time grows from the second size to the last; `matchings`, most that one auction took (steps, for
        greedy); curves `milliseconds` against `size`, `crowd_milliseconds` against `crowd`, `most_matchings` against `size`.
    """
    square, crowd, most = [], [], []
    for number, size in enumerate(sizes):
        seconds, steps = _timed(SOLVERS[name], draws("size", seed, size), size, size, max(1, size // 2), repeats)
        square.append(seconds)
        most.append(steps)
        report(number + 1, len(sizes) + len(crowds))
    for number, size in enumerate(crowds):
        crowd.append(_timed(SOLVERS[name], draws("crowd", seed, size), size, positions, positions, repeats)[0])
        report(len(sizes) + number + 1, len(sizes) + len(crowds))
    first = min(1, len(sizes) - 2) if len(sizes) > 1 else 0
    growth = np.log(square[-1] / square[first]) / np.log(sizes[-1] / sizes[first]) if len(sizes) > 1 else 0.0
    return {
        "growth": float(growth),
        "matchings": float(max(most)),
        "size": [float(size) for size in sizes],
        "milliseconds": [1e3 * s for s in square],
        "most_matchings": [float(steps) for steps in most],
        "crowd": [float(size) for size in crowds],
        "crowd_milliseconds": [1e3 * s for s in crowd],
    }


def _timed(
    solve: Callable[[Auction, int], Optimum], generator: np.random.Generator, n: int, m: int, k: int, repeats: int
) -> tuple[float, int]:
    """Median processor seconds, and the most steps."""
    seconds, steps = [], []
    for _ in range(repeats):
        auction = draw_auction(generator, n, m)
        started = time.process_time()
        found = solve(auction, k)
        seconds.append(max(time.process_time() - started, 1e-6))
        steps.append(len(found.steps))
    return float(np.median(seconds)), max(steps)


@dataclass(frozen=True)
class Check:
    """The optimum held against every placement, at one size.

    Attributes:
        n, m, k: advertisers, positions, how many may be shown.
        placements: how many there are.
        auctions: how many were drawn.
        gap: largest difference of the optimal welfare from the best of all placements.
        payment_gap: largest difference between VCG's payments, by welfare lost, and Myerson's without virtual values, by thresholds.
        uniform_gap: largest difference of Myerson's payments from the closed form that uniform values allow.
        matchings: the most that one optimum took.
    """

    n: int
    m: int
    k: int
    placements: int
    auctions: int
    gap: float
    payment_gap: float
    uniform_gap: float
    matchings: int


def against_brute_force(n: int, m: int, k: int, auctions: int, seed: int) -> Check:
    """Hold the optimum and its payments against what can be computed in another way."""
    generator = draws("brute force", seed, n, m, k)
    gaps, payment_gaps, uniform_gaps, matchings = [0.0], [0.0], [0.0], [0]
    for _ in range(auctions):
        auction = draw_auction(generator, n, m)
        optimise = partial(mnl_optimum, weight=auction.weight, k=k)
        best = optimise(auction.value)
        every = mnl_click_rates(auction.weight, all_placements(n, m, k)) @ auction.value
        gaps.append(abs(every.max() - best.welfare))
        matchings.append(len(best.steps))
        paid = vcg(auction.value, optimise).payments
        payment_gaps.append(np.abs(paid - myerson(auction.value, optimise).payments).max())
        revenue = myerson(auction.value, optimise, UNIFORM)
        uniform_gaps.append(np.abs(revenue.payments - _uniform_payments(auction.value, optimise, revenue.rates)).max())
    largest = (float(max(found)) for found in (gaps, payment_gaps, uniform_gaps))
    return Check(n, m, k, count_placements(n, m, k), auctions, *largest, max(matchings))


def _uniform_payments(value: np.ndarray, optimise: Callable[[np.ndarray], Optimum], rates: np.ndarray) -> np.ndarray:
    """With phi = 2v - 1 the integral of click rates over bids is half that over virtual values: a difference of two optima."""
    phi = 2 * value - 1
    best = optimise(phi).welfare
    without = np.array([optimise(np.where(np.arange(len(value)) == i, -1.0, phi)).welfare for i in range(len(value))])
    return value * rates - (best - without) / 2


def check_log(campaign: Campaign, folder: str) -> None:
    """Look for the Open Bandit log before anything starts: that of the wheel, or of a folder with the full data.

    Raises:
        Refused: if it is not there; the message says how to get it.
    """
    try:
        log_file(campaign, "random", folder=folder or None)
    except (FileNotFoundError, ValueError) as error:
        raise Refused(f"data={folder!r}: {error}; here: --set data=FOLDER, or --set data= for the small release") from error


def lifted(rate: np.ndarray, mean: float) -> np.ndarray:
    """Weights with a given mean stand-alone click rate: the odds of the given rates, all multiplied by one number.

    Args:
        rate: [n, m] click rates in (0, 1).
        mean: the mean that is wanted, in (0, 1).
    """
    odds = rate / (1 - rate)
    low, high = np.log(1e-9), np.log(1e9)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if stand_alone_rates(odds * np.exp(middle)).mean() < mean else (low, middle)
    return odds * np.exp((low + high) / 2)


def resampled(log: Impressions, generator: np.random.Generator) -> Impressions:
    """As many impressions, drawn again with replacement: another log that might have been."""
    rows = generator.integers(0, len(log), len(log))
    columns = ("time", "item", "position", "click", "propensity", "user", "affinity")
    return replace(log, **{name: getattr(log, name)[rows] for name in columns})


def bandit_ratios(
    way: str,
    seed: int,
    *,
    campaign: Campaign,
    folder: str,
    auctions: int,
    means: Sequence[float],
    strength: float,
    report: Report = lambda *_: None,
) -> Values:
    """Welfare of one way to place items of a real shop, beside the optimum: values are drawn, click rates are logged.

    Args:
        way: one of `PLACE`, or "optimum, estimated": the optimum for click rates estimated from a resampled log.
        seed: of values and resampled logs.
        campaign: which part of the shop.
        folder: the full data, or "" for the small release.
        auctions: how many, at each mean.
        means: mean stand-alone click rates to which the logged ones are lifted, beside those logged; increasing.
        strength: of the shrinkage of logged rates.
        report: progress.

    Returns:
        `ratio` at the logged rates, `worst`, `lifted_ratio` at the largest mean, and the curve `ratio_at_mean` against `mean_rate`.
    """
    log = load_open_bandit(campaign, "random", folder=folder or None)
    rate = click_rates(log, strength=strength)
    wild, generator = draws("random placements", seed), draws("open bandit", seed)
    means = (float(rate.mean()), *means)
    weights = [lifted(rate, mean) for mean in means]
    ratios = np.zeros((len(means), auctions))
    for row in range(auctions):
        value = generator.random(log.items)
        believed = weights
        if way == "optimum, estimated":
            estimate = click_rates(resampled(log, draws("another log", seed, row)), strength=strength)
            believed = [lifted(estimate, mean) for mean in means]
        for number, weight in enumerate(weights):
            auction = Auction(value, weight)
            placement = PLACE[way.removesuffix(", estimated")](Auction(value, believed[number]), log.positions, wild)
            best = mnl_optimum(value, auction.weight).welfare
            ratios[number, row] = mnl_click_rates(auction.weight, placement) @ value / best
        report(row + 1, auctions)
    return {
        "ratio": float(ratios[0].mean()),
        "worst": float(ratios[0].min()),
        "lifted_ratio": float(ratios[-1].mean()),
        "mean_rate": [float(f"{mean:.4g}") for mean in means],
        "ratio_at_mean": ratios.mean(1).tolist(),
    }


def learnt_ratios(
    estimate: str, seed: int, *, worlds: int, size: int, k: int, answers: Sequence[int], report: Report = lambda *_: None
) -> Values:
    """Welfare of the optimum for weights that were estimated from logged answers with random placements.

    Args:
        estimate: "logit", a conditional logit with a constant for each pair; "click rates", clicks over impressions of each pair,
            taken for stand-alone rates; "nothing", all pairs alike.
        seed: of the worlds.
        worlds: how many.
        size: advertisers, and positions.
        k: how many advertisements each logged answer shows, and the optimum may show.
        answers: how many answers are logged; increasing.
        report: progress.

    Returns:
        `ratio` at the largest log, and the curve `ratio_at_answers` against `answers`.
    """
    generator = draws("learning", seed)
    ratios = np.zeros((len(answers), worlds))
    for world in range(worlds):
        auction = draw_auction(generator, size, size)
        placement = np.array([random_placement(size, size, k, generator) for _ in range(answers[-1])])
        rates = mnl_click_rates(auction.weight, placement)
        clicked = (generator.random(len(placement))[:, None] > rates.cumsum(1)).sum(1)
        best = mnl_optimum(auction.value, auction.weight, k).welfare
        for number, logged in enumerate(answers):
            weight = ESTIMATES[estimate](placement[:logged], clicked[:logged], size)
            found = mnl_optimum(auction.value, weight, k).placement
            ratios[number, world] = mnl_click_rates(auction.weight, found) @ auction.value / best
        report(world + 1, worlds)
    means = ratios.mean(1).tolist()
    return {"ratio": means[-1], "answers": [float(a) for a in answers], "ratio_at_answers": means}


def _logit_weights(placement: np.ndarray, clicked: np.ndarray, size: int) -> np.ndarray:
    """exp of the coefficients of a conditional logit with a constant for each pair of advertisement and position."""
    shown = placement != NOWHERE
    answer, advertisement = np.nonzero(shown)
    features = np.zeros((*placement.shape, size * size))
    features[answer, advertisement, advertisement * size + placement[answer, advertisement]] = 1.0
    fitted = ConditionalLogit(outside=True, ridge=1.0, tol=1e-8).fit(features, np.where(clicked == size, -1, clicked), shown)
    return np.exp(fitted.coef_).reshape(size, size)


def _click_rate_weights(placement: np.ndarray, clicked: np.ndarray, size: int) -> np.ndarray:
    """Odds of each pair's clicks over impressions, with one click in two added, as if it had been shown alone."""
    shown, clicks = np.ones((size, size)) * 2.0, np.ones((size, size))
    for number in range(size):
        here = placement[:, number]
        np.add.at(shown[number], here[here != NOWHERE], 1)
        np.add.at(clicks[number], here[clicked == number], 1)
    rate = clicks / shown
    return rate / (1 - rate)


ESTIMATES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "logit": _logit_weights,
    "click rates": _click_rate_weights,
    "nothing": lambda placement, clicked, size: np.ones((size, size)),
}
"""Ways to estimate weights, from placements [answers, n], who was clicked [answers] (n: nobody), and the size."""


def forced_fillings(auction: Auction) -> Iterator[tuple[int, float, float, float]]:
    """For each number of advertisements shown: the least, the median and the greatest welfare of all placements of exactly so many."""
    placements = all_placements(*auction.weight.shape)
    welfare = mnl_click_rates(auction.weight, placements) @ auction.value
    shown = (placements != NOWHERE).sum(1)
    for number in range(int(shown.max()) + 1):
        at = welfare[shown == number]
        yield number, float(at.min()), float(np.median(at)), float(at.max())
