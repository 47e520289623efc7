from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.taxonomy import FiledTexts, LabelTree, filed, read_filed_texts

TREE = LabelTree.from_paths([("science", "physics"), ("science", "biology"), ("arts", "music"), ("arts", "music", "opera")])

parent_lists = st.lists(st.integers(0, 100), min_size=0, max_size=12).map(
    lambda picks: [None, *(None if pick % 4 == 3 else pick % (i + 1) for i, pick in enumerate(picks))]
)


def tree_of(parents):
    return LabelTree(tuple(f"label {i}" for i in range(len(parents))), tuple(parents))


# degenerate sizes


def test_a_single_label_is_root_and_leaf():
    tree = LabelTree(("all",), (None,))
    assert (tree.levels, tree.leaves, tree.roots, tree.depth, tree.path(0)) == (((0,),), (0,), (0,), 1, (0,))
    assert tree.walk_down(lambda candidates, at: candidates[0]) == (0,)


# by hand


def test_by_hand():
    assert TREE.names == ("science", "arts", "physics", "biology", "music", "opera")
    assert TREE.levels == ((0, 1), (2, 3, 4), (5,))
    assert TREE.leaves == (2, 3, 5)
    assert TREE.position == (0, 1, 0, 1, 2, 0)
    assert TREE.path(5) == (1, 4, 5)
    assert TREE.ancestors(0) == ()
    assert TREE.descendants(1) == (4, 5)
    assert TREE.children(None) == TREE.roots
    assert TREE.find("arts", "music") == 4
    assert [TREE.shared_levels(2, other) for other in (2, 3, 4)] == [2, 1, 0]
    assert TREE.outline() == "science\n  physics\n  biology\narts\n  music\n    opera"
    assert LabelTree.from_children({0: [2, 3], 1: [4], 4: [5]}, TREE.names) == TREE


def test_what_children_hold_together():
    values = torch.tensor([[1.0, 2.0, 5.0]])
    assert TREE.pooled(values, 1).tolist() == [[3, 5]]
    assert TREE.pooled(values, 1, "mean").tolist() == [[1.5, 5]]
    assert TREE.pooled(values, 1, "max").tolist() == [[2, 5]]
    assert TREE.pooled(torch.tensor([-7.0]), 2).tolist() == [0, 0, -7]
    assert TREE.pooled(torch.tensor([-7.0]), 2, "max").tolist() == [0, 0, -7]  # a label without children: 0
    assert TREE.has_children(1).tolist() == [False, False, True]


def test_walking_down_may_stop_early():
    asked = []

    def choose(candidates, at):
        asked.append(at)
        return candidates[-1] if len(asked) < 3 else None

    assert TREE.walk_down(choose) == (1, 4)
    assert asked == [None, 1, 4]


# properties


@given(parent_lists)
def test_levels_paths_and_children_agree(parents):
    tree = tree_of(parents)
    assert sorted(label for level in tree.levels for label in level) == list(range(len(tree)))
    for label in range(len(tree)):
        path = tree.path(label)
        assert path[-1] == label
        assert len(path) == tree.level_of[label] + 1
        assert all(tree.parents[child] == label for child in tree.children(label))
        assert all(tree.parents[below] == above for above, below in pairwise(path))
        assert tree.levels[tree.level_of[label]][tree.position[label]] == label
        assert set(tree.descendants(label)) == {other for other in range(len(tree)) if label in tree.ancestors(other)}
    assert set(tree.leaves) == {label for label in range(len(tree)) if label not in tree.parents}


@given(parent_lists, st.integers(0, 5))
def test_a_sum_over_children_is_the_loop(parents, seed):
    tree = tree_of(parents)
    for level in range(1, tree.depth):
        values = torch.rand(3, len(tree.levels[level]), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        expected = [[sum(float(row[tree.position[c]]) for c in tree.children(label)) for label in tree.levels[level - 1]] for row in values]
        torch.testing.assert_close(tree.pooled(values, level), torch.tensor(expected, dtype=torch.float64))


@given(parent_lists)
def test_walking_with_the_gold_path_finds_it(parents):
    tree = tree_of(parents)
    for leaf in tree.leaves:
        assert tree.walk_down(lambda candidates, at, leaf=leaf: next(c for c in candidates if c in tree.path(leaf))) == tree.path(leaf)


# wrong usage


@pytest.mark.parametrize(
    ("names", "parents", "message"),
    [
        ((), (), "at least one label"),
        (("a", "b"), (None,), "2 names and 1 parents"),
        (("a", " "), (None, 0), "a text that is not empty, got ' '"),
        (("a", "b"), (None, 2), r"the parent of 'b' must be None or one of the labels 0 to 1, got 2"),
        (("a", "b", "c"), (None, 2, 1), "labels form a circle: b > c > b"),
        (("a",), (0,), "labels form a circle: a > a"),
        (("a", "b", "b"), (None, 0, 0), "two children of 'a' are called 'b': labels 1 and 2"),
        (("a", "a"), (None, None), "two children of the root are called 'a'"),
    ],
)
def test_what_is_no_tree_is_refused(names, parents, message):
    with pytest.raises(ValueError, match=message):
        LabelTree(names, parents)


def test_wrong_questions_are_refused():
    with pytest.raises(ValueError, match="labels are the numbers 0 to 5"):
        TREE.path(6)
    with pytest.raises(ValueError, match="labels are the numbers"):
        TREE.children(-1)
    with pytest.raises(KeyError, match="no label 'opera' below 'arts'; there are music"):
        TREE.find("arts", "opera")
    with pytest.raises(ValueError, match=r"choose must name one of \(0, 1\) \(or None to stop\), got 4"):
        TREE.walk_down(lambda candidates, at: 4)
    with pytest.raises(ValueError, match="level 1 has 3 labels, got values of shape"):
        TREE.pooled(torch.zeros(2, 2), 1)
    with pytest.raises(ValueError, match="pooling must be one of 'sum', 'mean', 'max', got 'median'"):
        TREE.pooled(torch.zeros(2, 3), 1, "median")
    with pytest.raises(ValueError, match="only the levels 1 to 2 have parents, got 0"):
        TREE.pooled(torch.zeros(2), 0)
    with pytest.raises(ValueError, match="label 'c' has two parents: 0 and 1"):
        LabelTree.from_children({0: [2], 1: [2]}, "abc")
    with pytest.raises(ValueError, match="at least one path"):
        LabelTree.from_paths([])


# texts filed in a tree


def test_filed_texts_find_their_leaves_and_can_be_cut():
    corpus = filed(["an aria", "a quark", "a cell"], [("arts", "opera"), ("science", "physics"), ("science", "biology")])
    assert [corpus.tree.names[leaf] for leaf in corpus.leaves] == ["opera", "physics", "biology"]
    science = corpus.below([1])
    assert science.texts == ("a quark", "a cell")
    assert science.tree.names == ("science", "physics", "biology")
    with pytest.raises(ValueError, match="label 2 is no root"):
        corpus.below([2])
    with pytest.raises(ValueError, match="filed under 'science', which is no leaf"):
        filed(["a", "b"], [("science",), ("science", "physics")])
    with pytest.raises(ValueError, match="at least one text"):
        FiledTexts(TREE, (), ())


def test_reading_json_lines(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a quark", "path": ["science", "physics"]}\n\n{"text": "x", "path": ["arts"]}\n', encoding="utf-8")
    corpus = read_filed_texts(file)
    assert corpus.texts == ("a quark", "x")
    assert [corpus.tree.names[leaf] for leaf in corpus.leaves] == ["physics", "arts"]
    for line in ('{"text": "x"}', "no json", '{"text": 3, "path": ["a"]}', '{"text": "x", "path": "a"}'):
        file.write_text(line, encoding="utf-8")
        with pytest.raises(ValueError, match=r'line 1: wanted \{"text"'):
            read_filed_texts(file)
    with pytest.raises(FileNotFoundError, match="it should hold one text a line"):
        read_filed_texts(tmp_path / "none.jsonl")
