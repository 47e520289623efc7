"""One optimiser step on many rows: worked off in forward passes that fit into memory, with the gradient of a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hierlab.rollout import Rollouts

Record = dict[str, float]
PartLoss = Callable[[Rollouts, Tensor, bool], tuple[Tensor, Record]]
"""What some rows add to the loss of all: takes the rows, their numbers, and whether they count; gives a loss and numbers that add up."""


def mini_batches(rows: int, *, epochs: int, parts: int, shuffle: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of each optimiser step: every epoch is another shuffle of the rows, split into equal parts."""
    for _ in range(epochs):
        yield from torch.randperm(rows, generator=shuffle).tensor_split(parts)


def optimise(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rollouts: Rollouts,
    part_loss: PartLoss,
    *,
    micro_batch: int,
    max_grad_norm: float | None,
) -> Record:
    """One optimiser step on all rows, by gradients that accumulate over micro-batches.

    Args:
        accelerator: what prepared model and optimiser.
        model: is trained.
        optimizer: of its weights.
        rollouts: the rows; their `response_mask` is the tokens to train on. Rows without any are left out, and where there is no
            token at all, the weights stay as they are.
        part_loss: called with each micro-batch, free of columns that are padding in all its rows.
        micro_batch: rows a forward pass; changes memory and speed, not the result.
        max_grad_norm: the gradient is scaled down to this norm; None for never.

    Returns:
        The sums over micro-batches of what `part_loss` records, `loss` (the sum of the losses) and `gradient_norm`.
    """
    totals: Record = {}
    parts = _micro_batches(accelerator, rollouts, micro_batch)
    for i, (rows, counted) in enumerate(parts):
        part = _trim(rollouts.select(rows)) if counted else _with_some_token(_trim(rollouts.select(rows)))
        with nullcontext() if i == len(parts) - 1 else accelerator.no_sync(model):
            loss, record = part_loss(part, rows, counted)
            accelerator.backward(loss)
        for name, value in {"loss": float(loss.detach()), **record}.items():
            totals[name] = totals.get(name, 0.0) + value
    norm = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm or float("inf"))
    if bool(accelerator.reduce(rollouts.response_mask.sum(), "sum")):  # without any token, momentum must not move the weights
        optimizer.step()
    optimizer.zero_grad()
    return totals | {"gradient_norm": float(norm)}


def _micro_batches(accelerator: Accelerator, rollouts: Rollouts, size: int) -> list[tuple[Tensor, bool]]:
    """Row numbers of each forward pass, and whether they count.

    Prompts of similar length stand together, so that little is padding, and equal prompts side by side, so that they are read once.
    Sharded models need as many passes on every process, so a process with fewer rows reads its first again, uncounted.
    """
    prompts = torch.where(rollouts.prompt_mask, rollouts.prompt_ids, -1)  # padded on the left: short prompts sort first
    _, order = torch.unique(prompts, dim=0, return_inverse=True)
    order = torch.argsort(order, stable=True)
    parts = [(rows, True) for rows in order[rollouts.response_mask.any(1)[order]].split(size) if len(rows)]
    most = int(accelerator.gather(torch.tensor([len(parts)], device=accelerator.device)).max())
    return [(order[:1], False)] * (max(most, 1) - len(parts)) + parts


def _trim(rollouts: Rollouts) -> Rollouts:
    """Without the columns that are padding in every row; one is left in any case."""
    prompt = int(rollouts.prompt_mask.sum(1).max())
    response = int(rollouts.response_mask.any(0).nonzero().max()) + 1 if rollouts.response_mask.any() else 1
    return replace(
        rollouts,
        prompt_ids=rollouts.prompt_ids[:, rollouts.prompt_ids.shape[1] - prompt :],
        prompt_mask=rollouts.prompt_mask[:, rollouts.prompt_mask.shape[1] - prompt :],
        response_ids=rollouts.response_ids[:, :response],
        response_mask=rollouts.response_mask[:, :response],
        old_logp=rollouts.old_logp[:, :response],
        columns={},
    )


def _with_some_token(rollouts: Rollouts) -> Rollouts:
    """Rows that do not count, with a token each, so that there is a gradient for the other processes to wait for."""
    first = torch.zeros_like(rollouts.response_mask)
    first[:, 0] = True
    return replace(rollouts, response_mask=first)


def on_tokens(x: Tensor, width: int) -> Tensor:
    """The first `width` positions of a number per token; a number per row stays as it is. [N] or [N, T] -> [N] or [N, width]"""
    return x[:, :width] if x.dim() == 2 else x
