r"""Noise-contrastive alignment on pairs (NCA, arXiv 2402.05369): what was preferred must not become less likely itself.

$L=-\log\sigma(\beta\rho_w)-\frac12\log\sigma(-\beta\rho_w)-\frac12\log\sigma(-\beta\rho_l)$: each reward is drawn towards a level of its
own, where DPO only sees their difference.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from hierlab.preference.log_ratios import check_positive, log_ratios


def nca_pair(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """The NCA loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.

    Returns:
        [N] losses, in nats.

    Raises:
        ValueError: if columns differ in length or are not finite, or `beta` is not positive.

    Source: TRL `DPOTrainer.dpo_loss`, loss `nca_pair`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    better, worse = (beta * ratio for ratio in log_ratios(chosen, rejected, reference_chosen, reference_rejected))
    return -logsigmoid(better) - 0.5 * logsigmoid(-better) - 0.5 * logsigmoid(-worse)
