"""Trivial accounts of a network in training: one strategy, one mixture, or whatever mixture fits each checkpoint.

They have the interface of `RationalAccount`. An account that explains training has to do better than the first three on cells it
has not seen; the last looks at the very cells it is judged on, and says how well any weight could do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hierlab.theory.rational_account import Trajectory, divergences, mixtures
from hierlab.theory.sizes import check_sizes


class OneStrategy:
    """The network is taken to follow one strategy throughout.

    Args:
        place: which: 0 for M, 1 for G.
    """

    def __init__(self, place: int):
        self.place = place

    def fit(self, trajectories: Sequence[Trajectory]) -> Self:
        """There is nothing to fit.

        Raises:
            ValueError: if there is no such strategy.
        """
        check_sizes(0, place=self.place)
        if any(self.place >= len(t.strategies) for t in trajectories):
            raise ValueError(f"place must be below the number of strategies, {len(trajectories[0].strategies)}, got {self.place}")
        return self

    def predict_weights(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """1 for the strategy. [K, Q] a trajectory"""
        return [torch.eye(len(t.strategies), dtype=torch.float64)[self.place].expand(len(t.steps), -1) for t in trajectories]

    def predict(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The strategy's predictions at each checkpoint. [K, ...] a trajectory"""
        return [mixtures(t, w) for t, w in zip(trajectories, self.predict_weights(trajectories), strict=True)]


class FixedMixture:
    """One weight of M for all D and all checkpoints.

    Attributes:
        weight_: the fitted weight of M.
    """

    def fit(self, trajectories: Sequence[Trajectory]) -> Self:
        """Fit the weight on the mean divergence over all cells."""
        cells = sum(len(t.steps) for t in trajectories)

        def loss(weight: float) -> float:
            return sum(float(divergences(t, mixtures(t, _two(weight, t))).sum()) for t in trajectories) / cells

        self.weight_ = _least(loss)
        return self

    def predict_weights(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The same weights everywhere. [K, 2] a trajectory"""
        return [_two(self.weight_, t) for t in trajectories]

    def predict(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The mixture's predictions at each checkpoint. [K, ...] a trajectory"""
        return [mixtures(t, w) for t, w in zip(trajectories, self.predict_weights(trajectories), strict=True)]


class BestMixturePerCheckpoint:
    """The weight of M that fits each cell best, chosen by that very cell: an upper bound for any account by weights."""

    def fit(self, trajectories: Sequence[Trajectory]) -> Self:
        """There is nothing to fit: weights are chosen where they are used."""
        return self

    def predict_weights(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The best weights of each cell. [K, 2] a trajectory"""
        return [torch.cat([self._best(t.at([place])) for place in range(len(t.steps))]) for t in trajectories]

    @staticmethod
    def _best(cell: Trajectory) -> Tensor:
        return _two(_least(lambda weight: float(divergences(cell, mixtures(cell, _two(weight, cell))))), cell)

    def predict(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The mixtures' predictions. [K, ...] a trajectory"""
        return [mixtures(t, w) for t, w in zip(trajectories, self.predict_weights(trajectories), strict=True)]


class ConstantPrediction:
    """The network is taken to look at nothing.

    Args:
        predicted: what it then predicts, to be spread over all cells: the prior's mean.
    """

    def __init__(self, predicted: Tensor | float):
        self.predicted = predicted

    def fit(self, trajectories: Sequence[Trajectory]) -> Self:
        """There is nothing to fit."""
        return self

    def predict(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The same prediction everywhere. [K, ...] a trajectory"""
        constant = torch.as_tensor(self.predicted, dtype=torch.float64)
        return [constant.expand(t.network.shape) for t in trajectories]


def _two(weight: float, t: Trajectory) -> Tensor:
    return torch.tensor([[weight, 1 - weight]], dtype=torch.float64).expand(len(t.steps), -1)


def _least(loss) -> float:
    """The weight in [0, 1] with the least loss; both losses are convex in the weight."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-3, "maxiter": 40})
    return float(np.clip(found.x, 0.0, 1.0))
