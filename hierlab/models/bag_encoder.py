"""A text encoder without a model: every word has a random vector, and a text is the mean of its words' vectors.

Random vectors of many dimensions are nearly orthogonal, so texts are alike as far as they share words, as in a bag of words. It has the
methods of `SentenceEncoder`, needs no weights and no other package, and is what tests and smoke runs use in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.seeds import generator


@dataclass(frozen=True)
class BagEncoder:
    """Random word vectors, the same in every process.

    Attributes:
        width: H, the length of a vector.
        name: what it is loaded by.
        mask_token: the text that stands for a mask in a prompt.
    """

    width: int = 128
    name: str = "bag"
    mask_token: str = "[MASK]"

    @property
    def device(self) -> torch.device:
        """Where vectors live."""
        return torch.device("cpu")

    def embed(self, texts: Sequence[str]) -> Tensor:
        """One vector of unit length a text. [N, H]"""
        return torch.nn.functional.normalize(self.word_vectors(texts), dim=-1)

    def mask_states(self, prompts: Sequence[str], masks: int) -> Tensor:
        """The mean of the prompt's word vectors, the same at every mask. [N, masks, H]

        Raises:
            ValueError: if a prompt has another number of masks.
        """
        for row, text in enumerate(prompts):
            if text.count(self.mask_token) != masks:
                raise ValueError(f"every prompt needs {masks} masks, row {row} has {text.count(self.mask_token)}")
        return self.word_vectors(prompts)[:, None].expand(-1, masks, -1).contiguous()

    def word_vectors(self, texts: Sequence[str], *, special: bool = False) -> Tensor:
        """The mean of each text's word vectors. [N, H]

        Args:
            texts: N texts.
            special: accepted, without effect: a bag has no [CLS] and [SEP].

        Raises:
            ValueError: if a text has no word.
        """
        del special
        table: dict[str, Tensor] = {}
        rows = []
        for words in self._words(texts):
            for word in words:
                if word not in table:
                    table[word] = torch.randn(self.width, generator=generator("bag", word))
            rows.append(torch.stack([table[word] for word in words]).mean(0))
        return torch.stack(rows) if rows else torch.zeros(0, self.width)

    def piece_counts(self, texts: Sequence[str]) -> Tensor:
        """How many words each text has. [N]"""
        return torch.tensor([len(words) for words in self._words(texts)])

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        found = [re.findall(r"\w+", text.replace(self.mask_token, " ").lower()) for text in texts]
        if [] in found:
            raise ValueError(f"a text without any word has no vector: {texts[found.index([])]!r}")
        return found
