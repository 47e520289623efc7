"""Noisy linear regression in context: a task is a vector of weights, a sequence x1, y1, x2, y2, ... (arXiv 2506.17859).

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/utils.py`, `LinearRegressionDataset`; `config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.theory.generalising import generalised_regression
from hierlab.theory.memorising import memorised_regression
from hierlab.theory.sizes import check_sizes, check_tensor


@dataclass(frozen=True)
class RegressionSequences:
    """Sequences of pairs.

    Attributes:
        xs: [n, C, d] inputs.
        ys: [n, C] noisy outputs.
        task: [n] which row of the tasks each was drawn from.
    """

    xs: Tensor
    ys: Tensor
    task: Tensor


@dataclass(frozen=True)
class LinearRegression:
    """The setting. Weights and inputs are standard normal, the noise has the variance d / 256; a prediction is a value at each x.

    Attributes:
        dims: d, dimensions of an input.
        length: C, pairs a sequence.

    Raises:
        ValueError: if a size is not a whole number of at least 1.
    """

    dims: int = 8
    length: int = 16

    name = "linear regression"
    distance = "mse"

    def __post_init__(self):
        check_sizes(dims=self.dims, length=self.length)

    @property
    def noise_variance(self) -> float:
        """Variance of the noise on y."""
        return self.dims / 256

    def draw_tasks(self, number: int, generator: torch.Generator) -> Tensor:
        """Weights from the prior. [number, d] in double precision.

        Raises:
            ValueError: if `number` is not positive.
        """
        check_sizes(number=number)
        return torch.randn(number, self.dims, generator=generator, dtype=torch.float64)

    def draw(self, tasks: Tensor, number: int, generator: torch.Generator) -> RegressionSequences:
        """Sequences, each from a task chosen uniformly.

        Raises:
            ValueError: if `number` is not positive, or `tasks` has not d columns.
        """
        check_sizes(number=number)
        check_tensor("tasks", tasks, "[D, d]")
        if tasks.shape[1] != self.dims:
            raise ValueError(f"tasks must have {self.dims} columns, one a dimension, got {tasks.shape[1]}")
        task = torch.randint(len(tasks), (number,), generator=generator)
        xs = torch.randn(number, self.length, self.dims, generator=generator, dtype=tasks.dtype)
        noise = torch.randn(number, self.length, generator=generator, dtype=tasks.dtype) * self.noise_variance**0.5
        return RegressionSequences(xs, (xs * tasks[task][:, None]).sum(-1) + noise, task)

    def memorising(self, tasks: Tensor, sequences: RegressionSequences) -> Tensor:
        """What M predicts. [n, C]"""
        return memorised_regression(tasks, sequences.xs, sequences.ys, self.noise_variance)

    def generalising(self, sequences: RegressionSequences) -> Tensor:
        """What G predicts. [n, C]"""
        return generalised_regression(sequences.xs, sequences.ys, self.noise_variance)

    def constant(self, sequences: RegressionSequences) -> Tensor:
        """The best prediction that looks at nothing: 0. [n, C]"""
        return torch.zeros_like(sequences.ys)

    def losses(self, predicted: Tensor, tasks: Tensor, sequences: RegressionSequences) -> Tensor:
        """Squared error over twice the noise variance, mean over positions: a negative log-likelihood without its constant. [n]"""
        return (predicted - sequences.ys).square().mean(-1) / (2 * self.noise_variance)
