r"""Bradley-Terry: one strength a player, $P(i\text{ beats }j)=\gamma_i/(\gamma_i+\gamma_j)$, fitted to all games at once.

Two ways to the same maximum of the likelihood. Hunter's minorisation-maximisation (Annals of Statistics 32(1), 2004),

$$\gamma_i\leftarrow\frac{\sum_jW_{ij}}{\sum_{j\neq i}N_{ij}/(\gamma_i+\gamma_j)},\qquad N=W+W^T,$$

divided by the sum, is what `batch_elo` iterates, step by step as open_spiel's `elo.cc` does (google-deepmind/open_spiel@112b7770,
open_spiel/evaluation/elo.cc). It needs hundreds of steps where Newton's method on $\theta=\log\gamma$ needs about six, so whoever refits
in a loop takes `method="newton"`.
"""

from __future__ import annotations

from typing import Literal, Self, get_args

import numpy as np

from hierlab.ranking.win_matrix import Array, as_square, connected, points
from hierlab.trace import recording, show

Method = Literal["mm", "newton"]
TINY = np.nextafter(0, 1)
"""The smallest positive number, below which the reference lets no strength fall."""


def mm_strengths(taken: Array, *, max_iterations: int = 2000, tolerance: float = 1e-10) -> tuple[Array, int]:
    r"""Strengths by minorisation-maximisation, each step from the old values of all players.

    Args:
        taken: [m, m] points $W$ that row took from column; the diagonal is not looked at.
        max_iterations: how many steps at most.
        tolerance: stop when no strength changes by as much; the values *before* that last step are kept, as in the reference.

    Returns:
        [m] strengths $\gamma$ that add up to 1 (all 1 if the first step already changes nothing), and the number of steps made.

    Raises:
        ValueError: if the matrix is not square, or a player took part in no game.
    """
    w = as_square("taken", taken).copy()
    np.fill_diagonal(w, 0)
    met = w + w.T
    if len(w) > 1 and (idle := met.sum(axis=1) == 0).any():
        raise ValueError(f"player {int(np.flatnonzero(idle)[0])} took part in no game: give a smoothing above 0, or leave them out")
    strengths, total = np.ones(len(w)), w.sum(axis=1)
    if len(w) == 1:
        return strengths, 0
    for step in range(max_iterations):
        after = total / (met / (strengths[:, None] + strengths[None, :])).sum(axis=1)
        after = np.maximum(after / after.sum(), TINY)
        if np.abs(after - strengths).max() < tolerance:
            return strengths, step
        strengths = after
        if recording() and step in (0, 9):
            show(f"strengths, step {step + 1}", strengths, r"\gamma_i=\frac{\sum_jW_{ij}}{\sum_jN_{ij}/(\gamma_i+\gamma_j)}")
    return strengths, max_iterations


def newton_strengths(taken: Array, *, max_iterations: int = 100, tolerance: float = 1e-10) -> tuple[Array, int]:
    r"""Strengths by Newton's method on $\theta=\log\gamma$, its steps shortened where they are long.

    Args:
        taken: as in `mm_strengths`; everyone must have taken points from everyone, directly or through others.
        max_iterations: how many steps at most.
        tolerance: stop when no $\theta$ changes by as much.

    Returns:
        [m] strengths that add up to 1, and the number of steps made.

    Raises:
        ValueError: if the matrix is not square, or has no largest likelihood (Ford's condition).
    """
    w = as_square("taken", taken).copy()
    np.fill_diagonal(w, 0)
    if not connected(w):
        raise ValueError("no ratings fit: some players never took a point from the others; give a smoothing above 0")
    if len(w) == 1:
        return np.ones(1), 0
    met, total, theta, made = w + w.T, w.sum(axis=1), np.zeros(len(w)), 0
    while made < max_iterations:
        made += 1
        expected = 1 / (1 + np.exp(np.clip(theta[None, :] - theta[:, None], -700, 700)))
        curvature = met * expected * (1 - expected)
        hessian = np.diag(curvature.sum(axis=1)) - curvature
        # Adding a constant to all theta changes nothing; a multiple of the matrix of ones, on the Hessian's own scale, fixes it at 0.
        step = np.linalg.solve(hessian + np.trace(hessian) / len(w), total - (met * expected).sum(axis=1))
        reach = float(np.ptp(step))
        theta = theta + step * (np.log1p(reach) / reach if reach > 0 else 1.0)  # damped as self-concordance asks for: never overshoots
        if np.abs(step).max() < tolerance:
            break
    strengths = np.exp(theta - theta.max())
    return strengths / strengths.sum(), made


def batch_elo(
    wins: Array,
    draws: Array | None = None,
    *,
    smoothing: float = 0.01,
    max_iterations: int = 2000,
    tolerance: float = 1e-10,
    scale: float = 400.0,
    minimum: float = 0.0,
    method: Method = "mm",
) -> Array:
    r"""Elo ratings of all games at once: $R_i=400\log_{10}\gamma_i$, shifted so that the last player has the minimum.

    Args:
        wins: [m, m] how often row beat column.
        draws: [m, m] how often they drew; half a win for both.
        smoothing: added to every pair's points in both directions, met or not: it keeps ratings finite, and puts a player without
            games in the middle.
        max_iterations: of the iteration; the defaults are the reference's.
        tolerance: as in `mm_strengths`.
        scale: rating points for a factor of 10 in strength.
        minimum: the rating of the last player.
        method: "mm" is the reference's iteration, "newton" its limit, sooner. Without smoothing and with a player nobody beat there is no
            limit: "mm" then gives, like the reference, where it stood at the last step, and "newton" refuses.

    Returns:
        [m] ratings.

    Raises:
        ValueError: if the matrices are no counts of games, a player took part in none and there is no smoothing, or a parameter is out of
            range.

    Source: open_spiel `elo.cc`, pinned by its reference vectors.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of 'mm', 'newton', got {method!r}")
    taken = show("points", points(wins, draws, smoothing), r"W_{ij}=\text{wins}_{ij}+\frac{1}{2}\text{draws}_{ij}+\epsilon")
    fit = mm_strengths if method == "mm" else newton_strengths
    limit = {"max_iterations": max_iterations} if method == "mm" else {}
    strengths, _ = fit(taken, tolerance=tolerance, **limit)
    show("strengths", strengths, r"\gamma_i")
    ratings = scale * np.log10(np.maximum(strengths, TINY))
    return show("ratings", ratings - ratings.min() + minimum, r"R_i=400\log_{10}\gamma_i-\min_j")


class BradleyTerry:
    """The model as an estimator: `BradleyTerry().fit(wins, draws).predict_proba(0, 1)`.

    Args:
        smoothing: as in `batch_elo`; 0 for the maximum of the likelihood, which must then exist.
        method: "newton", or "mm".
        max_iterations: of the method; by default 100 for "newton" and 2,000 for "mm".
        tolerance: when to stop.

    Attributes:
        strengths_: [m] positive, adding up to 1.
        ratings_: [m] 400 log10 of them, the last player's 0.
        n_iter_: steps made.
    """

    def __init__(self, smoothing: float = 0.0, method: Method = "newton", max_iterations: int | None = None, tolerance: float = 1e-10):
        self.smoothing = smoothing
        self.method = method
        self.max_iterations = max_iterations
        self.tolerance = tolerance

    def fit(self, wins: Array, draws: Array | None = None) -> Self:
        """Fit strengths to the games.

        Raises:
            ValueError: if the matrices are no counts of games, or no finite strengths fit them (Ford's condition).
        """
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of 'mm', 'newton', got {self.method!r}")
        taken = points(wins, draws, self.smoothing)
        if not connected(taken):
            raise ValueError("no ratings fit: some players never took a point from the others; give a smoothing above 0")
        fit, limit = (mm_strengths, 2000) if self.method == "mm" else (newton_strengths, 100)
        limit = limit if self.max_iterations is None else self.max_iterations
        self.strengths_, self.n_iter_ = fit(taken, max_iterations=limit, tolerance=self.tolerance)
        ratings = 400 * np.log10(np.maximum(self.strengths_, TINY))
        self.ratings_ = ratings - ratings.min()
        return self

    def predict_proba(self, first: int | Array, second: int | Array) -> float | Array:
        """The probability that the first beats the second, elementwise."""
        a, b = self.strengths_[first], self.strengths_[second]
        return a / (a + b)

    def ranking(self) -> Array:
        """[m] players, strongest first; ties in order of index."""
        return np.argsort(-self.strengths_, kind="stable")
