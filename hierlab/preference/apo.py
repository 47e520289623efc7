r"""Anchored preference optimisation (APO, arXiv 2408.06266): say not only which answer is better, but which way both should go.

* `apo_zero`, $1-\sigma(\beta\rho_w)+\sigma(\beta\rho_l)$: the preferred answer up, the other down. For answers better than the policy's
own.
* `apo_down`, $\sigma(\beta\rho_w)+1-\sigma(\beta(\rho_w-\rho_l))$: both down, the other one more. For answers worse than the policy's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hierlab.preference.log_ratios import check_positive, log_ratios


def apo_zero(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """The loss that raises what was preferred and lowers the rest.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.

    Returns:
        [N] losses, between 0 and 2.

    Raises:
        ValueError: if columns differ in length or are not finite, or `beta` is not positive.

    Source: TRL `DPOTrainer.dpo_loss`, loss `apo_zero`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    better, worse = (beta * ratio for ratio in log_ratios(chosen, rejected, reference_chosen, reference_rejected))
    return torch.sigmoid(-better) + torch.sigmoid(worse)


def apo_down(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """The loss that lowers both answers, the other one more.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.

    Returns:
        [N] losses, between 0 and 2.

    Raises:
        ValueError: if columns differ in length or are not finite, or `beta` is not positive.

    Source: TRL `DPOTrainer.dpo_loss`, loss `apo_down`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    better, worse = (beta * ratio for ratio in log_ratios(chosen, rejected, reference_chosen, reference_rejected))
    return torch.sigmoid(better) + torch.sigmoid(worse - better)
