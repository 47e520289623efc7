r"""Plackett-Luce: the likelihood of a whole ranking, and ListMLE, its negative logarithm as a loss.

A ranking is drawn item by item, each with probability proportional to $e^{s}$ among those that are left, so for the order $\tau$, best
first,

$$-\log P(\tau)=\sum_{k}\Big(\log\sum_{j\ge k}e^{s_{\tau_j}}-s_{\tau_k}\Big).$$

Two items are Bradley-Terry. With scores $s=\beta\rho$ (`hierlab.preference.log_ratios`) it is DPO for ranked lists (arXiv 2305.18290,
Appendix A.3). `winner` is its first factor alone: one answer against all others, as in S-DPO (arXiv 2406.09215).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hierlab.checks import as_mask, check_finite, check_range
from hierlab.trace import show


def plackett_luce(scores: Tensor, relevance: Tensor, mask: Tensor | None = None, *, top: int | None = None, eps: float = 0.0) -> Tensor:
    r"""The negative log-likelihood of each list's order by decreasing relevance.

    Args:
        scores: [N, K] score of each item.
        relevance: [N, K] what the items are ordered by; equal ones stand in the order of their columns.
        mask: [N, K] bool, the items that are there; None for all.
        top: count the first so many places only; None for all of them.
        eps: added to each place's sum of exponentials, relative to the list's largest: allRank's listMLE has 1e-10.

    Returns:
        [N] losses in nats; without `eps`, 0 for a list of one item or none.

    Raises:
        ValueError: if shapes differ, a score or relevance that counts is not finite, or `top` or `eps` is out of range.

    Source: arXiv 2305.18290; allegro/allRank `listMLE`, pinned by its reference vectors.
    """
    there = torch.ones_like(scores, dtype=torch.bool) if mask is None else as_mask("mask", mask, scores.shape)
    check_finite("scores", scores, there, dims=2)
    relevance = torch.as_tensor(relevance, device=scores.device).to(scores.dtype)
    if relevance.shape != scores.shape:
        raise ValueError(f"relevance must have the shape of scores, {tuple(scores.shape)}, got {tuple(relevance.shape)}")
    check_finite("relevance", relevance, there, dims=2)
    check_range("eps", eps, 0)
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
        raise ValueError(f"top must be a whole number of at least 1, or None, got {top!r}")

    order = torch.where(there, relevance, -torch.inf).argsort(dim=1, descending=True, stable=True)
    present = there.gather(1, order)
    ordered = torch.where(present, scores.gather(1, order), -torch.inf)
    show("scores, best first", ordered, r"s_{\tau_k}")
    remaining = ordered.flip(1).logcumsumexp(dim=1).flip(1)  # over the item and all behind it
    if eps:
        remaining = torch.logaddexp(remaining, ordered.max(dim=1, keepdim=True).values + torch.log(scores.new_tensor(eps)))
    places = torch.where(present, remaining - torch.where(present, ordered, 0.0), 0.0)
    show("surprise of each place", places, r"\log\sum_{j\ge k}e^{s_{\tau_j}}-s_{\tau_k}")
    return show("loss", places[:, :top].sum(dim=1), r"-\log P(\tau)")


def winner(scores: Tensor, best: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""The negative log-likelihood that one item is drawn first, $\log\sum_j e^{s_j-s_w}$.

    Args:
        scores: [N, K] score of each item.
        best: [N] int64, the column of the item that won.
        mask: [N, K] bool, the items that are there; None for all.

    Returns:
        [N] losses in nats: $-\log\sigma\big(-\log\sum_{j\ne w}e^{s_j-s_w}\big)$.

    Raises:
        ValueError: if shapes differ, a score is not finite, or a winner is no item of its list.

    Source: arXiv 2406.09215, Eq. 11.
    """
    there = torch.ones_like(scores, dtype=torch.bool) if mask is None else as_mask("mask", mask, scores.shape)
    check_finite("scores", scores, there, dims=2)
    best = torch.as_tensor(best, device=scores.device)
    if best.shape != scores.shape[:1] or best.is_floating_point() or bool(((best < 0) | (best >= scores.shape[1])).any()):
        raise ValueError(f"best must hold a column from 0 to {scores.shape[1] - 1} for each of {len(scores)} lists")
    chosen = torch.nn.functional.one_hot(best, scores.shape[1]).bool()
    if not bool((there & chosen).any(dim=1).all()):
        raise ValueError("a list's winner must be one of the items that are there")
    others = scores.masked_fill(~there | chosen, -torch.inf)
    return softplus(others.logsumexp(dim=1) - scores.gather(1, best[:, None])[:, 0])
