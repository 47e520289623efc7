from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from hierlab.taxonomy import LabelTree, constraint_chain, level_loss, several_paths, single_path
from hierlab.taxonomy.constraint_chain import chained_probabilities, mixed_probabilities

TREE = LabelTree.from_children({0: [2, 3], 1: [4, 5, 6]}, ["a", "b", "a1", "a2", "b1", "b2", "b3"])
DEEP = LabelTree.from_children({0: [2, 3], 1: [4], 2: [5, 6], 3: [7], 4: [8, 9]}, [f"label {i}" for i in range(10)])
seeds = st.integers(0, 10_000)


def drawn(tree, rows, seed):
    g = torch.Generator().manual_seed(seed)
    logits = [torch.randn(rows, len(level), dtype=torch.float64, generator=g, requires_grad=True) for level in tree.levels]
    deepest = tree.levels[-1]
    leaves = [deepest[i] for i in torch.randint(len(deepest), (rows,), generator=g).tolist()]
    return logits, single_path(tree, leaves), leaves


# degenerate


def test_a_tree_of_one_level_has_no_chain():
    tree = LabelTree(("a", "b"), (None, None))
    logits, labels = [torch.zeros(3, 2, dtype=torch.float64)], [torch.zeros(3, dtype=torch.long)]
    for variant in ("paper", "official"):
        assert constraint_chain(tree, logits, labels, variant=variant).item() == 0
    assert level_loss(tree, logits, labels).item() == pytest.approx(math.log(2))


def test_labels_without_children_keep_their_own_probability():
    tree = LabelTree.from_children({0: [2, 3]}, ["a", "b", "a1", "a2"])
    logits = [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]])]
    assert mixed_probabilities(tree, logits, 1.0)[0][0].tolist() == pytest.approx([1.0, 1 / (1 + math.exp(-1))])


# closed form


def test_equal_logits_by_hand():
    logits = [torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)]
    labels = single_path(TREE, [4])
    assert constraint_chain(TREE, logits, labels).item() == pytest.approx(-math.log(3 / 5))
    assert constraint_chain(TREE, logits, labels, mixing=0.5).item() == pytest.approx(-math.log(0.55))
    twice = -math.log(math.exp(0.6) / (math.exp(0.6) + math.exp(0.4)))
    assert constraint_chain(TREE, logits, labels, variant="official").item() == pytest.approx(twice)


@given(seeds)
def test_the_second_softmax_never_lets_the_loss_below_its_bound(seed):
    logits, labels, _ = drawn(TREE, 3, seed)
    bound = math.log(1 + (2 - 1) / math.e)
    assert constraint_chain(TREE, [z * 20 for z in logits], labels, variant="official").item() >= bound - 1e-12


@given(seeds)
def test_mass_is_kept_on_its_way_up(seed):
    logits, _, _ = drawn(DEEP, 4, seed)
    for p in chained_probabilities(DEEP, logits):
        torch.testing.assert_close(p.sum(1), torch.ones(4, dtype=torch.float64))
    for p in mixed_probabilities(DEEP, logits, 0.3):
        torch.testing.assert_close(p.sum(1), torch.ones(4, dtype=torch.float64))


def test_levels_that_agree_are_a_fixed_point_of_the_papers_chain_in_expectation():
    """With the true leaf probabilities, the expected gradient of the paper's loss is 0 and that of the released one is not."""
    truth = torch.tensor([[0.05, 0.25, 0.1, 0.2, 0.4]], dtype=torch.float64)
    sizes = {}
    for variant in ("paper", "official"):
        z = truth.log().requires_grad_()
        expected = sum(
            p * constraint_chain(TREE, [torch.zeros(1, 2, dtype=torch.float64), z], single_path(TREE, [leaf]), variant=variant)
            for p, leaf in zip(truth[0], TREE.levels[1], strict=True)
        )
        (gradient,) = torch.autograd.grad(expected, z)
        sizes[variant] = float(gradient.norm())
    assert sizes["paper"] < 1e-12
    assert sizes["official"] > 1e-3


# loop against vectorised


@given(seeds, st.floats(0, 1))
def test_paper_equals_the_loop(seed, beta):
    logits, labels, leaves = drawn(DEEP, 3, seed)
    p = [z.softmax(-1).detach() for z in logits]
    total = 0.0
    for level in range(2):
        for row, leaf in enumerate(leaves):
            label = DEEP.path(leaf)[level]
            below = sum(p[level + 1][row, DEEP.position[c]] for c in DEEP.children(label))
            total -= math.log((1 - beta) * p[level][row, DEEP.position[label]] + beta * below) / 3
    assert constraint_chain(DEEP, logits, labels, mixing=beta).item() == pytest.approx(total)


@given(seeds, st.booleans())
def test_official_equals_the_loop(seed, add_own):
    logits, labels, _ = drawn(DEEP, 3, seed)
    q, total = logits[2].softmax(-1), 0.0
    for level in (1, 0):
        columns = [q[:, [DEEP.position[c] for c in DEEP.children(label)]].sum(1) for label in DEEP.levels[level]]
        q = torch.stack(columns, 1) + (logits[level] if add_own else 0)
        total += cross_entropy(q, labels[level]).item()
    assert constraint_chain(DEEP, logits, labels, variant="official", add_own=add_own).item() == pytest.approx(total)


@given(seeds, st.lists(st.sets(st.integers(0, 9)), min_size=2, max_size=2))
def test_official_of_several_paths_equals_the_loop_and_leaves_the_logits_alone(seed, sets):
    logits, _, _ = drawn(DEEP, 2, seed)
    before = [z.detach().clone() for z in logits]
    labels = several_paths(DEEP, sets)
    z, total = [x.detach().clone() for x in logits], 0.0
    for level in (1, 0):
        for label in DEEP.levels[level]:
            if below := [DEEP.position[c] for c in DEEP.children(label)]:
                place = DEEP.position[label]
                z[level][:, place] = 0.99 * z[level][:, place] + 0.01 * z[level + 1][:, below].mean(1)
        total += binary_cross_entropy_with_logits(z[level], labels[level].double()).item()
    ours = constraint_chain(DEEP, logits, labels, variant="official", multi_path=True)
    assert ours.item() == pytest.approx(total)
    assert all(torch.equal(a, b) for a, b in zip(before, logits, strict=True))
    ours.backward()
    assert all(x.grad is not None for x in logits)


@given(seeds)
def test_marks_of_single_paths_under_the_paper_stay_probabilities(seed):
    logits, _, leaves = drawn(DEEP, 3, seed)
    labels = several_paths(DEEP, [DEEP.path(leaf) for leaf in leaves])
    for beta in (0.0, 0.5, 1.0):
        assert math.isfinite(constraint_chain(DEEP, [z * 30 for z in logits], labels, multi_path=True, mixing=beta).item())


@given(seeds)
def test_the_order_of_rows_does_not_matter(seed):
    logits, labels, _ = drawn(DEEP, 4, seed)
    turned = [z.flip(0) for z in logits], [y.flip(0) for y in labels]
    for variant in ("paper", "official"):
        ours = constraint_chain(DEEP, logits, labels, variant=variant)
        torch.testing.assert_close(constraint_chain(DEEP, *turned, variant=variant), ours)


# wrong usage


def test_wrong_usage():
    logits, labels, _ = drawn(TREE, 2, 0)
    with pytest.raises(ValueError, match=r"the official chain of a single path has no mixing, got 0\.5"):
        constraint_chain(TREE, logits, labels, variant="official", mixing=0.5)
    with pytest.raises(ValueError, match="add_own belongs to the official chain"):
        constraint_chain(TREE, logits, labels, add_own=True)
    with pytest.raises(ValueError, match=r"mixing must be a number in \[0, 1\], got 2"):
        constraint_chain(TREE, logits, labels, mixing=2)
    with pytest.raises(ValueError, match=r"logits need one tensor \[N, labels\] a level"):
        constraint_chain(TREE, logits[:1], labels)
    with pytest.raises(ValueError, match="labels of level 1 must be positions 0 to 4, got 0 to 9"):
        level_loss(TREE, logits, [labels[0], torch.tensor([0, 9])])
    with pytest.raises(ValueError, match="labels of level 0 must be 2 whole numbers"):
        level_loss(TREE, logits, [labels[0].double(), labels[1]])
    with pytest.raises(ValueError, match="labels of level 0 must mark 2 labels in 2 rows"):
        level_loss(TREE, logits, labels, multi_path=True)
    with pytest.raises(ValueError, match="variant must be one of 'paper', 'official'"):
        constraint_chain(TREE, logits, labels, variant="code")
    with pytest.raises(ValueError, match="label 'a' ends on level 0: a single path goes down to level 1"):
        single_path(TREE, [0])
