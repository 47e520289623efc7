r"""Is an estimator's expected gradient the exact policy gradient, and how much does it scatter from episode to episode?

Episodes of one fixed policy give one gradient each, $g_e$, with mean $\bar g$ and covariance $C$. Of an unbiased estimator the mean
lies away from the exact gradient $g$ by chance alone, and one knows how far:

$$z^2=\frac{n\,\lvert\bar g-g\rvert^2}{\operatorname{tr}C}$$

is 1 on average, whatever the distribution and however small $n$; a bias $b$ adds $n\lvert b\rvert^2/\operatorname{tr}C$, which grows with
the number of episodes. So a $z^2$ near 1 says something only if enough episodes were played to see the bias one fears; that is why the
estimators beside it are some that are known to be biased. It is the mean over directions of the squared z of the mean, each direction
counting as much as it varies (Hotelling's statistic weighs all alike, which needs the inverse of a nearly singular matrix).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hierlab.lab.microscope import choice_advantage
from hierlab.rollout.rollouts import Rollouts
from hierlab.train.tabular import Estimator


class Gradients(Protocol):
    """What is needed of a testbed."""

    gradient: Tensor

    def implied_gradients(self, rollouts: Rollouts, weight: Tensor, part: Tensor, parts: int) -> Tensor:
        """The gradients that weights imply, [parts, D]."""


@dataclass(frozen=True)
class GradientMoments:
    """What was seen of an estimator.

    Attributes:
        z_square: 1 on average if the estimator is unbiased.
        squared_bias: of the expected gradient, in squared lengths of the exact one; noise taken out, so it may fall below 0.
        traces: variance of one episode's gradient, summed over each block of coordinates.
    """

    z_square: float
    squared_bias: float
    traces: tuple[float, ...]

    @property
    def trace(self) -> float:
        """Variance of one episode's gradient, summed over coordinates."""
        return sum(self.traces)


def gradient_moments(
    estimator: Estimator, testbed: Gradients, rollouts: Rollouts, *, blocks: tuple[int, ...] | None = None
) -> GradientMoments:
    """Hold an estimator's gradient against the exact one.

    Args:
        estimator: a function of columns that returns advantages, and does not look across episodes: no normalisation.
        testbed: what the rollouts come from.
        rollouts: whole episodes, named by numbers from 0 in `trajectory`; at least two.
        blocks: sizes of consecutive blocks of coordinates, for `traces`; one block by default.

    Raises:
        ValueError: if there are fewer than two episodes, or the blocks do not cover the gradient.
    """
    episode = torch.tensor(rollouts.trajectory)
    episodes = int(episode.max()) + 1 if len(episode) else 0
    if episodes < 2:
        raise ValueError(f"a covariance needs at least two episodes, got {episodes}")
    gradients = testbed.implied_gradients(rollouts, choice_advantage(rollouts, estimator), episode, episodes)
    blocks = blocks or (gradients.shape[1],)
    if sum(blocks) != gradients.shape[1]:
        raise ValueError(f"blocks must cover the {gradients.shape[1]} coordinates of the gradient, got {blocks}")
    variance = gradients.var(dim=0)
    distance = float((gradients.mean(dim=0) - testbed.gradient).square().sum())
    noise = float(variance.sum()) / episodes
    length = float(testbed.gradient.square().sum())
    traces = tuple(float(block.sum()) for block in variance.split(blocks))
    return GradientMoments(distance / noise, (distance - noise) / length, traces)
