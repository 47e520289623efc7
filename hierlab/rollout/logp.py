"""Log-probabilities of given responses by one fresh, differentiable forward pass.

Shapes: N responses, P prompt positions (padded on the left), T response positions (padded on the right), V vocabulary.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

# Reading prompts apart from responses costs a second pass of the model, which has to pay.
_SHARE_BELOW = 0.8


@overload
def token_logp(
    model: nn.Module, prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor, *, temperature: float = ...
) -> Tensor: ...
@overload
def token_logp(
    model: nn.Module,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float = ...,
    entropy: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def token_logp(
    model: nn.Module,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Log-probability of each response token, given the prompt and the response before it, under softmax(logits / temperature).

    Vocabulary logits are computed for response positions only, columns that are padding in every row are not computed at all, and a
    prompt that several rows share, as in a group of rollouts, is read once: its keys and values serve all of them, with gradient.
    Response tokens before a row's last masked-in token are read even where the mask is off (what a tool wrote between two pieces of
    the policy's text), but get no log-probability.

    Args:
        model: a causal language model of transformers, wrapped by peft or accelerate or not.
        prompt_ids: [N, P].
        prompt_mask: [N, P] bool, False for the padding on the left.
        response_ids: [N, T].
        response_mask: [N, T] bool, the tokens whose log-probability is wanted.
        temperature: the one that the responses were sampled at.
        entropy: also return the entropy of the distribution at each position; differentiable, at the price of more memory.

    Returns:
        [N, T] float32 (float64 for a float64 model), 0 where masked; with `entropy`, two of them.

    Raises:
        ValueError: if shapes disagree, a prompt is empty, or the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}; responses sampled at 0 are scored at 1")
    width = response_ids.shape[1]
    logits = response_outputs(model, prompt_ids, prompt_mask, response_ids, response_mask)
    length = logits.shape[1]
    if length == 0:
        zero = torch.zeros(response_ids.shape, device=response_ids.device)
        return (zero, zero.clone()) if entropy else zero
    results = _of_chosen(logits, response_ids[:, :length], temperature, entropy)
    padded = tuple(pad(torch.where(response_mask[:, :length], x, 0.0), (0, width - length)) for x in results)
    return padded if entropy else padded[0]


def response_outputs(model: nn.Module, prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor) -> Tensor:
    """What the model says before it reads each response token, up to the last one that is wanted in any row.

    Args:
        model: as in `token_logp`, or whatever is called like it, such as `hierlab.models.value_heads.ValueModel`.
        prompt_ids: as in `token_logp`.
        prompt_mask: as in `token_logp`.
        response_ids: as in `token_logp`.
        response_mask: as in `token_logp`; what is said at masked positions is of no use.

    Returns:
        [N, L, V] in the dtype of the model, L <= T.

    Raises:
        ValueError: if shapes disagree, or a prompt is empty.
    """
    _check(prompt_ids, prompt_mask, response_ids, response_mask)
    reach = response_mask.flip(1).cummax(dim=1).values.flip(1)  # up to the last token that is wanted
    length = int(reach.sum(dim=1).max()) if reach.numel() else 0
    if length == 0:
        return torch.zeros(len(response_ids), 0, 1, device=response_ids.device)
    return _response_outputs(model, *_trim_left(prompt_ids, prompt_mask), response_ids[:, :length], reach[:, :length])


def _response_outputs(model: nn.Module, prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, reach: Tensor) -> Tensor:
    """Outputs that come before each response token. [N, T, V]

    The last token predicts nothing that is asked for, so the model does not read it.
    """
    length = response_ids.shape[1]
    distinct, row = _distinct(prompt_ids, prompt_mask)
    if len(distinct) > _SHARE_BELOW * len(row) or not _keeps_cache(model):
        ids = torch.cat([prompt_ids, response_ids], dim=1)[:, :-1]
        mask = torch.cat([prompt_mask, reach], dim=1)[:, :-1]
        return _forward(model, ids, mask, keep=length, dense=bool(prompt_mask.all())).logits[:, -length:]

    prompt = _forward(model, prompt_ids[distinct], prompt_mask[distinct], keep=1, dense=bool(prompt_mask.all()), use_cache=True)
    first = prompt.logits[:, -1:][row]
    if length == 1:
        return first
    cache = prompt.past_key_values
    cache.reorder_cache(row)
    mask = torch.cat([prompt_mask, reach[:, :-1]], dim=1)
    rest = _forward(
        model, response_ids[:, :-1], mask, keep=length - 1, dense=bool(prompt_mask.all()), past_key_values=cache, use_cache=True
    )
    return torch.cat([first, rest.logits], dim=1)


def _forward(model: nn.Module, ids: Tensor, mask: Tensor, *, keep: int, dense: bool, use_cache: bool = False, **cache):
    """The model's output for `ids`, the last columns of the sequences that `mask` is about.

    Without padding on the left (`dense`) no mask is needed: what is padded on the right is out of sight of a causal model anyway.
    """
    position_ids = (mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    attention = None if dense else mask
    return model(input_ids=ids, attention_mask=attention, position_ids=position_ids, use_cache=use_cache, logits_to_keep=keep, **cache)


def _distinct(prompt_ids: Tensor, prompt_mask: Tensor) -> tuple[Tensor, Tensor]:
    """A row for each distinct prompt, [D] int64, and each row's place among them, [N] int64."""
    _, row = torch.unique(torch.where(prompt_mask, prompt_ids, -1), dim=0, return_inverse=True)
    distinct = row.new_empty(int(row.max()) + 1).scatter_(0, row, torch.arange(len(row), device=row.device))
    return distinct, row


def _keeps_cache(model: nn.Module) -> bool:
    """Whether the model hands out keys and values while it is trained: not so with gradient checkpointing."""
    return not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _of_chosen(logits: Tensor, ids: Tensor, temperature: float, entropy: bool) -> tuple[Tensor, ...]:
    """Log-probabilities of `ids`, and the entropies if wanted. [N, T, V], [N, T] -> [N, T] each

    Half-precision logits are raised to float32 one row at a time, and again in the backward pass: the float32 copy of all of them
    would be the largest tensor of the whole training step.
    """
    if logits.dtype in (torch.float32, torch.float64):
        return _of_chosen_row(logits, ids, temperature, entropy)
    rows = [checkpoint(_of_chosen_row, x, i, temperature, entropy, use_reentrant=False) for x, i in zip(logits, ids, strict=True)]
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _of_chosen_row(logits: Tensor, ids: Tensor, temperature: float, entropy: bool) -> tuple[Tensor, ...]:
    if logits.dtype != torch.float64:
        logits = logits.float()
    if temperature != 1:
        logits = logits / temperature
    normaliser = logits.logsumexp(dim=-1)
    logp = logits.gather(-1, ids[..., None])[..., 0] - normaliser
    if not entropy:
        return (logp,)
    # H = log Z - E[logit]
    return logp, normaliser - (torch.softmax(logits, dim=-1) * logits).sum(dim=-1)


def _trim_left(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Without the columns that are padding in every row. [N, P] -> [N, P']"""
    longest = int(mask.sum(dim=1).max()) if len(mask) else 0
    return ids[:, ids.shape[1] - longest :], mask[:, mask.shape[1] - longest :]


def _check(prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor) -> None:
    if prompt_ids.shape != prompt_mask.shape or response_ids.shape != response_mask.shape or len(prompt_ids) != len(response_ids):
        shapes = [tuple(x.shape) for x in (prompt_ids, prompt_mask, response_ids, response_mask)]
        raise ValueError(f"prompts must be [N, P] and responses [N, T], with masks of the same shape, got {shapes}")
    if len(prompt_mask) and not (prompt_mask.shape[1] and bool(prompt_mask[:, -1].all())):
        raise ValueError("every prompt must have at least one token, and prompts are padded on the left")
