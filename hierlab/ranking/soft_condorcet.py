r"""Soft Condorcet Optimization: ratings whose order disagrees with as few voters as possible, by gradient descent.

Kemeny's rule minimises the number of pairs that voters order differently, a sum of steps. Here each step is a sigmoid,

$$L(\theta)=\sum_{\text{votes}}\ \sum_{a\succ b}\sigma\Bigl(\frac{\theta_b-\theta_a}{\tau}\Bigr),$$

which a gradient can follow; as $\tau\to0$ it is Kemeny's count. A Condorcet winner has the largest rating, which Elo does not promise.
`FenchelYoung` minimises another loss: it perturbs the ratings, ranks, and moves them by the difference between that and the vote's ranks.

Reference: google-deepmind/open_spiel@112b7770, open_spiel/python/voting/soft_condorcet_optimization.py (Lanctot et al., 2024). Gradients
are divided by the number of votes in the batch, not of pairs; weights are expanded to copies first; batches are drawn with replacement.
The reference computes in single, this module in double precision.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.profile import Profile, pair_counts
from hierlab.ranking.win_matrix import Array, as_square
from hierlab.trace import show


def sigmoid_loss(ratings: Array, preferences: Array, temperature: float = 1.0) -> float:
    r"""$\sum_{ab}N_{ab}\,\sigma((\theta_b-\theta_a)/\tau)$, a smooth count of the pairs that voters order differently.

    Args:
        ratings: [m] $\theta$.
        preferences: [m, m] how many voters put row above column.
        temperature: $\tau$, in units of the ratings.

    Raises:
        ValueError: if shapes do not fit, or the temperature is not positive.
    """
    wins, wrong = _pairs(ratings, preferences, temperature)
    return float((wins * wrong).sum())


def sigmoid_gradient(ratings: Array, preferences: Array, temperature: float = 1.0) -> Array:
    """The gradient of `sigmoid_loss` by the ratings. [m]

    Raises:
        ValueError: as `sigmoid_loss`.
    """
    wins, wrong = _pairs(ratings, preferences, temperature)
    slope = wins * wrong * (1 - wrong) / temperature
    return slope.sum(axis=0) - slope.sum(axis=1)


def fenchel_young_gradient(ratings: Array, positions: Array, sigma: float, generator: np.random.Generator) -> Array:
    r"""The Fenchel-Young gradient of a batch of votes: true rank minus the rank under perturbed ratings, averaged.

    Args:
        ratings: [m] $\theta$.
        positions: [V, m] the place each vote gives each alternative, -1 where it does not rank.
        sigma: the scale of the Gumbel noise added to the ratings, anew for each vote.
        generator: of the noise, and of the order of equal ratings.

    Returns:
        [m] the gradient; 0 for alternatives that no vote ranks.

    Raises:
        ValueError: if shapes do not fit, or sigma is negative.
    """
    check_range("sigma", sigma, 0)
    theta, places = np.asarray(ratings, dtype=float), np.asarray(positions)
    if theta.ndim != 1 or places.ndim != 2 or places.shape[1] != len(theta) or not len(places):
        raise ValueError(f"ratings must be [m] and positions [V, m], got {theta.shape} and {places.shape}")
    ranked = places >= 0
    noisy = theta + sigma * generator.gumbel(size=places.shape)
    # Unranked alternatives sort behind all others, and equal ratings by chance.
    order = np.lexsort((generator.random(places.shape), np.where(ranked, -noisy, np.inf)), axis=1)
    predicted = np.argsort(order, axis=1)
    return np.where(ranked, places - predicted, 0).sum(axis=0) / len(places)


class _Descent:
    """Projected gradient descent on ratings, full or by batches of votes."""

    def _start(self, profile: Profile) -> tuple[np.random.Generator, Array]:
        check_range("iterations", self.iterations, 0)
        check_range("learning_rate", self.learning_rate, 0)
        check_range("batch_size", self.batch_size, 0)
        check_range("initial_noise", self.initial_noise, 0)
        check_range("lower", self.lower)
        check_range("upper", self.upper)
        if not self.lower < self.upper:
            raise ValueError(f"upper must be above lower, got {self.upper} and {self.lower}")
        generator = np.random.default_rng(self.random_state)
        middle = (self.upper - self.lower) / 2 + self.lower
        ratings = np.full(len(profile.alternatives), middle, dtype=float)
        return generator, ratings + self.initial_noise * generator.random(len(ratings)) if self.initial_noise else ratings

    def fit(self, profile: Profile) -> Self:
        """Fit ratings to the votes.

        Raises:
            ValueError: if a parameter is out of range.
        """
        generator, ratings = self._start(profile)
        every = profile.expanded()
        gradient = self._gradient_of(profile, every)
        for step in range(1, self.iterations + 1):
            batch = generator.integers(len(every), size=self.batch_size) if self.batch_size else None
            ratings = np.clip(ratings - self.learning_rate * gradient(ratings, batch, generator), self.lower, self.upper)
            if step in (1, 10, 100, 1000):
                show(f"ratings, step {step}", ratings, r"\theta\leftarrow\theta-\eta\,\nabla L(\theta)")
        self.ratings_ = ratings
        self.ranking_ = tuple(profile.alternatives[i] for i in np.argsort(-ratings, kind="stable"))
        return self


class SoftCondorcet(_Descent):
    """Ratings by the sigmoid loss.

    Args:
        temperature: of the sigmoid, in units of the ratings.
        lower: the smallest rating.
        upper: the largest; everyone starts in the middle.
        learning_rate: of the descent.
        iterations: steps.
        batch_size: votes a step, drawn with replacement; 0 for all of them.
        initial_noise: uniform noise of at most this size on the first ratings.
        random_state: seed of batches and noise.

    Attributes:
        ratings_: [m] in the order of the profile's alternatives.
        ranking_: [m] alternatives, best first; equal ratings in the profile's order.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        lower: float = 0.0,
        upper: float = 1000.0,
        learning_rate: float = 0.01,
        iterations: int = 1000,
        batch_size: int = 0,
        initial_noise: float = 0.0,
        random_state: int | None = 0,
    ):
        self.temperature = temperature
        self.lower = lower
        self.upper = upper
        self.learning_rate = learning_rate
        self.iterations = iterations
        self.batch_size = batch_size
        self.initial_noise = initial_noise
        self.random_state = random_state

    def _gradient_of(self, profile: Profile, every: Array):
        whole = profile.preferences

        def gradient(ratings: Array, batch: Array | None, generator: np.random.Generator) -> Array:
            wins = whole if batch is None else pair_counts(every[batch])
            return sigmoid_gradient(ratings, wins, self.temperature) / (len(every) if batch is None else len(batch))

        return gradient


class FenchelYoung(_Descent):
    """Ratings by the Fenchel-Young loss of perturbed ranks.

    Args:
        sigma: the scale of the Gumbel noise, in units of the ratings.
        lower: as in `SoftCondorcet`.
        upper: likewise.
        learning_rate: likewise.
        iterations: likewise.
        batch_size: likewise.
        initial_noise: likewise.
        random_state: likewise.

    Attributes:
        ratings_: [m] in the order of the profile's alternatives.
        ranking_: [m] alternatives, best first; equal ratings in the profile's order.
    """

    def __init__(
        self,
        sigma: float = 100.0,
        lower: float = 0.0,
        upper: float = 1000.0,
        learning_rate: float = 0.01,
        iterations: int = 1000,
        batch_size: int = 0,
        initial_noise: float = 0.0,
        random_state: int | None = 0,
    ):
        self.sigma = sigma
        self.lower = lower
        self.upper = upper
        self.learning_rate = learning_rate
        self.iterations = iterations
        self.batch_size = batch_size
        self.initial_noise = initial_noise
        self.random_state = random_state

    def _gradient_of(self, profile: Profile, every: Array):
        def gradient(ratings: Array, batch: Array | None, generator: np.random.Generator) -> Array:
            return fenchel_young_gradient(ratings, every if batch is None else every[batch], self.sigma, generator)

        return gradient


def _pairs(ratings: Array, preferences: Array, temperature: float) -> tuple[Array, Array]:
    """The preference matrix, and how wrong each of its entries is under the ratings: [m, m] each."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a positive number, got {temperature}")
    wins, theta = as_square("preferences", preferences), np.asarray(ratings, dtype=float)
    if theta.shape != (len(wins),):
        raise ValueError(f"ratings must be [{len(wins)}] as the preferences, got shape {theta.shape}")
    gap = (theta[None, :] - theta[:, None]) / temperature
    return wins, 1 / (1 + np.exp(-np.clip(gap, -700, 700)))
