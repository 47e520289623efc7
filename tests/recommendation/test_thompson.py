"""Slates from scores: greedy, Thompson, in-slate, and those that need no model."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.recommendation.slates import padded_log
from hierlab.recommendation.thompson import in_slate, merge_in_slate, top_items
from hierlab.recommendation.trivial_slates import epsilon_greedy, most_popular, random_slates
from hierlab.seeds import generator


def plain_merge(rankings):
    """One user's slate: rank by rank, draw by draw, skipping what is taken."""
    k, slate = len(rankings), []
    for rank in range(k):
        for draw in range(k):
            if len(slate) < k and rankings[draw][rank] not in slate:
                slate.append(rankings[draw][rank])
    return slate


def test_one_place_is_thompson_sampling():
    draw = torch.randn(1, 4, 9, generator=generator("one"))
    assert in_slate(draw).equal(top_items(draw[0], 1))


def test_rank_comes_before_draw():
    assert merge_in_slate(torch.tensor([[5, 6, 7], [8, 5, 6], [5, 9, 6]])).tolist() == [5, 8, 6]


@given(k=st.integers(1, 6), users=st.integers(1, 4), seed=st.integers(0, 1000))
def test_equals_the_plain_version(k, users, seed):
    rankings = top_items(torch.randn(k, users, k + 3 + 2, generator=generator("merge", seed)), k)
    slates = merge_in_slate(rankings)
    for user in range(users):
        assert slates[user].tolist() == plain_merge(rankings[:, user].tolist())
        assert len(set(slates[user].tolist())) == k


@given(k=st.integers(1, 6), seed=st.integers(0, 100))
def test_identical_draws_give_the_plain_top(k, seed):
    scores = torch.randn(3, 12, generator=generator("same", seed))
    assert in_slate(scores.expand(k, -1, -1)).equal(top_items(scores, k))


def test_special_ids_are_never_recommended_and_ties_go_to_the_smaller_id():
    scores = torch.tensor([9.0, 9, 9, 1, 2, 2])
    assert top_items(scores, 3).tolist() == [4, 5, 3]


def test_more_places_than_items_are_refused():
    with pytest.raises(ValueError, match="a slate has 1 to 2 items"):
        top_items(torch.zeros(5), 3)
    with pytest.raises(ValueError, match="a slate has 1 to 0 items"):
        top_items(torch.zeros(2), 1)
    with pytest.raises(ValueError, match="must not be NaN"):
        top_items(torch.tensor([0, 0, 0, float("nan")]), 1)


def test_rankings_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"in-slate sampling needs K rankings of K items, \[K, ..., K\], got \(2, 3\)"):
        merge_in_slate(torch.tensor([[3, 4, 5], [4, 5, 6]]))
    with pytest.raises(ValueError, match="a ranking has one item twice"):
        merge_in_slate(torch.tensor([[3, 3], [4, 5]]))


def test_random_slates_are_uniform_and_without_repeats():
    slates = random_slates(2000, 8, 2, generator("random"))
    assert (slates[:, 0] != slates[:, 1]).all()
    assert slates.min() >= 3
    share = torch.bincount(slates.flatten(), minlength=8)[3:] / slates.numel()
    assert share.sub(0.2).abs().max() < 0.03


def test_the_most_popular_are_the_most_clicked():
    log = padded_log([[([5, 3], 3), ([4, 3], 3)], [([4, 6], 4)]])
    assert most_popular(log, 7, 2).tolist() == [[3, 4], [3, 4]]


def test_epsilon_gives_places_to_others():
    slates = random_slates(500, 20, 4, generator("e"))
    assert epsilon_greedy(slates, 20, 0.0, generator("e", 1)).equal(slates)
    every = epsilon_greedy(slates, 20, 1.0, generator("e", 2))
    assert not (every.unsqueeze(2) == slates.unsqueeze(1)).any()
    some = epsilon_greedy(slates, 20, 0.25, generator("e", 3))
    assert 0.2 < (some != slates).float().mean() < 0.3
    assert (some.sort(1).values.diff(dim=1) > 0).all()
    with pytest.raises(ValueError, match="k others must exist"):
        epsilon_greedy(slates, 9, 0.5, generator("e"))
    with pytest.raises(ValueError, match="epsilon must be a number in"):
        epsilon_greedy(slates, 20, 1.5, generator("e"))
