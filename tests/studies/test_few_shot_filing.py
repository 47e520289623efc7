from __future__ import annotations

import pytest
import torch

from hierlab.lab.errors import Refused
from hierlab.studies.taxonomy.chain_microscope import (
    KINDS,
    contrast_alone,
    expected_chain,
    minimisers,
    properness,
    random_truth,
    second_softmax,
    star_tree,
)
from hierlab.studies.taxonomy.few_shot_filing import METRICS, excerpt, file_texts, filing_task, training_rows
from hierlab.studies.taxonomy.filing_figures import flow, penalty_curve, vector_map
from hierlab.train.few_shot_loop import LoopSettings

QUICK = LoopSettings(rate=3e-3, label_rate=6e-3, epochs=2, batch=40)


@pytest.fixture(scope="module")
def task():
    return filing_task("bag", roots=3, test=2, pool=4)


class TestTask:
    def test_pool_and_test_are_apart_and_of_the_asked_sizes(self, task):
        leaves = task.corpus.tree.leaves
        assert not set(task.pool) & set(task.test)
        assert len(task.test) == 2 * len(leaves)
        assert len(task.pool) == 4 * len(leaves)
        assert task.states.shape[:2] == (len(task.corpus.texts), 2)

    def test_training_sets_are_k_a_leaf_and_differ_by_seed(self, task):
        one = training_rows(task, 2, 0)
        assert len(one) == 2 * len(task.corpus.tree.leaves)
        assert set(one) <= set(task.pool)
        assert one == training_rows(task, 2, 0) != training_rows(task, 2, 1)
        with pytest.raises(Refused, match="5 shots want a pool of at least 5 texts a leaf: raise --set pool=5"):
            training_rows(task, 5, 0)

    def test_every_arm_measures_the_same_numbers(self, task):
        kinds = ("hierverb", "leaves", "labels", "mask centroid", "centroid", "tfidf", "majority")
        found = [file_texts(task, {"kind": kind}, (1, 2), loop=QUICK, seed=0) for kind in kinds]
        assert len({frozenset(values) for values in found}) == 1
        assert {f"{name}_{k}" for name in METRICS for k in (1, 2)} < set(found[0])
        assert found[-1]["consistency_1"] == found[1]["consistency_1"] == 1
        assert found[0]["mean_macro_f1"] == pytest.approx(sum(found[0]["macro_f1_curve"]) / 2)

    def test_an_excerpt_keeps_names_states_and_starts_together(self, task):
        small = excerpt(task)
        assert [len(level) for level in small.corpus.tree.levels] == [3, 6]
        assert len(small.test) == 6
        place = task.corpus.texts.index(small.corpus.texts[small.pool[0]])
        assert torch.equal(small.states[small.pool[0]], task.states[place])
        for label, name in enumerate(small.corpus.tree.names):
            assert any(
                torch.equal(small.starts["paper"][label], task.starts["paper"][other])
                for other, there in enumerate(task.corpus.tree.names)
                if there == name
            )
        with pytest.raises(ValueError, match="the task has no 3 roots with 2 leaves and 9 texts each"):
            excerpt(task, texts=9)

    def test_what_is_missing_is_refused_before_anything_runs(self):
        with pytest.raises(Refused, match=r"no file .*wos\.jsonl: it should hold one text a line"):
            filing_task("bag", "wos.jsonl")
        with pytest.raises(Refused, match="holding out 5000 leaves none"):
            filing_task("bag", roots=3, test=5000)


class TestMicroscope:
    def test_the_papers_chain_is_proper_and_the_released_one_is_not(self):
        tree = star_tree(2, 2)
        truth = random_truth(tree, 0)
        paper, official = (properness(tree, truth, variant) for variant in ("paper", "official"))
        assert paper.gradient < 1e-12
        assert paper.distance < 1e-9
        assert official.gradient > 1e-4
        assert official.largest_found > official.largest_true

    def test_the_expected_loss_is_a_sum_over_leaves(self):
        tree = star_tree(2, 1)
        truth = torch.tensor([0.25, 0.75], dtype=torch.float64)
        entropy = -(truth * truth.log()).sum()
        torch.testing.assert_close(expected_chain(tree, truth.log(), truth, "paper"), entropy)

    def test_the_minimum_follows_the_truth_in_the_paper_and_jumps_in_the_code(self):
        paper, official = minimisers(21, points=9, grid=51).data
        assert max(abs(x - y) for x, y in zip(paper.x, paper.y, strict=True)) < 0.02
        assert set(official.y) == {0.0, 1.0}

    def test_the_second_softmax_flattens(self):
        figure = second_softmax(21, points=5)
        paper, official = ([trace.y for trace in figure.data if trace.name == name] for name in ("paper", "released code"))
        assert max(official[0]) - min(official[0]) < 1 < max(paper[0]) - min(paper[0])
        assert max(official[1]) < 0.3 < max(paper[1])

    def test_descending_the_contrast(self):
        for variant in ("paper", "official"):
            curves = contrast_alone(variant, steps=10)
            assert list(curves) == list(KINDS)
            assert curves["strangers"][-1] < curves["strangers"][0]


class TestFigures:
    def test_they_draw(self, task):
        small = excerpt(task)
        tree = small.corpus.tree
        bars = flow(tree, [0.1, 0.2, 0.3, 0.1, 0.2, 0.1], [0.5, 0.3, 0.2], tree.leaves[0]).data
        assert [list(bar.x) for bar in bars[1:]] == [[0.5, 0.3, 0.2], pytest.approx([0.3, 0.4, 0.3])]
        assert [name for bar in bars for name in bar.y if name.endswith("✓")] == [bars[0].y[0], bars[1].y[0], bars[2].y[0]]
        assert len(vector_map(tree, {"a": small.starts["paper"], "b": small.starts["official"]}).data) == 12
        assert max(penalty_curve().data[0].y) == 1
