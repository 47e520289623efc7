"""Intervals and verdicts: closed forms, measured coverage, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.lab.verdicts import INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED, combine, decide, interval, judge


def test_one_pair_decides_nothing():
    j = judge([1.0], [0.0])
    assert (j.effect, j.low, j.high, j.verdict) == (1.0, None, None, INCONCLUSIVE)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([], [], "got none"),
        ([1, 2], [1], "got 2 and 1"),
        ([1, math.nan], [1, 2], "finite"),
        ([1, 2], [1, math.inf], "finite"),
        ([1, 2], math.nan, "finite"),
    ],
)
def test_numbers_that_are_not_paired_and_finite_are_refused(x, y, words):
    with pytest.raises(ValueError, match=words):
        judge(x, y)


def test_wrong_usage():
    with pytest.raises(ValueError, match="direction must be"):
        judge([1, 2], 0, direction="above")
    with pytest.raises(ValueError, match="margin"):
        judge([1, 2], 0, margin=-1)
    with pytest.raises(ValueError, match="margin"):
        judge([1, 2], 0, direction="within")
    with pytest.raises(ValueError, match="two values"):
        interval([1.0])


def test_the_interval_is_students():
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0, 5.0])  # sd = sqrt(2.5), t(0.975, 4) = 2.776445
    assert mean == 3
    assert high - mean == pytest.approx(2.7764451051977987 * math.sqrt(2.5 / 5), rel=1e-9)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.parametrize(
    ("low", "high", "direction", "margin", "verdict"),
    [
        (0.1, 0.5, "greater", 0, SUPPORTED),
        (-0.1, 0.5, "greater", 0, INCONCLUSIVE),
        (-0.5, -0.1, "greater", 0, REFUTED),
        (0.0, 0.0, "greater", 0, REFUTED),
        (0.1, 0.5, "greater", 0.2, INCONCLUSIVE),
        (0.1, 0.2, "greater", 0.2, REFUTED),
        (0.3, 0.5, "greater", 0.2, SUPPORTED),
        (-0.5, -0.1, "less", 0, SUPPORTED),
        (-0.5, 0.1, "less", 0, INCONCLUSIVE),
        (0.1, 0.5, "less", 0, REFUTED),
        (-0.5, -0.3, "less", 0.2, SUPPORTED),
        (-0.1, 0.1, "within", 0.2, SUPPORTED),
        (-0.1, 0.3, "within", 0.2, INCONCLUSIVE),
        (0.2, 0.3, "within", 0.2, REFUTED),
        (-0.4, -0.2, "within", 0.2, REFUTED),
    ],
)
def test_the_verdict_follows_from_the_interval(low, high, direction, margin, verdict):
    assert decide(low, high, direction, margin) == verdict


def test_pairing_removes_what_the_seeds_share():
    seeds = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    gain = np.array([1.0, 1.2, 0.8, 1.1, 0.9])
    assert judge(seeds + gain, seeds).verdict == SUPPORTED
    assert judge(seeds + gain, float(seeds.mean())).verdict == INCONCLUSIVE


def test_a_threshold_instead_of_a_baseline():
    j = judge([0.20, 0.22, 0.21], 0.35, direction="less", over="seeds")
    assert j.verdict == SUPPORTED
    assert (j.agreeing, j.pairs, j.test) == (3, 3, "t interval over 3 seeds")
    assert judge([1, 2], [0, 0]).test.startswith("paired t interval")


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(-100, 100))
def test_greater_and_less_mirror_each_other(differences, shift):
    y = [shift] * len(differences)
    up = judge([d + shift for d in differences], y)
    down = judge(y, [d + shift for d in differences], direction="less")
    assert up.verdict == down.verdict
    assert up.effect == pytest.approx(-down.effect)


def test_a_claim_of_parts():
    assert combine([SUPPORTED, SUPPORTED]) == SUPPORTED
    assert combine([SUPPORTED, INCONCLUSIVE]) == INCONCLUSIVE
    assert combine([INCONCLUSIVE, REFUTED, SUPPORTED]) == REFUTED
    assert combine([]) == combine([NOT_TESTED, REFUTED]) == NOT_TESTED


def _covered(draw, truth, n, repeats=1500):
    """How often the t interval, and the percentile bootstrap, hold the true mean."""
    rng = np.random.default_rng(0)
    x = draw(rng, (repeats, n))
    t = np.mean([low <= truth <= high for _, low, high in map(interval, x)])
    means = np.stack([x[:, rng.integers(0, n, n)].mean(axis=1) for _ in range(400)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return t, np.mean((low <= truth) & (truth <= high))


def test_t_covers_what_it_says_and_the_bootstrap_does_not():
    """Why the interval is Student's: five seeds are too few for a bootstrap."""
    for n in (3, 5):
        t, bootstrap = _covered(lambda rng, shape: rng.normal(0, 1, shape), 0.0, n)
        assert 0.93 < t < 0.97
        assert bootstrap < 0.88
    t, bootstrap = _covered(lambda rng, shape: rng.exponential(1, shape), 1.0, 5)
    assert t > bootstrap + 0.05


def test_equal_arms_are_rarely_called_different():
    rng = np.random.default_rng(1)
    verdicts = [judge(rng.normal(0, 1, 5), rng.normal(0, 1, 5)).verdict for _ in range(1500)]
    assert 0.015 < verdicts.count(SUPPORTED) / 1500 < 0.037
    assert 0.015 < verdicts.count(REFUTED) / 1500 < 0.037
