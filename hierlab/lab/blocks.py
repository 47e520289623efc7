"""Bootstrap over blocks of batches: how sure a number is that was computed from many independent batches.

Batches are gathered into at most 100 blocks, and everything that is needed of them is summed within the blocks. A bootstrap sample
takes each block a random number of times; the first sample takes every block once, so that it gives the number itself and the
others say how sure it is. Shapes: B batches, K blocks, R samples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hierlab.seeds import derive_seed

MOST = 100


class Interval(NamedTuple):
    """A measured number and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


class Blocks:
    """B batches in K blocks, and R bootstrap samples of the blocks.

    Args:
        batches: number of batches, at least 2.
        resamples: number of bootstrap samples besides the first, at least 100.
        seed: of the bootstrap.

    Attributes:
        of_batch: [B] int64, the block of each batch.
        count: K.
        sizes: [K] batches in each block.
        weights: [R, K] how often each sample takes each block.

    Raises:
        ValueError: if there are too few batches or samples.
    """

    def __init__(self, batches: int, resamples: int, seed: int):
        if batches < 2 or resamples < 100:
            raise ValueError(f"an interval needs at least 2 batches and 100 resamples, got {batches} and {resamples}")
        self.count = min(batches, MOST)
        self.of_batch = torch.arange(batches) * self.count // batches
        self.sizes = torch.bincount(self.of_batch).double().numpy()
        rng = np.random.default_rng(derive_seed("bootstrap", seed))
        drawn = rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=resamples)
        self.weights = np.concatenate([np.ones((1, self.count)), drawn])

    def sums(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Sums within each block of one entry a batch, or of entries that belong to the given batches. [B or N, ...] -> [K, ...]"""
        block = self.of_batch if batch is None else self.of_batch[batch]
        return x.new_zeros(self.count, *x.shape[1:]).index_add(0, block, x)

    def means(self, sums: Tensor) -> np.ndarray:
        """The mean over batches in each sample. [K, ...] -> [R, ...]"""
        size = self.weights @ self.sizes
        return (self.weights @ sums.numpy()) / size.reshape(-1, *[1] * (sums.dim() - 1))

    def product_of_means(self, x: Tensor, y: Tensor | None = None) -> np.ndarray:
        """The inner product of two expectations in each sample, free of noise: the average over pairs of different blocks.

        The square of a mean is too large by the mean's variance; the product of two independent means is right on average, and may
        come out below 0 where the truth is 0. A block that a sample takes twice is still no independent pair with itself.

        Args:
            x: [K, P] sums within blocks.
            y: [K, P] the same of another quantity; `x` itself if None.

        Returns:
            [R]
        """
        products = (x @ (x if y is None else y).T).numpy()
        squares = self.weights**2
        pairs = ((self.weights @ products) * self.weights).sum(axis=1) - squares @ np.diag(products)
        with np.errstate(invalid="ignore"):
            return pairs / ((self.weights @ self.sizes) ** 2 - squares @ self.sizes**2)


def interval(samples: np.ndarray) -> Interval | None:
    """The first sample and the middle 95 % of the others; None if the number is not defined.

    Samples in which it is not defined are left out of the interval.
    """
    if not math.isfinite(samples[0]):
        return None
    low, high = np.nanquantile(samples[1:], (0.025, 0.975))
    return Interval(float(samples[0]), float(low), float(high))
