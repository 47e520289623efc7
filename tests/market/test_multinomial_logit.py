"""The multinomial logit: probabilities, likelihood, and the fit, against closed forms and an established library."""

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from hierlab.market import ConditionalLogit, choice_probabilities, log_likelihood, mnl_click_rates

TRUE = np.array([1.0, -0.5, 0.3])


def simulate(seed, sets=400, alternatives=4, outside=False):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(sets, alternatives, len(TRUE)))
    probability = choice_probabilities(X @ TRUE, outside=outside)
    drawn = (generator.random(sets)[:, None] > probability.cumsum(1)).sum(1)
    return X, np.where(drawn == alternatives, -1, drawn) if outside else np.minimum(drawn, alternatives - 1)


class TestProbabilities:
    def test_by_hand(self):
        assert choice_probabilities(np.log([1.0, 3.0])) == pytest.approx([0.25, 0.75])
        assert choice_probabilities(np.log([1.0, 2.0]), outside=True) == pytest.approx([0.25, 0.5])
        assert choice_probabilities([[0.0, 5.0]], np.array([[True, False]])).tolist() == [[1.0, 0.0]]
        assert choice_probabilities([[7.0]], np.array([[False]]), outside=True).tolist() == [[0.0]]

    def test_huge_utilities_do_not_overflow(self):
        assert choice_probabilities([1000.0, 1000.0, -1000.0]) == pytest.approx([0.5, 0.5, 0.0])
        assert choice_probabilities([-1000.0], outside=True) == pytest.approx([0.0])
        assert choice_probabilities([1000.0], outside=True) == pytest.approx([1.0])

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(-20, 20), min_size=1, max_size=6), st.floats(-50, 50))
    def test_they_add_up_and_only_differences_count(self, utility, shift):
        probability = choice_probabilities(utility)
        assert probability.sum() == pytest.approx(1.0)
        assert choice_probabilities(np.array(utility) + shift) == pytest.approx(probability, abs=1e-9)

    def test_an_auctions_click_rates_are_these(self):
        utility = np.random.default_rng(0).normal(size=(3, 2))
        rates = mnl_click_rates(np.exp(utility), [1, -1, 0])
        assert rates[[0, 2]] == pytest.approx(choice_probabilities([utility[0, 1], utility[2, 0]], outside=True))

    def test_likelihood_by_hand(self):
        utility = np.log([[1.0, 3.0], [2.0, 2.0]])
        assert log_likelihood(utility, [1, 0]) == pytest.approx(np.log(0.75 * 0.5))
        assert log_likelihood(utility, [1, -1], outside=True) == pytest.approx(np.log(0.6 * 0.2))

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: choice_probabilities([np.nan]), "utility must be finite"),
            (lambda: choice_probabilities([1.0], [1]), "available must be bool"),
            (lambda: choice_probabilities([[1.0]], [[False]]), "every set must offer an alternative"),
            (lambda: log_likelihood([[1.0]], [1]), "choice must name an alternative, 0 to 0"),
            (lambda: log_likelihood([[1.0]], [-1]), "wants outside=True"),
            (lambda: log_likelihood([[1.0]], [0.0]), "one whole number a set"),
            (lambda: log_likelihood([[1.0, 2.0]], [1], [[True, False]]), "set 0 has chosen alternative 1, which was not available"),
        ],
    )
    def test_bad_input_is_refused_by_name(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestFit:
    def test_shares_of_constants_in_closed_form(self):
        """With a constant for each of three alternatives, utilities are the log odds against choosing nothing."""
        X = np.tile(np.eye(3), (10, 1, 1))
        y = np.array([0] * 4 + [1] * 3 + [2] * 1 + [-1] * 2)
        fitted = ConditionalLogit(outside=True).fit(X, y)
        assert fitted.coef_ == pytest.approx(np.log([2.0, 1.5, 0.5]), abs=1e-9)
        assert fitted.predict_proba(X[:1])[0] == pytest.approx([0.4, 0.3, 0.1])
        assert fitted.log_likelihood_ == pytest.approx(4 * np.log(0.4) + 3 * np.log(0.3) + np.log(0.1) + 2 * np.log(0.2))
        assert fitted.null_log_likelihood_ == pytest.approx(10 * np.log(0.25))
        assert fitted.score(X, y) == pytest.approx(fitted.log_likelihood_ / 10)

    @pytest.mark.parametrize("outside", [False, True])
    def test_it_finds_what_the_data_came_from(self, outside):
        X, y = simulate(0, 4000, outside=outside)
        fitted = ConditionalLogit(outside=outside).fit(X, y)
        error = np.sqrt(np.diag(fitted.covariance_))
        assert (np.abs(fitted.coef_ - TRUE) < 4 * error).all()
        assert error == pytest.approx([0.025] * 3, abs=0.01)
        assert (fitted.predict(X) == y).mean() > 0.4

    def test_the_gradient_vanishes(self):
        X, y = simulate(1)
        fitted = ConditionalLogit().fit(X, y)
        for direction in np.eye(3) * 1e-4:
            around = [log_likelihood(X @ (fitted.coef_ + s * direction), y) for s in (-1, 0, 1)]
            assert around[1] == max(around)

    def test_of_pairs_it_is_bradley_terry(self):
        pairs = [(0, 1), (0, 2), (1, 2), (2, 0), (0, 1), (1, 0), (2, 1)]
        X = np.array([[np.eye(3)[winner], np.eye(3)[loser]] for winner, loser in pairs])
        fitted = ConditionalLogit(tol=1e-16).fit(X, np.zeros(len(pairs), dtype=int))
        theirs = choix.opt_pairwise(3, pairs, alpha=0.0, tol=1e-10)
        assert fitted.coef_ - fitted.coef_.mean() == pytest.approx(theirs - theirs.mean(), abs=1e-5)

    def test_dependent_features_leave_the_likelihood_alone(self):
        X, y = simulate(2)
        twice = ConditionalLogit().fit(np.concatenate([X, X[..., :1]], axis=-1), y)
        once = ConditionalLogit().fit(X, y)
        assert twice.log_likelihood_ == pytest.approx(once.log_likelihood_)
        assert twice.coef_[1:3] == pytest.approx(once.coef_[1:], abs=1e-6)
        assert twice.coef_[0] + twice.coef_[3] == pytest.approx(once.coef_[0], abs=1e-6)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 1000), st.permutations(range(4)))
    def test_the_order_of_sets_and_alternatives_does_not_matter(self, seed, order):
        X, y = simulate(seed, 60)
        fitted = ConditionalLogit(ridge=0.1).fit(X, y)
        renamed = ConditionalLogit(ridge=0.1).fit(X[::-1][:, list(order)], np.argsort(order)[y[::-1]])
        assert renamed.coef_ == pytest.approx(fitted.coef_, abs=1e-8)

    def test_unavailable_alternatives_do_not_matter(self):
        X, y = simulate(3, 200)
        padded = np.concatenate([X, np.full((200, 1, 3), np.nan)], axis=1)
        available = np.ones((200, 5), dtype=bool)
        available[:, 4] = False
        assert ConditionalLogit().fit(padded, y, available).coef_ == pytest.approx(ConditionalLogit().fit(X, y).coef_, abs=1e-10)

    def test_perfect_separation_is_said_and_a_ridge_helps(self):
        X, y = np.array([[[1.0], [0.0]]] * 5), np.zeros(5, dtype=int)
        with pytest.warns(ConvergenceWarning, match="coefficients run away"):
            ConditionalLogit(tol=1e-300, max_iter=5).fit(X, y)
        assert 0 < ConditionalLogit(ridge=1.0).fit(X, y).coef_[0] < 3

    def test_it_is_an_estimator(self):
        fresh = clone(ConditionalLogit(ridge=0.5))
        assert fresh.get_params()["ridge"] == 0.5
        with pytest.raises(NotFittedError):
            fresh.predict(np.zeros((1, 2, 1)))

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: ConditionalLogit(ridge=-1).fit(np.zeros((1, 1, 1)), [0]), "ridge must be >= 0"),
            (lambda: ConditionalLogit().fit(np.zeros((1, 1)), [0]), r"X must be \[sets, alternatives, features\]"),
            (lambda: ConditionalLogit().fit(np.full((1, 1, 1), np.inf), [0]), "X must be finite"),
            (lambda: ConditionalLogit().fit(np.zeros((0, 1, 1)), np.zeros(0, dtype=int)), "nothing to fit"),
            (lambda: ConditionalLogit().fit(np.zeros((2, 1, 1)), [0]), "one whole number a set"),
            (lambda: ConditionalLogit().fit(np.ones((3, 2, 1)), [0, 1, 0]).predict(np.zeros((1, 2, 2))), "fitted to 1"),
        ],
    )
    def test_bad_input_is_refused_by_name(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()
