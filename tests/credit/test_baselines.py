"""GRPO, Dr. GRPO, RLOO, REINFORCE++ and DAPO's data parts, by closed forms."""

from __future__ import annotations

import pytest
import torch

from hierlab.credit import dr_grpo, grpo, live_groups, overlong_penalty, reinforce_plus_plus, reinforce_plus_plus_baseline, rloo
from hierlab.trace import Tape


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# degenerate sizes


def test_a_lone_attempt():
    for estimator in (grpo, dr_grpo, rloo):
        assert estimator(f64(3), ["a"]).tolist() == [0]
    assert grpo(f64(3), ["a"], singleton="raw", eps=0.5).tolist() == [2]
    assert dr_grpo(f64(3), ["a"], singleton="raw").tolist() == [3]
    assert rloo(f64(3), ["a"], singleton="raw").tolist() == [3]
    assert reinforce_plus_plus_baseline(f64(3), ["a"], torch.tensor([5])).abs().max() < 1e-9


def test_one_token_has_no_spread():
    assert reinforce_plus_plus(f64(3)[None], torch.ones(1, 1)).tolist() == [[0]]


# closed form


def test_grpo_of_a_coin():
    assert grpo(f64(0, 1), ["a", "a"], eps=0.0).tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
    assert grpo(f64(0, 1), ["a", "a"], eps=0.0, unbiased=False).tolist() == pytest.approx([-1, 1])
    assert grpo(f64(0, 1, 1, 1), [0, 0, 1, 1], scale="batch", eps=0.0).tolist() == pytest.approx([-1, 1, 0, 0])
    assert grpo(f64(0, 1), ["a", "a"], scale="none").tolist() == [-0.5, 0.5]


def test_an_attempt_of_several_rows_counts_once_or_by_its_rows():
    rewards, task, trajectory = f64(1, 2, 0), ["a"] * 3, [0, 0, 1]  # outcomes 3, 3 and 0
    assert dr_grpo(rewards, task, trajectory).tolist() == pytest.approx([1, 1, -2])
    assert dr_grpo(rewards, task, trajectory, statistics="trajectories").tolist() == pytest.approx([1.5, 1.5, -1.5])
    assert rloo(rewards, task, trajectory).tolist() == pytest.approx([3, 3, -3])
    assert rloo(rewards, task, trajectory, statistics="turns").tolist() == pytest.approx([1.5, 1.5, -3])
    assert dr_grpo(rewards, task).tolist() == pytest.approx([0, 1, -1])


def test_reinforce_plus_plus_counts_tokens():
    mask = torch.tensor([[1, 1], [1, 0]])
    rewards = f64(0, 2, 5, 7).view(2, 2)  # returns 2, 2 and 5: mean 3, variance 3
    expected = torch.tensor([[-1, -1], [2, 0]]) / 3**0.5
    torch.testing.assert_close(reinforce_plus_plus(rewards, mask), expected.double(), atol=1e-8, rtol=1e-7)


def test_reinforce_plus_plus_baseline_weighs_rows_by_their_tokens():
    advantage = reinforce_plus_plus_baseline(f64(0, 4), ["a", "a"], torch.tensor([3, 1]))  # -2, -2, -2 and 2: mean -1, variance 4
    assert advantage.tolist() == pytest.approx([-0.5, 1.5], abs=1e-7)
    assert reinforce_plus_plus_baseline(f64(0, 4), ["a", "a"], torch.tensor([3, 0]))[1] == 0


def test_overlong_penalty():
    lengths = torch.tensor([0, 16, 17, 20, 24])
    penalty = overlong_penalty(lengths, max_length=20, buffer=4, factor=2.0)
    assert penalty.tolist() == [0, 0, -0.5, -2, -4]
    assert penalty.dtype == torch.float32
    assert overlong_penalty(lengths.double(), max_length=20, buffer=4).dtype == torch.float64


def test_live_groups_differ_or_are_lone():
    metric, task = f64(1, 0, 1, 1, 0, 0, 1), list("aabbccd")
    assert live_groups(metric, task).tolist() == [True, True, False, False, False, False, True]
    assert live_groups(f64(0.1, 0.1, 0.1), list("aaa")).tolist() == [False] * 3  # numpy's deviation of these is 1e-17


def test_what_is_shown():
    with Tape() as tape:
        rloo(f64(0, 1, 5), ["a"] * 3)
    assert tape["mean of the others"].tolist() == pytest.approx([3, 2.5, 0.5])
    with Tape() as tape:
        grpo(f64(0, 1, 5), ["a"] * 3, scale="none")
    assert [step.name for step in tape.steps] == ["outcome", "group mean", "advantage"]
    assert tape["group mean"].tolist() == [2, 2, 2]


# wrong usage


def test_bad_columns_are_refused():
    with pytest.raises(ValueError, match="response_length must not be negative, got -1 in row 1"):
        reinforce_plus_plus_baseline(f64(0, 1), ["a", "a"], torch.tensor([3, -1]))
    with pytest.raises(ValueError, match="response_mask must hold only 0 and 1"):
        reinforce_plus_plus(f64(0, 1)[None], torch.tensor([[1.0, 0.5]]))
    with pytest.raises(ValueError, match=r"buffer must be a number in \[1, 20\], got 21"):
        overlong_penalty(torch.tensor([1]), max_length=20, buffer=21)
    with pytest.raises(ValueError, match="factor"):
        overlong_penalty(torch.tensor([1]), max_length=20, buffer=4, factor=-1.0)
    with pytest.raises(ValueError, match="metric must be finite, got nan in row 1"):
        live_groups(f64(0, float("nan")), ["a", "a"])
