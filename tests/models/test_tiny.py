import pytest
import torch

from hierlab.models import TinySize, load
from hierlab.models.tiny import SPECIAL, word_tokenizer


def test_one_word_is_a_vocabulary():
    policy = load("tiny", vocabulary=["go"])
    assert len(policy.tokenizer) == len(SPECIAL) + 2  # the command mark is always there
    assert policy.model.get_input_embeddings().num_embeddings == len(policy.tokenizer)


@pytest.mark.parametrize("vocabulary", [None, [], [" \n"]])
def test_no_words_are_refused(vocabulary):
    with pytest.raises(ValueError, match="needs a vocabulary"):
        load("tiny", vocabulary=vocabulary)


@pytest.mark.parametrize(
    "command", ["take the key", "open non-euclidean chest", "unlock Henderson's gate with type-F key", "> look", "Ünter café 7"]
)
def test_commands_round_trip(command):
    tokenizer = word_tokenizer(["look", command])
    ids = tokenizer(command).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == command


def test_a_tag_is_a_word():
    tokenizer = word_tokenizer(["<switch>KEEP</switch>", "a < b > c"])
    ids = tokenizer("<switch>KEEP</switch>", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<switch>", "KEEP", "</switch>"]
    assert tokenizer.decode(ids) == "<switch> KEEP </switch>"
    assert tokenizer.tokenize("a < b > c <b c>") == ["a", "<", "b", ">", "c", "<", "b", "c", ">"]


def test_whitespace_is_lost_and_marks_are_words():
    tokenizer = word_tokenizer(["You are in the hall. Go north, or (perhaps) south!"])
    ids = tokenizer("You are\n in  the hall.Go south").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "You are in the hall . Go south"


def test_unknown_words_and_empty_text():
    tokenizer = word_tokenizer(["hall"])
    assert tokenizer("xyzzy").input_ids == [tokenizer.bos_token_id, tokenizer.unk_token_id]
    assert tokenizer("").input_ids == [tokenizer.bos_token_id]


def test_texts_and_their_words_in_any_order_give_one_vocabulary():
    one = word_tokenizer(["take the key", "take it"])
    other = word_tokenizer(["it", "key", "the", "take"])
    assert one.get_vocab() == other.get_vocab()


def test_special_tokens_come_first():
    tokenizer = word_tokenizer(["a"])
    assert tokenizer.convert_ids_to_tokens(range(4)) == list(SPECIAL)
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2, 3)


def test_default_size():
    policy = load("tiny", vocabulary=[f"w{i}" for i in range(295)])
    assert sum(p.numel() for p in policy.model.parameters()) == 891_520


def test_size_is_adjustable():
    policy = load("tiny", vocabulary=["a"], size=TinySize(hidden=32, layers=2, heads=2, inner=48, context=64))
    assert policy.model.config.num_hidden_layers == 2
    assert policy.tokenizer.model_max_length == policy.model.config.max_position_embeddings == 64


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"context": -1}, {"hidden": 30, "heads": 4}, {"hidden": 12, "heads": 4}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TinySize(**wrong)


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (load("tiny", vocabulary=["a", "b"], seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_dtype():
    model = load("tiny", vocabulary=["a"], dtype=torch.bfloat16).model
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
