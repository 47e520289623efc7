"""A reward model made of a language model: one number, read off the hidden state of the last token of prompt and response.

reward = reward_model(load("tiny", vocabulary=words))
reward.score(["what colour is the lemon ?"], ["it is yellow"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hierlab.checks import check_rows
from hierlab.models import LanguageModel
from hierlab.models.value_heads import ValueModel, value_model
from hierlab.rollout.prompts import encode_prompts, encode_response
from hierlab.rollout.sampling import pad_right

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD = "reward"


class TextRewardModel:
    """A backbone with a reward head, and the tokenizer that its texts go through. A `ReadableRewardModel`.

    Args:
        model: a value model with the one head "reward"; its weights are shared, not copied.
        tokenizer: of its backbone.
        context: the longest sequence it reads, in tokens; None for any.
        batch: sequences a forward pass.

    Raises:
        ValueError: if the model has other heads, or the batch is below 1.
    """

    def __init__(self, model: ValueModel, tokenizer: PreTrainedTokenizerBase, *, context: int | None = None, batch: int = 256):
        if model.heads != (HEAD,):
            raise ValueError(f"a reward model has the one head {HEAD!r}, got {', '.join(model.heads)}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.model, self.tokenizer, self.context, self.batch = model, tokenizer, context, batch

    def encode(self, prompts: Sequence[str], responses: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt with its response, which the end-of-sequence token ends.

        Raises:
            ValueError: if there is not one prompt a response, or a sequence is longer than the model's context.
        """
        check_rows(prompts=prompts, responses=responses)
        asked = encode_prompts(self.tokenizer, prompts) if len(prompts) else []
        ids = [[*prompt, *encode_response(self.tokenizer, response)] for prompt, response in zip(asked, responses, strict=True)]
        self.check_lengths(ids)
        return ids

    def check_lengths(self, sequences: Sequence[Sequence[int]]) -> None:
        """Refuse what the model cannot read to its end: a cut answer would get a score that is another answer's.

        Raises:
            ValueError: naming the first sequence that is too long.
        """
        for row, ids in enumerate(sequences):
            if self.context is not None and len(ids) > self.context:
                raise ValueError(f"prompt and response of row {row} have {len(ids)} tokens; the model reads {self.context} at most")

    @torch.no_grad()
    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """One number for each response. [N] float32, on the CPU"""
        return self._in_batches(prompts, responses, lambda ids, mask: last_scores(self.model, ids, mask), empty=torch.zeros(0))

    @torch.no_grad()
    def last_hidden(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """What the head reads: the backbone's last hidden state at each last token. [N, D] float32, on the CPU"""
        width = self.model.output.in_features
        return self._in_batches(prompts, responses, lambda ids, mask: last_states(self.model, ids, mask), empty=torch.zeros(0, width))

    def _in_batches(self, prompts: Sequence[str], responses: Sequence[str], read: Callable, empty: Tensor) -> Tensor:
        sequences = self.encode(prompts, responses)
        if not sequences:
            return empty
        order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))  # little padding where lengths are alike
        parts = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        device = next(self.model.parameters()).device
        with _evaluating(self.model):
            found = [read(*pad_right([sequences[row] for row in part], 0, device)).cpu() for part in parts]
        result = torch.cat(found)
        return torch.empty_like(result).index_copy_(0, torch.tensor(order), result)


def reward_model(language_model: LanguageModel, *, std: float = 0.02, seed: int = 0, batch: int = 256) -> TextRewardModel:
    """A reward model that begins with a copy of a language model's backbone, and a head drawn at random.

    Args:
        language_model: with adapters or without; what is trainable in it is trainable in the copy.
        std: standard deviation of the head's initial weights.
        seed: of these.
        batch: sequences a forward pass of `score`.

    Raises:
        ValueError: if the batch is below 1.
    """
    context = getattr(language_model.model.config.get_text_config(), "max_position_embeddings", None)
    model = value_model(language_model, (HEAD,), std=std, seed=seed)
    return TextRewardModel(model, language_model.tokenizer, context=context, batch=batch)


def last_scores(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """What the model's only head says at the last token of each sequence; differentiable.

    Args:
        model: a `ValueModel`, wrapped by accelerate or not.
        ids: [N, L].
        mask: [N, L] bool, False for padding, on the right or on both sides; at least one token a row.

    Returns:
        [N] float32.

    Raises:
        ValueError: if a row is all padding.
    """
    return _at_last(model(use_cache=False, **_inputs(ids, mask)).logits, mask)[:, 0]


def last_states(model: ValueModel, ids: Tensor, mask: Tensor) -> Tensor:
    """The backbone's hidden state at the last token of each sequence. [N, L] -> [N, D] float32

    Raises:
        ValueError: as `last_scores`.
    """
    return _at_last(model.backbone(use_cache=False, **_inputs(ids, mask)).last_hidden_state.float(), mask)


def _inputs(ids: Tensor, mask: Tensor) -> dict[str, Tensor | None]:
    """What a backbone takes. Padding on the right is out of sight of a causal model, so that only padding on the left needs a mask."""
    if not mask.any(dim=1).all():
        raise ValueError(f"row {int((~mask.any(dim=1)).nonzero()[0])} holds no token")
    position_ids = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
    return {"input_ids": ids, "position_ids": position_ids, "attention_mask": None if bool(mask[:, 0].all()) else mask}


def _at_last(values: Tensor, mask: Tensor) -> Tensor:
    """The values at each row's last token. [N, L, K] -> [N, K]"""
    place = torch.arange(mask.shape[1], device=mask.device).masked_fill(~mask, -1).amax(dim=1)
    return values[torch.arange(len(values), device=values.device), place]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
