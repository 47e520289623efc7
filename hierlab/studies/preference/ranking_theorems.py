"""The theorems about ranking accuracy, tried on random pairs and on tables whose optimum is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hierlab.preference import dpo, dpo_threshold, ideal_margin, ipo, ipo_threshold, ranked_right
from hierlab.preference.ranking_accuracy import SOLVED_LOSS
from hierlab.seeds import generator
from hierlab.train.tabular_preferences import fit_table, ideal_policy

_BETAS = (0.01, 0.03, 0.1, 0.3, 1.0)


def optimum_error(prompts: int, *, beta: float, seed: int, answers: int = 4) -> float:
    """Theorem 3.1: the largest distance, in nats, between a table trained by DPO and the formula of its optimum.

    Args:
        prompts: random prompts.
        beta: of the loss.
        seed: draws references and utilities.
        answers: of each prompt.
    """
    draw = generator(seed, "ranking theorems", "tables")
    reference, utility = (scale * torch.randn(prompts, answers, generator=draw, dtype=torch.float64) for scale in (3.0, 1.0))
    trained, formula = fit_table(reference, utility, beta=beta), ideal_policy(reference, utility, beta=beta)
    logp = reference.log_softmax(dim=1)
    agreement = (utility[:, 0] - utility[:, 1]).sigmoid()
    pairs = trained[:, 0] - trained[:, 1] - ideal_margin(logp[:, 0], logp[:, 1], agreement, beta=beta)
    return max(float((trained - formula).abs().max()), float(pairs.abs().max()))


def exceptions(draws: int, seed: int) -> dict[str, tuple[int, int]]:
    """How many random pairs each theorem speaks about, and how many of them it gets wrong.

    Margins and difficulties are tens of nats, as in training; every beta gets the same share of the pairs.

    Args:
        draws: random pairs, at least one a beta.
        seed: draws them.

    Returns:
        By theorem: pairs, exceptions.
    """
    found = [
        _exceptions(draws // len(_BETAS), beta, generator(seed, "ranking theorems", "pairs", place)) for place, beta in enumerate(_BETAS)
    ]
    return {name: (sum(f[name][0] for f in found), sum(f[name][1] for f in found)) for name in found[0]}


def _exceptions(draws: int, beta: float, draw: torch.Generator) -> dict[str, tuple[int, int]]:
    margin, c = (20 * torch.randn(draws, generator=draw, dtype=torch.float64) for _ in range(2))

    def ranked(policy: Tensor, loss: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(policy)
        return ranked_right(policy, zero), loss(policy, zero, zero, c)

    right, loss = ranked(margin, partial(dpo, beta=beta))
    _, squared = ranked(margin, partial(ipo, beta=beta, length_average=False))
    sure = ipo_threshold(c, beta=beta)
    solved, certain, hopeless = (c <= 0) & (loss <= SOLVED_LOSS), squared <= sure, sure == -math.inf
    at_zero, remaining = ranked(1 / (2 * beta) - c, partial(ipo, beta=beta, length_average=False))
    statements = {
        "Theorem 4.1": (torch.ones_like(right), right == (loss <= dpo_threshold(c, beta=beta))),
        "Proposition 2.6": (solved, right),
        "Proposition A.7, sure": (certain, right),
        "Proposition A.7, hopeless": (hopeless, ~at_zero & (remaining < 1e-12)),
    }
    return {name: (int(spoken.sum()), int((spoken & ~true).sum())) for name, (spoken, true) in statements.items()}
