from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.taxonomy import flat_contrast
from hierlab.taxonomy.flat_contrast import cosines, official_weights
from hierlab.taxonomy.level_labels import same_label

seeds = st.integers(0, 10_000)


def drawn(rows, depth, seed, kinds=3):
    g = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, depth, 5, dtype=torch.float64, generator=g)
    return states, [torch.randint(kinds, (rows,), generator=g) for _ in range(depth)]


# degenerate


def test_one_level_and_one_label():
    states, _ = drawn(4, 1, 0)
    assert flat_contrast(states, [torch.zeros(4, dtype=torch.long)], variant="official").item() == 0
    states, _ = drawn(4, 2, 0)
    alike = [torch.zeros(4, dtype=torch.long)] * 2
    for variant in ("paper", "official"):
        assert flat_contrast(states, alike, variant=variant).item() == pytest.approx(0)


def test_rows_without_a_label_have_no_term():
    states, _ = drawn(4, 2, 1)
    nobody = [torch.zeros(4, 3, dtype=torch.bool)] * 2
    for variant in ("paper", "official"):
        assert flat_contrast(states, nobody, variant=variant).item() == 0


# closed form


def test_two_pairs_by_hand():
    e = torch.eye(2, dtype=torch.float64)
    states = torch.stack([e[[0, 0, 1, 1]], e[[0, 0, 1, 1]]], 1)
    labels = [torch.tensor([0, 0, 1, 1])] * 2
    one = -math.log(2 * math.e / (2 * math.e + 2))
    assert flat_contrast(states, labels, variant="official").item() == pytest.approx(4 * one / 2 / 16)
    assert flat_contrast(states, labels, variant="official", decay=2).item() == pytest.approx(4 * one / 4 / 16)
    assert flat_contrast(states, labels).item() == pytest.approx(0)  # strangers are orthogonal
    opposite = torch.cat([states[:2], -states[:2]])
    assert flat_contrast(opposite, labels).item() == pytest.approx(4 * -2 * (1.5 + 1) / (2**2 * 2**2))


def test_weights_of_pairs_of_levels():
    assert official_weights(3).tolist() == [[0, 0, 0], [0.5, 0, 0], [0.25, 0.5, 0]]
    assert official_weights(3, reverse=False).tolist() == [[0, 0, 0], [0.5, 0, 0], [1, 0.5, 0]]


@given(seeds)
def test_nothing_in_the_papers_loss_pulls_rows_of_one_label_together(seed):
    states, labels = drawn(6, 1, seed)
    unit = torch.nn.functional.normalize(states[:, 0], dim=-1)
    similar = (unit @ unit.T).requires_grad_()
    strangers = ~same_label(labels[0])
    loss = flat_contrast(states, labels).item()
    assert loss == pytest.approx(float((similar * strangers).sum().detach()) / 9, abs=1e-12)


# loop against vectorised


@given(seeds, st.integers(1, 4), st.booleans(), st.booleans(), st.floats(0, 2))
def test_official_equals_the_loop(seed, depth, weighted, reverse, decay):
    states, labels = drawn(6, depth, seed)
    weights = [2 ** (-i * decay) if weighted else 1 for i in range(depth)]
    if reverse:
        weights.reverse()
    total = 0.0
    for m in range(depth):
        e = cosines(states)[m].exp()
        for u in range(m):
            for n in range(6):
                same = labels[u] == labels[u][n]
                total -= weights[depth - 1 - m :][u] * math.log(e[n][same].sum() / e[n].sum())
    ours = flat_contrast(states, labels, variant="official", decay=decay, weighted=weighted, reverse=reverse)
    assert ours.item() == pytest.approx(total / 36)


@given(seeds, st.integers(1, 4), st.floats(0, 2))
def test_paper_equals_the_loop(seed, depth, alpha):
    states, labels = drawn(6, depth, seed)
    total = 0.0
    for d in range(1, depth + 1):
        for u in range(1, d + 1):
            s = cosines(states)[u - 1]
            same = labels[u - 1][:, None] == labels[u - 1][None, :]
            for n in range(6):
                total += float((s[n] * same[n]).sum() - s[n].sum()) * 2 ** (-(depth - d) * alpha)
    assert flat_contrast(states, labels, decay=alpha).item() == pytest.approx(-total / (9 * depth**2), abs=1e-12)


@given(seeds)
def test_positions_and_marks_of_one_label_are_the_same(seed):
    states, labels = drawn(6, 3, seed)
    marks = [torch.nn.functional.one_hot(y, 3).bool() for y in labels]
    for variant in ("paper", "official"):
        torch.testing.assert_close(flat_contrast(states, marks, variant=variant), flat_contrast(states, labels, variant=variant))


def test_a_shared_label_among_several_is_enough():
    marks = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()
    assert same_label(marks).int().tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


# wrong usage


def test_wrong_usage():
    states, labels = drawn(4, 2, 0)
    with pytest.raises(ValueError, match="rows come in pairs, the two views of one text, got 3 rows"):
        flat_contrast(states[:3], [y[:3] for y in labels])
    with pytest.raises(ValueError, match="reverse=False is a switch of the official variant"):
        flat_contrast(states, labels, reverse=False)
    with pytest.raises(ValueError, match="states have 2 masks, labels 1 levels"):
        flat_contrast(states, labels[:1])
    with pytest.raises(ValueError, match="labels of level 1 have 3 rows, states 4"):
        flat_contrast(states, [labels[0], labels[1][:3]])
    with pytest.raises(ValueError, match="floating-point tensor"):
        flat_contrast(states[:, 0], labels)
    with pytest.raises(ValueError, match="decay must be a number in"):
        flat_contrast(states, labels, decay=-1)
