"""Training of reward models by preferences: the chosen answer of a pair should score higher than the rejected one.

Every epoch is another seeded shuffle of all pairs, every step a slice of it, and the random numbers of both follow from the seed and
the epoch. So a run that was killed continues bit by bit (on the CPU) as if it had never stopped, in the middle of an epoch too.

Launched by `accelerate launch`, every process reads its own share of each step's pairs, and gradients are averaged so that the loss is
that of all. This has not been run here: the tests use one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from hierlab.files import digest
from hierlab.reward.bradley_terry import bradley_terry_loss
from hierlab.rollout.reward_model import TextRewardModel, last_scores
from hierlab.seeds import derive_seed, generator
from hierlab.train.batches import Record
from hierlab.train.checkpoint import Trained, load_checkpoint, save_checkpoint
from hierlab.train.pairs import Pair, collate


@dataclass(frozen=True)
class RewardSettings:
    """How a reward model learns.

    Attributes:
        epochs: passes over the pairs.
        learning_rate: peak rate of AdamW; RewardBench 2 chose among 1e-6, 3e-6 and 2e-5 for models of 8 billion parameters.
        batch: pairs a step; the last step of an epoch takes what is left.
        micro_batch: pairs a forward pass; changes memory and speed, not the result.
        warmup: share of all steps over which the rate rises linearly from 0.
        decay: whether it then falls linearly to 0 after the last step of the last epoch, or stays.
        centering: weight of the squared sum of a pair's scores (see `bradley_terry_loss`).
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm; None for never.
    """

    epochs: int = 1
    learning_rate: float = 1e-5
    batch: int = 64
    micro_batch: int = 64
    warmup: float = 0.03
    decay: bool = True
    centering: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0

    def __post_init__(self):
        for name in ("epochs", "batch", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "centering", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is a share of the steps, between 0 and 1, got {self.warmup}")


class RewardTrainer:
    """Trains a reward model on pairs.

    Args:
        reward: the model; its weights change in place.
        pairs: comparisons in token ids, as `hierlab.train.pairs.tokenise` gives them.
        settings: how it learns.
        margin: [N] by how much each chosen answer should score higher; None for 0.
        preference: [N] probability that each chosen answer is the better one; None for 1. Not with a margin.
        seed: of the order of the pairs, and of dropout.
        folder: where the checkpoint is kept; None keeps none.
        checkpoint_every: steps between checkpoints; there is one after each epoch in any case.
        evaluate: `(reward) -> {name: value}`, called after each epoch.
        report: called with each step's record.

    Raises:
        ValueError: if there is no pair, one is too long for the model, or margins or probabilities are not one a pair.
    """

    def __init__(
        self,
        reward: TextRewardModel,
        pairs: Sequence[Pair],
        settings: RewardSettings | None = None,
        *,
        margin: Sequence[float] | Tensor | None = None,
        preference: Sequence[float] | Tensor | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
        checkpoint_every: int = 100,
        evaluate: Callable[[TextRewardModel], Record] | None = None,
        report: Callable[[Record], None] | None = None,
    ):
        if not pairs:
            raise ValueError("a reward model learns from pairs: give at least one")
        for name in ("chosen", "rejected"):
            reward.check_lengths([[*pair.prompt, *getattr(pair, name)] for pair in pairs])
        self.settings = settings or RewardSettings()
        self.reward, self.pairs, self.seed = reward, pairs, seed
        self.extras = {
            name: torch.as_tensor(column, dtype=torch.float32)
            for name, column in {"margin": margin, "preference": preference}.items()
            if column is not None
        }
        for name, column in self.extras.items():
            if column.shape != (len(pairs),):
                raise ValueError(f"{name} must be one number a pair, [{len(pairs)}], got shape {tuple(column.shape)}")
        self.accelerator = Accelerator(cpu=next(reward.model.parameters()).device.type == "cpu")
        trained = [weight for weight in reward.model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(reward.model, optimizer)
        self.evaluate, self.report, self.checkpoint_every = evaluate, report, checkpoint_every
        self.path = Path(folder) / "checkpoint.safetensors" if folder else None
        self.history: list[Record] = []

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps in a pass over the pairs."""
        return math.ceil(len(self.pairs) / self.settings.batch)

    @property
    def total_steps(self) -> int:
        """Optimiser steps in all epochs."""
        return self.settings.epochs * self.steps_an_epoch

    @property
    def step_count(self) -> int:
        """Steps done."""
        return len(self.history)

    def fit(self, steps: int | None = None) -> list[Record]:
        """Train until all epochs are done, from the checkpoint if there is one.

        Args:
            steps: stop after so many steps in all; None for the last one. The schedule remains that of all epochs.

        Returns:
            One record a step: `step`, `epoch` (passes done, as a number with a fraction), `loss`, `accuracy`, `margin` (mean difference
            of the scores), `gradient_norm`, `learning_rate`; and at each epoch's end what `evaluate` gave.

        Raises:
            FloatingPointError: if a score is not finite.
            ValueError: if the checkpoint in the folder was made with other settings or pairs.
        """
        if not self.history:
            self._resume()
        while (done := self.step_count) < min(self.total_steps, self.total_steps if steps is None else steps):
            record = self.step()
            ended = (done + 1) % self.steps_an_epoch == 0
            if ended and self.evaluate:
                record |= self.evaluate(self.reward)
            self.history.append(record)
            if self.report and self.accelerator.is_main_process:
                self.report(record)
            if ended or (done + 1) % self.checkpoint_every == 0 or done + 1 == steps:
                self._save()
        return self.history

    def step(self) -> Record:
        """One optimiser step on the next pairs."""
        settings, done = self.settings, self.step_count
        epoch, place = divmod(done, self.steps_an_epoch)
        order = torch.randperm(len(self.pairs), generator=generator(self.seed, "pairs", epoch))
        rows = order[place * settings.batch : (place + 1) * settings.batch]
        rate = settings.learning_rate * self.schedule(done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "dropout", done, self.accelerator.process_index))
            record = self._optimise(rows)
        self.model.eval()
        passed = epoch + min(1.0, (place + 1) * settings.batch / len(self.pairs))
        return {"step": done + 1, "epoch": passed, **record, "learning_rate": rate}

    def schedule(self, step: int) -> float:
        """Share of the peak learning rate at a step, counted from 0."""
        rise = math.ceil(self.settings.warmup * self.total_steps)
        up = min(1.0, (step + 1) / max(1, rise))
        down = (self.total_steps - step) / max(1, self.total_steps - rise) if self.settings.decay else 1.0
        return min(up, down)

    def _optimise(self, rows: Tensor) -> Record:
        """Accumulate the gradient of all rows over micro-batches, and step."""
        accelerator, settings = self.accelerator, self.settings
        own = rows[accelerator.process_index :: accelerator.num_processes]
        parts = list(own.split(settings.micro_batch)) or [rows[:1]]  # a process without rows reads one that does not count
        totals: Record = {}
        for number, part in enumerate(parts):
            share = len(part) / len(rows) if len(own) else 0.0
            with nullcontext() if number == len(parts) - 1 else accelerator.no_sync(self.model):
                loss, record = self._loss(part)
                accelerator.backward(loss * share * accelerator.num_processes)
            for name, value in record.items():
                totals[name] = totals.get(name, 0.0) + share * value
        norm = accelerator.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {**self._over_processes(totals), "gradient_norm": float(norm)}

    def _loss(self, rows: Tensor) -> tuple[Tensor, Record]:
        """Mean loss of some pairs, and what is recorded of them."""
        device = self.accelerator.device
        batch = collate([self.pairs[row] for row in rows.tolist()], device=device)
        scores = last_scores(self.model, *batch.sequences())
        if not scores.isfinite().all():
            raise FloatingPointError(f"scores are no longer finite in step {self.step_count + 1}; lower the learning rate")
        chosen, rejected = scores.chunk(2)
        extras = {name: column[rows].to(device) for name, column in self.extras.items()}
        loss = bradley_terry_loss(chosen, rejected, centering=self.settings.centering, **extras)
        difference = (chosen - rejected).detach()
        return loss, {
            "loss": float(loss.detach()),
            "accuracy": float((difference > 0).float().mean()),
            "margin": float(difference.mean()),
        }

    def _over_processes(self, record: Record) -> Record:
        if self.accelerator.num_processes == 1:
            return record
        values = self.accelerator.reduce(torch.tensor(list(record.values()), device=self.accelerator.device), "sum")
        return dict(zip(record, values.tolist(), strict=True))

    @property
    def _settings_digest(self) -> str:
        extras = {name: column.tolist() for name, column in self.extras.items()}
        pairs = digest([[list(pair.prompt), list(pair.chosen), list(pair.rejected)] for pair in self.pairs])
        return digest({**asdict(self.settings), "seed": self.seed, "pairs": pairs, "processes": self.accelerator.num_processes, **extras})

    @property
    def _trained(self) -> Trained:
        return {"reward": (self.model, self.optimizer)}

    def _save(self) -> None:
        if self.path:
            record = {"settings": self._settings_digest, "history": self.history}
            save_checkpoint(self.path, self._trained, record, write=self.accelerator.is_main_process)

    def _resume(self) -> None:
        if self.path and self.path.exists():
            self.history = load_checkpoint(self.path, self._trained, settings=self._settings_digest)["history"]
