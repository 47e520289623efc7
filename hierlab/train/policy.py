"""Policy-gradient training of a language model: collect, estimate, update, repeat.

The trainer is the meeting point of five parts, none of which knows the others: *tasks*, a *collector* that turns them into
`Rollouts`, an *estimator* that turns rollouts into advantages, the *surrogate* that turns advantages into a loss, and an *engine*
that samples from the current weights. A sixth, a *critic*, is there for estimators that need values.

Each iteration draws its random numbers from `(seed, iteration)`, so that a run resumed from a checkpoint continues bit by bit (on the
CPU) as if it had never stopped.

Launched by `accelerate launch`, every process collects whole groups of its own share of the tasks, and gradients are averaged so
that the loss is that of the joint batch. Sharded models (FSDP) need an engine that holds its own weights, such as vLLM's. Neither has
been run here: the tests use one process.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hierlab.checks import as_mask
from hierlab.files import digest
from hierlab.models import LanguageModel
from hierlab.rollout import Engine, Rollouts, TransformersEngine, estimate, summary, token_logp
from hierlab.seeds import derive_seed, generator
from hierlab.train.batches import Record, mini_batches, on_tokens, optimise
from hierlab.train.checkpoint import Trained, load_checkpoint, save_checkpoint
from hierlab.train.critic import Critic
from hierlab.train.surrogate import Aggregation, KLEstimator, Ratio, aggregate, kl, loss_weight, policy_loss


@dataclass(frozen=True)
class PolicySettings:
    """How the policy is updated. Defaults are those of verl's GRPO examples unless stated.

    Attributes:
        learning_rate: of AdamW.
        tasks: tasks an iteration; the collector decides how many rollouts each gets.
        epochs: passes over each batch of rollouts.
        mini_batches: optimiser steps a pass; the rows are split into this many equal parts.
        micro_batch: rows a forward pass; changes memory and speed, not the result.
        temperature: sampling temperature, under which old and new log-probabilities are taken.
        clip_low: the ratio is clipped below 1 - clip_low.
        clip_high: the ratio is clipped above 1 + clip_high (DAPO: 0.28).
        dual_clip: bound on the loss of negative advantages; None for none.
        ratio: importance ratio per token, or per sequence (GSPO).
        aggregation: how token losses become one number.
        loss_length: divisor of "seq-mean-token-sum-norm"; None for the width of the batch.
        kl_weight: weight of the KL divergence to the initial policy; 0 keeps no reference model.
        kl_estimator: k1, k2, k3 or abs.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm; None for never.
        warmup: iterations over which the learning rate rises linearly from 0.
    """

    learning_rate: float = 1e-6
    tasks: int = 16
    epochs: int = 1
    mini_batches: int = 1
    micro_batch: int = 64
    temperature: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    ratio: Ratio = "token"
    aggregation: Aggregation = "token-mean"
    loss_length: int | None = None
    kl_weight: float = 0.0
    kl_estimator: KLEstimator = "k3"
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    warmup: int = 0

    def __post_init__(self):
        for name in ("tasks", "epochs", "mini_batches", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "kl_weight", "weight_decay", "warmup"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


class PolicyTrainer:
    """Trains a language model on tasks, with any estimator.

    The loss looks at the tokens of `response_mask`, or only at those of the column `loss_mask` [N, T] bool if the rollouts have one;
    the estimator sees the rollouts as they are.

    Args:
        policy: the model to train; its weights change in place.
        tasks: problems or episodic tasks; every iteration takes the next `settings.tasks` of an endless seeded shuffle.
        collector: `(engine, tasks, generator) -> Rollouts`.
        estimator: any function of columns (`hierlab.rollout.estimate`) that returns advantages, [N] or [N, T].
        settings: how the policy is updated.
        critic: adds its values to the rollouts before the advantages are estimated, and learns from them afterwards.
        engine: samples from the policy; default: a `TransformersEngine` on the same weights.
        seed: of task order and sampling.
        folder: where the checkpoint is kept; None keeps none.
        checkpoint_every: iterations between checkpoints.
        evaluate: `(engine, generator) -> {name: value}`, called before the first iteration and then every `evaluate_every`.
        evaluate_every: iterations between evaluations.
        measure: further numbers about each batch of rollouts, for its record.
        report: called with each iteration's record.

    Raises:
        ValueError: if there are no tasks, or a checkpoint in `folder` was made with other settings.
    """

    def __init__(
        self,
        policy: LanguageModel,
        tasks: Sequence[Any],
        collector: Callable[[Engine, Sequence[Any], torch.Generator], Rollouts],
        estimator: Callable[..., Tensor],
        settings: PolicySettings | None = None,
        *,
        critic: Critic | None = None,
        engine: Engine | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
        checkpoint_every: int = 10,
        evaluate: Callable[[Engine, torch.Generator], Record] | None = None,
        evaluate_every: int = 10,
        measure: Callable[[Rollouts], Record] | None = None,
        report: Callable[[Record], None] | None = None,
    ):
        if not tasks:
            raise ValueError("no tasks to train on: give at least one")
        self.settings = settings or PolicySettings()
        self.tasks, self.collector, self.estimator, self.seed = tasks, collector, estimator, seed
        self.accelerator = Accelerator(cpu=policy.model.device.type == "cpu")
        self.reference = _Reference(policy.model) if self.settings.kl_weight else None
        trained = [p for p in policy.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)
        self.policy = policy
        self.model, self.optimizer = self.accelerator.prepare(policy.model, optimizer)
        self.critic = critic
        if critic:
            critic.prepare(self.accelerator)
        self.engine = engine or TransformersEngine(policy)
        self.evaluate, self.evaluate_every, self.measure, self.report = evaluate, evaluate_every, measure, report
        self.checkpoint_every = checkpoint_every
        self.path = Path(folder) / "checkpoint.safetensors" if folder else None
        self.history: list[Record] = []

    def fit(self, iterations: int, *, tokens: int | None = None) -> list[Record]:
        """Train until `iterations` are done in all, from the checkpoint if there is one.

        Args:
            iterations: when to stop.
            tokens: stop earlier, after the iteration in which the rollouts so far have cost this many generated tokens.

        Returns:
            One record an iteration: reward, success, loss, clip fractions, KL, gradient norm, cost in tokens and seconds, and what
            `evaluate` gave. Record 0 is the evaluation before training, if there is one.
        """
        if not self.history:
            self._resume()
        if not self.history and self.evaluate:
            self._log({"iteration": 0} | self._evaluation(0))
        budget = float("inf") if tokens is None else tokens
        while (done := self.iteration) < iterations and self.generated_tokens < budget:
            record = self.step()
            last = done + 1 == iterations or self.generated_tokens + record["generated_tokens"] >= budget
            if self.evaluate and ((done + 1) % self.evaluate_every == 0 or last):
                record |= self._evaluation(done + 1)
            self._log(record)
            if (done + 1) % self.checkpoint_every == 0 or last:
                self._save()
        return self.history

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return int(self.history[-1]["iteration"]) if self.history else 0

    @property
    def generated_tokens(self) -> float:
        """Tokens that the rollouts of all iterations have cost."""
        return sum(record.get("generated_tokens", 0) for record in self.history)

    def step(self) -> Record:
        """One iteration: collect, estimate, update."""
        iteration = self.iteration
        started = time.perf_counter()
        rank = self.accelerator.process_index
        batch = list(self._tasks(iteration))[rank :: self.accelerator.num_processes]
        rollouts = self.collector(self.engine, batch, generator(self.seed, "rollouts", iteration, rank))
        rollouts = rollouts.to(self.accelerator.device)
        collected = time.perf_counter()
        values = self.critic.values(rollouts) if self.critic else {}
        rollouts = rollouts.with_columns(**values)
        valued = time.perf_counter()
        advantage = estimate(rollouts, self.estimator)
        estimated = time.perf_counter()
        record: Record = {}
        if self.critic:
            record |= self.critic.update(rollouts, self._shuffle("critic", iteration))
        if not self.critic or iteration >= self.critic.settings.head_start:
            record |= self._update(_with_trained_tokens(rollouts), advantage, iteration)
        self.engine.sync(self.accelerator.unwrap_model(self.model))
        return {
            "iteration": iteration + 1,
            **summary(rollouts),
            **(self.measure(rollouts) if self.measure else {}),
            **record,
            "seconds_collect": collected - started,
            "seconds_estimate": estimated - valued,
            "seconds_update": time.perf_counter() - estimated + (valued - collected),
        }

    def _tasks(self, iteration: int) -> Iterator[Any]:
        """The iteration's tasks: its place in an endless sequence of seeded shuffles."""
        for position in range(iteration * self.settings.tasks, (iteration + 1) * self.settings.tasks):
            epoch, place = divmod(position, len(self.tasks))
            order = torch.randperm(len(self.tasks), generator=generator(self.seed, "order", epoch))
            yield self.tasks[int(order[place])]

    def _update(self, rollouts: Rollouts, advantage: Tensor, iteration: int) -> Record:
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (iteration + 1) / max(1, settings.warmup))
        shuffle = self._shuffle("mini-batches", iteration)
        records = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "dropout", iteration, self.accelerator.process_index))
            for rows in mini_batches(len(rollouts), epochs=settings.epochs, parts=settings.mini_batches, shuffle=shuffle):
                records.append(self._optimise(rollouts.select(rows), advantage[rows.to(advantage.device)]))
        return {name: sum(record[name] for record in records) / len(records) for name in records[0]}

    def _shuffle(self, name: str, iteration: int) -> torch.Generator:
        return generator(self.seed, name, iteration, self.accelerator.process_index)

    def _optimise(self, rollouts: Rollouts, advantage: Tensor) -> Record:
        """One optimiser step on a mini-batch."""
        settings, accelerator = self.settings, self.accelerator
        whole = loss_weight(rollouts.response_mask, settings.aggregation)
        joint = float(accelerator.reduce(whole, "sum")) / accelerator.num_processes
        length = settings.loss_length or rollouts.response_mask.shape[1]

        def part_loss(part: Rollouts, rows: Tensor, counted: bool) -> tuple[Tensor, Record]:
            share = float(loss_weight(part.response_mask, settings.aggregation)) / joint if counted else 0.0
            loss, diagnostics = self._loss(part, on_tokens(advantage[rows], part.response_mask.shape[1]), length)
            return loss * share, {name: value * share for name, value in diagnostics.items()}

        limits = {"micro_batch": settings.micro_batch, "max_grad_norm": settings.max_grad_norm}
        return optimise(accelerator, self.model, self.optimizer, rollouts, part_loss, **limits)

    def _loss(self, rollouts: Rollouts, advantage: Tensor, length: int) -> tuple[Tensor, Record]:
        settings = self.settings
        columns = (rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask)
        logp = token_logp(self.model, *columns, temperature=settings.temperature)
        aggregation = {"aggregation": settings.aggregation, "loss_length": length}
        loss, diagnostics = policy_loss(
            logp,
            rollouts.old_logp,
            advantage,
            rollouts.response_mask,
            clip_low=settings.clip_low,
            clip_high=settings.clip_high,
            dual_clip=settings.dual_clip,
            ratio=settings.ratio,
            **aggregation,
        )
        if self.reference:
            reference = self.reference.logp(self.model, columns, settings.temperature)
            penalty = aggregate(
                kl(logp, reference, rollouts.response_mask, estimator=settings.kl_estimator), rollouts.response_mask, **aggregation
            )
            loss = loss + settings.kl_weight * penalty
            diagnostics |= {"kl_reference": float(penalty.detach())}
        return loss, diagnostics

    def _evaluation(self, iteration: int) -> Record:
        return dict(self.evaluate(self.engine, generator(self.seed, "evaluation", iteration)))

    def _log(self, record: Record) -> None:
        self.history.append(record)
        if self.report and self.accelerator.is_main_process:
            self.report(record)

    @property
    def _settings_digest(self) -> str:
        run = {"seed": self.seed, "tasks_total": len(self.tasks), "processes": self.accelerator.num_processes}
        return digest({**asdict(self.settings), **run, **({"critic": self.critic.recipe} if self.critic else {})})

    @property
    def _trained(self) -> Trained:
        critic = {"critic": (self.critic.model, self.critic.optimizer)} if self.critic else {}
        return {"policy": (self.model, self.optimizer), **critic}

    def _save(self) -> None:
        if self.path:
            record = {"settings": self._settings_digest, "history": self.history}
            save_checkpoint(self.path, self._trained, record, write=self.accelerator.is_main_process)

    def _resume(self) -> None:
        if not (self.path and self.path.exists()):
            return
        record = load_checkpoint(self.path, self._trained, settings=self._settings_digest)
        self.history = record["history"]
        self.engine.sync(self.accelerator.unwrap_model(self.model))


class _Reference:
    """The policy as it was before training: its adapters switched off if it has some, else a frozen copy."""

    def __init__(self, model: torch.nn.Module):
        self.frozen = None if hasattr(model, "disable_adapter") else copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def logp(self, model: torch.nn.Module, columns: tuple[Tensor, ...], temperature: float) -> Tensor:
        if self.frozen is not None:
            return token_logp(self.frozen, *columns, temperature=temperature)
        with getattr(model, "module", model).disable_adapter():
            return token_logp(model, *columns, temperature=temperature)


def _with_trained_tokens(rollouts: Rollouts) -> Rollouts:
    """The rollouts as the loss sees them: those of a `loss_mask` count its tokens only, and read the others."""
    if "loss_mask" not in rollouts:
        return rollouts
    mask = as_mask("loss_mask", rollouts["loss_mask"], rollouts.response_mask.shape)
    outside = (mask & ~rollouts.response_mask).nonzero()
    if len(outside):
        row, token = outside[0].tolist()
        raise ValueError(f"loss_mask must lie inside response_mask, but has token {token} of row {row}, which the policy did not choose")
    if not mask.any():
        raise ValueError("loss_mask is empty in every row: there is no token to train on")
    return replace(rollouts, response_mask=mask)
