r"""Kahneman-Tversky optimisation (KTO, arXiv 2402.01306): learn from single answers marked good or bad.

With $\rho=\log\pi(y\mid x)-\log\pi_\text{ref}(y\mid x)$ and a reference point $z$,

$$L_\text{good}=\lambda_D\big(1-\sigma(\beta(\rho-z))\big),\qquad L_\text{bad}=\lambda_U\big(1-\sigma(\beta(z-\rho))\big).$$

$z$ estimates how far the policy has moved on average: $\max(0,\operatorname{mean}\rho)$ over prompts with *other* prompts' answers, without
gradient. With $z=0$ this is TRL's `apo_zero_unpaired`. Keep $\lambda_Dn_D/(\lambda_Un_U)$ between 1 and 4/3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hierlab.checks import check_finite, check_range
from hierlab.preference.log_ratios import check_pairs, check_positive, log_ratios


def kto(
    desirable: Tensor,
    undesirable: Tensor,
    reference_desirable: Tensor,
    reference_undesirable: Tensor,
    mismatched: Tensor | None = None,
    reference_mismatched: Tensor | None = None,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    r"""The KTO loss of each answer.

    Args:
        desirable: [D] the policy's log-probability of each good answer, summed over its tokens; may be empty.
        undesirable: [U] of each bad answer; may be empty.
        reference_desirable: [D] the reference's of each good answer.
        reference_undesirable: [U] of each bad answer.
        mismatched: [M] the policy's log-probability of prompts with other prompts' answers; None for $z=0$.
        reference_mismatched: [M] the reference's.
        beta: how strongly the policy is held to its reference.
        desirable_weight: $\lambda_D$.
        undesirable_weight: $\lambda_U$.

    Returns:
        [D + U] losses, the good answers' first.

    Raises:
        ValueError: if columns that belong together differ in length, one is not finite, or a number is out of range.

    Source: TRL v0.19.1 `KTOTrainer.kto_loss`, pinned by its reference vectors.
    """
    check_pairs(desirable=desirable, reference_desirable=reference_desirable)
    check_pairs(undesirable=undesirable, reference_undesirable=reference_undesirable)
    check_positive("beta", beta)
    check_range("desirable_weight", desirable_weight, 0)
    check_range("undesirable_weight", undesirable_weight, 0)
    point = reference_point(mismatched, reference_mismatched) if mismatched is not None else 0.0
    good = desirable_weight * torch.sigmoid(-beta * (desirable - reference_desirable - point))
    bad = undesirable_weight * torch.sigmoid(-beta * (point - undesirable + reference_undesirable))
    return torch.cat([good, bad])


def reference_point(mismatched: Tensor, reference_mismatched: Tensor) -> Tensor:
    r"""$z=\max(0,\operatorname{mean}(\ell-\ell^\text{ref}))$ over prompts with other prompts' answers; a number without gradient.

    Args:
        mismatched: [M] the policy's log-probabilities.
        reference_mismatched: [M] the reference's.

    Raises:
        ValueError: if there is none, or the columns differ in length or are not finite.
    """
    check_finite("mismatched", mismatched)
    if not len(mismatched):
        raise ValueError("a reference point needs at least one mismatched pair; leave the columns out for z = 0")
    check_pairs(mismatched=mismatched, reference_mismatched=reference_mismatched)
    return (mismatched - reference_mismatched).mean().clamp(min=0).detach()


def kto_pair(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    r"""KTO on pairs, each side's reference point taken from the *other* side of the batch: no mismatched answers need be read.

    $z$ of the preferred answers is $\max(0,\operatorname{mean}\rho_l)$, of the others $\max(0,\operatorname{mean}\rho_w)$, as in early TRL.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.

    Returns:
        [N] losses, the mean of the pair's two.

    Raises:
        ValueError: if columns differ in length or are not finite, or `beta` is not positive.
    """
    check_positive("beta", beta)
    better, worse = log_ratios(chosen, rejected, reference_chosen, reference_rejected)
    points = [ratio.mean().clamp(min=0).detach() for ratio in (worse, better)]
    return (torch.sigmoid(-beta * (better - points[0])) + torch.sigmoid(-beta * (points[1] - worse))) / 2
