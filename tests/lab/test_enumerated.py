"""Expected gradients over all groups: what they are for estimators whose bias is known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import dr_grpo, grpo, rloo
from hierlab.lab.enumerated import bias, exact_gradient, expected_gradient

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
R = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)


def raw(rewards, task):
    return rewards


def test_one_behaviour_has_no_gradient():
    one = torch.ones(1, dtype=torch.float64)
    assert expected_gradient(raw, one, one, 3).tolist() == exact_gradient(one, one).tolist() == [0.0]


def test_the_exact_gradient_is_that_of_autograd():
    logits = P.log().requires_grad_()
    (gradient,) = torch.autograd.grad((logits.softmax(0) * R).sum(), logits)
    torch.testing.assert_close(exact_gradient(P, R), gradient)


@given(st.integers(0, 99), st.integers(2, 4))
def test_without_a_baseline_and_with_the_others_mean_there_is_no_bias(seed, size):
    draw = torch.Generator().manual_seed(seed)
    p, r = torch.rand(3, generator=draw, dtype=torch.float64).softmax(0), torch.rand(3, generator=draw, dtype=torch.float64)
    for estimator in (raw, rloo):
        found = bias(estimator, p, r, size)
        assert found.length == pytest.approx(1, abs=1e-9)
        assert found.stray == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_groups_mean_shortens_the_gradient_and_leaves_its_direction(size):
    found = bias(dr_grpo, P, R, size)
    assert found.length == pytest.approx((size - 1) / size, abs=1e-12)
    assert found.stray == pytest.approx(0, abs=1e-12)


def test_dividing_by_the_deviation_bends_it():
    assert bias(grpo, P, R, 4).stray > 0.001


def test_it_is_the_mean_over_sampled_groups():
    draw = torch.Generator().manual_seed(0)
    groups = torch.multinomial(P.repeat(40_000, 1), 3, replacement=True, generator=draw)
    advantage = grpo(R[groups].flatten(), torch.arange(len(groups)).repeat_interleave(3)).view_as(groups)
    scores = torch.eye(3, dtype=torch.float64) - P
    sampled = torch.einsum("gi,gik->k", advantage, scores[groups]) / (3 * len(groups))
    torch.testing.assert_close(sampled, expected_gradient(grpo, P, R, 3), atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("rewards", "size", "message"), [(R[:2], 2, "one entry a behaviour"), (R, 0, "group_size"), (R, 20, "more than a million")]
)
def test_wrong_usage(rewards, size, message):
    with pytest.raises(ValueError, match=message):
        expected_gradient(grpo, P, rewards, size)
