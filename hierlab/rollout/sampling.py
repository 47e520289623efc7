"""How a policy samples: parameters, the choice of one token, and what comes out.

Shapes: N responses, P prompt positions (padded on the left), T response positions (padded on the right), V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SamplingParams:
    """How responses are sampled.

    Attributes:
        max_new_tokens: a response is cut after this many tokens.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_p: sample from the smallest set of likeliest tokens whose probabilities sum to at least this.
        stop_ids: tokens that end a response, beside the model's own end-of-sequence tokens. The token that ends a response belongs to it.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self):
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and not negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        object.__setattr__(self, "stop_ids", tuple(self.stop_ids))


@dataclass(frozen=True)
class Samples:
    """One response per prompt, in the order of the prompts.

    Attributes:
        response_ids: [N, T] int64, padded on the right; T is the length of the longest response.
        response_mask: [N, T] bool, the sampled tokens, the one that ended the response included.
        logp: [N, T] float32, log-probability of each sampled token under softmax(logits / temperature), the whole vocabulary
            counted whatever `top_p`; at temperature 0, under softmax(logits). 0 where masked.
        prompt_ids: [N, P] int64, padded on the left.
        prompt_mask: [N, P] bool.
    """

    response_ids: Tensor
    response_mask: Tensor
    logp: Tensor
    prompt_ids: Tensor
    prompt_mask: Tensor

    def __len__(self) -> int:
        return len(self.response_ids)

    def responses(self) -> list[list[int]]:
        """The token ids of each response, without padding."""
        lengths = self.response_mask.sum(dim=1).tolist()
        return [ids[:length] for ids, length in zip(self.response_ids.tolist(), lengths, strict=True)]


def choose(logits: Tensor, uniform: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Sample one token a row by inverting the distribution function, which needs one random number a row.

    Args:
        logits: [N, V].
        uniform: [N] random numbers in [0, 1), one a row; not read at temperature 0.
        params: temperature and top_p are used.

    Returns:
        The token ids [N] and their log-probabilities [N] as `Samples.logp` defines them.
    """
    logits = logits.float()
    logp = torch.log_softmax(logits / params.temperature if params.temperature not in (0, 1) else logits, dim=-1)
    if params.temperature == 0:
        ids = logp.argmax(dim=-1, keepdim=True)
    elif params.top_p < 1:
        # The nucleus is a prefix of the sorted probabilities: scaling the uniform number by its mass never leaves it.
        probability, token = logp.exp().sort(dim=-1, descending=True, stable=True)
        cumulative = probability.cumsum(dim=-1)
        last = (cumulative < params.top_p).sum(dim=-1, keepdim=True).clamp(max=logp.shape[-1] - 1)
        ids = token.gather(-1, _invert(cumulative, uniform[:, None] * cumulative.gather(-1, last)))
    else:
        cumulative = logp.exp().cumsum(dim=-1)
        ids = _invert(cumulative, uniform[:, None] * cumulative[:, -1:])
    return ids[:, 0], logp.gather(-1, ids)[:, 0]


def _invert(cumulative: Tensor, level: Tensor) -> Tensor:
    """Index of the first entry above `level`, hence never one of probability 0. [N, V], [N, 1] -> [N, 1]"""
    return torch.searchsorted(cumulative, level, right=True).clamp(max=cumulative.shape[-1] - 1)  # NaN would point past the end


def pad_left(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Stack sequences of unequal length, padded on the left.

    Returns:
        ids [N, P] int64 and mask [N, P] bool, P being the length of the longest.
    """
    width = max(map(len, sequences))
    ids = torch.tensor([[pad_id] * (width - len(s)) + list(s) for s in sequences], dtype=torch.int64)
    lengths = torch.tensor([len(s) for s in sequences])
    mask = torch.arange(width) >= width - lengths[:, None]
    return ids.to(device), mask.to(device)


def pad_right(sequences: Sequence[Sequence[float]], fill: float, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Stack sequences of unequal length, padded on the right.

    Returns:
        values [N, T], int64 for integers and float32 for other numbers, and mask [N, T] bool, T being the length of the longest.
    """
    width = max(map(len, sequences))
    values = torch.tensor(
        [[*s, *[fill] * (width - len(s))] for s in sequences], dtype=torch.int64 if isinstance(fill, int) else torch.float32
    )
    lengths = torch.tensor([len(s) for s in sequences])
    mask = torch.arange(width) < lengths[:, None]
    return values.to(device), mask.to(device)
