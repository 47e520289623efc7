r"""The multinomial (conditional) logit: choice probabilities, likelihood, and a maximum-likelihood fit.

Each of $A$ alternatives has a utility $\rho_a=x_a^\top\beta$, and is chosen with probability
$e^{\rho_a}/(\mathbb{1}_{\text{outside}}+\sum_be^{\rho_b})$, where the outside option, choosing nothing, has utility 0. It is the
model of an auction's clicks (`mnl_auction`) as well as that of a shopping agent's purchases: the fit is the estimation side of both.

Source: D. McFadden, Conditional logit analysis of qualitative choice behavior, 1974.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

NOTHING = -1
"""The choice of the outside option."""


def choice_probabilities(utility: Any, available: Any = None, *, outside: bool = False) -> np.ndarray:
    """The probability of each alternative.

    Args:
        utility: [..., A] finite where available.
        available: [..., A] bool; None: all are.
        outside: whether nothing may be chosen, at utility 0; what is missing to 1 is then its probability.

    Returns:
        [..., A], 0 where not available.

    Raises:
        ValueError: if shapes differ, an available utility is not finite, or some set offers nothing.
    """
    utility, available = _check_utility(utility, available, outside)
    top = np.where(available, utility, -np.inf).max(-1, keepdims=True, initial=0.0 if outside else -np.inf)
    weight = np.where(available, np.exp(np.where(available, utility - top, 0.0)), 0.0)
    return weight / (weight.sum(-1, keepdims=True) + (np.exp(-top) if outside else 0.0))


def log_likelihood(utility: Any, choice: Any, available: Any = None, *, outside: bool = False) -> float:
    """Sum over sets of the log-probability of what was chosen.

    Args:
        utility: [N, A] finite where available.
        choice: [N] index of what was chosen, -1 for nothing.
        available: [N, A] bool; None: all are.
        outside: whether nothing may be chosen.

    Raises:
        ValueError: as `choice_probabilities`, or if a choice was not on offer.
    """
    utility, available = _check_utility(utility, available, outside)
    choice = _check_choice(choice, available, outside)
    top = np.where(available, utility, -np.inf).max(-1, initial=0.0 if outside else -np.inf)
    weight = np.where(available, np.exp(np.where(available, utility - top[:, None], 0.0)), 0.0).sum(-1) + outside * np.exp(-top)
    taken = np.where(choice == NOTHING, 0.0, utility[np.arange(len(choice)), choice])
    return float((taken - top - np.log(weight)).sum())


def _check_utility(utility: Any, available: Any, outside: bool) -> tuple[np.ndarray, np.ndarray]:
    utility = np.asarray(utility, dtype=np.float64)
    available = np.ones(utility.shape, dtype=bool) if available is None else np.asarray(available)
    if utility.ndim < 1 or available.shape != utility.shape or available.dtype != bool:
        raise ValueError(f"available must be bool, one for each utility; got {available.dtype} of {available.shape} for {utility.shape}")
    if not np.isfinite(utility[available]).all():
        raise ValueError("utility must be finite where an alternative is available")
    if not outside and not available.any(-1).all():
        raise ValueError("every set must offer an alternative, or outside=True")
    return utility, available


def _check_choice(choice: Any, available: np.ndarray, outside: bool) -> np.ndarray:
    choice = np.asarray(choice)
    if choice.shape != available.shape[:1] or not np.issubdtype(choice.dtype, np.integer):
        raise ValueError(f"choice must be one whole number a set, got {choice.dtype} of {choice.shape} for {len(available)} sets")
    low = NOTHING if outside else 0
    if len(choice) and not (choice.min() >= low and choice.max() < available.shape[1]):
        nothing = " (or -1 for nothing)" if outside else " (-1, nothing, wants outside=True)"
        raise ValueError(f"choice must name an alternative, 0 to {available.shape[1] - 1}{nothing}; got {choice.min()} to {choice.max()}")
    missing = (choice != NOTHING) & ~available[np.arange(len(choice)), choice]
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"set {row} has chosen alternative {choice[row]}, which was not available")
    return choice


class ConditionalLogit(BaseEstimator):
    r"""Conditional logit by Newton's method on the exact likelihood, which is concave.

    Features need not be linearly independent (dummies for every level of a factor, say): steps are least-squares solutions, so the
    likelihood and everything identified are right, and of the rest the smallest coefficients are given.

    Args:
        outside: whether nothing may be chosen, at utility 0.
        ridge: weight of $\frac12\lVert\beta\rVert^2$ taken off the log-likelihood; 0 is maximum likelihood.
        tol: the fit is done when a step promises to gain less than this in log-likelihood a set.
        max_iter: most Newton steps.

    Attributes:
        coef_: [F] coefficients.
        covariance_: [F, F] (pseudo-)inverse of the information at them.
        log_likelihood_: at the coefficients, without the ridge.
        null_log_likelihood_: at coefficients of 0.
        n_iter_: Newton steps taken.
        n_features_in_: F.

    Source: as the module; the estimator that statsmodels calls `ConditionalLogit`, with a varying number of alternatives.
    """

    def __init__(self, *, outside: bool = False, ridge: float = 0.0, tol: float = 1e-12, max_iter: int = 100):
        self.outside = outside
        self.ridge = ridge
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, available: Any = None) -> ConditionalLogit:
        """Fit to sets of alternatives and what was chosen from them.

        Args:
            X: [N, A, F] features of the alternatives; what stands where none is available does not matter.
            y: [N] index of what was chosen, -1 for nothing.
            available: [N, A] bool; None: all are.

        Raises:
            ValueError: if shapes do not fit, a number is not finite, a choice was not on offer, or a parameter is out of range.
        """
        if not (self.ridge >= 0 and self.tol > 0 and self.max_iter >= 1):
            raise ValueError(f"ridge must be >= 0, tol > 0 and max_iter >= 1, got {self.ridge}, {self.tol} and {self.max_iter}")
        X, available = self._check_features(X, available)
        y = _check_choice(y, available, self.outside)
        if not len(X):
            raise ValueError("there is nothing to fit: X has no sets")
        taken = np.where((y == NOTHING)[:, None], 0.0, X[np.arange(len(y)), y])  # [N, F]
        coef = np.zeros(X.shape[2])
        objective = self._objective(coef, X, y, available)
        self.null_log_likelihood_ = objective
        steps = 0
        while True:
            gradient, information = self._derivatives(coef, X, taken, available)
            step = np.linalg.lstsq(information, gradient, rcond=1e-12)[0]
            promise = float(gradient @ step) / 2
            if promise <= self.tol * len(X):  # so near that the full step is as good as exact
                coef = coef + step
                objective = self._objective(coef, X, y, available)
                break
            if steps == self.max_iter:
                self._warn()
                break
            coef, objective = self._line_search(coef, step, objective, X, y, available)
            steps += 1
        self.coef_, self.n_iter_, self.n_features_in_ = coef, steps, X.shape[2]
        self.covariance_ = np.linalg.pinv(self._derivatives(coef, X, taken, available)[1], rcond=1e-12, hermitian=True)
        self.log_likelihood_ = objective + self.ridge * float(coef @ coef) / 2
        return self

    def predict_proba(self, X: Any, available: Any = None) -> np.ndarray:
        """Probability of each alternative. [N, A]

        Raises:
            NotFittedError: if not fitted.
            ValueError: if shapes do not fit.
        """
        check_is_fitted(self)
        X, available = self._check_features(X, available)
        if X.shape[2] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[2]} features, but the logit was fitted to {self.n_features_in_}")
        return choice_probabilities(X @ self.coef_, available, outside=self.outside)

    def predict(self, X: Any, available: Any = None) -> np.ndarray:
        """The most probable choice, -1 for nothing. [N]

        Raises:
            NotFittedError, ValueError: as `predict_proba`.
        """
        probability = self.predict_proba(X, available)
        best = probability.argmax(1)
        return np.where(self.outside & (1 - probability.sum(1) > probability.max(1)), NOTHING, best)

    def score(self, X: Any, y: Any, available: Any = None) -> float:
        """Mean log-probability of the choices.

        Raises:
            NotFittedError, ValueError: as `predict_proba`, or if a choice was not on offer.
        """
        check_is_fitted(self)
        X, available = self._check_features(X, available)
        return log_likelihood(X @ self.coef_, y, available, outside=self.outside) / len(X)

    def _warn(self) -> None:
        warnings.warn(
            f"not converged after {self.max_iter} steps: coefficients run away if some feature tells choices apart perfectly; "
            "a small ridge keeps them finite",
            ConvergenceWarning,
            stacklevel=3,
        )

    def _check_features(self, X: Any, available: Any) -> tuple[np.ndarray, np.ndarray]:
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 3:
            raise ValueError(f"X must be [sets, alternatives, features], got shape {X.shape}")
        _, available = _check_utility(np.zeros(X.shape[:2]), available, self.outside)
        if not np.isfinite(X[available]).all():
            raise ValueError("X must be finite where an alternative is available")
        return np.where(available[..., None], X, 0.0), available

    def _objective(self, coef: np.ndarray, X: np.ndarray, y: np.ndarray, available: np.ndarray) -> float:
        return log_likelihood(X @ coef, y, available, outside=self.outside) - self.ridge * float(coef @ coef) / 2

    def _derivatives(self, coef: np.ndarray, X: np.ndarray, taken: np.ndarray, available: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient [F] and information [F, F], both with the ridge."""
        probability = choice_probabilities(X @ coef, available, outside=self.outside)
        mean = np.einsum("na,naf->nf", probability, X)
        flat = X.reshape(-1, X.shape[2])
        information = (flat * probability.reshape(-1, 1)).T @ flat - mean.T @ mean
        return (taken - mean).sum(0) - self.ridge * coef, information + self.ridge * np.eye(len(coef))

    def _line_search(
        self, coef: np.ndarray, step: np.ndarray, objective: float, X: np.ndarray, y: np.ndarray, available: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Halve the step until it gains; far from the optimum a full one may not."""
        for halvings in range(40):
            tried = coef + step / 2**halvings
            if np.isfinite(tried).all() and (reached := self._objective(tried, X, y, available)) > objective:
                return tried, reached
        return coef, objective
