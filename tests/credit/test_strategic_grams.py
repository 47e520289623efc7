from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import mine_strategic_grams, planning_mask, semantic_entropy
from hierlab.credit.strategic_grams import gram_counts, grams_of

TRY, CHECK = ("let", "us", "try"), ("we", "should", "check")


def one_hot(texts: list[str]) -> np.ndarray:
    """A vector of its own for every text, except that the two ways to try mean the same."""
    same = {text: i for i, text in enumerate(dict.fromkeys(text.replace("let me try", "let us try") for text in texts))}
    vectors = np.zeros((len(texts), len(same)))
    for row, text in enumerate(texts):
        vectors[row, same[text.replace("let me try", "let us try")]] = 1
    return vectors


# degenerate sizes


def test_nothing_to_mine():
    for solutions in ([], [""], ["too short"]):
        mined = mine_strategic_grams(solutions)
        assert (mined.grams, mined.strategic) == ([], frozenset())


def test_no_grams_and_no_words():
    empty = torch.zeros(1, 3, dtype=torch.bool)
    assert not planning_mask([[]], empty, [TRY]).any()
    assert not planning_mask([["let ", "us ", "try"]], torch.ones(1, 3, dtype=torch.bool), []).any()
    assert semantic_entropy(["nothing of the kind"], [TRY]) == semantic_entropy([], [TRY]) == 0


# mining


def test_grams_of_a_text():
    assert list(grams_of("A b  C\nd", (2, 3))) == [("a", "b"), ("b", "c"), ("c", "d"), ("a", "b", "c"), ("b", "c", "d")]
    assert list(grams_of("a b", (3,))) == []


def test_clusters_count_solutions_and_the_frequent_ones_are_kept():
    solutions = ["let us try two three", "let me try five six", "let us try let us try", "one two three"]
    mined = mine_strategic_grams(solutions, sizes=(3,), clusters=8, embed=one_hot, top=1 / 8)
    of = dict(zip(mined.grams, mined.cluster, strict=True))
    assert of["let", "us", "try"] == of["let", "me", "try"]
    assert mined.frequency[of["let", "us", "try"]] == 3  # the third solution counts once
    assert mined.strategic == {("let", "us", "try"), ("let", "me", "try")}


def test_ties_are_kept():
    mined = mine_strategic_grams(["a b c", "d e f"], sizes=(3,), embed=one_hot, clusters=2, top=0.5)
    assert mined.strategic == {("a", "b", "c"), ("d", "e", "f")}
    assert mine_strategic_grams(["a b c", "d e f"], sizes=(3,), embed=one_hot, clusters=2, top=0.0).strategic == frozenset()


def test_templates_are_found_among_random_sums():
    generator = torch.Generator().manual_seed(0)
    templates = ["let us work step by step", "first we should check the signs", "a different way is to count"]
    solutions = []
    for i in range(60):
        numbers = torch.randint(10, 90, (12,), generator=generator).tolist()
        solutions.append(" ".join([templates[i % 3], *map(str, numbers)]))
    planted = {gram for template in templates for gram in grams_of(template)}
    mined = mine_strategic_grams(solutions, least=2, top=1.0)
    assert planted <= mined.strategic
    assert len(mined.strategic - planted) < len(planted)  # all else is a phrase's end with a number, or numbers met twice
    assert mined == mine_strategic_grams(solutions, least=2, top=1.0)
    crowded = mine_strategic_grams(solutions, top=0.05)  # every solution holds some number of a large cluster
    assert len(crowded.strategic - planted) > len(planted)


# marking


def test_planning_tokens():
    pieces = [["Let", " us", " t", "ry this. We ", "should check", " it"], ["try", " let us"]]
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    assert planning_mask(pieces, mask, [TRY, CHECK]).tolist() == [[True, True, True, True, True, False], [False] * 6]


def test_occurrences_overlap_and_gaps_in_the_mask_are_skipped():
    pieces = [["a ", "b ", "a ", "b ", "a ", "c"]]
    mask = torch.tensor([[True, True, False, True, True, True, True]])
    assert planning_mask(pieces, mask, [("a", "b", "a")]).tolist() == [[True, True, False, True, True, True, False]]


@given(words=st.lists(st.sampled_from("abc"), max_size=12), gram=st.lists(st.sampled_from("abc"), min_size=2, max_size=3))
def test_marking_equals_a_search(words, gram):
    expected = [False] * len(words)
    for i in range(len(words) - len(gram) + 1):
        if words[i : i + len(gram)] == gram:
            expected[i : i + len(gram)] = [True] * len(gram)
    mask = torch.ones(1, len(words), dtype=torch.bool)
    assert planning_mask([[f"{word} " for word in words]], mask, [tuple(gram)])[0].tolist() == expected


# semantic entropy


def test_semantic_entropy():
    texts = ["let us try let us try", "We should check", "let us try and we should check we should check"]
    assert gram_counts(texts, [TRY, CHECK]) == {TRY: 3, CHECK: 3}
    assert semantic_entropy(texts, [TRY, CHECK]) == pytest.approx(log(2))
    assert semantic_entropy(texts[:1], [TRY, CHECK]) == 0
    assert semantic_entropy(texts[:2], [TRY, CHECK]) == pytest.approx(-(2 / 3 * log(2 / 3) + 1 / 3 * log(1 / 3)))


# wrong usage


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="row 1 has 1 texts and 2 tokens"):
        planning_mask([["a", "b"], ["a"]], torch.ones(2, 2, dtype=torch.bool), [TRY])
    with pytest.raises(ValueError, match=r"top must be a number in \[0, 1\], got 20"):
        mine_strategic_grams(["a b c"], top=20)
    with pytest.raises(ValueError, match="sizes must be 1 or more, got 0"):
        mine_strategic_grams(["a b c"], sizes=(0,))
    with pytest.raises(ValueError, match="least must be 1 or more, got 0"):
        mine_strategic_grams(["a b c"], least=0)
    with pytest.raises(ValueError, match="clusters must be 1 or more, got 0"):
        mine_strategic_grams(["a b c"], clusters=0)
