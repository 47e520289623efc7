from dataclasses import replace
from functools import partial

import pytest
import torch

from hierlab.credit import hiper, turn_gae
from hierlab.lab.gradient_moments import gradient_moments
from hierlab.lab.microscope import microscope
from hierlab.lab.plan_testbed import corridor_testbed, learnt_plan_critic, noisy_plan_critic
from hierlab.seeds import generator

BED = corridor_testbed(1, horizon=8)
HAE = partial(hiper, normalise=False, lam_seg=1.0)
PAPER = partial(HAE, switch_advantage="paper")
FLAT = partial(turn_gae, whiten=False)


def episodes(bed=BED, number=2000, seed=0):
    return bed.collect(1, number, generator("plan testbed", seed))


def oracle(choice):
    """The estimator that knows."""
    return torch.where(choice >= 0, BED.advantage[choice.clamp(min=0)], 0.0)


# --- degenerate sizes ---


def test_two_episodes_are_enough_for_moments_and_one_is_not():
    assert gradient_moments(FLAT, BED, episodes(number=2)).trace >= 0
    with pytest.raises(ValueError, match="at least two episodes, got 1"):
        gradient_moments(FLAT, BED, episodes(number=1))


# --- the testbed's truth ---


def test_decisions_are_as_frequent_as_the_testbed_says():
    rollouts = episodes(number=20_000)
    made = rollouts["choice"][rollouts["choice"] >= 0]
    counted = torch.bincount(made, minlength=len(BED.frequency)).double() / 20_000
    assert (counted - BED.frequency).abs().max() < 0.03
    assert float(BED.frequency.sum()) == pytest.approx(float((rollouts["choice"] >= 0).sum()) / 20_000, abs=0.1)


def test_choices_name_the_same_decisions_as_the_policys_tables():
    rollouts = episodes(number=300)
    rows, tokens = (rollouts["choice"] >= 0).nonzero(as_tuple=True)
    assert torch.equal(rollouts["choice"] >= 0, rollouts["decision"] >= 0)
    seen = {}
    for turn, choice, decision in zip(
        rollouts.turn[rows].tolist(), rollouts["choice"][rows, tokens].tolist(), rollouts["decision"][rows, tokens].tolist(), strict=True
    ):
        assert seen.setdefault(choice, (turn, decision)) == (turn, decision)
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_true_advantages_imply_the_exact_gradient(gamma):
    bed = replace(BED, gamma=gamma)
    rollouts = episodes(bed, 20_000)
    truth = torch.where(rollouts["choice"] >= 0, bed.advantage[rollouts["choice"].clamp(min=0)], 0.0)
    gradient = bed.implied_gradients(rollouts, truth, torch.zeros(len(rollouts), dtype=torch.int64), 1)[0] / 20_000
    assert (gradient - bed.gradient).norm() < 0.05 * bed.gradient.norm()


def test_the_first_turn_has_nothing_to_keep():
    rollouts = episodes()
    first = rollouts.turn == 0
    assert (rollouts["choice"][first, 0] == -1).all()
    assert (rollouts["choice"][~first, 0] >= 0).all()
    assert torch.equal(rollouts["value_switch"][first], rollouts["value_high"][first])


# --- under the microscope ---


def test_the_oracle_has_no_error_and_hae_with_exact_values_no_bias():
    seen = microscope({"oracle": oracle, "HAE": HAE, "paper": PAPER, "flat": FLAT}, BED, batches=300, tasks=1, group_size=8, resamples=200)
    assert seen["oracle"]["squared_error"].value == pytest.approx(0, abs=1e-12)
    for name in ("HAE", "paper"):
        assert seen[name]["squared_bias"].low < 0.05
        assert seen[name]["mean_cosine"].value > 0.95
        assert seen[name]["variance"].value < seen["flat"]["variance"].value


def test_hae_is_unbiased_with_exact_values_and_biased_with_wrong_ones():
    exact = gradient_moments(HAE, BED, episodes(number=4000))
    wrong_bed = noisy_plan_critic(BED, 2.0)
    wrong = gradient_moments(HAE, wrong_bed, episodes(wrong_bed, 4000))
    assert exact.z_square < 3
    assert abs(exact.squared_bias) < 0.02
    assert wrong.z_square > 3
    assert wrong.squared_bias > 0.05


def test_flat_gae_forgives_a_wrong_critic_but_only_at_lambda_1():
    bed = noisy_plan_critic(BED, 2.0)
    rollouts = episodes(bed, 4000)
    assert gradient_moments(FLAT, bed, rollouts).z_square < 3
    assert gradient_moments(partial(FLAT, lam=0.5), bed, rollouts).z_square > 10


def test_z_square_of_an_unbiased_estimator_is_1_on_average():
    values = [gradient_moments(FLAT, BED, episodes(number=50, seed=seed)).z_square for seed in range(60)]
    assert sum(values) / len(values) == pytest.approx(1, abs=0.25)


def test_traces_of_blocks_add_up():
    blocks = tuple(table.numel() for table in BED.policy)
    rollouts = episodes(number=200)
    moments = gradient_moments(HAE, BED, rollouts, blocks=blocks)
    assert len(moments.traces) == 3
    assert moments.trace == pytest.approx(gradient_moments(HAE, BED, rollouts).trace)


# --- critics ---


def test_a_critic_that_has_seen_more_is_less_wrong():
    def error(trajectories):
        bed = learnt_plan_critic(BED, trajectories)
        weight = BED.truth.visits_action.flatten(0, 1)
        return float((weight * (bed.values.low - BED.values.low) ** 2).sum())

    assert error(10) > error(1000)


def test_a_critic_without_noise_is_exact():
    for table, exact in zip(noisy_plan_critic(BED, 0.0).values, BED.values, strict=True):
        assert torch.equal(table, exact)


def test_subgoals_without_effect_are_worth_nothing():
    bed = corridor_testbed(1, horizon=8, informative=False)
    assert bed.truth.advantages.switch.abs().max() < 1e-12
    assert "subgoals without effect" in bed.description


# --- wrong usage ---


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="blocks must cover"):
        gradient_moments(FLAT, BED, episodes(number=10), blocks=(3,))
    with pytest.raises(ValueError, match="deviation"):
        noisy_plan_critic(BED, -1.0)
    with pytest.raises(ValueError, match="group_size"):
        learnt_plan_critic(BED, 0)
