from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hierlab.theory import (
    barycentric_weights,
    hellinger,
    interpolation_distance,
    mean_squared,
    relative_distance,
    spearman,
    symmetric_kl,
    total_variation,
)


def f64(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def some_distributions(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


P, Q = f64([[0.5, 0.5], [0.9, 0.1]]), f64([[0.25, 0.75], [0.9, 0.1]])

# degenerate sizes


def test_strategies_that_agree_say_nothing():
    assert relative_distance(Q, P, P) == 0.5
    assert barycentric_weights(Q, {"M": P, "G": P}) == {"M": 0.5, "G": 0.5}
    assert relative_distance(Q, P, P, distance="mse") == 0.5


def test_a_zero_that_both_share_costs_nothing():
    p = f64([[1.0, 0.0]])
    assert float(symmetric_kl(p, p)) == 0
    assert float(symmetric_kl(p, f64([[0.5, 0.5]]))) == float("inf")


# closed form


def test_distances_by_hand():
    kl = (0.5 * torch.log(f64(2.0)) + 0.5 * torch.log(f64(0.5 / 0.75))).item()
    reverse = (0.25 * torch.log(f64(0.5)) + 0.75 * torch.log(f64(1.5))).item()
    assert float(symmetric_kl(P, Q)) == pytest.approx((kl + reverse) / 2 / 2)  # halved, and the second row is equal
    assert total_variation(P, Q) == pytest.approx(0.25 / 2)
    assert hellinger(P, Q) ** 2 == pytest.approx(((0.5**0.5 - 0.5) ** 2 + (0.5**0.5 - 0.75**0.5) ** 2) / 2 / 2)
    assert float(mean_squared(P, Q)) == pytest.approx(0.25**2 * 2 / 4)


def test_at_a_strategy_the_weight_is_its_own():
    assert relative_distance(P, P, Q) == 1
    assert relative_distance(Q, P, Q) == 0
    assert interpolation_distance(P, {"M": P, "G": Q}) == 0


def test_beyond_a_strategy_the_weight_is_clipped():
    m, g = f64([1.0, 2.0]), f64([3.0, 4.0])
    assert relative_distance(f64([-5.0, -4.0]), m, g, distance="mse") == 1
    assert relative_distance(f64([9.0, 9.0]), m, g, distance="mse") == 0


@given(st.floats(0, 1))
def test_along_the_line_the_weight_of_values_is_exact(weight):
    m, g = f64([1.0, -2.0, 0.5]), f64([3.0, 4.0, 0.0])
    assert relative_distance(weight * m + (1 - weight) * g, m, g, distance="mse") == pytest.approx(weight)


def test_the_nearest_mixture_of_three():
    strategies = {name: some_distributions(seed, 20, 4) for seed, name in enumerate(("M", "G", "constant"))}
    wanted = {"M": 0.5, "G": 0.3, "constant": 0.2}
    network = sum(weight * strategies[name] for name, weight in wanted.items())
    assert barycentric_weights(network, strategies) == pytest.approx(wanted, abs=1e-3)
    assert interpolation_distance(network, strategies) < 1e-7


def test_ties_share_their_rank_or_keep_their_place():
    uniform, rising = f64([0.25] * 4), f64([0.1, 0.2, 0.3, 0.4])
    assert spearman(uniform, rising) == 0
    assert spearman(uniform, rising, ties="official") == pytest.approx(1)  # what the double argsort makes of no information


# loop against vectorised


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=5), st.integers(0, 99))
def test_rank_correlation_equals_scipys(rows, seed):
    x, y = f64(rows), some_distributions(seed, len(rows), 4)
    expected = [0.0 if len(set(a)) == 1 else spearmanr(a, b).statistic for a, b in zip(rows, y.tolist(), strict=True)]
    assert spearman(x, y) == pytest.approx(sum(expected) / len(rows), abs=1e-12)


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_distances_are_symmetric_bounded_and_zero_at_home(seed):
    p, q = some_distributions(seed, 3, 5), some_distributions(seed + 1, 3, 5)
    for distance in (symmetric_kl, total_variation, hellinger):
        assert float(distance(p, q)) == pytest.approx(float(distance(q, p)))
        assert float(distance(p, p)) == pytest.approx(0, abs=1e-12)
    assert 0 <= hellinger(p, q) ** 2 <= total_variation(p, q) <= 1
    weights = barycentric_weights(p, {"M": q, "G": some_distributions(seed + 2, 3, 5)})
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0


# wrong usage


def test_logarithms_are_refused():
    for distance in (symmetric_kl, total_variation, hellinger):
        with pytest.raises(ValueError, match=r"p must hold distributions, got -0\.69.*: give probabilities, not logarithms"):
            distance(P.log(), Q)


def test_other_wrong_usage():
    with pytest.raises(ValueError, match="tensors must have one shape"):
        total_variation(P, Q[:1])
    with pytest.raises(ValueError, match="distance must be one of 'kl', 'mse'"):
        relative_distance(P, P, Q, distance="tv")
    with pytest.raises(ValueError, match="at least two strategies, got M"):
        barycentric_weights(P, {"M": P})
    with pytest.raises(ValueError, match="weights must name M, G, got M"):
        interpolation_distance(P, {"M": P, "G": Q}, weights={"M": 1.0})
    with pytest.raises(ValueError, match="at least two entries a row"):
        spearman(P[:, :1], Q[:, :1])
    with pytest.raises(ValueError, match="ties must be one of"):
        spearman(P, Q, ties="coin")
