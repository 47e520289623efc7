"""What a benchmark's score says about reward models whose quality is known: the simulated half of the lab of RewardBench 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hierlab.reward.best_of_n import best_of_n_accuracy, best_of_n_value, pairwise_accuracy
from hierlab.reward.simulated import AnswerWorld, SimulatedReward
from hierlab.reward.ties import TiesRow
from hierlab.seeds import derive_seed

BENCHMARK_WORLD = AnswerWorld(length_correlation=0.5)
"""Where the benchmark's answers come from: longer ones are rather better."""
SHIFTS = (0.5, 0.25, 0.0, -0.25, -0.5, -0.75)
"""Correlations of length with utility among the candidates of use, the benchmark's own first."""
DOES_WELL = 0.8
"""From which share of pairs on a model counts as one that does well on the first RewardBench."""


@dataclass(frozen=True)
class Simulation:
    """One population of K reward models, benchmarked and used. S shifts of what they are used on.

    Attributes:
        models: [K] what they are made of; the first half has no length bias.
        pairs: [K] accuracy on a right and a wrong answer, chance 1/2.
        fours: [K] accuracy on one right and three wrong ones, chance 1/4.
        gains: [S, K] mean utility of the favourite of n candidates, for each of `shifts`.
        shifts: [S] correlation of length with utility among the candidates.
        candidates: n.
    """

    models: tuple[SimulatedReward, ...]
    pairs: np.ndarray
    fours: np.ndarray
    gains: np.ndarray
    shifts: tuple[float, ...]
    candidates: int

    @property
    def biased(self) -> np.ndarray:
        """[K] which models like length."""
        return np.array([model.length_bias > 0 for model in self.models])

    def correlation(self, shift: float, among: np.ndarray | None = None) -> float:
        """Pearson's r over models, of best-of-4 accuracy and gain at this shift.

        Args:
            shift: one of `shifts`.
            among: [K] bool, which models; None for all.
        """
        chosen = slice(None) if among is None else among
        return pearson(self.fours[chosen], self.gains[self.shifts.index(shift)][chosen])

    def exact_gains(self, shift: float) -> np.ndarray:
        """[K] what the gains are in expectation."""
        return np.array([model.best_of_n_gain(AnswerWorld(shift), self.candidates) for model in self.models])

    def drop(self) -> float:
        """By how much models that do well on pairs score lower with four answers, on average.

        Raises:
            ValueError: if none does well.
        """
        well = self.pairs >= DOES_WELL
        if not well.any():
            raise ValueError(f"no model is right on {DOES_WELL:.0%} of the pairs: draw more models")
        return float((self.pairs - self.fours)[well].mean())


def simulate(
    seed: int, *, models: int = 40, prompts: int = 500, candidates: int = 16, margin: float = 0.5, shifts: Sequence[float] = SHIFTS
) -> Simulation:
    """Draw a population of reward models, give each the same benchmark and the same candidates, and see what they earn.

    Args:
        seed: of everything.
        models: K; quality is uniform in [0, 1], and every second half's length bias uniform in [0, 2].
        prompts: of the benchmark, of the pairs, and of each use.
        candidates: among which a model chooses when it is used.
        margin: by how much the benchmark's right answer is better than the next; the candidates of use have none.
        shifts: correlations of length with utility among the candidates.

    Raises:
        ValueError: if there are fewer than four models; or as the parts.
    """
    if models < 4:
        raise ValueError(f"a correlation over reward models needs at least four, got {models}")
    draw = np.random.default_rng(derive_seed(seed, "simulated reward models"))
    quality, bias = draw.uniform(0, 1, models), draw.uniform(0, 2, models) * (np.arange(models) >= models // 2)
    population = tuple(SimulatedReward(float(q), float(b)) for q, b in zip(quality, bias, strict=True))
    two, four = (BENCHMARK_WORLD.draw(prompts, answers, draw, margin=margin) for answers in (2, 4))
    used = [AnswerWorld(shift).draw(prompts, candidates, draw) for shift in shifts]
    return Simulation(
        population,
        np.array([pairwise_accuracy(model.score(*two, draw)) for model in population]),
        np.array([best_of_n_accuracy(model.score(*four, draw)) for model in population]),
        np.array([[best_of_n_value(model.score(*answers, draw), answers[0]).mean() for model in population] for answers in used]),
        tuple(shifts),
        candidates,
    )


def bootstrap_correlation(x: np.ndarray, y: np.ndarray, *, seed: int, resamples: int = 2000) -> tuple[float, float, float]:
    """Pearson's r with the 95 % percentile interval over resampled models.

    Args:
        x: [K].
        y: [K].
        seed: of the resampling.
        resamples: how many.

    Raises:
        ValueError: if the columns differ in length or hold fewer than four numbers.
    """
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"a bootstrap of r needs two columns of at least four numbers each, got {len(x)} and {len(y)}")
    rows = np.random.default_rng(derive_seed(seed, "bootstrap")).integers(len(x), size=(resamples, len(x)))
    a, b = (v[rows] - v[rows].mean(axis=1, keepdims=True) for v in (np.asarray(x), np.asarray(y)))
    with np.errstate(invalid="ignore"):
        r = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    low, high = np.nanpercentile(r, [2.5, 97.5])
    return pearson(x, y), float(low), float(high)


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r; 0 if a column is constant, which predicts nothing.

    Args:
        x: [K].
        y: [K].
    """
    a, b = (np.asarray(v, dtype=float) - np.mean(v) for v in (x, y))
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def ranking_quality(seed: int, *, models: int = 40, sizes: Sequence[int] = (50, 100, 200, 400)) -> dict[str, list[float]]:
    """Kendall's tau between the true quality of unbiased models and their score, by number of prompts.

    Returns:
        For "pairs", "four answers" and "pairs, as many answers" (twice the prompts), one tau a size.

    Raises:
        ValueError: if there are fewer than four models.
    """
    if models < 4:
        raise ValueError(f"a ranking of reward models needs at least four, got {models}")
    draw = np.random.default_rng(derive_seed(seed, "ranking quality"))
    quality = draw.uniform(0, 1, models)
    world = AnswerWorld()

    def tau(prompts: int, answers: int) -> float:
        drawn = world.draw(prompts, answers, draw, margin=0.5)
        scores = [best_of_n_accuracy(SimulatedReward(float(q)).score(*drawn, draw)) for q in quality]
        return kendall_tau(quality, scores)

    return {
        "pairs": [tau(size, 2) for size in sizes],
        "four answers": [tau(size, 4) for size in sizes],
        "pairs, as many answers": [tau(2 * size, 2) for size in sizes],
    }


def kendall_tau(x: Sequence[float], y: Sequence[float]) -> float:
    r"""$\tau_b$: concordant less discordant pairs, as a share of the pairs that neither column ties; NaN if one ties all.

    Args:
        x: [K].
        y: [K].
    """
    a, b = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(x, dtype=float), np.asarray(y, dtype=float)))
    with np.errstate(invalid="ignore"):
        return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def tied_rows(spread: float, *, prompts: int = 50, right: int = 4, wrong: int = 4, seed: int = 0) -> list[TiesRow]:
    """Ties as a model sees it whose right answers lie this far apart and who is otherwise always the same.

    The worst right and the best wrong answer of each row score the same whatever the spread, so accuracies and gaps are equal; only
    the other right answers rise.

    Args:
        spread: 1 spreads the right answers of a row like so many standard normal numbers.
        prompts: pairs of rows.
        right: right answers of a tied row.
        wrong: wrong answers of each row.
        seed: of the scores.
    """
    draw = np.random.default_rng(derive_seed(seed, "tied rows"))
    rows = []
    for prompt in range(prompts):
        worst_right, best_wrong = draw.normal(1.5, 1, 2), -draw.uniform(0, 1, (2, wrong))
        raised = np.abs(draw.standard_normal(right))
        others = worst_right[0] + spread * (raised - raised.min())
        rows.append(TiesRow(f"ref:{prompt}", [worst_right[1], *best_wrong[1]], 1))
        rows.append(TiesRow(f"tied:{prompt}", [*others, *best_wrong[0]], right))
    return rows
