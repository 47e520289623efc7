"""The critic of actor-critic methods: it says what states are worth, and learns it from what became of them.

`PolicyTrainer(..., critic=Critic(value_model(policy), TokenValues()))` makes PPO out of any estimator that asks for values. In each
iteration the critic adds its values to the rollouts, the estimator makes advantages of them, and the critic then learns towards the
targets of its read-out (`hierlab.train.readouts`). Whitening of advantages is the estimator's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import pad

from hierlab.models.value_heads import ValueModel
from hierlab.rollout import Rollouts
from hierlab.rollout.logp import response_outputs
from hierlab.train.batches import Record, mini_batches, on_tokens, optimise
from hierlab.train.readouts import Readout, Target
from hierlab.train.surrogate import value_loss


@dataclass(frozen=True)
class CriticSettings:
    """How the critic learns. Defaults are those of the HiPER scripts, which are verl's unless stated.

    Attributes:
        learning_rate: of AdamW.
        clip: a value is trusted to move by this much an iteration (see `value_loss`); None for no limit.
        factor: of the loss; 0.5 in verl, 1 in HiPER. With AdamW it matters only where gradients are clipped.
        epochs: passes over each batch of rollouts.
        mini_batches: optimiser steps a pass.
        micro_batch: rows a forward pass; changes memory and speed, not the result.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm; None for never.
        head_start: iterations in which the critic learns and the policy does not.
    """

    learning_rate: float = 1e-5
    clip: float | None = 0.5
    factor: float = 1.0
    epochs: int = 1
    mini_batches: int = 1
    micro_batch: int = 64
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    head_start: int = 0

    def __post_init__(self):
        for name in ("epochs", "mini_batches", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "factor", "weight_decay", "head_start"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


class Critic:
    """A value model, where it is read, and how it learns.

    Args:
        model: a backbone with value heads; its weights change in place.
        readout: where the heads are read, and what they learn.
        settings: how.

    Raises:
        ValueError: if the model has other heads than the read-out.
    """

    def __init__(self, model: ValueModel, readout: Readout, settings: CriticSettings | None = None):
        if set(model.heads) != set(readout.heads):
            raise ValueError(f"the read-out wants the heads {', '.join(readout.heads)}, the model has {', '.join(model.heads)}")
        self.heads, self.readout, self.settings = model.heads, readout, settings or CriticSettings()
        self.recipe: dict[str, Any] = {
            "settings": asdict(self.settings),
            "readout": [type(readout).__qualname__, asdict(readout) if is_dataclass(readout) else {}],
            "heads": self.heads,
            "shared": model.shared,
        }
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.model = model
        self.optimizer = torch.optim.AdamW(weights, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)
        self.accelerator: Accelerator | None = None

    def prepare(self, accelerator: Accelerator) -> None:
        """Join a training run; called by the trainer."""
        self.accelerator = accelerator
        self.model, self.optimizer = accelerator.prepare(self.model, self.optimizer)

    @torch.no_grad()
    def values(self, rollouts: Rollouts) -> dict[str, Tensor]:
        """What the states are worth: a column for each head, [N] or [N, T]."""
        asked = replace(rollouts, response_mask=self.readout.where(rollouts))
        training = self.model.training
        self.model.eval()
        parts = [self._read(part) for part in _in_order(asked, self.settings.micro_batch)]
        self.model.train(training)
        every = {head: torch.cat([part[head] for part in parts]) for head in self.heads}
        return self.readout.columns(every, rollouts)

    def update(self, rollouts: Rollouts, shuffle: torch.Generator) -> Record:
        """Learn from rollouts that have the critic's columns.

        Args:
            rollouts: with the columns that `values` gave.
            shuffle: draws the mini-batches.

        Returns:
            For each head, over the tokens it learns at: `{head}_error` (mean squared error before the update) and
            `{head}_explained` (share of the targets' variance that the values explain; 0 for one that has none). Further
            `critic_loss`, `critic_clip_fraction` and `critic_gradient_norm`, means over the optimiser steps.

        Raises:
            ValueError: if a target is not of the rollouts' shape, or the loss is not finite.
        """
        settings = self.settings
        targets = {head: _on_response(target, rollouts) for head, target in self.readout.targets(rollouts).items()}
        old = {head: _wide(rollouts[head], rollouts) for head in self.heads}
        learnt = torch.stack([mask for _, mask in targets.values()]).any(0)
        trained = replace(rollouts, response_mask=learnt, columns={})
        records = []
        for rows in mini_batches(len(rollouts), epochs=settings.epochs, parts=settings.mini_batches, shuffle=shuffle):
            rows = rows.to(learnt.device)
            chosen = {head: (returns[rows], mask[rows], old[head][rows]) for head, (returns, mask) in targets.items()}
            records.append(self._optimise(trained.select(rows), chosen))
        means = {f"critic_{name}": sum(record[name] for record in records) / len(records) for name in records[0]}
        return means | _quality(targets, old)

    def _read(self, rollouts: Rollouts) -> dict[str, Tensor]:
        """What each head says before each token of the response mask, 0 elsewhere. [N, T] each, with gradient"""
        columns = (rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask)
        said = response_outputs(self.model, *columns)
        missing = rollouts.response_mask.shape[1] - said.shape[1]
        return {
            head: torch.where(rollouts.response_mask, pad(value, (0, missing)), 0.0)
            for head, value in zip(self.heads, said.expand(*said.shape[:2], len(self.heads)).unbind(-1), strict=True)
        }

    def _optimise(self, rollouts: Rollouts, targets: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Record:
        """One optimiser step on a mini-batch: the sum over heads of each one's mean loss over its own tokens."""
        settings, accelerator = self.settings, self.accelerator
        counts = torch.stack([mask.sum() for _, mask, _ in targets.values()])
        joint = (accelerator.reduce(counts, "sum") / accelerator.num_processes).tolist()

        def part_loss(part: Rollouts, rows: Tensor, counted: bool) -> tuple[Tensor, Record]:
            width, values = part.response_mask.shape[1], self._read(part)
            total, clipped = torch.zeros((), device=part.response_mask.device), 0.0
            for (head, columns), tokens in zip(targets.items(), joint, strict=True):
                returns, mask, old = (on_tokens(column[rows], width) for column in columns)
                share = float(mask.sum()) / tokens if counted and tokens else 0.0
                loss, diagnostics = value_loss(values[head], old, returns, mask, clip=settings.clip, factor=settings.factor)
                total = total + share * loss
                clipped += share * diagnostics["value_clip_fraction"] / len(targets)
            return total, {"clip_fraction": clipped}

        limits = {"micro_batch": settings.micro_batch, "max_grad_norm": settings.max_grad_norm}
        return optimise(accelerator, self.model, self.optimizer, rollouts, part_loss, **limits)


def _in_order(rollouts: Rollouts, size: int) -> list[Rollouts]:
    """The rows in parts of at most `size`, without their optional columns."""
    bare = replace(rollouts, columns={})
    return [bare.select(rows) for rows in torch.arange(len(bare)).split(size)]


def _on_response(target: Target, rollouts: Rollouts) -> Target:
    """A target for every token, and the tokens that count."""
    returns, mask = target
    if mask.shape != rollouts.response_mask.shape:
        raise ValueError(f"a target's mask must have the shape {tuple(rollouts.response_mask.shape)}, got {tuple(mask.shape)}")
    return _wide(returns, rollouts).float(), mask.bool()


def _wide(x: Tensor, rollouts: Rollouts) -> Tensor:
    """A number a row or a token as one a token. [N] or [N, T] -> [N, T]"""
    return (x if x.dim() == 2 else x[:, None]).expand(rollouts.response_mask.shape)


def _quality(targets: Mapping[str, Target], old: Mapping[str, Tensor]) -> Record:
    """How good the values were before the update."""
    record = {}
    for head, (returns, mask) in targets.items():
        wanted, said = returns[mask], old[head][mask]
        error = wanted - said
        spread = float(wanted.var(unbiased=False)) if len(wanted) else 0.0
        record[f"{head}_error"] = float(error.square().mean()) if len(wanted) else 0.0
        record[f"{head}_explained"] = 1 - float(error.var(unbiased=False)) / spread if spread > 0 else 0.0
    return record
