"""The decoding step of a Llama, written out: about twice as fast as the general one for groups of rollouts of a small model.

Two things make it so. The rows that continue one prompt share its keys and values, which are neither copied nor read once a row:
all of them attend to the prompt in one matrix product. And a step is some twenty tensor operations a layer, without the
bookkeeping of a general model.

Shapes: B rows, G prompts, K places a prompt, H query heads, J key heads, R = H / J, D head width, P prompt positions, S response
positions so far, C their capacity, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

if TYPE_CHECKING:
    from transformers import Cache

_WASTE = 2  # places a row up to which shared prompts pay
_CAPACITY = 16  # response positions there is room for at first; doubled when they are used up


def as_llama(model: nn.Module) -> nn.Module | None:
    """The Llama in this model if `LlamaDecoder` computes what the model computes (low-rank adapters allowed), else None."""
    from transformers import LlamaForCausalLM

    if hasattr(model, "peft_config") and {str(config.peft_type.value) for config in model.peft_config.values()} == {"LORA"}:
        model = model.get_base_model()  # its layers are called as modules, so they bring their adapters along
    return model if type(model) is LlamaForCausalLM and model.config.hidden_act == "silu" else None


class LlamaDecoder:
    """Rows that grow by one token at a time, each from one of several prompts.

    Args:
        model: a Llama.
        logits: [G, V] after each prompt.
        cache: of the prompts, as transformers made it: rotated keys, and values, [G, J, P, D] a layer.
        mask: [G, P] bool, which prompt positions there are; None for all.
        position: [G] of the token that comes next.
        place: [B] int64, the prompt that each row continues.
    """

    def __init__(self, model: nn.Module, logits: Tensor, cache: Cache, mask: Tensor | None, position: Tensor, place: Tensor):
        self.model, self.mask = model, mask
        self.logits, self.position, self.prompt = logits[place], position[place], place
        self.keys, self.values = [layer.keys for layer in cache.layers], [layer.values for layer in cache.layers]
        _, self.key_heads, _, self.width = self.keys[0].shape
        shape = len(place), self.key_heads, _CAPACITY, self.width
        self.own = [(k.new_empty(shape), v.new_empty(shape)) for k, v in zip(self.keys, self.values, strict=True)]  # [B, J, C, D] each
        self.length = 0
        self._arrange()

    def keep(self, rows: Tensor) -> None:
        """Go on with the given rows only. [B'] int64"""
        self.logits, self.position, self.prompt = self.logits[rows], self.position[rows], self.prompt[rows]
        self.own = [(k[rows], v[rows]) for k, v in self.own]
        self._arrange()

    def _arrange(self) -> None:
        """Give each row one of K places at its prompt; let prompts go that no row continues."""
        left, group = self.prompt.unique(return_inverse=True)
        sizes = group.bincount()
        if len(left) * int(sizes.max()) > _WASTE * len(group):
            left, group = self.prompt, torch.arange(len(group), device=group.device)
            sizes = torch.ones_like(group)
        if len(left) != len(self.keys[0]) or not torch.equal(left, torch.arange(len(left), device=left.device)):
            self.keys, self.values = [k[left] for k in self.keys], [v[left] for v in self.values]
            self.mask = None if self.mask is None else self.mask[left]
        self.prompt, self.places = group, int(sizes.max())
        order = group.argsort(stable=True)
        rank = torch.empty_like(group)
        rank[order] = torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group[order]]
        slot = group * self.places + rank
        filled = len(left) * self.places == len(slot) and torch.equal(slot, torch.arange(len(slot), device=slot.device))
        self.slot = None if filled else slot  # [B], where each row stands among the G K places; None if they are the rows

    def advance(self, token: Tensor) -> None:
        """Append one token to every row. [B]"""
        if self.length == self.own[0][0].shape[2]:
            self.own = [(torch.cat([k, torch.empty_like(k)], dim=2), torch.cat([v, torch.empty_like(v)], dim=2)) for k, v in self.own]
        body = self.model.model
        x = body.embed_tokens(token)
        cos, sin = body.rotary_emb(x, self.position[:, None])  # [B, 1, D] each
        for number, layer in enumerate(body.layers):
            x = x + self._attend(layer.self_attn, number, _norm(layer.input_layernorm, x), cos, sin)
            mlp, h = layer.mlp, _norm(layer.post_attention_layernorm, x)
            x = x + mlp.down_proj(silu(mlp.gate_proj(h)) * mlp.up_proj(h))
        self.logits = self.model.lm_head(_norm(body.norm, x))
        self.length, self.position = self.length + 1, self.position + 1

    def _attend(self, attention: nn.Module, number: int, h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """One layer's attention of the new token to its prompt and to the response so far, itself included. [B, H D] -> [B, H D]"""
        J, D = self.key_heads, self.width
        q = _rotate(attention.q_proj(h).unflatten(1, (-1, D)), cos, sin).unflatten(1, (J, -1))  # [B, J, R, D]
        k, v = (x[:, :, : self.length + 1] for x in self.own[number])  # [B, J, S, D]
        k[:, :, -1] = _rotate(attention.k_proj(h).unflatten(1, (J, D)), cos, sin)
        v[:, :, -1] = attention.v_proj(h).unflatten(1, (J, D))

        to_prompt = self._by_prompt(q) @ self.keys[number].mT  # [G, J, K R, P]
        if self.mask is not None:
            to_prompt = to_prompt.masked_fill(~self.mask[:, None, None], float("-inf"))
        P = to_prompt.shape[-1]
        scores = torch.cat([self._by_row(to_prompt), q @ k.mT], dim=-1) * attention.scaling  # [B, J, R, P + S]
        weight = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(q.dtype)
        from_prompt = self._by_row(self._by_prompt(weight[..., :P]) @ self.values[number])  # [B, J, R, D]
        return attention.o_proj((from_prompt + weight[..., P:] @ v).flatten(1))

    def _by_prompt(self, x: Tensor) -> Tensor:
        """Stack what the rows of a prompt have. [B, J, R, *] -> [G, J, K R, *]"""
        if self.slot is not None:
            x = x.new_zeros(len(self.keys[0]) * self.places, *x.shape[1:]).index_copy(0, self.slot, x)
        return x.unflatten(0, (-1, self.places)).transpose(1, 2).flatten(2, 3)

    def _by_row(self, x: Tensor) -> Tensor:
        """The inverse of `_by_prompt`. [G, J, K R, *] -> [B, J, R, *]"""
        x = x.unflatten(2, (self.places, -1)).transpose(1, 2).flatten(0, 1)
        return x if self.slot is None else x[self.slot]


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    return rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding. [B, heads, D]"""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
