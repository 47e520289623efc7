from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit.trees import backed_up_values, path_share, tree_of


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


#      a          b
#    c   d
#       e f g
FAMILY = {"task": ["t"] * 7, "node": list("geacdbf"), "parent": ["d", "d", None, "a", "a", None, "d"]}


@st.composite
def random_trees(draw) -> tuple[dict, list[float]]:
    """Up to three trees, their rows shuffled, and the rewards of their leaves."""
    rows = []
    for task in range(draw(st.integers(1, 3))):
        for node in range(draw(st.integers(1, 12))):
            parent = draw(st.integers(-1, node - 1))
            rows.append((task, node, None if parent < 0 else parent))
    rows = draw(st.permutations(rows))
    inner = {(task, parent) for task, _, parent in rows}
    rewards = [0.0 if (task, node) in inner else draw(st.sampled_from([0.0, 0.1, 1.0])) for task, node, _ in rows]
    return {"task": [r[0] for r in rows], "node": [r[1] for r in rows], "parent": [r[2] for r in rows]}, rewards


# degenerate sizes


def test_no_rows():
    tree = tree_of([], [], [])
    assert all(column.shape == (0,) for column in tree)
    assert backed_up_values(f64(), tree).shape == path_share(tree).shape == (0,)


def test_children_of_the_prompt_alone():
    tree = tree_of(["t", "t", "u"], [0, 1, 0], [None] * 3)
    assert tree.parent.tolist() == [-1] * 3
    assert tree.depth.tolist() == [1] * 3
    assert tree.leaf.all()
    assert tree.siblings.tolist() == [0, 0, 1]
    assert backed_up_values(f64(1, 0, 3), tree).tolist() == [1, 0, 3]


# closed form


def test_how_often_a_walk_passes():
    share = dict(zip(FAMILY["node"], path_share(tree_of(**FAMILY)).tolist(), strict=True))
    assert share == pytest.approx({"a": 1 / 2, "b": 1 / 2, "c": 1 / 4, "d": 1 / 4, "e": 1 / 12, "f": 1 / 12, "g": 1 / 12})


@given(random_trees())
def test_walks_end_at_leaves(drawn):
    columns, _ = drawn
    tree = tree_of(**columns)
    share = path_share(tree)
    for task in set(columns["task"]):
        of_task = torch.tensor([t == task for t in columns["task"]])
        assert share[of_task & tree.leaf].sum().item() == pytest.approx(1, abs=1e-5)


def test_a_family():
    tree = tree_of(**FAMILY)
    assert tree.parent.tolist() == [4, 4, -1, 2, 2, -1, 4]
    assert tree.depth.tolist() == [3, 3, 1, 2, 2, 1, 3]
    assert tree.leaf.tolist() == [True, True, False, True, False, True, True]
    assert backed_up_values(f64(1, 0, 0, 1, 0, 0.25, 0.5), tree).tolist() == [1, 0, 0.75, 1, 0.5, 0.25, 0.5]


def test_equal_leaves_make_equal_values_all_the_way_up():
    tree = tree_of(**FAMILY)
    assert backed_up_values(torch.where(tree.leaf, f64(0.1), 0), tree).tolist() == [0.1] * 7


# loop against vectorised


@given(random_trees())
def test_equals_a_recursion(given_tree):
    columns, rewards = given_tree
    rows = list(zip(columns["task"], columns["node"], columns["parent"], strict=True))
    place = {(task, node): i for i, (task, node, _) in enumerate(rows)}

    def value(i: int) -> float:
        children = [j for j, (task, _, parent) in enumerate(rows) if (task, parent) == rows[i][:2]]
        return sum(map(value, children)) / len(children) if children else rewards[i]

    def depth(i: int) -> int:
        task, _, parent = rows[i]
        return 1 if parent is None else 1 + depth(place[task, parent])

    tree = tree_of(**columns)
    assert backed_up_values(f64(*rewards), tree).tolist() == pytest.approx([value(i) for i in range(len(rows))])
    assert tree.depth.tolist() == [depth(i) for i in range(len(rows))]


# wrong usage


def test_a_missing_parent_is_refused():
    with pytest.raises(ValueError, match="row 3 of task 't' names 'z' as its parent, but there is no such node"):
        tree_of(**FAMILY | {"parent": ["d", "d", None, "z", "a", None, "d"]})


def test_a_parent_in_another_task_is_refused():
    with pytest.raises(ValueError, match=r"row 1 of task 'u' names 'a' as its parent, which is a node of task 't' \(row 0\)"):
        tree_of(["t", "u"], ["a", "b"], [None, "a"])


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match="rows 0 and 2 are both node 'a' of task 't'"):
        tree_of(["t", "u", "t"], ["a", "a", "a"], [None] * 3)


@pytest.mark.parametrize("parent", [[None, "c", "b", "b"], [None, "b", "a", "a"], [None, "d", "b", "c"]])
def test_rows_that_are_their_own_ancestors_are_refused(parent):
    with pytest.raises(ValueError, match="row 1, node 'b', leads back to no prompt"):
        tree_of(["t"] * 4, list("abcd"), parent)


def test_only_leaves_have_rewards():
    with pytest.raises(ValueError, match="only leaves have a reward, but row 2, which has children, has 1"):
        backed_up_values(f64(1, 0, 1, 1, 0, 0, 0), tree_of(**FAMILY))
    with pytest.raises(ValueError, match="rewards must be finite, got nan in row 0"):
        backed_up_values(f64(float("nan"), 0, 0, 1, 0, 0, 0), tree_of(**FAMILY))
    with pytest.raises(ValueError, match="rewards: 2, tree: 7"):
        backed_up_values(f64(1, 1), tree_of(**FAMILY))
    with pytest.raises(ValueError, match="task: 6, node: 7, parent: 7"):
        tree_of(**FAMILY | {"task": ["t"] * 6})
