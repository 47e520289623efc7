"""How far importance ratios stray in one batch: those of single tokens, and those of whole answers (GSPO).

The first optimiser step on a batch sees ratios of exactly 1. They stray while further steps are taken on the same rollouts, and what is
measured here is how far after the last of them, on the very answers that were trained on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hierlab.credit import grpo
from hierlab.rollout import Rollouts, token_logp
from hierlab.train.policy import PolicySettings
from hierlab.train.solver import Solver, train_solver

BINS = 41
REACH = 4.0
"""The histogram spans so many standard deviations of the token log-ratios on either side of 0."""


def sequence_log_ratios(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Mean log-ratio of each row, the logarithm of GSPO's ratio. [N, T], [N, T] -> [N]"""
    return torch.where(mask, log_ratio, 0).sum(1) / mask.sum(1).clamp(min=1)


def straying_ratios(
    solver: Solver, settings: PolicySettings, *, group_size: int = 8, seed: int = 0, report: Any = None
) -> dict[str, float | list[float]]:
    """Train on one batch and look at its ratios.

    Args:
        solver: where to start from; its policy changes in place.
        settings: how the policy is updated; with one optimiser step in all, ratios are looked at after it.
        group_size: answers to each problem.
        seed: of sampling.
        report: as in `train_solver`.

    Returns:
        Numbers: standard deviations of the log-ratio over tokens, `token_deviation`, and over answers, `sequence_deviation`; what the
        latter would be if the tokens of an answer strayed independently, `independent_deviation`; and the mean of the log-ratio over
        tokens, `drift`. Histograms, as shares: `bins` (log-ratio), `tokens`, `sequences`.
    """
    seen: list[Rollouts] = []

    def keep(rollouts: Rollouts) -> dict[str, float]:
        seen.append(rollouts)
        return {}

    train_solver(solver, grpo, settings, iterations=1, group_size=group_size, seed=seed, measure=keep, report=report)
    (rollouts,) = seen
    mask = rollouts.response_mask
    columns = (rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, mask)
    with torch.no_grad():
        logp = token_logp(solver.policy.model, *columns, temperature=settings.temperature)
    log_ratio = torch.where(mask, logp - rollouts.old_logp, 0).double()
    tokens, sequences = log_ratio[mask], sequence_log_ratios(log_ratio, mask)
    spread = float(tokens.std())
    edges = torch.linspace(-REACH * spread, REACH * spread, BINS + 1, dtype=torch.float64)
    histograms = {name: _shares(x, edges) for name, x in {"tokens": tokens, "sequences": sequences}.items()}
    return {
        "token_deviation": spread,
        "sequence_deviation": float(sequences.std()),
        "independent_deviation": float((spread**2 / mask.sum(1)).mean().sqrt()),
        "drift": float(tokens.mean()),
        "bins": ((edges[1:] + edges[:-1]) / 2).tolist(),
        **histograms,
    }


def _shares(x: Tensor, edges: Tensor) -> list[float]:
    """Share of the entries in each bin; what lies beyond the edges counts in the outermost bins."""
    place = (torch.searchsorted(edges, x.contiguous()) - 1).clamp(0, len(edges) - 2)
    return (torch.bincount(place, minlength=len(edges) - 1) / len(x)).tolist()
