"""Matchings with at most k edges, and the placements they are held against."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierlab.market import NOWHERE, all_placements, count_placements, k_matching, random_placement
from hierlab.market.placements import check_auction, check_placement, chosen


def total(weight, placement):
    return float(chosen(np.asarray(weight, dtype=float), placement).sum())


def best_by_force(weight, k):
    return max(total(weight, placement) for placement in all_placements(*np.shape(weight), k))


class TestPlacements:
    @pytest.mark.parametrize(
        ("n", "m", "k", "count"), [(0, 3, None, 1), (3, 0, None, 1), (1, 1, None, 2), (2, 2, 1, 5), (5, 5, None, 1546)]
    )
    def test_there_are_as_many_as_counting_says(self, n, m, k, count):
        placements = all_placements(n, m, k)
        assert placements.shape == (count, n)
        assert count_placements(n, m, k) == count
        assert len({tuple(row) for row in placements.tolist()}) == count

    def test_each_is_a_placement_and_the_empty_one_is_first(self):
        placements = check_placement(all_placements(4, 3), 4, 3)
        assert (placements[0] == NOWHERE).all()
        assert (np.diff((placements != NOWHERE).sum(1)) >= 0).all()

    def test_too_many_are_refused(self):
        with pytest.raises(ValueError, match="20 advertisements and 20 positions have"):
            all_placements(20, 20)

    def test_a_random_one_shows_k(self):
        placement = random_placement(5, 3, 2, np.random.default_rng(0))
        assert (check_placement(placement, 5, 3) != NOWHERE).sum() == 2

    @pytest.mark.parametrize(
        ("placement", "message"),
        [
            ([0, 0], "one position to two"),
            ([0, 2], "positions 0 to 1, or -1"),
            ([0, -2], "got -2 to 0"),
            ([0], "one for each of 2"),
            ([0.0, 1.0], "whole numbers"),
        ],
    )
    def test_what_is_no_placement_is_refused(self, placement, message):
        with pytest.raises(ValueError, match=message):
            check_placement(placement, 2, 2)


class TestKMatching:
    @pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
    def test_nothing_to_match(self, shape):
        assert k_matching(np.zeros(shape)).tolist() == [NOWHERE] * shape[0]

    def test_no_edges_allowed(self):
        assert k_matching(np.ones((2, 2)), 0).tolist() == [NOWHERE, NOWHERE]

    def test_edges_of_no_positive_weight_are_not_used(self):
        assert k_matching([[-1.0, 0.0], [2.0, -3.0]]).tolist() == [NOWHERE, 0]

    def test_two_edges_may_be_worth_less_than_their_best(self):
        weight = np.array([[5.0, 4.0], [4.5, 1.0]])
        assert k_matching(weight, 1).tolist() == [0, NOWHERE]
        assert k_matching(weight, 2).tolist() == [1, 0]

    @settings(max_examples=150, deadline=None)
    @given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 5), st.integers(0, 10_000))
    def test_it_is_the_best_of_all(self, n, m, k, seed):
        weight = np.random.default_rng(seed).normal(0.3, 1.0, (n, m)) * 10.0 ** np.random.default_rng(seed).integers(-3, 4)
        found = check_placement(k_matching(weight, k), n, m)
        assert (found != NOWHERE).sum() <= k
        assert total(weight, found) == pytest.approx(best_by_force(weight, min(k, n, m)), rel=1e-12, abs=1e-15)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 2))
    def test_leaving_out_hopeless_rows_changes_nothing(self, seed, k):
        """Thirty rows for two columns: only the k best of each column are handed to the solver."""
        weight = np.random.default_rng(seed).normal(0.0, 1.0, (30, 2))
        assert total(weight, k_matching(weight, k)) == pytest.approx(best_by_force(weight, k), rel=1e-12, abs=1e-15)

    def test_bad_input_is_refused_by_name(self):
        with pytest.raises(ValueError, match="weight must be a matrix of finite numbers"):
            k_matching([1.0, 2.0])
        with pytest.raises(ValueError, match="weight must be a matrix of finite numbers"):
            k_matching([[np.nan]])
        with pytest.raises(ValueError, match="k must be at least 0, got -1"):
            k_matching([[1.0]], -1)


class TestCheckAuction:
    @pytest.mark.parametrize(
        ("value", "weight", "k", "message"),
        [
            ([1.0], [[1.0], [2.0]], None, r"value must be \[n\] and weight \[n, m\]"),
            ([np.inf], [[1.0]], None, "value must be finite, got inf for advertisement 0"),
            ([1.0], [[-1.0]], None, "not negative, got -1.0 for advertisement 0 at position 0"),
            ([1.0], [[np.nan]], None, "weight must be finite"),
            ([1.0], [[1.0]], -1, "k must be a whole number of at least 0"),
            ([1.0], [[1.0]], 1.5, "k must be a whole number of at least 0"),
            ([1.0], [[1.0]], True, "k must be a whole number of at least 0"),
        ],
    )
    def test_bad_input_is_refused_by_name(self, value, weight, k, message):
        with pytest.raises(ValueError, match=message):
            check_auction(value, weight, k, name="weight")

    def test_k_is_cut_to_what_fits(self):
        assert check_auction([1.0, 2.0], [[1.0], [1.0]], 7, name="weight")[2] == 1
        assert check_auction([1.0, 2.0], [[1.0], [1.0]], None, name="weight")[2] == 1
