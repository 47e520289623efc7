"""A language model and its tokenizer, as one thing with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer.

    Attributes:
        model: a `transformers` causal language model, or a peft model around one.
        tokenizer: its tokenizer.
        name: what it was loaded as.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
