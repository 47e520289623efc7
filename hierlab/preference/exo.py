r"""Exact preference optimisation on pairs (EXO, arXiv 2402.00856): the reverse KL divergence between two two-point distributions.

The model's $q=\sigma(\beta h)$ is drawn towards the labels' $1-\epsilon$:
$L=q\log\frac{q}{1-\epsilon}+(1-q)\log\frac{1-q}{\epsilon}$. Without smoothing the second term is infinite, which TRL v0.19.1 silently
avoids by $\epsilon=10^{-3}$, and later versions do not.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from hierlab.checks import check_range
from hierlab.preference.log_ratios import check_positive, log_ratios


def exo_pair(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 1e-3,
) -> Tensor:
    r"""The EXO loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.
        label_smoothing: $\epsilon$, the probability that a label is wrong; inside (0, 1).

    Returns:
        [N] losses, in nats.

    Raises:
        ValueError: if columns differ in length or are not finite, or a number is out of range.

    Source: TRL `DPOTrainer.dpo_loss`, loss `exo_pair`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    check_range("label_smoothing", label_smoothing, 0, 1)
    if label_smoothing in (0, 1):
        raise ValueError(f"exo_pair needs a label_smoothing inside (0, 1), where the divergence is finite, got {label_smoothing:g}")
    better, worse = log_ratios(chosen, rejected, reference_chosen, reference_rejected)
    margin = beta * (better - worse)
    right = margin.sigmoid() * (logsigmoid(margin) - math.log1p(-label_smoothing))
    wrong = (-margin).sigmoid() * (logsigmoid(-margin) - math.log(label_smoothing))
    return right + wrong
