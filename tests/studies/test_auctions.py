"""The experiments of the lab of position auctions, on tiny settings, and its figures."""

import dataclasses

import numpy as np
import pytest

from hierlab.envs.open_bandit import load_open_bandit
from hierlab.lab.errors import Refused
from hierlab.lab.results import Results
from hierlab.lab.stepper import stepper
from hierlab.market import mnl_optimum, stand_alone_rates
from hierlab.studies.market import auctions
from hierlab.studies.market.auction_figures import (
    click_shares,
    fillings,
    fixed_point,
    named_axes,
    own_bid,
    survival,
    timing_lines,
    virtual_curves,
)
from hierlab.studies.market.auctions import (
    IN_CASCADE,
    MECHANISMS,
    PLACE,
    SOLVERS,
    Auction,
    against_brute_force,
    bandit_ratios,
    best_by_force,
    cascade_ratios,
    check_log,
    draw_auction,
    draws,
    forced_fillings,
    honesty,
    learnt_ratios,
    lifted,
    resampled,
    timings,
    welfare_ratios,
)
from hierlab.trace import Tape

EXAMPLE = Auction(np.array([1.0, 0.2]), np.array([[1.0, 0.5], [0.5, 1.0]]))


class TestAuctions:
    def test_spread_moves_variance_between_gaps_and_leaves_its_sum(self):
        utilities = {spread: np.log(draw_auction(draws("test"), 4000, 3, spread).weight) for spread in (0.0, 0.6, 1.2)}
        assert np.ptp(utilities[0.0], axis=1).max() < 1e-12
        for utility in utilities.values():
            assert (utility.mean(), utility.std()) == pytest.approx((-0.5, 1.2), abs=0.05)

    def test_a_spread_beyond_the_deviation_is_refused(self):
        with pytest.raises(ValueError, match=r"spread must lie in \[0, 1.2\]"):
            draw_auction(draws("test"), 2, 2, 1.5)

    def test_equal_names_draw_equal_auctions(self):
        first, again = (draw_auction(draws("test", 1), 3, 2) for _ in range(2))
        assert np.array_equal(first.weight, again.weight)
        assert not np.array_equal(first.weight, draw_auction(draws("test", 2), 3, 2).weight)

    def test_the_best_by_force_of_a_worked_example(self):
        assert best_by_force(EXAMPLE).tolist() == [0.0, 0.5, 0.5]
        assert [most for *_, most in forced_fillings(EXAMPLE)] == pytest.approx([0.0, 0.5, 0.4])


SIZES = {"auctions": 3, "size": 3, "most": 2, "spreads": (0.0, 1.2)}


class TestWelfare:
    @pytest.mark.parametrize("way", PLACE)
    def test_no_way_beats_the_best_of_all(self, way):
        values = welfare_ratios(way, 0, **SIZES)
        assert 0 <= values["worst"] <= values["ratio"] <= 1 + 1e-12
        assert len(values["ratio_at_k"]) == len(values["k"]) == 2
        assert len(values["ratio_at_spread"]) == len(values["spread"]) == 2
        assert (values["gap"] < 1e-12) == (values["share_optimal"] == 1.0)

    def test_the_optimum_is_the_best_and_nothing_is_nothing(self):
        assert welfare_ratios("optimum", 0, **SIZES)["worst"] == pytest.approx(1.0)
        assert welfare_ratios("nothing", 0, **SIZES)["ratio"] == 0.0

    def test_without_spread_ranking_is_additive_matching(self):
        sizes = {**SIZES, "auctions": 20}
        found = [welfare_ratios(way, 0, **sizes)["ratio_at_spread"][0] for way in ("separable ranking", "additive matching")]
        assert found[0] == pytest.approx(found[1], rel=1e-12)
        assert found[0] <= 1

    @pytest.mark.parametrize("way", IN_CASCADE)
    def test_no_way_beats_the_best_in_a_cascade(self, way):
        values = cascade_ratios(way, 0, auctions=2, size=3, most=2)
        assert all(0 <= values[f"{order}_worst"] <= values[f"{order}_ratio"] <= 1 + 1e-12 for order in ("free", "fixed"))
        assert way != "optimum" or values["fixed_worst"] == pytest.approx(1.0)


class TestHonesty:
    @pytest.mark.parametrize("name", MECHANISMS)
    def test_lies_pay_only_where_they_should(self, name):
        values = honesty(name, 0, auctions=4, searched=3, size=3, k=2, points=7)
        assert values["lie"] >= values["mean_lie"] >= 0
        if name in ("VCG", "Myerson"):
            assert values["lie"] < 1e-12
            assert values["lowest_utility"] >= -1e-15
            assert values["rate_drop"] < 1e-12
        if name == "first come, free":
            assert values["lie"] == values["revenue"] == 0 < values["welfare"]
        if name == "pay your bid":
            assert values["liars"] > 0
            assert values["revenue"] == pytest.approx(values["welfare"])


class TestTheRest:
    def test_brute_force_agrees(self):
        check = against_brute_force(3, 3, 2, 10, 0)
        assert check.placements == 1 + 9 + 18
        assert max(check.gap, check.payment_gap, check.uniform_gap) < 1e-12
        assert 1 <= check.matchings <= 6

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_time_is_measured_at_every_size(self, solver):
        values = timings(solver, 0, sizes=(4, 8, 16), crowds=(20,), positions=3, repeats=1)
        assert len(values["milliseconds"]) == 3
        assert min(values["milliseconds"] + values["crowd_milliseconds"]) > 0
        results = Results("time", (solver,), (None,), (0,), None, False, None, {(solver, None, 0): values})
        assert len(timing_lines(results).data) == 2
        assert timings(solver, 0, sizes=(4,), crowds=(20,), positions=3, repeats=1)["growth"] == 0

    @pytest.mark.parametrize("way", ["optimum", "additive matching", "optimum, estimated"])
    def test_a_shops_click_rates(self, way):
        values = bandit_ratios(way, 0, campaign="men", folder="", auctions=1, means=(0.2,), strength=100.0)
        assert 0 < values["worst"] <= values["ratio"] <= 1 + 1e-12
        assert values["mean_rate"] == pytest.approx([0.0046, 0.2], abs=2e-4)
        if way == "optimum":
            assert values["lifted_ratio"] == pytest.approx(1.0)

    def test_lifting_multiplies_odds_until_the_mean_fits(self):
        rate = np.array([[0.001, 0.02], [0.005, 0.004]])
        weight = lifted(rate, 0.3)
        assert stand_alone_rates(weight).mean() == pytest.approx(0.3)
        assert np.ptp(weight / (rate / (1 - rate))) < 1e-9 * weight.max()

    def test_another_log_has_the_same_impressions_in_other_numbers(self):
        log = load_open_bandit("men")
        again = resampled(log, draws("test"))
        assert len(again) == len(log)
        assert set(zip(again.item, again.position, again.click, strict=True)) <= set(zip(log.item, log.position, log.click, strict=True))
        assert dataclasses.replace(again).campaign == "men"

    def test_learning_comes_near_the_optimum(self):
        sizes = {"worlds": 2, "size": 3, "k": 2, "answers": (50, 4000)}
        values = {name: learnt_ratios(name, 0, **sizes) for name in auctions.ESTIMATES}
        assert values["logit"]["ratio"] > 0.95
        assert values["nothing"]["ratio"] <= values["logit"]["ratio"] + 1e-12

    def test_a_missing_log_is_said_early(self):
        check_log("men", "")
        with pytest.raises(Refused, match="data='nowhere': no nowhere/random/all/all"):
            check_log("all", "nowhere")


class TestFigures:
    @pytest.mark.parametrize(
        "draw",
        [
            lambda: fixed_point(EXAMPLE, 2, points=5),
            lambda: own_bid(EXAMPLE, 2, 0, ("VCG", "separable, GSP"), points=5),
            lambda: virtual_curves(points=5),
            lambda: click_shares(EXAMPLE, 2, ("optimum", "additive matching")),
            lambda: fillings(EXAMPLE, ("optimum", "random")),
            lambda: survival(EXAMPLE, 2),
        ],
        ids=["fixed point", "own bid", "virtual values", "click shares", "fillings", "survival"],
    )
    def test_they_are_small_and_drawn(self, draw):
        assert 500 < len(draw().to_json()) < 60_000

    def test_a_way_nobody_knows_is_refused(self):
        with pytest.raises(ValueError, match="no way to place is called 'best'"):
            click_shares(EXAMPLE, 2, ("best",))

    def test_a_steppers_rows_are_named(self):
        with Tape() as tape:
            mnl_optimum(EXAMPLE.value, EXAMPLE.weight)
        figure = named_axes(stepper(tape, row_names=["A", "B"]), "AB")
        assert list(figure.layout.yaxis.ticktext) == ["A", "B"]
        assert list(figure.layout.xaxis.ticktext) == ["1", "2"]
