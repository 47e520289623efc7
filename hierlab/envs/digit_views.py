"""Digits seen in several ways: tasks that are alike enough to merge models of, and different enough to conflict.

Scikit-learn's 1,797 handwritten digits (8 x 8 grey values; part of the package, BSD-3-Clause), each seen plainly, turned, mirrored or
with its greys inverted. A *view* is one task. The classifier is a small network whose parameters are one flat vector, and a batch of
merged networks is evaluated by a few matrix products: 0.4 ms a network and task on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hierlab.seeds import generator

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "rotated": lambda x: x.rot90(1, (1, 2)),
    "mirrored": lambda x: x.flip(2),
    "inverted": lambda x: 1 - x,
    "upside down": lambda x: x.rot90(2, (1, 2)),
    "rotated back": lambda x: x.rot90(3, (1, 2)),
    "transposed": lambda x: x.transpose(1, 2),
    "transposed, inverted": lambda x: 1 - x.transpose(1, 2),
}
"""[n, 8, 8] grey values in [0, 1] to the same, seen otherwise."""
SIZES = (64, 64, 64, 10)
"""Widths of the network's layers."""
_CHUNK = 4  # merged networks that are evaluated together: their activations stay in the cache


@dataclass(frozen=True)
class Digits:
    """Images as the tasks see them, split into what is learnt from and what is scored on.

    Attributes:
        names: [N] of the views.
        train: [N, n, 64] grey values in [0, 1].
        train_labels: [n] digits, the same images in every view.
        held_out: [N, m, 64].
        held_out_labels: [m]
    """

    names: tuple[str, ...]
    train: Tensor
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor


def digit_views(names: Sequence[str], seed: int = 0) -> Digits:
    """Two thirds of the images to learn from, one third to score on, as each view shows them.

    Args:
        names: which views, see `VIEWS`.
        seed: draws the split.

    Raises:
        ValueError: if there are no names, one is unknown, or one is given twice.
    """
    from sklearn.datasets import load_digits

    if not names or len(set(names)) < len(names) or not set(names) <= set(VIEWS):
        raise ValueError(f"names must be different views out of {', '.join(map(repr, VIEWS))}, got {tuple(names)}")
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 8, 8) / 16
    y = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=generator("digit views", "split", seed))
    seen = torch.stack([VIEWS[name](x).reshape(-1, 64) for name in names])[:, order]
    cut = 2 * len(x) // 3
    return Digits(tuple(names), seen[:, :cut], y[order[:cut]], seen[:, cut:], y[order[cut:]])


def parameter_count(sizes: Sequence[int] = SIZES) -> int:
    """How many numbers a network of these layers has."""
    return sum((a + 1) * b for a, b in pairwise(sizes))


def layers(flat: Tensor, sizes: Sequence[int] = SIZES) -> list[tuple[Tensor, Tensor]]:
    """Weights [..., in, out] and biases [..., 1, out] of every layer, as views of flat parameters [..., d].

    Raises:
        ValueError: if d does not fit the sizes.
    """
    if flat.shape[-1] != parameter_count(sizes):
        raise ValueError(f"a network of sizes {tuple(sizes)} has {parameter_count(sizes)} parameters, got {flat.shape[-1]}")
    found, at, lead = [], 0, flat.shape[:-1]
    for a, b in pairwise(sizes):
        weight = flat[..., at : at + a * b].reshape(*lead, a, b)
        bias = flat[..., at + a * b : at + (a + 1) * b].reshape(*lead, 1, b)
        found.append((weight, bias))
        at += (a + 1) * b
    return found


def logits(flat: Tensor, x: Tensor, sizes: Sequence[int] = SIZES) -> Tensor:
    """A ReLU network's output, for one or several sets of parameters.

    Args:
        flat: [d] or [K, d] parameters.
        x: [n, 64] inputs.
        sizes: widths of the layers.

    Returns:
        [n, 10] or [K, n, 10]
    """
    *hidden, last = layers(flat, sizes)
    for weight, bias in hidden:
        x = torch.relu(x @ weight + bias)
    return x @ last[0] + last[1]


@dataclass(frozen=True)
class MergedDigits:
    """Fine-tuned digit classifiers, ready to be merged and measured.

    Attributes:
        digits: the images.
        base: [d] the parameters that all were fine-tuned from.
        vectors: [N, d] task vectors, one a view.
    """

    digits: Digits
    base: Tensor
    vectors: Tensor

    @property
    def tasks(self) -> int:
        """N, the number of views."""
        return len(self.vectors)

    @property
    def names(self) -> tuple[str, ...]:
        """[N] of the views."""
        return self.digits.names

    def evaluate(self, scales: ArrayLike, tasks: Sequence[int] | None = None) -> np.ndarray:
        """Accuracy of merged classifiers on held-out images.

        Args:
            scales: [K, N] scale vectors.
            tasks: numbers of the views to measure; None for all.

        Returns:
            [K, n] shares of right answers, one column a view asked for.

        Raises:
            ValueError: if scales does not have one column a task vector.
        """
        c = torch.as_tensor(np.asarray(scales), dtype=self.base.dtype)
        if c.dim() != 2 or c.shape[1] != self.tasks:
            raise ValueError(f"scales must be [K, {self.tasks}], one column a task vector, got shape {tuple(c.shape)}")
        wanted = list(range(self.tasks)) if tasks is None else list(tasks)
        return np.concatenate([self._accuracy(part, wanted) for part in c.split(_CHUNK)] or [np.zeros((0, len(wanted)))])

    def _accuracy(self, scales: Tensor, tasks: list[int]) -> np.ndarray:
        merged = self.base + scales @ self.vectors
        right = [logits(merged, self.digits.held_out[n]).argmax(-1) == self.digits.held_out_labels for n in tasks]
        return torch.stack([r.double().mean(-1) for r in right], dim=1).numpy()

    def only(self, tasks: Sequence[int]) -> MergedDigits:
        """The same base with some of the tasks."""
        chosen, digits = list(tasks), self.digits
        images = {"train": digits.train[chosen], "held_out": digits.held_out[chosen]}
        labels = {"train_labels": digits.train_labels, "held_out_labels": digits.held_out_labels}
        return MergedDigits(Digits(tuple(digits.names[n] for n in chosen), **images, **labels), self.base, self.vectors[chosen])

    def with_vectors(self, vectors: Tensor) -> MergedDigits:
        """The same with other task vectors, such as thinned ones."""
        if vectors.shape != self.vectors.shape:
            raise ValueError(f"vectors must have shape {tuple(self.vectors.shape)}, got {tuple(vectors.shape)}")
        return MergedDigits(self.digits, self.base, vectors)

    def halves(self) -> tuple[MergedDigits, MergedDigits]:
        """The same measured on the first and on the second half of the held-out images: to choose by one, and score on the other."""
        digits, cut = self.digits, len(self.digits.held_out_labels) // 2
        train = (digits.names, digits.train, digits.train_labels)
        parts = [Digits(*train, digits.held_out[:, part], digits.held_out_labels[part]) for part in (slice(0, cut), slice(cut, None))]
        return MergedDigits(parts[0], self.base, self.vectors), MergedDigits(parts[1], self.base, self.vectors)
