from __future__ import annotations

import pytest
import torch
from estimator_inputs import agent_batch, call
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hierlab.credit import gae, lambda_returns, turn_gae


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def plain_gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, gaps: str) -> Tensor:
    """Token by token, from the end."""
    advantage = torch.zeros_like(rewards)
    for row in range(len(rewards)):
        running = following = 0.0
        for t in reversed(range(rewards.shape[1])):
            if mask[row, t] or gaps == "step":
                running = rewards[row, t] + gamma * following - values[row, t] + gamma * lam * running
                following = values[row, t]
            advantage[row, t] = running * mask[row, t]
    return advantage


# closed form


def test_lambda_one_is_return_minus_value_and_lambda_zero_the_one_step_error():
    rewards, values, mask = f64(0, 0, 8)[None], f64(1, 2, 3)[None], torch.ones(1, 3)
    assert gae(rewards, values, mask, gamma=0.5, whiten=False).tolist() == [[2 - 1, 4 - 2, 8 - 3]]
    assert gae(rewards, values, mask, gamma=0.5, lam=0.0, whiten=False).tolist() == [[1 - 1, 1.5 - 2, 8 - 3]]
    assert lambda_returns(rewards, values, mask, gamma=0.5).tolist() == [[2, 4, 8]]


def test_gaps_are_skipped_or_steps():
    rewards, values, mask = f64(0, 5, 8)[None], f64(1, 7, 3)[None], torch.tensor([[1, 0, 1]])
    assert gae(rewards, values, mask, gamma=0.5, whiten=False).tolist() == [[0.5 * 8 - 1, 0, 8 - 3]]
    assert gae(rewards, values, mask, gamma=0.5, whiten=False, gaps="step").tolist() == [[0.5 * 5 + 0.25 * 8 - 1, 0, 8 - 3]]


def test_what_is_masked_may_be_anything():
    mask = torch.tensor([[1, 0, 1, 0]])
    clean = f64(1, 0, 2, 0)[None], f64(3, 0, 4, 0)[None]
    dirty = f64(1, float("nan"), 2, float("inf"))[None], f64(3, float("inf"), 4, float("nan"))[None]
    assert torch.equal(gae(*dirty, mask, gamma=0.9, lam=0.8), gae(*clean, mask, gamma=0.9, lam=0.8))
    assert torch.equal(lambda_returns(*dirty, mask), lambda_returns(*clean, mask))


def test_turns_instead_of_tokens():
    # trajectory a: rewards 0, 8 and values 1, 3; trajectory b: reward 2, value 5
    columns = f64(8, 2, 0), ["t"] * 3, ["a", "b", "a"], torch.tensor([1, 0, 0]), f64(3, 5, 1)
    assert turn_gae(*columns, gamma=0.5, whiten=False).tolist() == [5, -3, 3]
    assert turn_gae(*columns, gamma=0.5, lam=0.0, whiten=False).tolist() == [5, -3, 0.5]
    raw = f64(5, -3, 3)
    torch.testing.assert_close(turn_gae(*columns, gamma=0.5), (raw - raw.mean()) / raw.std(), rtol=1e-7, atol=1e-7)


# loop against vectorised


@pytest.mark.parametrize("gaps", ["skip", "step"])
@given(seed=st.integers(0, 2**31), gamma=st.floats(0, 1), lam=st.floats(0, 1), tokens=st.integers(1, 9))
def test_equals_the_loop(gaps, seed, gamma, lam, tokens):
    columns = agent_batch(seed, tasks=1, group=2, turns=2, tokens=tokens)
    columns["response_mask"] = torch.rand(columns["values"].shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    expected = plain_gae(columns["token_rewards"], columns["values"], columns["response_mask"], gamma, lam, gaps)
    result = call(gae, columns, gamma=gamma, lam=lam, whiten=False, gaps=gaps)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 2**31))
def test_whitened_tokens_have_mean_zero_and_unit_variance(seed):
    columns = agent_batch(seed, tasks=2)
    whitened = call(gae, columns, gamma=0.9, lam=0.9)[columns["response_mask"]]
    assert whitened.mean().item() == pytest.approx(0, abs=1e-6)
    assert whitened.var().item() == pytest.approx(1, abs=1e-4)


def test_values_do_not_pass_a_gradient():
    values = torch.zeros(1, 2, requires_grad=True)
    assert not gae(torch.ones(1, 2), values, torch.ones(1, 2), whiten=False).requires_grad


# wrong usage


def test_bad_input_is_refused():
    ones = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"token_rewards: \(2, 3\), values: \(2, 2\)"):
        gae(ones, ones[:, :2], ones)
    values = ones.clone()
    values[1, 2] = float("nan")
    with pytest.raises(ValueError, match="values must be finite, got nan in row 1, token 2"):
        gae(ones, values, ones)
    with pytest.raises(ValueError, match=r"lam must be a number in \[0, 1\], got 2"):
        gae(ones, ones, ones, lam=2)
    with pytest.raises(ValueError, match=r"values must be a floating-point tensor of shape \[N\], got torch.float32 of shape \(2, 3\)"):
        turn_gae(torch.ones(2), ["a"] * 2, [0, 0], torch.tensor([0, 1]), ones)
