from __future__ import annotations

import pytest
import torch
from estimator_inputs import NoDefaultDevice

from hierlab.credit import w_reinforce

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
REWARDS = torch.tensor([[0.0, 0, 1, 9], [0, 0, 9, 9], [0, 0, 0, 0]], dtype=torch.float64)


def test_an_empty_batch_and_an_empty_response():
    assert w_reinforce(REWARDS[:0], MASK[:0]).shape == (0, 4)
    assert w_reinforce(REWARDS[2:], MASK[2:]).tolist() == [[0] * 4]


@pytest.mark.parametrize(
    ("reinforce", "success", "failure"),
    [("positive", [0.25, 0.5, 1], [0, 0]), ("negative", [-0.75, -0.5, 0], [-1, -1]), ("weighted", [0.025, 0.05, 0.1], [-1, -1])],
)
def test_success_and_failure(reinforce, success, failure):
    expected = [[*success, 0], [*failure, 0, 0], [0] * 4]
    assert w_reinforce(REWARDS, MASK, reinforce=reinforce, gamma=0.5).tolist() == expected


def test_nothing_is_made_on_a_default_device():
    with NoDefaultDevice():
        assert w_reinforce(REWARDS.float(), MASK).dtype == torch.float32


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rewards of a response must add up to 0 or 1, got 2 in row 1"):
        w_reinforce(torch.tensor([[1.0, 0], [1, 1]]), MASK[:2, :2])
    with pytest.raises(ValueError, match="token_rewards must be finite, got nan in row 0, token 1"):
        w_reinforce(torch.tensor([[1.0, float("nan")]]), MASK[:1, :2])
    with pytest.raises(ValueError, match="reinforce must be one of 'weighted', 'positive', 'negative', got 'both'"):
        w_reinforce(REWARDS, MASK, reinforce="both")
    with pytest.raises(ValueError, match="positive_weight must be a number"):
        w_reinforce(REWARDS, MASK, positive_weight=-1)
    with pytest.raises(ValueError, match="gamma must be a number"):
        w_reinforce(REWARDS, MASK, gamma=2)
