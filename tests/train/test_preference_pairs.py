from __future__ import annotations

import pytest
import torch

from hierlab.models import TinySize, load
from hierlab.train.pairs import Pair, collate, sequence_logp, tokenise

PAIRS = [Pair((1, 5), (6, 7, 2), (8, 2)), Pair((1,), (9, 2), (6, 6, 6, 2)), Pair((1, 7, 8), (5,), (6,))]


@pytest.fixture(scope="module")
def tiny():
    return load("tiny", vocabulary=["a b c d e f g h"], size=TinySize(hidden=16, layers=1, heads=2, inner=16, context=32))


def plain_logp(model, prompt, answer) -> float:
    """One answer, one forward pass, token by token."""
    ids = torch.tensor([[*prompt, *answer]])
    logits = model(input_ids=ids).logits[0].detach().log_softmax(-1)
    return sum(float(logits[len(prompt) + t - 1, token]) for t, token in enumerate(answer))


def test_one_pair_is_not_padded_more_than_its_shorter_answer():
    batch = collate([PAIRS[0]], pad_id=3)
    assert batch.prompt_ids.tolist() == [[1, 5]]
    assert batch.prompt_mask.all()
    assert batch.chosen_ids.tolist() == [[6, 7, 2]]
    assert batch.rejected_ids.tolist() == [[8, 2, 3]]
    assert batch.rejected_mask.tolist() == [[True, True, False]]


def test_chosen_answers_come_first():
    batch = collate(PAIRS)
    ids, mask = batch.sequences()
    rows = [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)]
    assert rows == [[*p.prompt, *p.chosen] for p in PAIRS] + [[*p.prompt, *p.rejected] for p in PAIRS]
    assert len(batch) == len(batch.to("cpu")) == 3


def test_log_probabilities_are_those_of_answers_read_one_by_one(tiny):
    with torch.no_grad():
        chosen, rejected = sequence_logp(tiny.model, collate(PAIRS))
    for i, pair in enumerate(PAIRS):
        assert float(chosen[i]) == pytest.approx(plain_logp(tiny.model, pair.prompt, pair.chosen), abs=1e-4)
        assert float(rejected[i]) == pytest.approx(plain_logp(tiny.model, pair.prompt, pair.rejected), abs=1e-4)


def test_log_probabilities_have_a_gradient_and_do_not_depend_on_padding(tiny):
    alone = torch.stack([torch.cat(sequence_logp(tiny.model, collate([pair]))) for pair in PAIRS])
    together = torch.stack(sequence_logp(tiny.model, collate(PAIRS, pad_id=3)), dim=1)
    assert torch.allclose(alone, together, atol=1e-4)
    assert together.requires_grad


def test_texts_become_pairs_that_end_with_the_end_token(tiny):
    (pair,) = tokenise(tiny.tokenizer, ["a b"], ["c"], ["d e"])
    tokens = [tiny.tokenizer.convert_ids_to_tokens(list(ids)) for ids in (pair.prompt, pair.chosen, pair.rejected)]
    assert tokens == [["<bos>", "a", "b"], ["c", "<eos>"], ["d", "e", "<eos>"]]
    (bare,) = tokenise(tiny.tokenizer, ["a b"], ["c"], ["d e"], end=False)
    assert len(bare.chosen) == 1


def test_too_long_pairs_are_left_out(tiny):
    kept = tokenise(tiny.tokenizer, ["a", "a"], ["b", "b c d"], ["b", "b"], max_length=4)
    assert len(kept) == 1
    with pytest.raises(ValueError, match="none of the 2 pairs has at most 2 tokens"):
        tokenise(tiny.tokenizer, ["a", "a"], ["b", "b c d"], ["b", "b"], max_length=2)


def test_wrong_usage_is_refused(tiny):
    with pytest.raises(ValueError, match="rejected has none"):
        Pair((1,), (2,), ())
    with pytest.raises(ValueError, match="at least one pair"):
        collate([])
    with pytest.raises(ValueError, match="one text a pair, got 1, 2 and 1"):
        tokenise(tiny.tokenizer, ["a"], ["b", "c"], ["d"])
