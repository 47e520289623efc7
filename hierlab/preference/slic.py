r"""Sequence likelihood calibration (SLiC-HF, arXiv 2305.10425), without a reference model.

$L=\max(0,\delta-\ell_w+\ell_l)-\lambda\,\ell_w$: rank the policy's own likelihoods by a margin, and keep the preferred answer likely. With
likelihoods summed over long answers (as ContextualAI/HALOs has it) a margin of 1 nat is tiny; averages per token give it a meaning.
"""

from __future__ import annotations

from torch import Tensor

from hierlab.checks import check_range
from hierlab.preference.log_ratios import check_pairs


def slic(chosen: Tensor, rejected: Tensor, *, delta: float = 1.0, weight: float = 0.1) -> Tensor:
    r"""The SLiC-HF loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed or averaged over its tokens.
        rejected: [N] of the other answer, likewise.
        delta: $\delta$, the margin wanted, in nats.
        weight: $\lambda$, weight of the preferred answer's own likelihood.

    Returns:
        [N] losses.

    Raises:
        ValueError: if columns differ in length or are not finite, or a number is negative.

    Source: HALOs `SLiCTrainer.loss`, through reds-lab/preference-learning-with-rationales, pinned by its reference vectors.
    """
    check_pairs(chosen=chosen, rejected=rejected)
    check_range("delta", delta, 0)
    check_range("weight", weight, 0)
    return (delta - chosen + rejected).relu() - weight * chosen
