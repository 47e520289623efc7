r"""Reward models whose quality is known because they are made of it: what does a benchmark's score say about their use?

An answer has a utility $u\sim N(0,1)$ that nobody sees and a length $\ell=\lambda(\rho u+\sqrt{1-\rho^2}\,z)$. A simulated reward model of
quality $q\in[0,1]$ and length bias $b\ge0$ says

$$s=q\,u+\sqrt{1-q^2}\,\varepsilon+b\,\ell,\qquad z,\varepsilon\sim N(0,1).$$

All of it is normal, so the truth is exact. The favourite of $n$ answers is worth $c\cdot E[\max\text{ of }n]$, where $c$ is the correlation
of score and utility:

$$c=\frac{q+b\lambda\rho}{\sqrt{1+2qb\lambda\rho+b^2\lambda^2}}.$$

A model that likes long answers is good where they are better ($\rho>0$) and bad where they are worse, with the same weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from hierlab.checks import check_range


@dataclass(frozen=True)
class AnswerWorld:
    r"""Where answers come from.

    Attributes:
        length_correlation: $\rho$, of length with utility.
        length_scale: $\lambda$, how much lengths differ.
    """

    length_correlation: float = 0.0
    length_scale: float = 1.0

    def __post_init__(self):
        check_range("length_correlation", self.length_correlation, -1, 1)
        check_range("length_scale", self.length_scale, 0)

    def draw(self, prompts: int, answers: int, generator: np.random.Generator, *, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Utilities and lengths of answers to some prompts, the best answer first. [P, n] float64 each

        Args:
            prompts: P.
            answers: n.
            generator: of all draws.
            margin: by how much the best answer must be better than the second; other prompts are drawn again.

        Raises:
            ValueError: if a number is below 1 or the margin is not in [0, 2] (beyond, drawing would take for ever).
        """
        if prompts < 1 or answers < 1:
            raise ValueError(f"a draw needs at least one prompt and one answer, got {prompts} and {answers}")
        check_range("margin", margin, 0, 2)
        kept = np.zeros((0, answers))
        while len(kept) < prompts:
            utility = -np.sort(-generator.standard_normal((prompts, answers)), axis=1)
            clear = utility[:, 0] - utility[:, 1] >= margin if answers > 1 else np.ones(prompts, dtype=bool)
            kept = np.concatenate([kept, utility[clear]])
        utility = kept[:prompts]
        own = math.sqrt(1 - self.length_correlation**2) * generator.standard_normal(utility.shape)
        return utility, self.length_scale * (self.length_correlation * utility + own)


@dataclass(frozen=True)
class SimulatedReward:
    """A reward model by what is good and bad about it.

    Attributes:
        quality: q, the correlation of its unbiased part with utility, in [0, 1].
        length_bias: b, what it adds for a unit of length.
    """

    quality: float
    length_bias: float = 0.0

    def __post_init__(self):
        check_range("quality", self.quality, 0, 1)
        check_range("length_bias", self.length_bias, 0)

    def score(self, utility: np.ndarray, length: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What it says of answers; of the shape of both."""
        noise = generator.standard_normal(utility.shape)
        return self.quality * utility + math.sqrt(1 - self.quality**2) * noise + self.length_bias * length

    def correlation(self, world: AnswerWorld) -> float:
        """Exact correlation of its score with utility."""
        pull = self.length_bias * world.length_scale
        variance = 1 + 2 * self.quality * pull * world.length_correlation + pull**2
        return (self.quality + pull * world.length_correlation) / math.sqrt(variance)

    def best_of_n_gain(self, world: AnswerWorld, answers: int) -> float:
        """Exact expected utility of its favourite among n answers; a random choice has 0.

        Raises:
            ValueError: if there is no answer.
        """
        return self.correlation(world) * largest_of(answers)


@cache
def largest_of(number: int) -> float:
    """Expected largest of so many independent standard normal numbers.

    Raises:
        ValueError: if there is none.
    """
    if number < 1:
        raise ValueError(f"the largest of a set needs at least one number, got {number}")
    x, density, below = _normal_grid(20_001)
    return float(np.trapezoid(number * x * density * below ** (number - 1), x))


def exact_accuracy(correlation: float, answers: int) -> float:
    r"""Probability that the best of n answers has the highest score too, $n\int\phi_c(u,s)\,\Phi_c(u,s)^{n-1}$.

    Args:
        correlation: c, of score and utility.
        answers: n.

    Raises:
        ValueError: if the correlation is not in [-1, 1] or there is no answer.
    """
    check_range("correlation", correlation, -1, 1)
    if answers < 1:
        raise ValueError(f"an accuracy needs at least one answer, got {answers}")
    if answers <= 2 or abs(correlation) == 1:
        return {1: 1.0, 2: 0.5 + math.asin(correlation) / math.pi}.get(answers, float(correlation == 1))
    # With u as the outer variable: s given u is normal around c u, and both tails below (u, s) come from one cumulative sum.
    u, density, _ = _normal_grid(401)
    s, step = u[None, :], u[1] - u[0]
    joint = np.exp(-((s - correlation * u[:, None]) ** 2) / (2 * (1 - correlation**2))) / math.sqrt(2 * math.pi * (1 - correlation**2))
    joint = joint * density[:, None] * step * step
    joint /= joint.sum()
    below = joint.cumsum(0).cumsum(1)
    shifted = below - 0.5 * (joint.cumsum(0) + joint.cumsum(1)) + 0.25 * joint  # to the middle of each cell
    return float(answers * (joint * shifted ** (answers - 1)).sum())


@cache
def _normal_grid(points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, density and probability below, of a standard normal number."""
    from scipy.special import ndtr

    x = np.linspace(-7, 7, points)
    return x, np.exp(-x * x / 2) / math.sqrt(2 * math.pi), ndtr(x)
