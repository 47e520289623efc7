"""A tiny Llama-style model over a vocabulary of words: reduced-scale experiments train it in seconds on one core."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from hierlab.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
COMMAND_MARK = ">"
"""Stands before a command in a transcript; always in the vocabulary."""

# A word keeps its inner hyphens and apostrophes ("non-euclidean", "Henderson's"), a tag is a word ("<action>", "</action>"); every other
# mark is a word of its own.
_WORD = r"</?\w+>|\w+(?:['-]\w+)*|[^\w\s]"


@dataclass(frozen=True)
class TinySize:
    """Size of the tiny model; the default has 0.9 M parameters with a vocabulary of 300 words.

    Attributes:
        hidden: width of the residual stream; a multiple of `heads`.
        layers: number of transformer layers.
        heads: attention heads.
        inner: width of the feed-forward layers.
        context: longest sequence, prompt and response together.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    inner: int = 384
    context: int = 1024

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden must be a multiple of twice the heads (rotary positions), got {self.hidden} and {self.heads} heads")


def tiny_model(vocabulary_size: int, size: TinySize, seed: int) -> PreTrainedModel:
    """A randomly initialised Llama with tied embeddings; the same seed gives the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=SPECIAL.index("<bos>"),
        eos_token_id=SPECIAL.index("<eos>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny model"))
        return LlamaForCausalLM(config)


def word_tokenizer(vocabulary: Iterable[str], *, context: int = TinySize.context) -> PreTrainedTokenizerBase:
    """A word-level tokenizer over the words of some texts.

    Decoding joins words by single spaces, so that a command of known words comes back as it was written.

    Args:
        vocabulary: words, or whole texts, which are split into words; the order does not matter.
        context: longest sequence the model takes.

    Raises:
        ValueError: if there are no words.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    words = {word for text in vocabulary for word, _ in split.pre_tokenize_str(text)}
    if not words:
        raise ValueError("a tiny model needs a vocabulary: give its words, or the texts it will read and write")
    ordered = [*SPECIAL, *sorted((words | {COMMAND_MARK}) - set(SPECIAL))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(ordered)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", SPECIAL.index("<bos>"))])
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, clean_up_tokenization_spaces=False, **names)
