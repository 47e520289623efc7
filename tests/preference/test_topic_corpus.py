from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from hierlab.envs.topic_corpus import TOPICS, WORDS, TopicCorpus, as_text


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_texts_of_one_word_are_the_first_row_of_the_chain():
    corpus = TopicCorpus(1, shortest=1, longest=1)
    texts = corpus.sample([2] * 4000, draw())
    counts = torch.bincount(torch.tensor([text[0] for text in texts]), minlength=len(WORDS)) / 4000
    assert torch.allclose(counts.double(), corpus.chain[2, -1].exp(), atol=0.03)


def test_the_probabilities_of_all_texts_sum_to_one():
    corpus = TopicCorpus(3, shortest=1, longest=2)
    words = range(len(WORDS))
    texts = [*((a,) for a in words), *product(words, words)]
    for topic in range(len(TOPICS)):
        assert float(corpus.log_probability([topic] * len(texts), texts).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_a_length_that_does_not_occur_has_no_probability():
    corpus = TopicCorpus(0)
    assert corpus.log_probability([0, 0], [(), (1,) * 21]).tolist() == [-math.inf, -math.inf]


def test_lengths_are_uniform():
    lengths = torch.tensor([len(text) for text in TopicCorpus(0).sample([0] * 3600, draw())])
    assert lengths.min() == 3
    assert lengths.max() == 20
    assert torch.bincount(lengths, minlength=21)[3:].float().div(200).sub(1).abs().max() < 0.35


def test_utility_is_linear_in_the_words():
    corpus = TopicCorpus(0)
    one, two, both = corpus.utility([1, 1, 1], [(4, 4), (7,), (4, 7, 4)]).tolist()
    assert both == pytest.approx(one + two)
    assert corpus.utility([0], [()]).tolist() == [0]


def test_raters_err_as_often_as_the_utilities_say():
    comparisons = TopicCorpus(0).compare(4000, draw())
    erred = (comparisons.utility_gap < 0).double()
    expected = torch.minimum(comparisons.agreement, 1 - comparisons.agreement)
    assert float(erred.mean()) == pytest.approx(float(expected.mean()), abs=0.02)
    assert torch.equal(comparisons.agreement, comparisons.utility_gap.sigmoid())
    assert all(a != b for a, b in zip(comparisons.chosen, comparisons.rejected, strict=True))


def test_the_gap_is_that_of_the_texts():
    corpus = TopicCorpus(5)
    c = corpus.compare(50, draw())
    assert torch.allclose(corpus.utility(c.topic, c.chosen) - corpus.utility(c.topic, c.rejected), c.utility_gap)


def test_one_seed_is_one_language():
    assert torch.equal(TopicCorpus(2).chain, TopicCorpus(2).chain)
    assert not torch.equal(TopicCorpus(2).worth, TopicCorpus(3).worth)
    assert as_text((0, len(WORDS) - 1)) == "sun jump"


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="texts need at least one word"):
        TopicCorpus(shortest=0)
    with pytest.raises(ValueError, match="must not be negative"):
        TopicCorpus(stakes=-1)
    with pytest.raises(ValueError, match="pairs must be at least 1"):
        TopicCorpus().compare(0, draw())
