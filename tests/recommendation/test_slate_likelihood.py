"""Scores of a slate and the probability of its click."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.recommendation.slate_likelihood import score, score_all, slate_log_likelihood, slate_scores
from hierlab.seeds import generator


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def random_slates(seed, users=3, steps=2, entries=4, items=9, dim=3):
    g = generator("likelihood", seed)
    slate = torch.randint(3, items, (users, steps, entries), generator=g)
    slate[..., 0] = 1
    slate[0, 0, 2:] = 0
    user, vectors = (
        torch.randn(users, steps, dim, generator=g, dtype=torch.float64),
        torch.randn(items, dim, generator=g, dtype=torch.float64),
    )
    return slate, user, vectors, torch.randn(entries + 1, generator=g, dtype=torch.float64)


def test_a_slate_of_nothing_is_never_clicked():
    scores = slate_scores(torch.tensor([[1]]), f64([0.0]), f64([0.0], [0.0]), f64(0.0, -7.0))
    assert scores.tolist() == [[-7.0]]
    assert slate_log_likelihood(scores, torch.tensor([0])).tolist() == [0.0]


def test_two_items_by_hand():
    vectors = torch.zeros(5, 2, dtype=torch.float64)
    vectors[3], vectors[4] = f64(3, 4), f64(0, 1)
    slate, user = torch.tensor([[1, 3, 4, 0]]), f64([0, 0])
    l2 = slate_scores(slate, user, vectors, f64(0, 0, 0, -2, 0))
    assert l2.tolist() == [[-2.0, -5.0, -1.0, -100.0]]
    p = slate_log_likelihood(l2, torch.tensor([2])).exp()
    assert p.item() == pytest.approx(math.exp(-1) / (math.exp(-1) + math.exp(-2) + math.exp(-5)))
    dot = slate_scores(slate, f64([1, 2]), vectors, f64(0, 0, 0, -2, 0), kind="dot", multiplier=-3.0)
    assert dot.tolist() == [[-2.0, 20.0, 6.0, -100.0]]  # 33 is clamped to 20, and the multiplier's sign does not matter


def test_entry_0_gets_the_bias_only_as_the_no_click_token():
    vectors = torch.ones(5, 1, dtype=torch.float64)
    scores = slate_scores(torch.tensor([[3, 4], [0, 4], [1, 4]]), torch.zeros(3, 1, dtype=torch.float64), vectors, f64(9, 8, 7))
    assert scores[:, 0].tolist() == [0, 0, 7]


def test_distance_zero_has_a_finite_gradient():
    user = torch.zeros(1, 2, requires_grad=True)
    score(user, torch.zeros(1, 2)).sum().backward()
    assert user.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["l2", "dot"])
@given(seed=st.integers(0, 50))
def test_equals_the_plain_version(kind, seed):
    slate, user, vectors, bias = random_slates(seed)
    scores = slate_scores(slate, user, vectors, bias, kind=kind, multiplier=1.5)
    for n in range(slate.shape[0]):
        for t in range(slate.shape[1]):
            length = sum(1 for i in slate[n, t].tolist() if i)
            for j, item in enumerate(slate[n, t].tolist()):
                difference = user[n, t] - vectors[item]
                value = -math.sqrt(max(float(difference @ difference), 1e-10)) if kind == "l2" else float(user[n, t] @ vectors[item])
                expected = float(bias[length]) if j == 0 else -100 if item <= 2 else max(-100, min(20, 1.5 * value))
                assert scores[n, t, j].item() == pytest.approx(expected, abs=1e-12)
    assert score_all(user[:, 0], vectors, kind)[:, 3:].shape == (3, 6)
    assert torch.allclose(score_all(user[:, 0], vectors, kind)[1, 5], score(user[1, 0], vectors[5], kind))


@given(seed=st.integers(0, 50), shift=st.floats(-3, 3))
def test_probabilities_sum_to_one_and_do_not_see_a_shift(seed, shift):
    slate, user, vectors, bias = random_slates(seed)
    scores = slate_scores(slate, user, vectors, bias)
    every = torch.stack([slate_log_likelihood(scores, torch.full(slate.shape[:2], j)).exp() for j in range(slate.shape[2])])
    torch.testing.assert_close(every.sum(0), torch.ones_like(every[0]))
    position = torch.zeros(slate.shape[:2], dtype=torch.long)
    torch.testing.assert_close(slate_log_likelihood(scores + shift, position), slate_log_likelihood(scores, position))


def test_masked_steps_are_exactly_zero():
    scores = f64([0.0, 1.0], [0.0, 1.0])
    assert slate_log_likelihood(scores, torch.tensor([1, 1]), torch.tensor([True, False]))[1] == 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="score must be one of 'l2', 'dot', got 'cosine'"):
        score(f64([1]), f64([1]), "cosine")
    with pytest.raises(ValueError, match="user and item vectors must have one length, got 1 and 2"):
        score(f64(1), f64(1, 2))
    with pytest.raises(ValueError, match=r"no_click_bias needs an entry for each length up to 2, got 2 entries"):
        slate_scores(torch.tensor([[1, 3]]), f64([0]), f64([0], [0], [0], [0]), f64(0, 0))
    with pytest.raises(ValueError, match="item_vectors needs a row for each id up to 3, got 1 rows"):
        slate_scores(torch.tensor([[1, 3]]), f64([0]), f64([0]), f64(0, 0, 0))
    with pytest.raises(ValueError, match="do not go with click_position"):
        slate_log_likelihood(f64([0, 1]), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"mask must have shape \(1,\), got \(2,\)"):
        slate_log_likelihood(f64([0, 1]), torch.tensor([0]), torch.tensor([True, False]))
