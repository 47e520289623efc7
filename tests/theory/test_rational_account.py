from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.theory import (
    ABLATIONS,
    BestMixturePerCheckpoint,
    ConstantPrediction,
    FixedMixture,
    OneStrategy,
    RationalAccount,
    Trajectory,
    compressed_bits,
    predictor_bits,
    source_bits,
    strategy_posterior,
    transition_step,
)
from hierlab.theory.complexity import bare_source
from hierlab.theory.rational_account import after_interpolation_threshold, divergences, mixtures

TRUE = {"alpha": 0.5, "beta": 0.25, "gamma": 2.0}


def f64(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def trajectory(tasks: int, weights=None, *, seed: int = 0, steps: int = 8, distance: str = "kl") -> Trajectory:
    """A network that is exactly a mixture of two random strategies, by the account with the parameters TRUE unless weights are given."""
    random = torch.Generator().manual_seed(seed + tasks)
    raw = torch.randn(2, 6, 3, 4, generator=random, dtype=torch.float64)
    strategies = raw.softmax(-1) if distance == "kl" else raw
    at = torch.linspace(10, 2000, steps, dtype=torch.float64)
    losses, bits = f64([0.01 + 0.002 * log(tasks), 0.06]), f64([4784 + 512.0 * tasks, 4416])
    if weights is None:
        weights = strategy_posterior(losses, bits, at, **TRUE).weights
    empty = torch.zeros(steps, *strategies.shape[1:], dtype=torch.float64)
    blank = Trajectory(tasks, at, empty, strategies, losses, bits, distance)
    return Trajectory(tasks, at, mixtures(blank, weights), strategies, losses, bits, distance)


GRID = [trajectory(tasks) for tasks in (4, 16, 64)]

# degenerate sizes


def test_before_training_the_simpler_strategy_rules():
    found = strategy_posterior(f64([0.0, 1.0]), f64([5000, 4000]), 0.0, **TRUE)
    assert found.weights[1] > 0.5
    assert found.log_likelihood.tolist() == [0, 0]


def test_one_cell_can_be_fitted():
    fitted = RationalAccount().fit([GRID[0].at([3])])
    assert fitted.predict_weights([GRID[0].at([3])])[0][0, 0].item() == pytest.approx(GRID[0].relative_distance[3], abs=0.05)


def test_a_transition_needs_a_better_and_a_costlier_memoriser():
    assert np.isnan(transition_step([0.1, 0.1], [5000, 4000], **TRUE))
    assert np.isnan(transition_step([0.2, 0.1], [5000, 4000], **TRUE))
    assert transition_step([0.0, 0.1], [4000, 5000], **TRUE) == 0


# closed form


def test_the_odds_by_hand():
    found = strategy_posterior(f64([0.02, 0.05]), f64([16.0, 4.0]), f64([100.0, 400.0]), alpha=0.5, beta=0.5, gamma=3.0)
    assert found.log_prior_odds.item() == pytest.approx(-log(2) * (4 - 2))
    assert found.log_bayes_factor.tolist() == pytest.approx([3 * 10 * 0.03, 3 * 20 * 0.03])
    odds = -2 * log(2) + 0.9
    assert found.weights[0, 0].item() == pytest.approx(1 / (1 + exp(-odds)))
    linear = strategy_posterior(f64([0.02, 0.05]), f64([16.0, 4.0]), 100.0, alpha=0.5, beta=0.5, gamma=3.0, prior="linear")
    assert linear.log_prior_odds.item() == pytest.approx(-log(2) * 6)


@given(st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.01, 5), st.floats(1.001, 50))
def test_at_the_transition_the_odds_are_even(alpha, beta, gamma, ratio):
    losses, bits = [0.01, 0.06], [4000 * ratio, 4000.0]
    step = transition_step(losses, bits, alpha=alpha, beta=beta, gamma=gamma)
    if step > 1e100:
        return
    found = strategy_posterior(f64(losses), f64(bits), step, alpha=alpha, beta=beta, gamma=gamma)
    assert found.log_posterior_odds.item() == pytest.approx(0, abs=1e-6 * max(1, abs(found.log_prior_odds.item())))


def test_the_transition_by_hand():
    """N* is the cost over the gap between the losses, to the power 1 / (1 - alpha)."""
    bits = [4784 + 64 * 8 * 8, 4416]
    one = transition_step([0.02, 0.06], bits, alpha=0.6, beta=0.2, gamma=0.85)
    two = transition_step([0.02, 0.04], bits, alpha=0.6, beta=0.2, gamma=0.85)
    assert two / one == pytest.approx(2**2.5)
    cost = log(2) * (bits[0] ** 0.2 - bits[1] ** 0.2)
    assert one == pytest.approx((cost / (0.85 * 0.04)) ** 2.5)


def test_the_fit_finds_the_parameters_of_a_network_that_is_rational():
    fitted = RationalAccount(tolerance=1e-12).fit(GRID)
    assert fitted.loss_ < 1e-6
    assert fitted.converged_
    for ours, t in zip(fitted.predict_weights(GRID), GRID, strict=True):
        assert ours[:, 0].tolist() == pytest.approx(
            strategy_posterior(t.losses, t.complexity, t.steps, **TRUE).weights[:, 0].tolist(), abs=5e-3
        )
    assert fitted.alpha_ == pytest.approx(TRUE["alpha"], abs=0.02)


def test_values_are_fitted_by_their_squared_error():
    grid = [trajectory(tasks, distance="mse") for tasks in (4, 16, 64)]
    fitted = RationalAccount(tolerance=1e-12).fit(grid)
    assert fitted.loss_ < 1e-6
    predicted = fitted.predict(grid)[0]
    assert divergences(grid[0], predicted).tolist() == pytest.approx(
        [(a - b).square().mean().item() for a, b in zip(grid[0].network, predicted, strict=True)]
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_never_fits_better(name):
    whole, ablated = RationalAccount(tolerance=1e-12).fit(GRID), RationalAccount(tolerance=1e-12, **ABLATIONS[name]).fit(GRID)
    assert ablated.loss_ >= whole.loss_ - 1e-8
    for parameter, value in ABLATIONS[name].get("fixed", {}).items():
        assert ablated.parameters[parameter] == value


def test_the_best_of_several_starts_counts():
    stuck = RationalAccount(start={"gamma": 1e-5, "beta": 3.0}).fit(GRID)
    both = RationalAccount(start=[{"gamma": 1e-5, "beta": 3.0}, {}]).fit(GRID)
    assert both.loss_ == RationalAccount().fit(GRID).loss_ < stuck.loss_


def test_the_gradient_is_that_of_the_loss():
    account = RationalAccount()
    logs = torch.tensor([-0.5, -1.5, 0.3], dtype=torch.float64, requires_grad=True)

    def loss(x):
        return account._loss(GRID, dict(zip(("alpha", "beta", "gamma"), x.exp(), strict=True)))

    assert torch.autograd.gradcheck(loss, (logs,), eps=1e-6, atol=1e-6)


def test_trivial_accounts():
    flat = [trajectory(4, f64([[0.3, 0.7]]).expand(8, -1)), trajectory(16, f64([[0.3, 0.7]]).expand(8, -1))]
    fixed = FixedMixture().fit(flat)
    assert fixed.weight_ == pytest.approx(0.3, abs=2e-3)
    assert divergences(flat[0], fixed.predict(flat)[0]).max() < 1e-4
    for place in (0, 1):
        predicted = OneStrategy(place).fit(GRID).predict(GRID)[1]
        assert torch.equal(predicted, GRID[1].strategies[place].expand_as(predicted))
    uniform = ConstantPrediction(0.25).fit(GRID).predict(GRID)[0]
    assert (uniform == 0.25).all()
    best = BestMixturePerCheckpoint().fit(GRID)
    weights = strategy_posterior(GRID[0].losses, GRID[0].complexity, GRID[0].steps, **TRUE).weights
    assert best.predict_weights(GRID[:1])[0][:, 0].tolist() == pytest.approx(weights[:, 0].tolist(), abs=5e-3)


def test_no_weight_beats_the_best_mixture():
    noisy = [Trajectory(t.tasks, t.steps, (t.network + 0.05).div(1.2), t.strategies, t.losses, t.complexity) for t in GRID]
    bound = BestMixturePerCheckpoint().fit(noisy).predict(noisy)
    account = RationalAccount().fit(noisy).predict(noisy)
    for t, best, ours in zip(noisy, bound, account, strict=True):
        assert (divergences(t, best) <= divergences(t, ours) + 1e-6).all()


def test_the_threshold_waits_for_every_network():
    good = f64([[0.3, 0.7]]).expand(8, -1)
    late, early = trajectory(4, good), trajectory(16, good)
    far = torch.full_like(late.network[0], 0.25)
    network = late.network.clone()
    network[:5] = far
    kept = after_interpolation_threshold([Trajectory(4, late.steps, network, late.strategies, late.losses, late.complexity), early])
    assert [t.steps.tolist() for t in kept] == [late.steps[5:].tolist()] * 2


def test_the_context_dependent_version_by_hand():
    context = f64([[[0.1, 0.4], [0.3, 0.2]]])
    found = strategy_posterior(f64([0.02, 0.05]), f64([16.0, 4.0]), 10.0, **TRUE, context_losses=context, batch_size=3)
    training = -2.0 * (10 * 3 * 2) ** 0.5 * f64([0.02, 0.05])
    expected = training - 2.0 * f64([[1**0.5 * 0.1, 1**0.5 * 0.4], [2**0.5 * 0.2, 2**0.5 * 0.3]])
    torch.testing.assert_close(found.log_likelihood[0], expected)
    assert found.weights.shape == (1, 2, 2)


# complexity


def test_a_table_of_tasks_does_not_compress_and_a_constant_one_does():
    table = torch.rand(64, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert 0.85 * 64 * 512 <= compressed_bits(table) <= 64 * 512
    assert compressed_bits(torch.zeros(64, 8, dtype=torch.float64)) < 0.05 * 64 * 512
    assert compressed_bits(np.arange(2000.0)) < compressed_bits(table.flatten()[:500]) * 4  # differences of neighbours are equal
    assert compressed_bits([1.0, 2.0]) <= 128


def test_bits_of_a_small_table_equal_the_original_codes():
    table = torch.distributions.Dirichlet(torch.ones(8, dtype=torch.float64)).sample((4,))
    assert compressed_bits(table) == 2048
    assert predictor_bits("balls and urns", table) == (4784 + 2048, 4328 + 88)


def test_a_program_counts_without_its_comments():
    source = 'def f(x):\n    """Say."""\n    # why\n    return x + 1  # how\n'
    assert bare_source(source) == "deff(x):returnx+1"
    assert bare_source('class A:\n    """Only words."""\n') == "classA:pass"
    assert source_bits(transition_step) > source_bits(mixtures) > 0


# wrong usage


def test_parameters_out_of_range_are_refused():
    for name, value in (("alpha", 1.5), ("beta", -1.0), ("gamma", float("nan"))):
        with pytest.raises(ValueError, match=f"{name} must be a number in"):
            strategy_posterior(f64([0.0, 1.0]), f64([2.0, 1.0]), 1.0, **(TRUE | {name: value}))
    with pytest.raises(ValueError, match="evidence never grows"):
        transition_step([0.0, 1.0], [2.0, 1.0], alpha=1.0, beta=0.2, gamma=1.0)
    with pytest.raises(ValueError, match="complexity must be positive"):
        strategy_posterior(f64([0.0, 1.0]), f64([2.0, 0.0]), 1.0, **TRUE)
    with pytest.raises(ValueError, match="one number for each of at least two strategies"):
        strategy_posterior(f64([0.0]), f64([2.0]), 1.0, **TRUE)
    with pytest.raises(ValueError, match="steps must be one number or a list of numbers of at least 0"):
        strategy_posterior(f64([0.0, 1.0]), f64([2.0, 1.0]), -1.0, **TRUE)
    with pytest.raises(ValueError, match="prior must be one of"):
        strategy_posterior(f64([0.0, 1.0]), f64([2.0, 1.0]), 1.0, **TRUE, prior="flat")
    with pytest.raises(ValueError, match=r"context_losses must be \[n, C, 2\]"):
        strategy_posterior(f64([0.0, 1.0]), f64([2.0, 1.0]), 1.0, **TRUE, context_losses=f64([0.1, 0.2]))


def test_accounts_say_what_they_need():
    with pytest.raises(ValueError, match="call fit first"):
        RationalAccount().predict(GRID)
    with pytest.raises(ValueError, match="a list of at least one Trajectory"):
        RationalAccount().fit(GRID[0])
    with pytest.raises(ValueError, match="parameters are alpha, beta, gamma, got 'delta'"):
        RationalAccount(fixed={"delta": 1.0}).fit(GRID)
    with pytest.raises(ValueError, match="positive parameters, got beta = 0"):
        RationalAccount(start={"beta": 0.0}).fit(GRID)
    with pytest.raises(ValueError, match="all trajectories must hold distributions"):
        RationalAccount().fit([GRID[0], trajectory(4, distance="mse")])
    with pytest.raises(ValueError, match="place must be below the number of strategies, 2, got 2"):
        OneStrategy(2).fit(GRID)
    with pytest.raises(ValueError, match="a trajectory needs one network prediction a step"):
        Trajectory(4, GRID[0].steps[:3], GRID[0].network, GRID[0].strategies, GRID[0].losses, GRID[0].complexity)
    with pytest.raises(ValueError, match="share above 0"):
        after_interpolation_threshold(GRID, 0)
    with pytest.raises(ValueError, match="a table of numbers is wanted"):
        compressed_bits(["a"])
    with pytest.raises(ValueError, match="the source of 3 cannot be found"):
        source_bits(3)
    with pytest.raises(ValueError, match="setting must be one of"):
        predictor_bits("chess", f64([[1.0]]))
