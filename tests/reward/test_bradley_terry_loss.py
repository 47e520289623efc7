from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.reward import bradley_terry_loss, preference_accuracy

numbers = st.floats(-30, 30, allow_nan=False)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def columns(drawn):
    return f64(*(w for w, _ in drawn)), f64(*(r for _, r in drawn))


def test_equal_scores_cost_log_two():
    assert bradley_terry_loss(f64(1.0), f64(1.0)).item() == pytest.approx(math.log(2))
    assert preference_accuracy(f64(1.0), f64(1.0)).item() == 0


def test_by_hand_with_margin_and_centring():
    loss = bradley_terry_loss(f64(2.0), f64(0.5), margin=f64(0.5), centering=0.1, reduction="none")
    assert loss.tolist() == pytest.approx([math.log(1 + math.exp(-1.0)) + 0.1 * 6.25])


@pytest.mark.parametrize("size", [500.0, 1e30])
def test_huge_differences_stay_finite(size):
    right, wrong = f64(size), f64(-size)
    assert bradley_terry_loss(right, wrong).item() == 0
    assert bradley_terry_loss(wrong, right).item() == pytest.approx(2 * size)


def test_a_tie_pulls_both_ways():
    chosen = f64(0.3).requires_grad_()
    bradley_terry_loss(chosen, f64(0.3), preference=f64(0.5)).backward()
    assert chosen.grad.item() == 0


@given(pairs)
def test_a_certain_preference_is_the_plain_loss_and_its_opposite_the_swapped_one(drawn):
    w, r = columns(drawn)
    assert bradley_terry_loss(w, r, preference=torch.ones_like(w)).item() == pytest.approx(bradley_terry_loss(w, r).item(), abs=1e-12)
    assert bradley_terry_loss(w, r, preference=torch.zeros_like(w)).item() == pytest.approx(bradley_terry_loss(r, w).item(), abs=1e-12)


@given(pairs, st.floats(-5, 5))
def test_only_differences_matter_unless_centred(drawn, shift):
    w, r = columns(drawn)
    assert bradley_terry_loss(w + shift, r + shift).item() == pytest.approx(bradley_terry_loss(w, r).item(), rel=1e-6, abs=1e-9)


@given(pairs)
def test_gradients_are_opposite_and_the_mean_is_over_pairs(drawn):
    w, r = columns(drawn)
    w, r = w.requires_grad_(), r.requires_grad_()
    each = bradley_terry_loss(w, r, reduction="none")
    loss = bradley_terry_loss(w, r)
    loss.backward()
    assert loss.item() == pytest.approx(each.mean().item())
    assert torch.allclose(w.grad, -r.grad)


def test_dtype_is_kept():
    for dtype in (torch.float32, torch.float64):
        assert bradley_terry_loss(torch.ones(2, dtype=dtype), torch.zeros(2, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bradley_terry_loss(f64(1.0), f64(1.0, 2.0)), "one shape"),
        (lambda: bradley_terry_loss(f64(), f64()), "at least one pair"),
        (lambda: bradley_terry_loss(f64(math.nan), f64(1.0)), "chosen must be finite"),
        (lambda: bradley_terry_loss(torch.tensor([1]), f64(1.0)), "chosen must be a floating-point tensor"),
        (lambda: bradley_terry_loss(f64(1.0), f64(1.0), margin=f64(1.0, 1.0)), "one shape"),
        (lambda: bradley_terry_loss(f64(1.0), f64(1.0), preference=f64(1.5)), "must be a probability, got 1.5 in row 0"),
        (lambda: bradley_terry_loss(f64(1.0), f64(1.0), preference=f64(0.5), margin=f64(0.5)), "give one of them"),
        (lambda: bradley_terry_loss(f64(1.0), f64(1.0), centering=-1.0), r"centering must be a number in \[0"),
        (lambda: bradley_terry_loss(f64(1.0), f64(1.0), reduction="sum"), "reduction must be one of"),
        (lambda: preference_accuracy(f64(), f64()), "at least one pair"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
