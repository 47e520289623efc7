"""Decoders: a batch of sequences that grow by one token at a time. One for any causal language model, and a faster one for Llamas.

Shapes: B rows, G prompts, P prompt positions (padded on the left), V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from hierlab.rollout.llama_decoder import LlamaDecoder, as_llama

if TYPE_CHECKING:
    from transformers import Cache


class Decoder(Protocol):
    """Sequences under way; `logits` [B, V] are those of the token that comes next."""

    logits: Tensor

    def advance(self, token: Tensor) -> None:
        """Append one token to every sequence. [B]"""

    def keep(self, rows: Tensor) -> None:
        """Go on with the given rows only, in this order. [B'] int64"""


def read_prompts(model: nn.Module, ids: Tensor, mask: Tensor, place: Tensor) -> Decoder:
    """Read each prompt once and begin the sequences that continue them.

    Args:
        model: a causal language model of transformers.
        ids: [G, P] distinct prompts, padded on the left.
        mask: [G, P] bool, False for the padding.
        place: [B] int64, the prompt that each row continues.
    """
    from transformers import DynamicCache  # costs seconds, and `hierlab.rollout` is also imported without an engine

    cache = DynamicCache(config=model.config)
    dense = bool(mask.all())  # then no mask is needed: the cache holds exactly what each row may attend to
    output = model(
        input_ids=ids,
        attention_mask=None if dense else mask,
        position_ids=(mask.long().cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    start = output.logits[:, -1], cache, None if dense else mask, mask.sum(dim=1), place
    llama = as_llama(model)
    return _CacheDecoder(model, *start) if llama is None else LlamaDecoder(llama, *start)


class _CacheDecoder:
    """The general decoder: every row has its own copy of its prompt's cache, in transformers' own format."""

    def __init__(self, model: nn.Module, logits: Tensor, cache: Cache, mask: Tensor | None, position: Tensor, place: Tensor):
        self.model, self.logits, self.cache, self.mask = model, logits, cache, mask
        self.position = position  # of the next token in its own sequence, [B]
        self.keep(place)

    def advance(self, token: Tensor) -> None:
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(token), 1)], dim=1)
        output = self.model(
            input_ids=token[:, None],
            attention_mask=self.mask,
            position_ids=self.position[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits, self.position = output.logits[:, -1], self.position + 1

    def keep(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.logits, self.position = self.logits[rows], self.position[rows]
        self.mask = None if self.mask is None else self.mask[rows]
