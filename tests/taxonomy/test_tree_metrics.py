from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.taxonomy import (
    LabelTree,
    consistency,
    constrained_f1,
    label_f1,
    label_recall,
    level_accuracy,
    path_accuracy,
    path_f1,
    penalty,
    tree_metrics,
)

# 0: a (2, 3), 1: b (4, 5, 6)
TREE = LabelTree.from_children({0: [2, 3], 1: [4, 5, 6]}, ["a", "b", "a1", "a2", "b1", "b2", "b3"])
label_sets = st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=6)


def f1(right, predicted, gold):
    return 2 * right / (predicted + gold) if right else 0.0


def plain_counts(predicted, gold, right):
    """Micro and macro F1 by loops; `right` says whether label v of a document is right."""
    hits, guesses, truths = [0] * 7, [0] * 7, [0] * 7
    for p, g in zip(predicted, gold, strict=True):
        for v in range(7):
            hits[v] += v in p and v in g and right(v, p, g)
            guesses[v] += v in p
            truths[v] += v in g
    return f1(sum(hits), sum(guesses), sum(truths)), sum(map(f1, hits, guesses, truths)) / 7


# degenerate


def test_nothing_predicted_scores_nothing():
    found = tree_metrics(TREE, [[], []], [[0, 2], [1, 4]])
    assert set(found.values()) == {0.0}
    assert path_f1(TREE, [[]], [[0, 2]]).gamma == 1


def test_all_right_scores_everything_that_occurs():
    gold = [[0, 2], [0, 3], [1, 4], [1, 5], [1, 6]]
    assert set(tree_metrics(TREE, gold, gold).values()) == {1.0}
    half = tree_metrics(TREE, gold[:2], gold[:2])
    assert half["micro_f1"] == 1
    assert half["macro_f1"] == pytest.approx(3 / 7)  # labels that never occur count 0
    assert half["p_macro_f1"] == pytest.approx(2 / 5)


# by hand


def test_a_right_leaf_below_a_wrong_parent():
    predicted, gold = [[1, 2]], [[0, 2]]
    assert label_f1(TREE, predicted, gold).micro == pytest.approx(0.5)
    assert constrained_f1(TREE, predicted, gold).micro == 0
    paths = path_f1(TREE, predicted, gold)
    assert paths.invalid == 2
    assert paths.gamma == pytest.approx(1 - 2 * (1 / (1 + math.exp(-1)) - 0.5))
    assert paths.micro == 0
    assert consistency(TREE, predicted) == 0


def test_paths_that_share_an_ancestor_make_the_official_penalty_a_bonus():
    predicted = gold = [[0, 2, 3]]
    paper, official = path_f1(TREE, predicted, gold), path_f1(TREE, predicted, gold, counting="official")
    assert (paper.invalid, paper.gamma, paper.micro) == (0, 1, 1)
    assert official.invalid == -1
    assert official.gamma == pytest.approx(1 + math.tanh(1 / 6))
    assert official.micro > 1


def test_the_penalty_at_its_ends():
    assert penalty(0, 5) == 1
    assert penalty(5, 5) == pytest.approx(0.5378828427)
    assert penalty(10**9, 1) == 0


def test_accuracies():
    predicted, gold = [[0, 2], [0, 4], [1]], [[0, 2], [1, 4], [1, 5]]
    assert path_accuracy(TREE, predicted, gold) == pytest.approx(1 / 3)
    assert label_recall(TREE, predicted, gold) == pytest.approx(4 / 6)
    assert level_accuracy(TREE, predicted, [2, 4, 5]) == pytest.approx([2 / 3, 2 / 3])
    assert consistency(TREE, [*predicted, []]) == pytest.approx(2 / 4)


# loop against vectorised


@given(label_sets, st.data())
def test_equals_the_loops(gold, data):
    predicted = [data.draw(st.sets(st.integers(0, 6))) for _ in gold]
    plain = label_f1(TREE, predicted, gold)
    assert (plain.micro, plain.macro) == pytest.approx(plain_counts(predicted, gold, lambda v, p, g: True))
    constrained = constrained_f1(TREE, predicted, gold)
    expected = plain_counts(predicted, gold, lambda v, p, g: all(u in p and u in g for u in TREE.ancestors(v)))
    assert (constrained.micro, constrained.macro) == pytest.approx(expected)
    assert path_accuracy(TREE, predicted, gold) == pytest.approx(sum(p == g for p, g in zip(predicted, gold, strict=True)) / len(gold))
    if not any(gold):
        return
    paths = [set(TREE.path(leaf)) for leaf in TREE.leaves]
    valid = [set().union(*(path for path in paths if path <= p)) for p in predicted]
    assert path_f1(TREE, predicted, gold).invalid == sum(len(p - ok) for p, ok in zip(predicted, valid, strict=True))
    official = sum(len(p) - sum(len(path) for path in paths if path <= p) for p in predicted)
    assert path_f1(TREE, predicted, gold, counting="official").invalid == official


@given(label_sets, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter_and_strictness_does(gold, random):
    gold = [g | {0} for g in gold]
    predicted = [{random.randrange(7), random.randrange(7)} for _ in gold]
    found = tree_metrics(TREE, predicted, gold)
    order = list(range(len(gold)))
    random.shuffle(order)
    assert tree_metrics(TREE, [predicted[i] for i in order], [gold[i] for i in order]) == pytest.approx(found)
    assert found["c_micro_f1"] <= found["micro_f1"] + 1e-12
    assert all(0 <= value <= 1 for value in found.values())


# wrong usage


@pytest.mark.parametrize(
    ("predicted", "gold", "message"),
    [
        ([[0]], [[0], [1]], "one set of labels a document, got 1 and 2"),
        ([], [], "at least one document"),
        ([[7]], [[0]], "document 0 has the label 7; labels are the numbers 0 to 6"),
        ([[0], ["a"]], [[0], [0]], "document 1 has the label 'a'"),
        ([[0, 0]], [[0]], r"document 0 has the label 0 \('a'\) twice"),
    ],
)
def test_bad_sets_are_refused(predicted, gold, message):
    for metric in (label_f1, constrained_f1, path_f1, path_accuracy):
        with pytest.raises(ValueError, match=message):
            metric(TREE, predicted, gold)


def test_other_wrong_usage():
    with pytest.raises(ValueError, match="path F1 needs at least one gold label"):
        path_f1(TREE, [[0]], [[]])
    with pytest.raises(ValueError, match="counting must be one of 'paper', 'official', got 'both'"):
        path_f1(TREE, [[0]], [[0]], counting="both")
    with pytest.raises(ValueError, match="relative to the number of gold labels, got 0"):
        penalty(1, 0)
    with pytest.raises(ValueError, match="one prediction a document, got 1 for 2"):
        level_accuracy(TREE, [[0]], [2, 4])
