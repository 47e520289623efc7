"""Pairs of answers as token ids: one prompt, the answer that was preferred, and the one that was not.

    pairs = tokenise(tokenizer, prompts, chosen, rejected)
    batch = collate(pairs[:8])
    chosen, rejected = sequence_logp(model, batch)

Preference losses want the log-probabilities of whole answers, reward models read whole sequences; both read the same batch.

Shapes: N pairs, P prompt positions (padded on the left), T answer positions (padded on the right).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from hierlab.rollout.logp import token_logp
from hierlab.rollout.sampling import pad_left, pad_right

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Pair:
    """A comparison in token ids.

    Attributes:
        prompt: what both answers answer.
        chosen: the preferred answer; the token that ends it belongs to it.
        rejected: the other answer.

    Raises:
        ValueError: if one of them is empty: an answer without tokens has no likelihood to rank.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
            if not getattr(self, field.name):
                raise ValueError(f"a pair needs at least one token in its prompt and in both answers; {field.name} has none")


@dataclass(frozen=True)
class PairBatch:
    """Pairs side by side, padded.

    Attributes:
        prompt_ids: [N, P] int64, padded on the left.
        prompt_mask: [N, P] bool.
        chosen_ids: [N, T] int64, padded on the right.
        chosen_mask: [N, T] bool, the tokens of the answer.
        rejected_ids: [N, T] int64.
        rejected_mask: [N, T] bool.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    chosen_ids: Tensor
    chosen_mask: Tensor
    rejected_ids: Tensor
    rejected_mask: Tensor

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def to(self, device: torch.device | str) -> Self:
        """The batch on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    def answers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All answers, the chosen before the rejected, each with its prompt, in the order in which `token_logp` takes them.

        Returns:
            prompt_ids and prompt_mask [2N, P], response_ids and response_mask [2N, T].
        """
        twice = (torch.cat([x, x]) for x in (self.prompt_ids, self.prompt_mask))
        return *twice, torch.cat([self.chosen_ids, self.rejected_ids]), torch.cat([self.chosen_mask, self.rejected_mask])

    def sequences(self) -> tuple[Tensor, Tensor]:
        """Prompt and answer joined, the chosen before the rejected: ids and mask, [2N, P + T], padded on both sides."""
        prompt_ids, prompt_mask, answer_ids, answer_mask = self.answers()
        return torch.cat([prompt_ids, answer_ids], dim=1), torch.cat([prompt_mask, answer_mask], dim=1)


def collate(pairs: Sequence[Pair], *, pad_id: int = 0, device: torch.device | str = "cpu") -> PairBatch:
    """Pairs as one padded batch.

    Args:
        pairs: at least one.
        pad_id: what stands where the masks are off.
        device: where the batch is wanted.

    Raises:
        ValueError: if there is no pair.
    """
    if not pairs:
        raise ValueError("a batch needs at least one pair")
    answers, mask = pad_right([*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)], pad_id, device)
    prompts = pad_left([pair.prompt for pair in pairs], pad_id, device)
    chosen, rejected = (slice(0, len(pairs)), slice(len(pairs), None))
    return PairBatch(*prompts, answers[chosen], mask[chosen], answers[rejected], mask[rejected])


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    chosen: Sequence[str],
    rejected: Sequence[str],
    *,
    end: bool = True,
    max_length: int | None = None,
) -> list[Pair]:
    """Texts as pairs of token ids.

    Args:
        tokenizer: of the model; what it puts before a text (such as a beginning-of-sequence token) it puts before the prompt only.
        prompts: [N] texts, with their chat template applied if they want one.
        chosen: [N] preferred answers.
        rejected: [N] the other answers.
        end: end every answer by the tokenizer's end-of-sequence token, which then counts in its likelihood.
        max_length: leave out pairs of which prompt and longer answer have more tokens together; None for none.

    Returns:
        The pairs that fit, in order.

    Raises:
        ValueError: if the columns differ in length, a text has no token, the tokenizer lacks the token that `end` asks for, or no pair
            is short enough.
    """
    if len({len(prompts), len(chosen), len(rejected)}) > 1:
        raise ValueError(f"prompts, chosen and rejected need one text a pair, got {len(prompts)}, {len(chosen)} and {len(rejected)}")
    if end and tokenizer.eos_token_id is None:
        raise ValueError("this tokenizer has no end-of-sequence token: pass end=False, or set tokenizer.eos_token")
    closing = [tokenizer.eos_token_id] if end else []

    def answer(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"] + closing

    rows = zip(prompts, chosen, rejected, strict=True)
    pairs = [Pair(tokenizer(prompt)["input_ids"], answer(better), answer(worse)) for prompt, better, worse in rows]
    kept = [p for p in pairs if max_length is None or len(p.prompt) + max(len(p.chosen), len(p.rejected)) <= max_length]
    if pairs and not kept:
        raise ValueError(f"none of the {len(pairs)} pairs has at most {max_length} tokens; raise max_length")
    return kept


def sequence_logp(model: nn.Module, batch: PairBatch) -> tuple[Tensor, Tensor]:
    r"""Log-probability of each whole answer, $\log\pi(y\mid x)=\sum_t\log\pi(y_t\mid x,y_{<t})$, in nats; differentiable.

    Args:
        model: a causal language model of transformers, wrapped by peft or accelerate or not.
        batch: N pairs.

    Returns:
        Of the chosen and of the rejected answers, [N] each.
    """
    chosen, rejected = token_logp(model, *batch.answers()).sum(dim=1).chunk(2)
    return chosen, rejected


@torch.no_grad()
def score_pairs(model: nn.Module, pairs: Sequence[Pair], *, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Log-probabilities of many pairs, read in batches of similar length, with the model as it is and dropout off; no gradient.

    Args:
        model: as in `sequence_logp`.
        pairs: at least one.
        batch: pairs a forward pass; changes memory and speed, not the result.

    Returns:
        Of the chosen and of the rejected answers, [N] each, in the order of `pairs`.

    Raises:
        ValueError: if there is no pair, or `batch` is below 1.
    """
    if not pairs or batch < 1:
        raise ValueError(f"there must be a pair to score and batch must be at least 1, got {len(pairs)} pairs and batch {batch}")
    device = next(model.parameters()).device
    order = sorted(range(len(pairs)), key=lambda i: max(len(pairs[i].chosen), len(pairs[i].rejected)))
    was_training = model.training
    model.eval()
    parts = [torch.stack(sequence_logp(model, collate([pairs[i] for i in rows], device=device))) for rows in _split(order, batch)]
    model.train(was_training)
    scores = torch.cat(parts, dim=1)
    result = torch.empty_like(scores)
    result[:, order] = scores
    return result[0], result[1]


def _split(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
