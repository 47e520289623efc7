"""The cascade, greedy under constraints, and the separable baselines: closed forms, brute force, properties."""

import math
from functools import partial
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierlab.market import (
    NOWHERE,
    additive_matching,
    all_placements,
    at_most,
    best_lies,
    cascade_click_rates,
    cascade_greedy,
    cascade_optimum,
    greedy,
    mnl_click_rates,
    mnl_greedy,
    one_each,
    separable_auction,
    separable_fit,
    separable_ranking,
    stand_alone_rates,
    vcg,
)


def draw(seed, n=4, m=3):
    generator = np.random.default_rng(seed)
    return generator.random(n), stand_alone_rates(np.exp(generator.normal(-0.5, 1.2, (n, m))))


def read_one_by_one(rate, placement, turn):
    """Click rates, advertisement by advertisement in the order given."""
    left, rates = 1.0, np.zeros(len(rate))
    for i in turn:
        if placement[i] != NOWHERE:
            rates[i] = left * rate[i, placement[i]]
            left -= rates[i]
    return rates


class TestClickRates:
    def test_nothing_shown_nothing_clicked(self):
        assert cascade_click_rates([[0.5]], [NOWHERE]).tolist() == [0.0]
        assert cascade_click_rates(np.zeros((0, 2)), np.zeros(0, dtype=int)).tolist() == []

    def test_by_hand(self):
        rate = [[0.5, 0.4], [0.2, 0.1]]
        assert cascade_click_rates(rate, [0, 1]) == pytest.approx([0.5, 0.05])
        assert cascade_click_rates(rate, [1, 0]) == pytest.approx([0.32, 0.2])
        assert cascade_click_rates(rate, [0, 1], order=[1, 0]) == pytest.approx([0.45, 0.1])
        assert cascade_click_rates(rate, [0, 1], order="free", value=[0.1, 0.9]) == pytest.approx([0.45, 0.1])

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 100_000), st.permutations(range(3)))
    def test_all_placements_at_once_or_one_by_one(self, seed, order):
        value, rate = draw(seed)
        placements = all_placements(4, 3)
        moment = np.argsort(order)
        given_order = cascade_click_rates(rate, placements, order=list(order))
        free = cascade_click_rates(rate, placements, order="free", value=value)
        for row, placement in enumerate(placements):
            by_moment = sorted((i for i in range(4) if placement[i] != NOWHERE), key=lambda i: moment[placement[i]])
            assert given_order[row] == pytest.approx(read_one_by_one(rate, placement, by_moment), abs=1e-15)
            assert free[row] == pytest.approx(read_one_by_one(rate, placement, np.argsort(-value)), abs=1e-15)

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\], got 1.5 for advertisement 0 at position 0"):
            cascade_click_rates([[1.5]], [0])
        with pytest.raises(ValueError, match="it needs value"):
            cascade_click_rates([[0.5]], [0], order="free")
        with pytest.raises(ValueError, match="order must be 'free', 'fixed' or the 1 positions"):
            cascade_click_rates([[0.5]], [0], order="random")
        with pytest.raises(ValueError, match="order must name each of the 2 positions once"):
            cascade_optimum([1.0], [[0.5, 0.5]], order=[0, 0])


class TestOptimum:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 100_000))
    def test_by_falling_value_is_the_best_order(self, seed):
        value, rate = draw(seed, 3, 3)
        placement = all_placements(3, 3)[-1]
        orders = [read_one_by_one(rate, placement, turn) @ value for turn in permutations(range(3))]
        assert cascade_click_rates(rate, placement, order="free", value=value) @ value == pytest.approx(max(orders), rel=1e-12)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 100_000))
    def test_in_free_order_the_welfare_is_the_expected_best_click(self, seed):
        value, rate = draw(seed, 3, 3)
        placement = all_placements(3, 3)[-1]
        own = rate[np.arange(3), placement]
        expected = 0.0
        for clicks in np.ndindex(2, 2, 2):
            probability = np.prod(np.where(clicks, own, 1 - own))
            expected += probability * max([v for v, c in zip(value, clicks, strict=True) if c], default=0.0)
        assert cascade_click_rates(rate, placement, order="free", value=value) @ value == pytest.approx(expected, rel=1e-12)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 100_000), st.integers(0, 3))
    def test_a_free_order_is_never_worse_and_greedy_is_within_a_third(self, seed, k):
        value, rate = draw(seed)
        free, fixed = cascade_optimum(value, rate, k), cascade_optimum(value, rate, k, order="fixed")
        assert free.welfare >= fixed.welfare - 1e-12
        assert free.welfare >= cascade_greedy(value, rate, k).welfare - 1e-12 >= free.welfare / 3 - 1e-9
        assert fixed.welfare >= cascade_greedy(value, rate, k, order="fixed").welfare - 1e-12

    def test_a_poor_advertisement_early_does_harm(self):
        value, rate = [1.0, 0.1], [[0.0, 0.8], [0.9, 0.0]]
        assert cascade_optimum(value, rate, order="fixed").placement.tolist() == [1, NOWHERE]
        assert cascade_optimum(value, rate).placement.tolist() == [1, 0]

    def test_of_no_value_nothing_is_shown(self):
        assert (cascade_optimum([-1.0, 0.0], np.full((2, 2), 0.5)).placement == NOWHERE).all()
        assert (cascade_greedy([-1.0, 0.0], np.full((2, 2), 0.5)).placement == NOWHERE).all()

    @pytest.mark.parametrize("order", ["free", "fixed"])
    def test_vcg_on_the_exact_optimum_is_truthful(self, order):
        value, rate = draw(1)
        lies = best_lies(lambda bids: vcg(bids, partial(cascade_optimum, rate=rate, k=2, order=order)), value, points=9, rounds=1)
        assert lies.gain.max() < 1e-12
        assert lies.truthful.min() >= -1e-15

    def test_too_many_to_look_at_are_refused(self):
        with pytest.raises(ValueError, match="placements, more than"):
            cascade_optimum(np.ones(20), np.full((20, 20), 0.5))


SETS = [{1, 2, 3}, {3, 4}, {4, 5, 6, 7}, {1}, set()]


def coverage(sets):
    """Gains of the number of elements that some sets have together."""

    def gains(chosen):
        covered = set().union(*(sets[i] for i in chosen))
        return np.array([len(members - covered) for members in sets])

    return gains


class TestGreedy:
    def test_by_hand(self):
        found = greedy(coverage(SETS), 2)
        assert found.items == (2, 0)
        assert found.values == (4, 7)

    def test_it_stops_where_nothing_adds_anything(self):
        assert greedy(coverage(SETS)).items == (2, 0)
        assert greedy(coverage(SETS), least_gain=-math.inf).items == (2, 0, 1, 3, 4)
        assert greedy(lambda chosen: np.zeros(0)).items == ()
        assert greedy(coverage(SETS), 0).items == ()

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.sets(st.integers(0, 12), max_size=5), min_size=1, max_size=8), st.integers(0, 4))
    def test_coverage_is_within_its_guarantee(self, sets, k):
        def covered(chosen):
            return len(set().union(*(sets[i] for i in chosen)))

        found = greedy(coverage(sets), k)
        best = max(covered(chosen) for chosen in combinations(range(len(sets)), min(k, len(sets))))
        assert covered(found.items) >= (1 - 1 / math.e) * best - 1e-12
        assert (found.values or (0,))[-1] == covered(found.items)

    def test_a_limit_for_every_group(self):
        vowels = ["vowel", "other", "other", "other", "vowel"]
        found = greedy(coverage(SETS), allowed=at_most({"vowel": 1}, vowels), least_gain=-1)
        assert found.items == (2, 0, 1, 3)
        assert at_most({"vowel": 1}, vowels)((0,)).tolist() == [False, True, True, True, False]
        assert greedy(coverage(SETS), allowed=at_most({"vowel": 0, "other": 1}, vowels)).items == (2,)

    def test_a_row_and_a_column_for_each_edge(self):
        assert one_each(2, 3)((4,)).reshape(2, 3).tolist() == [[True, False, True], [False, False, False]]

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 100_000), st.integers(0, 3), st.sampled_from(["multinomial logit", "free", "fixed"]))
    def test_in_both_worlds_it_is_the_greedy_of_loops(self, seed, k, world):
        value, rate = draw(seed)
        weight = rate / (1 - rate)

        def welfare(placement):
            if world == "multinomial logit":
                return float(mnl_click_rates(weight, placement) @ value)
            return float(cascade_click_rates(rate, placement, order=world, value=value) @ value)

        placement = np.full(4, NOWHERE)
        for _ in range(k):
            tried = []
            for i, j in np.ndindex(4, 3):
                if placement[i] == NOWHERE and j not in placement:
                    tried.append(np.where(np.arange(4) == i, j, placement))
            best = max(tried, key=welfare)
            if welfare(best) <= welfare(placement) + 1e-15:
                break
            placement = best
        greedily = mnl_greedy(value, weight, k) if world == "multinomial logit" else cascade_greedy(value, rate, k, order=world)
        assert greedily.welfare == pytest.approx(welfare(placement), rel=1e-12)
        assert greedily.placement.tolist() == placement.tolist()

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(ValueError, match="k must be at least 0"):
            greedy(coverage(SETS), -1)
        with pytest.raises(ValueError, match="one number an item, got shape"):
            greedy(lambda chosen: np.zeros((2, 2)))
        with pytest.raises(ValueError, match="limits must be at least 0"):
            at_most({"x": -1}, ["x"])


class TestSeparable:
    def test_a_product_is_fitted_exactly(self):
        rate = np.outer([0.5, 0.2, 0.1], [1.0, 0.6])
        quality, position = separable_fit(rate)
        assert np.outer(quality, position) == pytest.approx(rate)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 100_000), st.integers(1, 3))
    def test_where_rates_are_a_product_the_ranking_is_the_best_matching(self, seed, k):
        generator = np.random.default_rng(seed)
        value, rate = generator.random(4), np.outer(generator.random(4), generator.random(3))
        ranked = separable_ranking(value, rate, k)
        expected = sum(value[i] * rate[i, j] for i, j in enumerate(ranked) if j != NOWHERE)
        assert expected == pytest.approx(additive_matching(value, rate, k).welfare, rel=1e-12)

    @pytest.mark.parametrize("pricing", ["gsp", "vcg"])
    def test_prices_by_hand(self, pricing):
        """Bids 10, 4, 2 of equal quality; positions clicked 0.2 and 0.1 of the time."""
        rate = np.tile([0.2, 0.1], (3, 1))
        outcome = separable_auction([10.0, 4.0, 2.0], rate, lambda x: np.where(x == NOWHERE, 0, rate[0][x]), pricing=pricing)
        assert outcome.placement.tolist() == [0, 1, NOWHERE]
        assert outcome.payments == pytest.approx({"gsp": [0.8, 0.2, 0], "vcg": [0.4 + 0.2, 0.2, 0]}[pricing])

    def test_in_its_own_world_vcg_is_truthful_and_gsp_is_not(self):
        rate = np.tile([0.2, 0.19], (3, 1))
        gains = {}
        for pricing in ("gsp", "vcg"):
            auction = partial(separable_auction, rate=rate, click_rates=lambda x: np.where(x == NOWHERE, 0, rate[0][x]), pricing=pricing)
            gains[pricing] = best_lies(auction, [10.0, 8.0, 1.0]).gain.max()
        assert gains["vcg"] < 1e-12
        assert gains["gsp"] > 0.5

    def test_nothing_of_no_value_is_shown(self):
        rate = np.full((2, 2), 0.5)
        assert separable_ranking([0.0, 1.0], rate).tolist() == [NOWHERE, 0]
        assert separable_auction([0.0, 0.0], rate, partial(mnl_click_rates, rate)).revenue == 0
        assert separable_fit(np.zeros((2, 2)))[1].tolist() == [0.0, 0.0]

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(ValueError, match="pricing must be one of 'gsp', 'vcg'"):
            separable_auction([1.0], [[0.5]], lambda x: x, pricing="first")
        with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\]"):
            additive_matching([1.0], [[2.0]])
