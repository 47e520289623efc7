"""The three identities behind A-GRAE, and the instruments that measure them."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import a_grae, grpo
from hierlab.envs.behaviours import draw_behaviours
from hierlab.lab.symmetry import LogitSteps, logit_gradient, logit_steps, predicted_gradient, random_groups, weigh
from hierlab.seeds import generator


def measured(estimator, number=3000, sizes=(2, 3, 5, 8, 16)):
    rewards, task = random_groups(number, sizes, generator("symmetry", number))
    return weigh(estimator(rewards, task), rewards, task)


def test_two_attempts_are_a_group():
    rewards, task = random_groups(1, [2], generator(0))
    assert (rewards.tolist(), task.tolist()) == ([1, 0], [0, 0])


def test_groups_are_live_and_of_the_asked_sizes():
    rewards, task = random_groups(2000, [2, 5, 8], generator(1))
    groups = weigh(torch.ones_like(rewards), rewards, task)
    assert set(groups.size.tolist()) == {2, 5, 8}
    assert 0 < groups.rate.min() <= groups.rate.max() < 1
    eights = (groups.rate * 8)[groups.size == 8].round().long()
    assert set(eights.tolist()) == set(range(1, 8))


def test_weights_by_hand():
    groups = weigh(torch.tensor([3.0, -1.0, -1.0, 2.0, -4.0]), torch.tensor([1.0, 0, 0, 1, 0]), torch.tensor([0, 0, 0, 1, 1]))
    assert groups.right.tolist() == [3, 2]
    assert groups.wrong.tolist() == [2, 4]
    assert groups.imbalance.tolist() == pytest.approx([1 / 5, 1 / 3])
    assert groups.weight_ratio.tolist() == pytest.approx([5 / (6 * math.sqrt(2 / 9)), 6 / 2])


def test_right_and_wrong_weigh_the_same_whatever_the_deviation():
    for switches in ({}, {"unbiased": False}, {"eps": 1e-2}, {"scale": "none"}):
        assert measured(partial(grpo, **switches)).imbalance.max() < 1e-12


def test_the_total_weight_is_that_of_theorem_2_for_the_biased_deviation_alone():
    assert (measured(partial(grpo, unbiased=False, eps=0.0)).weight_ratio - 1).abs().max() < 1e-12
    unbiased = measured(partial(grpo, eps=0.0))
    torch.testing.assert_close(unbiased.weight_ratio, ((unbiased.size - 1) / unbiased.size).sqrt())


def test_epsilon_bends_the_total_weight_by_its_share_of_the_deviation():
    groups = measured(partial(grpo, unbiased=False, eps=1e-2))
    deviation = (groups.rate * (1 - groups.rate)).sqrt()
    torch.testing.assert_close(groups.weight_ratio, deviation / (deviation + 1e-2))


@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.1, 10.0, None]))
def test_theorem_1_is_the_gradient(seed, positive_weight):
    draw = generator("theorem 1", seed)
    logits = torch.randn(60, generator=draw, dtype=torch.float64)
    behaviour = torch.randint(60, (8,), generator=draw)
    rewards = (torch.rand(8, generator=draw) < 0.4).double()
    advantage = a_grae(rewards, torch.zeros(8, dtype=torch.int64), positive_weight=positive_weight)
    torch.testing.assert_close(logit_gradient(logits, behaviour, advantage), predicted_gradient(logits, behaviour, advantage))


def steps(estimator):
    return logit_steps(draw_behaviours(generator("steps")), estimator, generator("answers"))


def test_what_nobody_sampled_moves_by_the_sign_of_the_sum():
    negative = partial(a_grae, attention="none", positive_weight=0.1)
    for estimator, sign in ((grpo, 0), (a_grae, 1), (negative, 1), (partial(a_grae, attention="none", positive_weight=10.0), -1)):
        seen = steps(estimator)
        live = seen.own.abs().sum(dim=1) > 0
        unsampled = seen.own[live][~seen.sampled[live]]
        assert torch.equal(unsampled.sign() * (unsampled.abs() > 1e-12), torch.full_like(unsampled, sign))
        assert seen.error < 1e-12
        assert (seen.total.sign() * (seen.total.abs() > 1e-9) == -sign * live).all()


def test_shared_features_move_what_a_table_would_leave_alone():
    seen = steps(grpo)
    assert seen.stray(seen.own) < 1e-20
    assert seen.stray(seen.moved) > 0.01


def test_means_by_hand():
    table = torch.tensor([[3.0, -1.0, 0.5, 0.5]])
    flags = {"sampled": torch.tensor([[True, True, False, False]]), "right": torch.tensor([[True, False, True, False]])}
    seen = LogitSteps(table, table + 2, table, **flags, total=torch.zeros(1))
    assert seen.means() == {"sampled, right": 3, "sampled, wrong": -1, "not sampled": 0.5}
    assert seen.error == 2
    assert seen.stray(table) == pytest.approx(0.5 / 10.5)


@pytest.mark.parametrize(("number", "sizes"), [(0, [8]), (3, []), (3, [8, 1])])
def test_impossible_groups_are_refused(number, sizes):
    with pytest.raises(ValueError, match="at least one group and sizes of at least 2"):
        random_groups(number, sizes, generator(0))
