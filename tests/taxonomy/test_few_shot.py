from __future__ import annotations

import importlib.util
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.seeds import generator
from hierlab.taxonomy import LabelTree, Verbalizer, few_shot, held_out, icd10, label_vectors
from hierlab.taxonomy.few_shot import enough
from hierlab.taxonomy.icd10 import source

TREE = LabelTree.from_children({0: [2, 3], 1: [4, 5, 6]}, ["a", "b", "a1", "a2", "b1", "b2", "b3"])


class TestFewShot:
    @given(st.lists(st.sampled_from(TREE.leaves), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 99))
    def test_one_path_a_document_is_k_a_leaf(self, leaves, shots, seed):
        counts = Counter(leaves)
        frequent = {leaf for leaf in counts if counts[leaf] >= shots}
        if not frequent:
            with pytest.raises(ValueError, match=f"no path has {shots} documents"):
                few_shot(TREE, leaves, shots, generator(seed))
            return
        drawn = few_shot(TREE, leaves, shots, generator(seed))
        assert Counter(leaves[row] for row in drawn) == dict.fromkeys(frequent, shots)
        assert len(set(drawn)) == len(drawn)
        assert drawn == few_shot(TREE, leaves, shots, generator(seed))

    @given(st.lists(st.sets(st.sampled_from(TREE.leaves), min_size=1), min_size=1, max_size=20), st.integers(1, 3), st.integers(0, 99))
    def test_several_paths_a_document(self, documents, shots, seed):
        kept = enough([frozenset(d) for d in documents], shots)
        for leaf in {leaf for row in kept for leaf in documents[row]}:
            assert sum(leaf in documents[row] for row in kept) >= shots
        if kept:
            drawn = few_shot(TREE, documents, shots, generator(seed))
            have = Counter(leaf for row in drawn for leaf in documents[row])
            assert all(have[leaf] >= shots for row in kept for leaf in documents[row])
            assert set(drawn) <= set(kept)

    def test_dropping_a_rare_path_can_make_another_rare(self):
        assert enough([frozenset({2, 3}), frozenset({3}), frozenset({4}), frozenset({4})], 2) == [2, 3]

    def test_a_drawn_document_counts_for_all_its_paths(self):
        assert few_shot(TREE, [{2, 4}], 1, generator(0)) == [0]
        assert sorted(few_shot(TREE, [{2, 4}, {2, 4}], 2, generator(0))) == [0, 1]
        for seed in range(5):  # leaf 3 is rarest and is served first; its document serves leaf 4 as well
            drawn = few_shot(TREE, [{4}, {4}, {3, 4}], 1, generator(seed))
            assert drawn == [2]

    def test_wrong_usage(self):
        with pytest.raises(ValueError, match="shots must be a whole number of at least 1, got 0"):
            few_shot(TREE, [2], 0, generator(0))
        with pytest.raises(ValueError, match=r"document 0 has the label 0 \('a'\), which is no leaf"):
            few_shot(TREE, [0], 1, generator(0))
        with pytest.raises(ValueError, match="document 1 has no label"):
            few_shot(TREE, [2, []], 1, generator(0))

    def test_holding_out(self):
        leaves = [2, 2, 2, 4, 4, 4, 4]
        rest, out = held_out(leaves, 2, generator(1))
        assert sorted(rest + out) == list(range(7))
        assert Counter(leaves[row] for row in out) == {2: 2, 4: 2}
        with pytest.raises(ValueError, match="label 2 has 3 documents: holding out 3 leaves none"):
            held_out(leaves, 3, generator(1))


class TestLabelVectors:
    own = torch.tensor([[1.0, 0], [0, 1], [2, 0], [4, 0], [0, 3], [0, 6], [0, 0]])

    def test_by_hand(self):
        paper = label_vectors(TREE, self.own)
        assert paper[0].tolist() == pytest.approx([7 / 3, 0])
        assert paper[1].tolist() == [0, 2.5]
        weighted = label_vectors(TREE, self.own, pieces=torch.tensor([2, 1, 1, 1, 1, 1, 3]))
        assert weighted[0].tolist() == [2, 0]
        assert weighted[1].tolist() == pytest.approx([0, 10 / 6])
        official = label_vectors(TREE, self.own, variant="official")
        assert official[0].tolist() == [4, 0]
        assert official[1].tolist() == [0, 4]
        for vectors in (paper, official, label_vectors(TREE, self.own, variant="own")):
            assert torch.equal(vectors[2:], self.own[2:])

    def test_wrong_usage(self):
        with pytest.raises(ValueError, match=r"own must be a floating-point tensor \[7, H\]"):
            label_vectors(TREE, self.own[:3])
        with pytest.raises(ValueError, match="pieces must hold a number of at least 1 for each of the 7 labels"):
            label_vectors(TREE, self.own, pieces=torch.zeros(7))


class TestVerbalizer:
    def test_shapes_and_scores(self):
        vectors = torch.randn(7, 4, generator=generator(0))
        for kind, sizes in (("levels", [2, 5]), ("flat", [7, 7])):
            verbalizer = Verbalizer(TREE, vectors, kind=kind, generator=generator(1)).eval()
            logits, hidden = verbalizer(torch.randn(3, 2, 4))
            assert [tuple(z.shape) for z in logits] == [(3, n) for n in sizes]
            assert hidden.shape == (3, 2, 4)
            assert [z.shape[1] for z in verbalizer.scores(logits)] == [2, 5]
            assert len(verbalizer.transforms) == (2 if kind == "levels" else 1)

    def test_dropout_makes_two_views_in_training_only(self):
        verbalizer = Verbalizer(TREE, torch.randn(7, 8), dropout=0.5)
        states = torch.randn(1, 2, 8).expand(2, 2, 8)
        views = verbalizer(states, generator(0))[1]
        assert not torch.equal(views[0], views[1])
        views = verbalizer.eval()(states)[1]
        assert torch.equal(views[0], views[1])

    def test_a_language_models_head_is_copied_into_every_transform(self):
        head = {"dense.weight": torch.eye(4), "dense.bias": torch.ones(4), "LayerNorm.weight": torch.full((4,), 2.0)}
        head["LayerNorm.bias"] = torch.zeros(4)
        verbalizer = Verbalizer(TREE, torch.randn(7, 4), head=head)
        for copy in verbalizer.transforms:
            assert torch.equal(copy[0].weight, head["dense.weight"])
            assert torch.equal(copy[2].weight, head["LayerNorm.weight"])

    def test_wrong_usage(self):
        with pytest.raises(ValueError, match=r"vectors must have shape \[7, H\]"):
            Verbalizer(TREE, torch.zeros(6, 4))
        with pytest.raises(ValueError, match=r"states must have shape \[N, 2, H\], one state a level"):
            Verbalizer(TREE, torch.zeros(7, 4))(torch.zeros(1, 3, 4))


class TestIcd10:
    def test_the_tree_and_its_texts(self):
        corpus = icd10()
        assert [len(level) for level in corpus.tree.levels] == [21, 158]
        assert len(corpus.texts) == len(set(corpus.texts)) > 11_000
        assert min(Counter(corpus.leaves).values()) >= 20
        place = corpus.texts.index("Classical cholera")
        assert [corpus.tree.names[label] for label in corpus.tree.path(corpus.leaves[place])] == [
            "Certain infectious and parasitic diseases",
            "Intestinal infectious diseases",
        ]
        assert not any(name.endswith(")") and "-" in name.rpartition("(")[2] for name in corpus.tree.names)

    def test_three_levels(self):
        corpus = icd10(depth=3, least_texts=8)
        assert corpus.tree.depth == 3
        assert all(corpus.tree.level_of[leaf] == 2 for leaf in corpus.leaves)

    def test_where_it_comes_from(self):
        found = source()
        assert (found.package, found.version) == ("simple-icd-10-cm", "1.5.0")
        assert found.sha256.startswith("f161f818")

    def test_wrong_usage(self, monkeypatch):
        with pytest.raises(ValueError, match=r"depth must be 2 \(chapters, sections\) or 3"):
            icd10(depth=1)
        with pytest.raises(ValueError, match="no label of depth 2 has 100000 texts; the largest has"):
            icd10(least_texts=100_000)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match="pip install simple-icd-10-cm=="):
            source()
