"""Preference training of a language model: pairs, their log-probabilities, any pair loss, one optimiser step; repeat.

    trainer = PreferenceTrainer(policy, pairs, partial(dpo, beta=0.1), PreferenceSettings(learning_rate=5e-7), folder="run")
    history = trainer.fit(trainer.steps(epochs=1))

A loss is a function of columns (`hierlab.preference`): the trainer fills its parameters by name with what the policy and, once and for
all, its reference say about each pair. The reference is the policy as it was handed over; with adapters that is the model they adapt.

Each step draws its pairs from `(seed, epoch)`, so that a run resumed from a checkpoint continues bit by bit (on the CPU) as if it had
never stopped. Launched by `accelerate launch`, every process takes its share of each batch; losses that look at the whole batch (AOT,
`kto_pair`) then see a process's share of it. The tests use one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hierlab.files import digest
from hierlab.models import LanguageModel
from hierlab.rollout import estimate
from hierlab.seeds import generator
from hierlab.train.batches import Record
from hierlab.train.checkpoint import load_checkpoint, save_checkpoint
from hierlab.train.pairs import Pair, collate, score_pairs, sequence_logp

Optimizer = Literal["rmsprop", "adamw"]
Loss = Callable[..., Tensor]
"""Takes columns [N] by name, `chosen`, `rejected`, `reference_chosen`, `reference_rejected`, `chosen_tokens`, `rejected_tokens`,
`chosen_average`, `rejected_average` or those handed to the trainer, and gives one loss a pair, [N]."""


@dataclass(frozen=True)
class PreferenceSettings:
    """How the policy is updated. Defaults are those of Mitchell's reference implementation of DPO.

    Attributes:
        learning_rate: of the optimiser.
        optimizer: "rmsprop" (alpha 0.99, eps 1e-8, no momentum), or "adamw".
        batch: pairs an optimiser step.
        micro_batch: pairs a forward pass; changes memory and speed, not the result.
        warmup: steps over which the learning rate rises linearly from 0.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm; None for never.
    """

    learning_rate: float = 5e-7
    optimizer: Optimizer = "rmsprop"
    batch: int = 64
    micro_batch: int = 64
    warmup: int = 150
    weight_decay: float = 0.0
    max_grad_norm: float | None = 10.0

    def __post_init__(self):
        for name in ("batch", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "warmup", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.optimizer not in ("rmsprop", "adamw"):
            raise ValueError(f"optimizer must be 'rmsprop' or 'adamw', got {self.optimizer!r}")
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError("weight_decay is AdamW's; with optimizer='rmsprop' it must be 0")


def pair_columns(pairs: Sequence[Pair], reference: tuple[Tensor, Tensor] | None = None, **columns: Tensor) -> dict[str, Tensor]:
    """What is known about pairs before any policy reads them, as the losses' columns, [N] each.

    Args:
        pairs: N comparisons.
        reference: the reference's log-probabilities of the chosen and the rejected answers.
        **columns: further columns.

    Raises:
        ValueError: if a column has not one entry a pair.
    """
    known = {f"{name}_tokens": torch.tensor([len(getattr(p, name)) for p in pairs]).float() for name in ("chosen", "rejected")}
    if reference:
        known |= {f"reference_{name}": x.detach().cpu() for name, x in zip(("chosen", "rejected"), reference, strict=True)}
    known |= {name: torch.as_tensor(column) for name, column in columns.items()}
    for name, column in known.items():
        if column.shape != (len(pairs),):
            raise ValueError(f"{name} must have one entry for each of {len(pairs)} pairs, got shape {tuple(column.shape)}")
    return known


def pair_losses(loss: Loss, chosen: Tensor, rejected: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
    """The loss of each pair, its parameters filled by name.

    Args:
        loss: a function of columns.
        chosen: [N] the policy's log-probability of the preferred answers.
        rejected: [N] of the others.
        columns: from `pair_columns`.

    Raises:
        ValueError: if the loss needs a column that is not there, or refuses one.
    """
    averages = {"chosen_average": chosen / columns["chosen_tokens"], "rejected_average": rejected / columns["rejected_tokens"]}
    return estimate({"chosen": chosen, "rejected": rejected, **averages, **columns}, loss)


class PreferenceTrainer:
    """Trains a language model on pairs of answers, with any pair loss.

    Args:
        policy: the model to train; its weights change in place. Dropout stays off, as the reference's is.
        pairs: the comparisons; every step takes the next `settings.batch` of an endless seeded shuffle.
        loss: a function of columns, such as `hierlab.preference.dpo`, or a `functools.partial` of one.
        settings: how the policy is updated.
        columns: further columns for the loss, [N] each, one entry a pair: `label_smoothing` for `dpo`, say.
        reference: the reference's log-probabilities of the chosen and the rejected answers, [N] each, if they are known; None: they are
            computed from the policy as it is now, if the loss needs them.
        seed: of the order of pairs.
        folder: where the checkpoint is kept; None keeps none.
        checkpoint_every: steps between checkpoints.
        evaluate: `model -> {name: value}`, called before the first step and then every `evaluate_every`, and after the last.
        evaluate_every: steps between evaluations.
        report: called with each step's record.

    Attributes:
        history: one record a step.
        reference: the reference's log-probabilities, [N] each, or None.

    Raises:
        ValueError: if there are no pairs, a column has not one entry a pair, the loss needs a column that is not there, the batch cannot be
            shared by the processes, or a checkpoint in `folder` was made with other settings, pairs or loss.
    """

    def __init__(
        self,
        policy: LanguageModel,
        pairs: Sequence[Pair],
        loss: Loss,
        settings: PreferenceSettings | None = None,
        *,
        columns: Mapping[str, Tensor] | None = None,
        reference: tuple[Tensor, Tensor] | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
        checkpoint_every: int = 50,
        evaluate: Callable[[nn.Module], Record] | None = None,
        evaluate_every: int = 50,
        report: Callable[[Record], None] | None = None,
    ):
        if not pairs:
            raise ValueError("no pairs to train on: give at least one")
        self.settings = settings or PreferenceSettings()
        self.pairs, self.loss, self.seed, self.policy = list(pairs), loss, seed, policy
        self.accelerator = Accelerator(cpu=policy.model.device.type == "cpu")
        if self.settings.batch % self.accelerator.num_processes:
            raise ValueError(f"batch must be a multiple of the {self.accelerator.num_processes} processes, got {self.settings.batch}")
        if reference is None and any(name.startswith("reference_") for name in signature(loss).parameters):
            reference = score_pairs(policy.model, self.pairs, batch=self.settings.micro_batch)
        self.reference = reference
        self._columns = pair_columns(self.pairs, reference, **(columns or {}))
        trained = [p for p in policy.model.parameters() if p.requires_grad]
        self.model, self.optimizer = self.accelerator.prepare(policy.model, _optimizer(trained, self.settings))
        self.model.eval()
        self.evaluate, self.evaluate_every, self.report = evaluate, evaluate_every, report
        self.checkpoint_every = checkpoint_every
        self.path = Path(folder) / "checkpoint.safetensors" if folder else None
        self.history: list[Record] = []

    def steps(self, epochs: float) -> int:
        """The optimiser steps that read every pair `epochs` times, rounded up."""
        return -(-round(epochs * len(self.pairs)) // self.settings.batch)

    @property
    def step_count(self) -> int:
        """Steps done."""
        return int(self.history[-1]["step"]) if self.history else 0

    def fit(self, steps: int) -> list[Record]:
        """Train until `steps` are done in all, from the checkpoint if there is one.

        Returns:
            One record a step: loss, ranking accuracy, reward accuracy and margin, gradient norm, tokens read, seconds, and what `evaluate`
            gave. Record 0 is the evaluation before training, if there is one.

        Raises:
            FloatingPointError: if a loss or a gradient is not finite.
        """
        if not self.history:
            self._resume()
        if not self.history and self.evaluate:
            self._log({"step": 0} | dict(self.evaluate(self.model)))
        while (done := self.step_count) < steps:
            record = self.step()
            last = done + 1 == steps
            if self.evaluate and ((done + 1) % self.evaluate_every == 0 or last):
                record |= dict(self.evaluate(self.model))
            self._log(record)
            if (done + 1) % self.checkpoint_every == 0 or last:
                self._save()
        return self.history

    def step(self) -> Record:
        """One optimiser step on the next pairs."""
        started, step = time.perf_counter(), self.step_count
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, (step + 1) / max(1, self.settings.warmup))
        rows = self._rows(step)[self.accelerator.process_index :: self.accelerator.num_processes]
        logp, losses = self._backward(rows)
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm or float("inf")))
        loss = float(losses.mean())
        if not torch.tensor([norm, loss]).isfinite().all():
            raise FloatingPointError(f"step {step + 1} has a loss of {loss} and a gradient of norm {norm}; lower the learning rate")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {
            "step": step + 1,
            "epoch": (step + 1) * self.settings.batch / len(self.pairs),
            "loss": loss,
            **self._rankings(rows, logp),
            "gradient_norm": norm,
            "tokens": float(sum(len(p.prompt) * 2 + len(p.chosen) + len(p.rejected) for p in (self.pairs[i] for i in rows.tolist()))),
            "seconds": time.perf_counter() - started,
        }

    def _rows(self, step: int) -> Tensor:
        """The step's pairs: their place in an endless sequence of seeded shuffles."""
        places = torch.arange(step * self.settings.batch, (step + 1) * self.settings.batch)
        epochs, within = places // len(self.pairs), places % len(self.pairs)
        orders = {e: torch.randperm(len(self.pairs), generator=generator(self.seed, "pairs", e)) for e in epochs.unique().tolist()}
        return torch.stack([orders[e][w] for e, w in zip(epochs.tolist(), within.tolist(), strict=True)])

    def _backward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities [2, n] and losses [n] of some pairs, and the gradient of their mean in the model.

        Pairs that do not fit into one forward pass are read twice: first for the losses and their gradient in the log-probabilities, two
        numbers a pair, then for the gradient of the weights. So the result does not depend on the micro-batch, whatever the loss.
        """
        parts = rows.split(self.settings.micro_batch)
        if len(parts) == 1:
            logp = self._logp(rows)
            losses = self._losses(rows, logp)
            self.accelerator.backward(losses.mean())
            return logp.detach(), losses.detach()
        with torch.no_grad():
            logp = torch.cat([self._logp(part) for part in parts], dim=1)
        losses = self._losses(rows, logp.requires_grad_())
        (slopes,) = torch.autograd.grad(losses.mean(), logp)
        for part, slope in zip(parts, slopes.split(self.settings.micro_batch, dim=1), strict=True):
            if part is parts[-1]:
                self.accelerator.backward((self._logp(part) * slope).sum())
            else:
                with self.accelerator.no_sync(self.model):
                    self.accelerator.backward((self._logp(part) * slope).sum())
        return logp.detach(), losses.detach()

    def _logp(self, rows: Tensor) -> Tensor:
        batch = collate([self.pairs[i] for i in rows.tolist()], device=self.accelerator.device)
        return torch.stack(sequence_logp(self.model, batch))

    def _losses(self, rows: Tensor, logp: Tensor) -> Tensor:
        return pair_losses(self.loss, logp[0], logp[1], {name: column[rows].to(logp.device) for name, column in self._columns.items()})

    def _rankings(self, rows: Tensor, logp: Tensor) -> Record:
        chosen, rejected = logp.cpu()
        record = {"ranking_accuracy": float((chosen >= rejected).float().mean())}
        if self.reference:
            margin = chosen - self._columns["reference_chosen"][rows] - rejected + self._columns["reference_rejected"][rows]
            record |= {"reward_accuracy": float((margin > 0).float().mean()), "log_ratio_margin": float(margin.mean())}
        return record

    def _log(self, record: Record) -> None:
        self.history.append(record)
        if self.report and self.accelerator.is_main_process:
            self.report(record)

    @property
    def _settings_digest(self) -> str:
        loss = self.loss.func if isinstance(self.loss, partial) else self.loss
        given = {name: repr(value) for name, value in (self.loss.keywords if isinstance(self.loss, partial) else {}).items()}
        run = {"seed": self.seed, "pairs": digest([asdict(p) for p in self.pairs]), "processes": self.accelerator.num_processes}
        return digest({**asdict(self.settings), **run, "loss": getattr(loss, "__name__", repr(loss)), "given": given})

    def _save(self) -> None:
        if self.path:
            record = {"settings": self._settings_digest, "history": self.history}
            save_checkpoint(self.path, {"policy": (self.model, self.optimizer)}, record, write=self.accelerator.is_main_process)

    def _resume(self) -> None:
        if self.path and self.path.exists():
            record = load_checkpoint(self.path, {"policy": (self.model, self.optimizer)}, settings=self._settings_digest)
            self.history = record["history"]


def _optimizer(weights: list[nn.Parameter], settings: PreferenceSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(weights, lr=settings.learning_rate, alpha=0.99, eps=1e-8)
    return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
