"""The exact optimum under the multinomial logit, VCG and Myerson payments: worked examples, brute force, properties."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierlab.market import (
    NOWHERE,
    Mixture,
    Uniform,
    VirtualValue,
    all_placements,
    best_lies,
    first_price,
    largest_drop,
    mnl_click_rates,
    mnl_optimum,
    myerson,
    own_steps,
    rates_by_bid,
    relaxed_gain,
    stand_alone_rates,
    step_function,
    utility_of,
    vcg,
)
from hierlab.trace import Tape

TWO = {"weight": np.array([[1.0, 0.5], [0.5, 1.0]]), "k": 2}
THREE = np.exp(np.array([[0.0, -1.0], [0.2, 0.1], [0.5, 0.4]]))
UNIFORM = VirtualValue(Uniform())


def draw(seed, n=4, m=3, negative=False):
    generator = np.random.default_rng(seed)
    value = generator.random(n) - (0.5 if negative else 0.0)
    return value, np.exp(generator.normal(-0.5, 1.2, (n, m)))


class TestDegenerate:
    @pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
    def test_no_advertisers_or_no_positions(self, shape):
        found = mnl_optimum(np.ones(shape[0]), np.ones(shape))
        assert found.welfare == 0
        assert found.placement.tolist() == [NOWHERE] * shape[0]
        assert vcg(np.ones(shape[0]), partial(mnl_optimum, weight=np.ones(shape))).revenue == 0

    @pytest.mark.parametrize("method", ["dinkelbach", "bisection", "exhaustive"])
    def test_nothing_may_be_shown(self, method):
        assert mnl_optimum([1.0], [[1.0]], 0, method=method).welfare == 0

    @pytest.mark.parametrize("method", ["dinkelbach", "bisection", "exhaustive"])
    def test_nothing_is_worth_showing(self, method):
        found = mnl_optimum([-1.0, 0.0], np.ones((2, 2)), method=method)
        assert found.welfare == 0
        assert (found.placement == NOWHERE).all()

    def test_one_advertiser_one_position(self):
        optimise = partial(mnl_optimum, weight=[[3.0]])
        assert optimise([0.8]).welfare == pytest.approx(0.8 * 0.75)
        assert vcg([0.8], optimise).payments.tolist() == [0.0]
        assert myerson([0.8], optimise, UNIFORM).prices == pytest.approx([0.5])
        assert myerson([0.4], optimise, UNIFORM).revenue == 0


class TestWorkedExamples:
    def test_showing_both_is_worse_than_showing_one(self):
        found = mnl_optimum([1.0, 0.2], **TWO)
        assert found.placement.tolist() == [0, NOWHERE]
        assert found.welfare == pytest.approx(0.5)
        assert mnl_click_rates(TWO["weight"], [0, 1]) @ [1.0, 0.2] == pytest.approx(0.4)
        assert vcg([1.0, 0.2], partial(mnl_optimum, **TWO)).payments == pytest.approx([0.1, 0.0])

    def test_one_of_three(self):
        outcome = vcg([1.0, 0.8, 0.5], partial(mnl_optimum, weight=THREE, k=1))
        assert outcome.placement.tolist() == [0, NOWHERE, NOWHERE]
        assert outcome.welfare([1.0, 0.8, 0.5]) == pytest.approx(0.5)
        assert outcome.payments == pytest.approx([0.439867, 0, 0], abs=5e-7)

    def test_two_of_three(self):
        outcome = vcg([1.0, 0.8, 0.5], partial(mnl_optimum, weight=THREE, k=2))
        assert outcome.placement.tolist() == [0, 1, NOWHERE]
        assert outcome.welfare([1.0, 0.8, 0.5]) == pytest.approx(0.606774, abs=5e-7)
        assert outcome.rates == pytest.approx([0.322043, 0.355913, 0], abs=5e-7)
        assert outcome.payments == pytest.approx([0.179296, 0.177957, 0], abs=5e-7)
        assert outcome.prices[:2] == pytest.approx(outcome.payments[:2] / outcome.rates[:2])
        assert np.isnan(outcome.prices[2])


class TestOptimum:
    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 100_000), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4), st.booleans())
    def test_it_is_the_best_of_all_placements(self, seed, n, m, k, negative):
        value, weight = draw(seed, n, m, negative)
        found = mnl_optimum(value, weight, k)
        every = mnl_click_rates(weight, all_placements(n, m, k)) @ value
        assert found.welfare == pytest.approx(every.max(), rel=1e-12, abs=1e-15)
        assert found.welfare == pytest.approx(mnl_optimum(value, weight, k, method="bisection").welfare, rel=1e-12, abs=1e-15)
        assert found.welfare == pytest.approx(mnl_optimum(value, weight, k, method="exhaustive").welfare, rel=1e-12, abs=1e-15)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 100_000))
    def test_it_is_the_fixed_point_and_is_reached_from_below(self, seed):
        value, weight = draw(seed)
        found = mnl_optimum(value, weight, 2)
        assert relaxed_gain(found.welfare, value, weight, 2) == pytest.approx(found.welfare, rel=1e-12)
        assert (np.diff(found.steps) > 0).all()
        assert found.steps[-1] == pytest.approx(found.welfare, rel=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 100_000))
    def test_who_is_worth_less_than_the_optimum_is_not_shown(self, seed):
        value, weight = draw(seed, 5, 3)
        found = mnl_optimum(value, weight)
        assert (value[found.placement != NOWHERE] >= found.welfare - 1e-12).all()

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 100_000), st.permutations(range(4)), st.floats(0.001, 1000))
    def test_names_and_units_do_not_matter(self, seed, order, unit):
        value, weight = draw(seed)
        found = mnl_optimum(value, weight, 2)
        renamed = mnl_optimum(unit * value[list(order)], weight[list(order)], 2)
        assert renamed.welfare == pytest.approx(unit * found.welfare, rel=1e-12)

    def test_with_equal_values_every_position_is_filled(self):
        _, weight = draw(3, 5, 3)
        assert (mnl_optimum(np.ones(5), weight).placement != NOWHERE).sum() == 3

    def test_many_advertisers_take_the_short_way_to_the_same(self):
        value, weight = draw(11, 300, 4)
        short, long = mnl_optimum(value, weight, 3), mnl_optimum(value, weight, 3, method="bisection")
        assert short.welfare == pytest.approx(long.welfare, rel=1e-12)
        assert relaxed_gain(short.welfare, value, weight, 3) == pytest.approx(short.welfare, rel=1e-12)

    def test_click_rates_of_many_placements_are_those_of_each(self):
        _, weight = draw(5)
        placements = all_placements(4, 3)
        one_by_one = np.array([mnl_click_rates(weight, placement) for placement in placements])
        assert np.array_equal(mnl_click_rates(weight, placements), one_by_one)

    def test_alone_the_click_rate_is_the_stand_alone_one(self):
        _, weight = draw(5)
        assert mnl_click_rates(weight, [NOWHERE, 2, NOWHERE, NOWHERE])[1] == pytest.approx(stand_alone_rates(weight)[1, 2])

    def test_it_narrates_its_steps(self):
        with Tape() as tape:
            vcg([1.0, 0.2], partial(mnl_optimum, **TWO))
        assert [step.name for step in tape.steps] == [
            "click weight",
            "click rate alone",
            *(f"{what} at λ = {threshold}" for threshold in ("0", "0.4", "0.5") for what in ("reduced weight", "matching")),
            "click rate",
            "welfare without i",
            "payment",
            "price per click",
        ]
        assert tape["matching at λ = 0.5"].tolist() == [[0.5, 0.0], [0.0, 0.0]]

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(ValueError, match="method must be one of 'dinkelbach', 'bisection', 'exhaustive'"):
            mnl_optimum([1.0], [[1.0]], method="simplex")
        with pytest.raises(ValueError, match="weight must be finite and not negative, got -1"):
            mnl_optimum([1.0], [[-1.0]])
        with pytest.raises(ValueError, match="bids must be one finite number of at least 0"):
            vcg([-0.1], partial(mnl_optimum, weight=[[1.0]]))
        with pytest.raises(ValueError, match="one for each of 2 advertisers, got 1"):
            myerson([0.1, 0.2], partial(mnl_optimum, **TWO), [UNIFORM])


class TestPayments:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 100_000), st.integers(1, 4), st.integers(1, 3))
    def test_vcg_is_myerson_without_virtual_values(self, seed, n, k):
        """The payment by welfare lost and the payment by thresholds are one number."""
        value, weight = draw(seed, n, 3)
        optimise = partial(mnl_optimum, weight=weight, k=k)
        assert vcg(value, optimise).payments == pytest.approx(myerson(value, optimise).payments, rel=1e-9, abs=1e-12)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 100_000))
    def test_uniform_payments_in_closed_form(self, seed):
        """With phi = 2v - 1 the integral over bids is half that over virtual values, which is a difference of optima."""
        value, weight = draw(seed)
        optimise = partial(mnl_optimum, weight=weight, k=2)
        outcome = myerson(value, optimise, UNIFORM)
        phi = 2 * value - 1
        for i in range(4):
            without = optimise(np.where(np.arange(4) == i, -1.0, phi)).welfare
            closed = value[i] * outcome.rates[i] - (optimise(phi).welfare - without) / 2
            assert outcome.payments[i] == pytest.approx(closed, rel=1e-9, abs=1e-12)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 100_000), st.booleans())
    def test_nobody_pays_more_than_his_clicks_are_worth_or_less_than_nothing(self, seed, revenue):
        value, weight = draw(seed)
        outcome = myerson(value, partial(mnl_optimum, weight=weight, k=2), UNIFORM if revenue else None)
        assert (outcome.payments >= -1e-15).all()
        assert (outcome.utilities(value) >= -1e-15).all()
        assert (outcome.payments[outcome.placement == NOWHERE] == 0).all()

    def test_lowest_types_of_a_support_above_zero_keep_nothing(self):
        optimise = partial(mnl_optimum, weight=[[1.0]])
        phi = VirtualValue(Uniform(2.0, 3.0))
        assert myerson([2.5], optimise, phi).prices == pytest.approx([2.0])
        assert myerson([1.9], optimise, phi).revenue == 0

    def test_each_advertiser_may_have_a_distribution_of_his_own(self):
        weight = np.array([[1.0], [1.0]])
        outcome = myerson([0.9, 1.2], partial(mnl_optimum, weight=weight, k=1), [UNIFORM, VirtualValue(Uniform(0.0, 2.0))])
        assert outcome.placement.tolist() == [0, NOWHERE]  # 0.8 against 2.4 - 2
        assert outcome.prices[0] == pytest.approx(0.7)  # 2b - 1 = 0.4

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 100_000), st.integers(0, 3))
    def test_steps_are_the_click_rates_of_a_grid(self, seed, i):
        value, weight = draw(seed)
        optimise = partial(mnl_optimum, weight=weight, k=2)
        steps = own_steps(i, value, optimise, high=1.5)
        bids = np.random.default_rng(seed).random(40) * 1.5
        found = rates_by_bid(lambda bid: first_price(bid, optimise), value, i, bids)
        assert [steps(bid) for bid in bids] == pytest.approx(found.tolist(), abs=1e-12)
        assert np.all(np.diff(steps.heights) > 0)

    def test_steps_of_lines_known_in_advance(self):
        lines = [(0.0, 1.0), (1.0, 0.5), (2.0, -1.5), (3.0, -20.0)]
        steps = step_function(lambda x: max(((a, a * x + b) for a, b in lines), key=lambda line: line[1]), 0.0, 10.0)
        assert steps.starts == pytest.approx((0.0, 0.5, 2.0))
        assert steps.heights == (0.0, 1.0, 2.0)
        assert [steps(x) for x in (-1.0, 0.2, 0.5, 9.0)] == [0.0, 0.0, 1.0, 2.0]

    def test_an_optimiser_that_is_not_exact_is_caught(self):
        with pytest.raises(ValueError, match="the click rate falls from 1 at 0 to"):
            step_function(lambda x: (1.0 - x / 2, 1.0), 0.0, 1.0)
        with pytest.raises(ValueError, match="low must not exceed high"):
            step_function(lambda x: (1.0, x), 1.0, 0.0)


class TestTruthfulness:
    @pytest.mark.parametrize("seed", range(3))
    def test_no_lie_pays_under_vcg_or_myerson(self, seed):
        value, weight = draw(seed)
        optimise = partial(mnl_optimum, weight=weight, k=2)
        for mechanism in (lambda bids: vcg(bids, optimise), lambda bids: myerson(bids, optimise, UNIFORM)):
            lies = best_lies(mechanism, value, points=9, rounds=1)
            assert lies.gain.max() < 1e-12
            assert lies.truthful.min() >= -1e-15

    @pytest.mark.parametrize("seed", range(3))
    def test_no_lie_pays_where_virtual_values_are_ironed(self, seed):
        phi = VirtualValue(Mixture((Uniform(0, 1), Uniform(2, 3)), (0.8, 0.2)))
        value = phi.distribution.ppf(np.random.default_rng(seed).random(3))
        optimise = partial(mnl_optimum, weight=draw(seed, 3, 2)[1], k=2)
        lies = best_lies(lambda bids: myerson(bids, optimise, phi), value, points=9, rounds=1)
        assert lies.gain.max() < 1e-12
        assert lies.truthful.min() >= -1e-15

    def test_the_search_finds_the_lie_that_first_price_invites(self):
        """Two equal ads for one place: bid what the other bids, plus a hair."""
        optimise = partial(mnl_optimum, weight=np.ones((2, 1)), k=1)
        lies = best_lies(lambda bids: first_price(bids, optimise), [1.0, 0.4])
        assert lies.bid[0] == pytest.approx(0.4, abs=1e-3)
        assert lies.gain == pytest.approx([0.3, 0.0], abs=1e-3)
        assert utility_of(lambda bids: first_price(bids, optimise), [1.0, 0.4], 0, 0.5) == pytest.approx(0.25)

    @pytest.mark.parametrize("seed", range(5))
    def test_more_bid_never_buys_fewer_clicks(self, seed):
        value, weight = draw(seed)
        optimise = partial(mnl_optimum, weight=weight, k=2)
        for i in range(4):
            assert largest_drop(rates_by_bid(lambda bids: first_price(bids, optimise), value, i, np.linspace(0, 1.5, 31))) <= 1e-15

    def test_drops_are_measured_from_the_highest_so_far(self):
        assert largest_drop([0.1, 0.5, 0.4, 0.2, 0.6]) == pytest.approx(0.3)
        assert largest_drop([]) == 0

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(ValueError, match="points must be at least 3"):
            best_lies(lambda bids: None, [1.0], points=2)
        with pytest.raises(ValueError, match="bids must be one finite number"):
            best_lies(lambda bids: None, [np.nan])
