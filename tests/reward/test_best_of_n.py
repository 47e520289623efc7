from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.reward import best_of_n_accuracy, best_of_n_credit, best_of_n_value, pairwise_accuracy
from hierlab.trace import Tape

scores = st.integers(-3, 3).map(float)
groups = st.lists(st.lists(scores, min_size=1, max_size=6), min_size=1, max_size=8)


def plain_credit(group):
    best = max(group)
    return 1 / group.count(best) if group[0] == best else 0.0


# degenerate sizes


def test_one_answer_is_always_right():
    assert best_of_n_credit([[-7.0]]).tolist() == [1.0]


def test_no_prompt_earns_nothing_and_has_no_accuracy():
    assert best_of_n_credit([]).shape == (0,)
    with pytest.raises(ValueError, match="at least one group"):
        best_of_n_accuracy([])


# closed form


def test_a_constant_model_earns_what_guessing_earns():
    assert best_of_n_credit([[0.0] * 4, [1.5] * 2, [2.0] * 5]).tolist() == [0.25, 0.5, 0.2]
    assert best_of_n_accuracy(np.zeros((10, 4))) == 0.25


def test_equality_is_exact():
    almost = np.nextafter(0.5, 1)
    assert best_of_n_credit([[0.5, 0.5, 0.1], [0.5, almost, 0.1], [almost, 0.5, 0.5]]).tolist() == [0.5, 0.0, 1.0]


def test_single_and_half_precision_keep_their_ties():
    for dtype in (torch.float32, torch.bfloat16):
        tied = torch.tensor([[0.1, 0.1, 0.0], [0.3, 0.2, 0.1]], dtype=dtype)
        assert best_of_n_credit(tied).tolist() == [0.5, 1.0]


def test_pairs_are_strict_and_groups_count_equally():
    assert pairwise_accuracy([[1.0, 1.0]]) == 0.0
    assert pairwise_accuracy([[1.0, 0.0, 2.0, 0.5], [1.0, 2.0]]) == pytest.approx((2 / 3 + 0) / 2)


def test_the_value_of_the_favourite():
    values = [[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]
    assert best_of_n_value([[0, 1, 0], [3, 3, 1]], values).tolist() == [2.0, 12.0]
    assert best_of_n_value([[0, 1, 0], [3, 3, 1]], values, tied="first").tolist() == [2.0, 8.0]


def test_best_of_n_of_a_noisy_judge_of_normal_utility():
    """With scores of correlation q to a standard normal utility, the favourite of n is worth q times the mean of the largest of n."""
    draw, q = np.random.default_rng(0), 0.6
    utility = draw.standard_normal((20_000, 16))
    noisy = q * utility + math.sqrt(1 - q * q) * draw.standard_normal(utility.shape)
    largest_of_16 = 1.76599
    assert best_of_n_value(noisy, utility).mean() == pytest.approx(q * largest_of_16, abs=0.03)


# loop against vectorised


@given(groups)
def test_credit_is_the_loops(scored):
    assert best_of_n_credit(scored).tolist() == [plain_credit(group) for group in scored]


@given(groups)
def test_value_is_the_loops(scored):
    worth = [[float(i * j) for j in range(len(group))] for i, group in enumerate(scored)]
    for tied, choose in (("share", lambda best: sum(best) / len(best)), ("first", lambda best: best[0])):
        best = [[u for s, u in zip(g, w, strict=True) if s == max(g)] for g, w in zip(scored, worth, strict=True)]
        assert best_of_n_value(scored, worth, tied=tied).tolist() == pytest.approx([choose(b) for b in best])


# properties


@given(groups, st.integers(-5, 5), st.sampled_from([0.5, 2.0, 4.0]))
def test_scale_and_origin_do_not_matter(scored, shift, factor):
    moved = [[factor * s + shift for s in group] for group in scored]
    assert best_of_n_credit(moved).tolist() == best_of_n_credit(scored).tolist()


@given(groups)
def test_the_credits_of_all_places_add_up_to_one(scored):
    """Whoever stands first: together the answers of a group earn exactly one point."""
    for group in scored:
        turns = [[group[place], *group[:place], *group[place + 1 :]] for place in range(len(group))]
        assert best_of_n_credit(turns).sum() == pytest.approx(1.0)


@given(groups.flatmap(st.permutations))
def test_order_of_groups(scored):
    assert sorted(best_of_n_credit(scored).tolist()) == sorted(best_of_n_credit(scored[::-1]).tolist())


# narration


def test_what_a_tape_sees():
    with Tape() as tape:
        best_of_n_credit([[0.5, 0.5, 0.1], [0.2, 0.9, 0.9]])
    assert [step.name for step in tape.steps] == ["scores, the right answer first", "highest score", "answers on top", "credit"]
    assert tape["credit"].tolist() == [0.5, 0.0]


# wrong usage


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_of_n_credit([[1.0], []]), r"at least one number, got \[\] as group 1"),
        (lambda: best_of_n_credit([1.0, 2.0]), "at least one number, got 1.0 as group 0"),
        (lambda: best_of_n_credit([["a", "b"]]), "groups of numbers"),
        (lambda: best_of_n_credit([[1.0], [0.0, math.nan]]), "scores must be finite, got nan at position 1 of group 1"),
        (lambda: best_of_n_credit(np.array([[1.0, np.inf]])), "got inf at position 1 of group 0"),
        (lambda: pairwise_accuracy([[1.0]]), "at least two scores"),
        (lambda: best_of_n_value([[1.0, 2.0]], [[1.0]]), "same sizes"),
        (lambda: best_of_n_value([[1.0]], [[1.0]], tied="last"), "tied must be one of 'share', 'first'"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
