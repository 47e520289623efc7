"""Language models by name."""

from hierlab.models.language_model import LanguageModel
from hierlab.models.tiny import TinySize, tiny_model, word_tokenizer

__all__ = ["LanguageModel", "TinySize", "tiny_model", "word_tokenizer"]
