r"""The rational account: which strategy a network follows, from its evidence and its complexity alone (arXiv 2506.17859).

Pre-training is taken to weigh two (or more) strategies Q as a Bayesian would. A strategy's prior falls with its complexity, its
evidence grows with the training steps N, sub-linearly as losses do,

$$\log\mathrm{prior}(Q)=-\ln2\,K_Q^{\beta},\qquad\log\mathrm{likelihood}(Q)=-\gamma\,N^{1-\alpha}L_Q,$$

and the network's prediction is the strategies' average under the posterior. The log-odds of M over G,

$$\gamma N^{1-\alpha}(L_G-L_M)-\ln2\,(K_M^\beta-K_G^\beta),$$

begin below 0, since M is the more complex, and rise, since M fits the training tasks better. They cross 0 at

$$N^*(D)=\Bigl[\frac{\ln2\,(K_M^\beta-K_G^\beta)}{\gamma\,(L_G-L_M)}\Bigr]^{1/(1-\alpha)}.$$

Three numbers are fitted, once for all D and all checkpoints of a kind of network.

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/models.py`, `HierarchicalBayesianModel` (pinned by its reference vector) and its
ablated form; `analysis_utils.py`, `ScipyOptimizer`. The code keeps the logarithms of the parameters in single precision, here
everything is double; it labels $N^*$ in a figure without the ln 2 that its computation has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.theory.strategy_distance import DISTANCES, Distance
from hierlab.trace import show

Prior = Literal["power", "linear"]
NAMES = ("alpha", "beta", "gamma")
START: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "balls and urns": {"alpha": 0.6, "beta": 0.2, "gamma": 0.85},
        "linear regression": {"alpha": 0.65, "beta": 0.3, "gamma": 0.01},
        "classification": {"alpha": 0.8, "beta": 0.12, "gamma": 1.5},
    }
)
"""Where the released code begins its fit, by setting."""
ABLATIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "linear evidence": {"fixed": {"alpha": 0.0}},
        "complexity as it is": {"fixed": {"beta": 1.0}},
        "linear complexity": {"prior": "linear"},
        "no scale": {"fixed": {"gamma": 1.0}},
    }
)
"""What the paper leaves out, as arguments of `RationalAccount`."""


@dataclass(frozen=True)
class Posterior:
    """Prior, evidence and posterior over strategies, in nats.

    Attributes:
        log_prior: [Q], not normalised.
        log_likelihood: [..., Q], not normalised.
        weights: [..., Q], adding up to 1.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    weights: Tensor

    @property
    def log_prior_odds(self) -> Tensor:
        """First strategy over the second."""
        return self.log_prior[..., 0] - self.log_prior[..., 1]

    @property
    def log_bayes_factor(self) -> Tensor:
        """First strategy over the second. [...]"""
        return self.log_likelihood[..., 0] - self.log_likelihood[..., 1]

    @property
    def log_posterior_odds(self) -> Tensor:
        """First strategy over the second. [...]"""
        return self.log_prior_odds + self.log_bayes_factor


def strategy_posterior(
    losses: Tensor,
    complexity: Tensor,
    steps: Tensor | float,
    *,
    alpha: float | Tensor,
    beta: float | Tensor,
    gamma: float | Tensor,
    prior: Prior = "power",
    context_losses: Tensor | None = None,
    batch_size: int = 1,
) -> Posterior:
    r"""The posterior over strategies after training steps.

    Args:
        losses: [Q] mean loss of each strategy on training sequences, in nats.
        complexity: [Q] bits of each, positive.
        steps: N, one number or [K]; not negative.
        alpha: $\alpha$, at most 1: evidence grows with $N^{1-\alpha}$.
        beta: $\beta$, not negative.
        gamma: $\gamma$, not negative.
        prior: "power" for $-\ln2\,K^\beta$, "linear" for the ablation $-\ln2\,\beta K$.
        context_losses: [n, C, Q] the strategies' losses at every position: the released code's context-dependent version, in which
            a context of t items adds $-\gamma t^{1-\alpha}$ times the mean loss so far, and N counts samples, N · batch · C.
        batch_size: sequences a step, for that version.

    Returns:
        The posterior, with weights [Q], [K, Q], or [n, C, Q] with `context_losses`.

    Raises:
        ValueError: if shapes do not fit or a number is out of range.
    """
    check_choice("prior", prior, Prior)
    losses, complexity, steps = (torch.as_tensor(x, dtype=torch.float64) for x in (losses, complexity, steps))
    if losses.dim() != 1 or losses.shape != complexity.shape or len(losses) < 2:
        shapes = f"{[*losses.shape]} and {[*complexity.shape]}"
        raise ValueError(f"losses and complexity must have one number for each of at least two strategies, got {shapes}")
    if not (complexity > 0).all() or not losses.isfinite().all():
        raise ValueError("complexity must be positive and losses finite")
    if steps.dim() > 1 or not (steps >= 0).all():
        raise ValueError(f"steps must be one number or a list of numbers of at least 0, got {steps.tolist()}")
    alpha, beta, gamma = (torch.as_tensor(x, dtype=torch.float64) for x in (alpha, beta, gamma))
    for name, value, most in (("alpha", alpha, 1.0), ("beta", beta, math.inf), ("gamma", gamma, math.inf)):
        check_range(name, float(value.detach()), 0, most)
    scaled = beta * complexity if prior == "linear" else complexity**beta
    log_prior = show("log prior of M and G", -math.log(2) * scaled, r"-\ln 2 \, K^\beta")
    if context_losses is None:
        log_likelihood = -gamma * (steps ** (1 - alpha))[..., None] * losses
    else:
        log_likelihood = _with_context(losses, steps, alpha, gamma, context_losses, batch_size)
    show("log evidence", log_likelihood, r"-\gamma N^{1-\alpha} L")
    weights = show("weights of M and G", (log_prior + log_likelihood).softmax(-1), r"\mathrm{softmax}")
    return Posterior(log_prior, log_likelihood, weights)


def _with_context(losses: Tensor, steps: Tensor, alpha: Tensor, gamma: Tensor, context_losses: Tensor, batch_size: int) -> Tensor:
    """Evidence of training and of the context so far. [n, C, Q]"""
    seen = torch.as_tensor(context_losses, dtype=torch.float64)
    if seen.dim() != 3 or seen.shape[2] != len(losses) or steps.dim():
        raise ValueError(f"context_losses must be [n, C, {len(losses)}] and steps one number, got {[*seen.shape]} and {[*steps.shape]}")
    position = torch.arange(1, seen.shape[1] + 1, dtype=torch.float64)[:, None]
    training = (steps * batch_size * seen.shape[1]) ** (1 - alpha) * losses
    return -gamma * (training + position ** (1 - alpha) * (seen.cumsum(1) / position))


def transition_step(losses: Sequence[float], complexity: Sequence[float], *, alpha: float, beta: float, gamma: float) -> float:
    r"""$N^*$, the step at which M and G are equally probable.

    Args:
        losses: $L_M$, $L_G$.
        complexity: $K_M$, $K_G$ in bits, positive.
        alpha: as in `strategy_posterior`, below 1.
        beta: as there.
        gamma: as there, positive.

    Returns:
        Training steps; 0 if M is not the more complex; NaN if M does not fit better, for then the odds never turn.

    Raises:
        ValueError: if there are not two strategies or a parameter is out of range.
    """
    if len(losses) != 2 or len(complexity) != 2:
        raise ValueError(f"the transition is between two strategies, got {len(losses)} losses and {len(complexity)} complexities")
    for name, value, most in (("alpha", alpha, 1.0), ("beta", beta, math.inf), ("gamma", gamma, math.inf)):
        check_range(name, value, 0, most)
    if alpha == 1 or gamma == 0:
        raise ValueError(f"with alpha = 1 or gamma = 0 evidence never grows, got alpha = {alpha} and gamma = {gamma}")
    if min(complexity) <= 0:
        raise ValueError(f"complexity must be positive, got {min(complexity)}")
    gain = float(losses[1]) - float(losses[0])
    cost = math.log(2) * (float(complexity[0]) ** beta - float(complexity[1]) ** beta)
    if not gain > 0:
        return math.nan
    return max(cost, 0.0) ** (1 / (1 - alpha)) / (gamma * gain) ** (1 / (1 - alpha))


@dataclass(frozen=True)
class Trajectory:
    """One network through training on D tasks, and what the strategies predict for the same sequences.

    Attributes:
        tasks: D.
        steps: [K] the checkpoints.
        network: [K, ...] its predictions at each.
        strategies: [Q, ...] those of the strategies, M first and G second.
        losses: [Q] their mean loss on training sequences.
        complexity: [Q] their complexity in bits.
        distance: "kl" if predictions are distributions, "mse" if values.

    Raises:
        ValueError: if shapes do not fit.
    """

    tasks: int
    steps: Tensor
    network: Tensor
    strategies: Tensor
    losses: Tensor
    complexity: Tensor
    distance: Distance = "kl"

    def __post_init__(self):
        check_choice("distance", self.distance, Distance)
        fits = len(self.network) == len(self.steps) > 0 and self.network.shape[1:] == self.strategies.shape[1:]
        if not fits or not len(self.strategies) == len(self.losses) == len(self.complexity):
            raise ValueError(
                "a trajectory needs one network prediction a step and one strategy prediction, loss and complexity a strategy, all "
                f"predictions of one shape; got steps {[*self.steps.shape]}, network {[*self.network.shape]}, strategies "
                f"{[*self.strategies.shape]}, losses {[*self.losses.shape]}, complexity {[*self.complexity.shape]}"
            )

    def at(self, keep: Tensor | Sequence[int]) -> Trajectory:
        """The same at some of its checkpoints, by place."""
        index = torch.as_tensor(keep)
        return replace(self, steps=self.steps[index], network=self.network[index])

    @property
    def relative_distance(self) -> list[float]:
        """[K] the measured weight of M at each checkpoint, without any fit."""
        from hierlab.theory.strategy_distance import relative_distance

        return [relative_distance(now, self.strategies[0], self.strategies[1], distance=self.distance) for now in self.network]

    @property
    def interpolation_distance(self) -> list[float]:
        """[K] how far the network is from the mixture with those weights: what no weight explains."""
        between = DISTANCES[self.distance]
        memorising, generalising = self.strategies[:2]
        mixed = [w * memorising + (1 - w) * generalising for w in self.relative_distance]
        return [float(between(now, mixture)) for now, mixture in zip(self.network, mixed, strict=True)]


def after_interpolation_threshold(trajectories: Sequence[Trajectory], share: float = 0.2) -> list[Trajectory]:
    """The trajectories from the checkpoint on at which all of them are near a mixture of the strategies.

    For each the threshold is its first checkpoint whose interpolation distance is below min + share (max - min); the latest of them
    counts for all. A network that has just begun to learn is far from every strategy, and the account is silent about it.

    Args:
        trajectories: for several D, of one kind of network, with the same checkpoints.
        share: 0.2, or 0.1 for linear regression, in the released code.

    Raises:
        ValueError: if there are none, or `share` is not in (0, 1].
    """
    check_range("share", share, 0, 1)
    if not trajectories or share == 0:
        raise ValueError("at least one trajectory and a share above 0 are needed to find the threshold")
    first = 0.0
    for trajectory in trajectories:
        distances = np.array(trajectory.interpolation_distance)
        low, high = distances.min(), distances.max()
        near = distances < low + share * (high - low)
        first = max(first, float(trajectory.steps[int(near.argmax())]) if near.any() else float(trajectory.steps[0]))
    return [t.at([place for place, step in enumerate(t.steps.tolist()) if step >= first]) for t in trajectories]


class RationalAccount:
    """Predicts a network's outputs throughout training from the losses and complexities of the strategies.

    Args:
        fixed: parameters that are not fitted, by name.
        prior: as in `strategy_posterior`.
        start: where the fit begins, or several such places, of which the one that ends with the least loss counts; by default as the
            released code for balls and urns. From a place where one strategy has all the weight the fit cannot move, since its
            gradient is 0 there: the ablations with linear complexity need another start than the full account.
        tolerance: of L-BFGS-B, on function and gradient.
        max_iterations: of L-BFGS-B.

    Attributes:
        alpha_, beta_, gamma_: the fitted parameters.
        loss_: the mean divergence of the network from the account in the cells it was fitted on.
        n_iter_: iterations of L-BFGS-B from the start that counts.
        converged_: whether these ended by its tolerance.
    """

    def __init__(
        self,
        *,
        fixed: Mapping[str, float] | None = None,
        prior: Prior = "power",
        start: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None,
        tolerance: float = 1e-7,
        max_iterations: int = 1000,
    ):
        self.fixed, self.prior, self.start = fixed, prior, start
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def fit(self, trajectories: Sequence[Trajectory]) -> Self:
        """Fit the free parameters through their logarithms, on the mean over all cells (one checkpoint of one network each).

        The divergence is the one-sided KL(network, account) for distributions, and the mean squared difference for values.

        Raises:
            ValueError: if there are no trajectories, or a parameter is unknown or out of range.
        """
        _check_trajectories(trajectories)
        check_choice("prior", self.prior, Prior)
        places = [self.start] if isinstance(self.start, Mapping) else list(self.start or [{}])
        fits = [self._fit_from({**START["balls and urns"], **place, **(self.fixed or {})}, trajectories) for place in places]
        self.loss_, found, self.n_iter_, self.converged_ = min(fits, key=lambda fit: fit[0])
        self.alpha_, self.beta_, self.gamma_ = (found[name] for name in NAMES)
        return self

    def _fit_from(self, begin: dict[str, float], trajectories: Sequence[Trajectory]) -> tuple[float, dict[str, float], int, bool]:
        """Loss, parameters, iterations and success of one fit."""
        from scipy.optimize import minimize

        if unknown := begin.keys() - set(NAMES):
            raise ValueError(f"parameters are {', '.join(NAMES)}, got {sorted(unknown)[0]!r}")
        cells = sum(len(t.steps) for t in trajectories)
        free = [name for name in NAMES if name not in (self.fixed or {})]
        if bad := [name for name in free if not 0 < begin[name] < math.inf]:
            raise ValueError(f"the fit must begin with positive parameters, got {bad[0]} = {begin[bad[0]]}")

        def objective(logs: np.ndarray) -> tuple[float, np.ndarray]:
            variables = torch.tensor(logs, dtype=torch.float64, requires_grad=True)
            total = 0.0
            for t in trajectories:  # one graph a trajectory: the memory of the largest, not of all
                values = begin | {name: variables[i].exp() for i, name in enumerate(free)}
                loss = self._loss([t], values) * len(t.steps) / cells
                loss.backward()
                total += float(loss.detach())
            return total, variables.grad.numpy()

        if not free:
            return float(self._loss(trajectories, begin)), begin, 0, True
        options = {"ftol": self.tolerance, "gtol": self.tolerance, "maxiter": self.max_iterations, "maxfun": 2 * self.max_iterations}
        logs = np.log([begin[name] for name in free])
        bounds = [(-12.0, 0.0 if name == "alpha" else 12.0) for name in free]
        found = minimize(objective, logs, jac=True, method="L-BFGS-B", options=options, bounds=bounds)
        fitted = begin | {name: float(value) for name, value in zip(free, np.exp(found.x), strict=True)}
        return float(found.fun), fitted, int(found.nit), bool(found.success)

    def _loss(self, trajectories: Sequence[Trajectory], values: Mapping[str, float | Tensor]) -> Tensor:
        """Mean over cells of the divergence of the network from the account."""
        total, cells = torch.zeros((), dtype=torch.float64), 0
        for t in trajectories:
            weights = strategy_posterior(t.losses, t.complexity, t.steps, **values, prior=self.prior).weights
            total = total + divergences(t, mixtures(t, weights)).sum()
            cells += len(t.steps)
        return total / cells

    def predict_weights(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """The weights of the strategies at each checkpoint, a tensor [K, Q] a trajectory.

        Raises:
            ValueError: if the account is not fitted.
        """
        _check_trajectories(trajectories)
        values = self.parameters
        return [strategy_posterior(t.losses, t.complexity, t.steps, **values, prior=self.prior).weights for t in trajectories]

    def predict(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """What the network should predict at each checkpoint, a tensor [K, ...] a trajectory.

        Raises:
            ValueError: if the account is not fitted.
        """
        weights = self.predict_weights(trajectories)
        return [mixtures(t, w) for t, w in zip(trajectories, weights, strict=True)]

    @property
    def parameters(self) -> dict[str, float]:
        """The fitted parameters by name.

        Raises:
            ValueError: if the account is not fitted.
        """
        if not hasattr(self, "alpha_"):
            raise ValueError("the account is not fitted: call fit first")
        return {"alpha": self.alpha_, "beta": self.beta_, "gamma": self.gamma_}


def mixtures(trajectory: Trajectory, weights: Tensor) -> Tensor:
    """The strategies' average at each checkpoint.

    Args:
        trajectory: with Q strategies.
        weights: [K, Q].

    Returns:
        [K, ...] of the shape of the network's predictions.
    """
    flat = trajectory.strategies.to(weights.dtype).flatten(1)
    return (weights @ flat).reshape(len(weights), *trajectory.strategies.shape[1:])


def divergences(trajectory: Trajectory, predicted: Tensor) -> Tensor:
    """How far the network is from a prediction at each checkpoint: one-sided KL in nats, or mean squared difference. [K]"""
    network = trajectory.network.to(predicted.dtype)
    if trajectory.distance == "mse":
        return (network - predicted).square().flatten(1).mean(1)
    tiny = torch.finfo(predicted.dtype).tiny
    pointwise = (torch.xlogy(network, network) - network * predicted.clamp_min(tiny).log()).sum(-1)
    return pointwise.flatten(1).mean(1)


def _check_trajectories(trajectories: Sequence[Trajectory]) -> None:
    if isinstance(trajectories, Trajectory) or not trajectories or not all(isinstance(t, Trajectory) for t in trajectories):
        raise ValueError("a list of at least one Trajectory is wanted, one for each network")
    if len({t.distance for t in trajectories}) > 1:
        raise ValueError("all trajectories must hold distributions (distance='kl'), or all of them values ('mse')")
