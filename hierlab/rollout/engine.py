"""Engines turn prompts into sampled responses with their log-probabilities.

`TransformersEngine` samples from the very weights that are trained. Against a general-purpose generation loop it saves time in four
ways: equal prompts (the rollouts of one group) are read once; finished responses leave the batch; a Llama is decoded by a step of
our own (`hierlab.rollout.llama_decoder`); and a token is chosen with one random number a row instead of one a vocabulary entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from hierlab.rollout.decoding import read_prompts
from hierlab.rollout.sampling import Samples, SamplingParams, choose, pad_left

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hierlab.models import LanguageModel

# Leaving finished rows in the batch wastes their share of each step; taking them out copies the cache once.
_DROP_BELOW = 0.75


class Engine(Protocol):
    """What samples from a policy.

    Attributes:
        tokenizer: of the policy.
        end_ids: the tokens that end a response, beside those that `SamplingParams` names.
    """

    tokenizer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, generator: torch.Generator, limits: Sequence[int] | None = None
    ) -> Samples:
        """One response per prompt (token ids), in order; the same generator state gives the same responses.

        `limits` are the most tokens of each response, where these are fewer than `params.max_new_tokens`.
        """

    def sync(self, model: nn.Module) -> None:
        """Sample from the current weights of `model` from now on."""


class TransformersEngine:
    """Samples from a `transformers` model in this process: batched, left-padded, with a key-value cache.

    Args:
        policy: the model; its weights are shared, not copied.
    """

    def __init__(self, policy: LanguageModel):
        self.model, self.tokenizer = policy.model, policy.tokenizer
        self.vocabulary_size = self.model.get_input_embeddings().num_embeddings
        self.context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self.end_ids = end_ids(policy)
        pad = self.tokenizer.pad_token_id
        self.pad_id = pad if pad is not None else self.end_ids[0] if self.end_ids else 0

    def sync(self, model: nn.Module) -> None:
        """Nothing to do: the weights are shared.

        Raises:
            ValueError: if `model` is another model than the one this engine samples from.
        """
        if model is not self.model:
            raise ValueError("a TransformersEngine shares its model's weights and cannot follow another model; make a new engine")

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, generator: torch.Generator, limits: Sequence[int] | None = None
    ) -> Samples:
        """Sample one response per prompt.

        Every row has its own random numbers, drawn before the first token: a row's response does not depend on when others end,
        and the generator advances by the same amount whatever is sampled.

        Args:
            prompts: N prompts as token ids; equal ones are read only once.
            params: how to sample. A response ends at one of `stop_ids` or of the model's end-of-sequence tokens.
            generator: source of all randomness, on any device.
            limits: N numbers of tokens after which each response is cut, where these are less than `params.max_new_tokens`.

        Raises:
            ValueError: if there is no prompt, an empty one, one with ids outside the vocabulary, one that does not fit the model's
                context together with its response, or a limit is below 1.
            FloatingPointError: if the model's logits are not finite.
        """
        lengths = longest_responses(len(prompts), params, limits)
        check_prompts(prompts, lengths, vocabulary_size=self.vocabulary_size, context=self.context)
        device = self.model.device
        number: dict[tuple[int, ...], int] = {}
        place = torch.tensor([number.setdefault(tuple(prompt), len(number)) for prompt in prompts], device=device)
        prompt_ids, prompt_mask = pad_left(list(number), self.pad_id, device)
        limit = torch.tensor(lengths, device=device)
        shape = len(prompts), max(lengths)
        response_ids = torch.full(shape, self.pad_id, dtype=torch.int64, device=device)
        response_mask = torch.zeros(shape, dtype=torch.bool, device=device)
        logp = torch.zeros(shape, device=device)
        uniform = torch.rand(shape, generator=generator, device=generator.device).to(device)
        stop = torch.tensor([*self.end_ids, *params.stop_ids], dtype=torch.int64, device=device)

        with torch.inference_mode(), _evaluating(self.model):
            decoder = read_prompts(self.model, prompt_ids, prompt_mask, place)
            rows = torch.arange(len(prompts), device=device)  # which response each row of the decoder's batch writes
            alive = torch.ones(len(prompts), dtype=torch.bool, device=device)
            for t in range(max(lengths)):
                token, token_logp = choose(decoder.logits, uniform[rows, t], params)
                response_ids[rows, t] = torch.where(alive, token, self.pad_id)
                response_mask[rows, t] = alive
                logp[rows, t] = torch.where(alive, token_logp, 0.0)
                alive &= (token[:, None] != stop).all(dim=1) & (t + 1 < limit[rows])
                left = int(alive.sum())
                if left == 0:
                    break
                if left <= _DROP_BELOW * len(rows):
                    kept = alive.nonzero()[:, 0]
                    decoder.keep(kept)
                    rows, token, alive = rows[kept], token[kept], alive[kept]
                decoder.advance(token)

        check_finite(logp)
        responses = (x[:, : t + 1].clone() for x in (response_ids, response_mask, logp))
        return Samples(*responses, prompt_ids[place], prompt_mask[place])


def end_ids(policy: LanguageModel) -> tuple[int, ...]:
    """The tokens that end a response of this model: its tokenizer's and its generation configuration's."""
    configured = getattr(getattr(policy.model, "generation_config", None), "eos_token_id", None)
    configured = configured if isinstance(configured, list | tuple) else [configured]
    return tuple(sorted({i for i in (policy.tokenizer.eos_token_id, *configured) if i is not None}))


def longest_responses(prompts: int, params: SamplingParams, limits: Sequence[int] | None) -> list[int]:
    """The most tokens of each response.

    Raises:
        ValueError: if there is not one limit a prompt, or one is below 1.
    """
    if limits is None:
        return [params.max_new_tokens] * prompts
    if len(limits) != prompts:
        raise ValueError(f"limits must have one number per prompt, got {len(limits)} for {prompts} prompts")
    if wrong := [i for i, limit in enumerate(limits) if limit < 1]:
        raise ValueError(f"a response needs room for at least one token, but the limit of prompt {wrong[0]} is {limits[wrong[0]]}")
    return [min(limit, params.max_new_tokens) for limit in limits]


def check_prompts(prompts: Sequence[Sequence[int]], lengths: Sequence[int], *, vocabulary_size: int, context: int | None) -> None:
    """Refuse prompts that cannot be answered, `lengths` being the most tokens of each response.

    Raises:
        ValueError: if there is no prompt, an empty one, one with ids outside the vocabulary, or one that is too long.
    """
    if len(prompts) == 0:
        raise ValueError("no prompts to answer: give at least one")
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {i} is empty: a model needs at least one token to continue, such as its beginning-of-sequence token")
        if not (min(prompt) >= 0 and max(prompt) < vocabulary_size):
            raise ValueError(f"prompt {i} has token ids outside the vocabulary of {vocabulary_size}")
        if context is not None and len(prompt) + lengths[i] > context:
            wanted = f"prompt {i} has {len(prompt)} tokens, which with max_new_tokens={lengths[i]} exceed"
            raise ValueError(f"{wanted} the model's context of {context}; shorten the prompt (less history), or generate less")


def check_finite(logp: torch.Tensor) -> None:
    """Refuse the samples of a model that has diverged.

    Raises:
        FloatingPointError: if a log-probability is not finite.
    """
    if not logp.isfinite().all():
        raise FloatingPointError("the model's logits are not finite: it has diverged; lower the learning rate, or take a checkpoint")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off inside the block."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
