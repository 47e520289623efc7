"""Train one base network on all views of the digits, and fine-tune it to each: material for merging.

The base has seen a little of everything, so fine-tuning moves it little. That is the assumption under which merged models are
nearly quadratic in their scales; `base_epochs=0` breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.envs.digit_views import SIZES, VIEWS, MergedDigits, digit_views, layers, logits, parameter_count
from hierlab.seeds import generator


@dataclass(frozen=True)
class DigitSettings:
    """How the digit networks are trained.

    Attributes:
        base_epochs: passes over a mix in which each training image has one randomly chosen view.
        fine_epochs: passes over the training images in a task's own view.
        batch: images an Adam step.
        base_rate: learning rate of the base.
        rate: learning rate of fine-tuning.
    """

    base_epochs: int = 15
    fine_epochs: int = 10
    batch: int = 32
    base_rate: float = 1e-3
    rate: float = 1e-3

    def __post_init__(self):
        if min(self.base_epochs, self.fine_epochs) < 0 or self.batch < 1 or not min(self.base_rate, self.rate) > 0:
            raise ValueError(f"epochs must not be negative, batch at least 1 and rates above 0, got {self}")


def train_digit_views(
    seed: int,
    *,
    names: Sequence[str] = tuple(VIEWS)[:4],
    settings: DigitSettings | None = None,
    report: Callable[[int, int], None] | None = None,
) -> MergedDigits:
    """A base network and one fine-tuned from it for each view.

    Args:
        seed: of the split, the first weights and the order of images.
        names: the views, see `hierlab.envs.digit_views.VIEWS`.
        settings: how to train.
        report: called with the number of networks trained so far and in all.

    Raises:
        ValueError: as `digit_views`.
    """
    settings = settings or DigitSettings()
    digits = digit_views(names, seed)
    count = digits.train.shape[1]
    view = torch.randint(len(names), (count,), generator=generator("digit views", "mix", seed))
    mixed = digits.train[view, torch.arange(count)]
    draw = generator("digit views", "base", seed)
    base = _fit(first_weights(draw), mixed, digits.train_labels, settings.base_epochs, settings.batch, settings.base_rate, draw)
    vectors = []
    for number, (name, images) in enumerate(zip(names, digits.train, strict=True), start=1):
        if report:
            report(number, len(names) + 1)
        order = generator("digit views", name, seed)
        tuned = _fit(base, images, digits.train_labels, settings.fine_epochs, settings.batch, settings.rate, order)
        vectors.append(tuned - base)
    return MergedDigits(digits, base, torch.stack(vectors))


def first_weights(draw: torch.Generator, sizes: Sequence[int] = SIZES) -> Tensor:
    """[d] normal weights of variance 2 / inputs (He et al. 2015), biases 0."""
    flat = torch.zeros(parameter_count(sizes))
    for weight, _ in layers(flat, sizes):
        weight.copy_(torch.randn(weight.shape, generator=draw) * (2 / weight.shape[0]) ** 0.5)
    return flat


def _fit(flat: Tensor, x: Tensor, y: Tensor, epochs: int, batch: int, rate: float, draw: torch.Generator) -> Tensor:
    """Cross-entropy by Adam, from these parameters; they are not changed."""
    flat = flat.clone().requires_grad_()
    adam = torch.optim.Adam([flat], lr=rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=draw).split(batch):
            loss = torch.nn.functional.cross_entropy(logits(flat, x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return flat.detach()
