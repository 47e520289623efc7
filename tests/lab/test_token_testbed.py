from functools import partial

import pytest
import torch

from hierlab.credit import cutpoint_starts, gae, grpo, rloo, spo, spo_tree
from hierlab.credit.segments import segments_between
from hierlab.credit.trees import tree_of
from hierlab.envs.finite import solve
from hierlab.lab.microscope import choice_advantage, microscope
from hierlab.lab.testbed import house_testbed, learnt_critic, noisy_critic
from hierlab.lab.token_testbed import BranchingTestbed, ChainTestbed, tree_testbed
from hierlab.seeds import generator

SMALL = {"bits": 3, "spare": 1}
BED = tree_testbed(0.4, **SMALL, partial=0.2)


def every_token(rollouts):
    return rollouts.response_mask


# --- rows ---


def test_a_row_is_a_response_and_its_choices_are_its_tokens():
    rollouts = BED.collect(5, 3, generator(0))
    assert len(rollouts) == 15
    assert torch.equal(rollouts["choice"] >= 0, rollouts.response_mask)
    assert torch.allclose(rollouts["token_rewards"].sum(dim=1), rollouts.rewards)
    assert (rollouts["token_rewards"][~rollouts.response_mask] == 0).all()
    logp = BED.probabilities.log()[rollouts["context"], rollouts.response_ids]
    assert torch.allclose(rollouts.old_logp, torch.where(rollouts.response_mask, logp, 0))
    assert torch.equal(rollouts["success"], torch.isclose(rollouts.rewards, torch.ones(15, dtype=torch.float64)))


def test_frequencies_are_how_often_choices_are_made():
    number = 20_000
    rollouts = BED.collect(number, 1, generator(1))
    made = rollouts["choice"][rollouts.response_mask]
    measured = torch.bincount(made, minlength=len(BED.frequency)) / number
    error = (measured - BED.frequency) / (BED.frequency.clamp(min=1e-4) / number).sqrt()
    assert float(error.abs().max()) < 6


def test_truth_is_the_worlds():
    truth = solve(BED.world, BED.probabilities)
    rollouts = BED.collect(4, 2, generator(2))
    row, t = rollouts.response_mask.nonzero(as_tuple=True)
    state, action = rollouts["world_state"][row, t], rollouts.response_ids[row, t]
    assert torch.allclose(BED.advantage[rollouts["choice"][row, t]], truth.advantage[t, state, action])
    assert torch.allclose(rollouts["values"][row, t], truth.value[t, state])


# --- estimators whose errors are known ---


def test_gae_with_the_exact_critic_is_unbiased_and_without_lambda_exact():
    arms = {"monte carlo": partial(gae, whiten=False), "one step": partial(gae, lam=0.0, whiten=False)}
    seen = microscope(arms, BED, batches=1500, tasks=2, group_size=4, resamples=200)
    assert seen["one step"]["squared_error"].value == pytest.approx(0, abs=1e-12)
    assert abs(seen["monte carlo"]["squared_bias"].value) < 0.02 * seen["monte carlo"]["variance"].value
    assert seen["monte carlo"]["gradient_norm"].low <= 1 <= seen["monte carlo"]["gradient_norm"].high


def test_leave_one_out_is_unbiased_where_the_mean_is_short_by_one_nth():
    arms = {"RLOO": rloo, "centred": partial(grpo, scale="none")}
    seen = microscope(arms, BED, batches=1500, tasks=2, group_size=4, resamples=200)
    assert seen["RLOO"]["gradient_norm"].low <= 1 <= seen["RLOO"]["gradient_norm"].high
    assert seen["centred"]["gradient_norm"].value == pytest.approx(0.75 * seen["RLOO"]["gradient_norm"].value)


def test_segments_of_one_token_with_exact_values_have_the_exact_advantage():
    bed = tree_testbed(0.4, ChainTestbed, **SMALL, cut=every_token, continuations=0)
    seen = microscope({"SPO": partial(spo, threshold=None)}, bed, batches=200, resamples=200)["SPO"]
    assert seen["squared_error"].value == pytest.approx(0, abs=1e-12)


def test_more_continuations_less_variance():
    def variance(continuations: int) -> float:
        bed = tree_testbed(0.4, ChainTestbed, **SMALL, cut=every_token, continuations=continuations)
        return microscope({"SPO": partial(spo, threshold=None)}, bed, batches=600, resamples=200)["SPO"]["variance"].value

    assert variance(8) == pytest.approx(variance(1) / 8, rel=0.1)


# --- collecting ---


def test_continuations_are_paid_for_and_only_starts_are_valued():
    cut = partial(cut_at, interval=2)
    bed = tree_testbed(0.4, ChainTestbed, **SMALL, cut=cut, continuations=3)
    rollouts = bed.collect(6, 2, generator(3))
    starts = rollouts["segment_start"]
    assert torch.equal(starts, cut(rollouts))
    assert (rollouts["segment_value"][~starts] == 0).all()
    assert torch.equal(rollouts["extra_tokens"] >= 3 * starts.sum(dim=1), torch.ones(12, dtype=torch.bool))
    segments_between(starts, rollouts.response_mask)


def cut_at(rollouts, interval: int):
    return cutpoint_starts(rollouts.old_logp, rollouts.response_mask, interval=interval)


def test_a_tree_has_its_leaves_and_shares_their_prefixes():
    bed = tree_testbed(0.4, BranchingTestbed, **SMALL, branches=(2, 3), segment=2)
    rollouts = bed.collect(50, 6, generator(4))
    tree = tree_of(rollouts.task, rollouts["node"], rollouts["parent"])
    assert int(tree.depth.max()) == 2
    assert (torch.bincount(torch.tensor(rollouts.task)[tree.depth == 1]) == 2).all()
    assert (rollouts.response_mask.sum(dim=1)[~tree.leaf] == 2).all()
    assert (rollouts.rewards[~tree.leaf] == 0).all()
    inner = (tree.parent >= 0).nonzero()[:, 0]
    above = tree.parent[inner]
    last = bed.world.move[rollouts["world_state"][above, 1], rollouts.response_ids[above, 1]]
    assert torch.equal(rollouts["world_state"][inner, 0], last)


def test_frequencies_of_a_tree_count_early_choices_as_often_as_they_are_sampled():
    bed = tree_testbed(0.4, BranchingTestbed, **SMALL, branches=(2, 3), segment=2)
    trees = 4000
    rollouts = bed.collect(trees, 6, generator(5))
    measured = torch.bincount(rollouts["choice"][rollouts.response_mask], minlength=len(bed.frequency)).double() / (6 * trees)
    assert torch.allclose(measured, bed.frequency, atol=0.01)
    assert float(measured.sum()) == pytest.approx(float(bed.frequency.sum()), rel=0.02)


def test_siblings_of_a_tree_add_up_to_nothing():
    bed = tree_testbed(0.4, BranchingTestbed, **SMALL, branches=(2, 3), segment=2)
    rollouts = bed.collect(5, 6, generator(6))
    advantage = choice_advantage(rollouts, spo_tree)[:, 0]
    siblings = tree_of(rollouts.task, rollouts["node"], rollouts["parent"]).siblings
    sums = torch.zeros(len(advantage), dtype=torch.float64).index_add(0, siblings, advantage)
    assert torch.allclose(sums, torch.zeros_like(sums), atol=1e-12)


# --- critics ---


@pytest.mark.parametrize("bed", [BED, house_testbed(0.3)], ids=["tree", "house"])
def test_a_noisy_critic_errs_as_much_as_it_is_told(bed):
    exact, wrong = bed.truth.value, noisy_critic(bed, 0.5).critic
    weight = bed.truth.visits / bed.truth.visits.sum()
    spread = float((weight * (exact - (weight * exact).sum()) ** 2).sum().sqrt())
    assert float((wrong - exact).std()) == pytest.approx(0.5 * spread, rel=0.1)
    assert torch.equal(noisy_critic(bed, 0.0).critic, exact)


@pytest.mark.parametrize("bed", [BED, house_testbed(0.3)], ids=["tree", "house"])
def test_a_critic_that_has_seen_more_is_less_wrong(bed):
    weight = bed.truth.visits / bed.truth.visits.sum()

    def error(trajectories: int) -> float:
        return float((weight * (learnt_critic(bed, trajectories).critic - bed.truth.value) ** 2).sum())

    assert error(20_000) < error(500) / 4 < error(20) / 4


# --- wrong usage ---


def test_refuses_trees_with_another_number_of_leaves():
    bed = tree_testbed(0.4, BranchingTestbed, **SMALL, branches=(2, 3))
    with pytest.raises(ValueError, match="2 x 3 branches has 6 leaves, so group_size cannot be 8"):
        bed.collect(1, 8, generator(0))


def test_refuses_critics_of_another_world():
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"a critic of this world has shape \[turns, states\]"):
        replace(BED, critic=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="deviation"):
        noisy_critic(BED, -1.0)
    with pytest.raises(ValueError, match="at least 1 trajectory"):
        learnt_critic(BED, 0)


def test_refuses_estimates_of_another_shape_or_without_a_number():
    rollouts = BED.collect(2, 2, generator(0))
    with pytest.raises(ValueError, match="one number for each of the 4 rows, or for each of their choices"):
        choice_advantage(rollouts, lambda values: values[:, :-1])
    with pytest.raises(ValueError, match="finite numbers, got nan in row 1"):
        choice_advantage(rollouts, lambda rewards: torch.tensor([0.0, float("nan"), 0.0, 0.0]))
