"""Hits, recall, coverage, diversity and popularity of lists."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.recommendation import recommendation_metrics as metrics
from hierlab.recommendation.trivial_slates import random_slates
from hierlab.seeds import generator


def ids(*rows):
    return torch.tensor(rows)


def test_by_hand():
    lists, targets = ids([5, 3, 7], [4, 6, 8]), ids([7, 7, 5, 9], [0, 1, 2, 0])
    assert metrics.hits_at_k(lists, targets).tolist() == [2, 0]
    assert metrics.recall_at_k(lists, targets)[0].item() == pytest.approx(2 / 3)
    assert metrics.hit_rate_at_k(lists, targets)[0] == 1
    gain, best = 1 + 1 / math.log2(4), 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg_at_k(lists, targets)[0].item() == pytest.approx(gain / best)
    for metric in (metrics.recall_at_k, metrics.hit_rate_at_k, metrics.ndcg_at_k):
        assert metric(lists, targets)[1].isnan()


def test_without_any_targets():
    none = torch.zeros(1, 0, dtype=torch.long)
    assert metrics.hits_at_k(ids([3]), none).tolist() == [0]
    assert metrics.recall_at_k(ids([3]), none).isnan().all()


def test_the_best_list_has_everything():
    lists = ids([3, 4, 5])
    assert metrics.ndcg_at_k(lists, ids([5, 4, 3, 6])).item() == pytest.approx(1)
    assert metrics.recall_at_k(lists, ids([5, 4, 3])).item() == 1


def test_coverage_and_groups():
    lists, group = ids([3, 4], [3, 5]), torch.tensor([0, 0, 0, 0, 1, 0, 2])
    assert metrics.coverage(lists, 7) == pytest.approx(3 / 4)
    assert metrics.groups_in_list(lists, group).tolist() == [2, 1]
    assert metrics.group_entropy(lists, group).tolist() == [1, 0]


@given(st.integers(2, 6), st.integers(0, 100))
def test_distance_is_that_of_all_pairs(k, seed):
    lists = random_slates(3, 10, k, generator("lists", seed))
    vectors = torch.randn(10, 2, generator=generator("vectors", seed), dtype=torch.float64)
    for row, value in zip(lists.tolist(), metrics.intra_list_distance(lists, vectors).tolist(), strict=True):
        pairs = [math.dist(vectors[i], vectors[j]) for i in row for j in row if i != j]
        assert value == pytest.approx(sum(pairs) / len(pairs))


@given(st.integers(1, 5), st.integers(0, 100))
def test_the_order_within_a_list_matters_to_ndcg_alone(k, seed):
    lists = random_slates(4, 10, k, generator("lists", seed))
    targets, group = torch.randint(3, 10, (4, 3), generator=generator("targets", seed)), torch.arange(10) // 3
    for metric, other in ((metrics.hits_at_k, targets), (metrics.recall_at_k, targets), (metrics.groups_in_list, group)):
        torch.testing.assert_close(metric(lists, other), metric(lists.flip(1), other))


def test_popularity_of_random_lists_is_a_half():
    popularity = torch.arange(23)
    lists = random_slates(2000, 23, 3, generator("popularity"))
    assert metrics.popularity_percentile(lists, popularity).mean().item() == pytest.approx(0.5, abs=0.01)
    assert metrics.popularity_percentile(ids([22, 21]), popularity).item() == pytest.approx(1 - 1 / 20)
    assert metrics.popularity_percentile(ids([3, 9]), torch.ones(23)).item() == 0.5


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (torch.zeros(2, 2), "lists must be int64"),
        (torch.zeros(2, 0, dtype=torch.long), "lists must be int64"),
        (torch.tensor([[2, 3]]), "whose ids start at 3, got 2"),
        (torch.tensor([[3, 4], [5, 5]]), "list 1 has one item twice"),
    ],
)
def test_wrong_lists_are_refused(lists, message):
    with pytest.raises(ValueError, match=message):
        metrics.hits_at_k(lists, torch.zeros(len(lists), 1, dtype=torch.long))


def test_wrong_partners_are_refused():
    with pytest.raises(ValueError, match=r"targets must be \[N, M\] for the 1 users"):
        metrics.hits_at_k(ids([3]), ids([3], [4]))
    with pytest.raises(ValueError, match="num_items must exceed 3"):
        metrics.coverage(ids([9]), 9)
    with pytest.raises(ValueError, match="at least two places"):
        metrics.intra_list_distance(ids([3]), torch.zeros(5, 2))
