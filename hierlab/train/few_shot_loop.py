"""The optimiser loop of few-shot classifiers: shuffled small batches, AdamW, a rate that falls to 0, clipped gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hierlab.seeds import generator


@dataclass(frozen=True)
class LoopSettings:
    """How a few-shot classifier is trained.

    Attributes:
        rate: learning rate of the network at the first step; it falls linearly to 0 at the last.
        label_rate: likewise of the label vectors.
        epochs: passes over the training set.
        batch: texts a step (the paper: 5).
        weight_decay: on weight matrices; biases, norms and label vectors have none.
        max_norm: gradients longer than this are shortened to it.
    """

    rate: float = 1e-3
    label_rate: float = 2e-3
    epochs: int = 20
    batch: int = 5
    weight_decay: float = 0.01
    max_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rate", "label_rate", "max_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a number above 0, got {getattr(self, name)!r}")
        for name in ("epochs", "batch"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay!r}")


def train_epochs(
    network: Iterable[nn.Module],
    labels: Iterable[nn.Parameter],
    loss: Callable[[Tensor, torch.Generator], Tensor],
    rows: int,
    settings: LoopSettings,
    seed: int,
    report: Callable[..., None] | None = None,
) -> list[float]:
    """Train, and give back the mean loss of each epoch.

    Args:
        network: modules trained at `rate`.
        labels: label vectors trained at `label_rate`.
        loss: of the rows with these indices; the generator is for its dropout.
        rows: size of the training set.
        settings: see there.
        seed: orders the rows and seeds the dropout.
        report: called with the epochs done and their number.

    Raises:
        FloatingPointError: if the loss is not finite; the message says in which epoch.
    """
    modules, vectors = list(network), list(labels)
    optimiser = torch.optim.AdamW(_groups(modules, vectors, settings), fused=True)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    steps = settings.epochs * math.ceil(rows / settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps))
    drawing, curve = generator("few shot", "training", seed), []
    for epoch in range(settings.epochs):
        total = 0.0
        for batch in torch.randperm(rows, generator=drawing).split(settings.batch):
            value = loss(batch, drawing)
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(parameters, settings.max_norm)
            optimiser.step()
            schedule.step()
            total += float(value.detach()) * len(batch)
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss of epoch {epoch + 1} is {total}: choose a smaller rate than {settings.rate:g}")
        curve.append(total / rows)
        if report:
            report(epoch + 1, settings.epochs, loss=curve[-1])
    return curve


def _groups(modules: list[nn.Module], vectors: list[nn.Parameter], settings: LoopSettings) -> Iterator[dict]:
    """Matrices with weight decay, everything else without."""
    matrices = [p for module in modules for p in module.parameters() if p.dim() > 1]
    others = [p for module in modules for p in module.parameters() if p.dim() < 2]
    for params, rate, decay in (
        (matrices, settings.rate, settings.weight_decay),
        (others, settings.rate, 0.0),
        (vectors, settings.label_rate, 0.0),
    ):
        if params:
            yield {"params": params, "lr": rate, "weight_decay": decay}
