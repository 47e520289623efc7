r"""Alignment via optimal transport (AOT, arXiv 2406.05882): preferred answers should beat others *in distribution*, not pair by pair.

Both sides are sorted over the batch and compared rank by rank, which is the optimal transport between two samples on a line. Unpaired, the
sides are the scores $\rho_w$ and $\rho_l$ of any answers; paired, they are the policy's log-ratios $\ell_w-\ell_l$ and the reference's.
"""

from __future__ import annotations

from torch import Tensor

from hierlab.preference.dpo import preference_loss
from hierlab.preference.log_ratios import check_pairs, check_positive, log_ratios


def aot(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The paired loss: the policy's log-ratios should dominate the reference's.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.
        label_smoothing: the probability that a label is wrong.

    Returns:
        [N] losses, one a rank, the smallest log-ratios first: they belong to no pair.

    Raises:
        ValueError: if columns differ in length or are not finite, or a number is out of range.

    Source: TRL `DPOTrainer.dpo_loss`, loss `aot`, pinned by its reference vectors.
    """
    check_pairs(chosen=chosen, rejected=rejected, reference_chosen=reference_chosen, reference_rejected=reference_rejected)
    return _by_rank(chosen - rejected, reference_chosen - reference_rejected, beta, label_smoothing)


def aot_unpaired(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The unpaired loss: the scores of preferred answers should dominate those of the others. TRL v0.19.1 calls it `aot_pair`.

    Args:
        chosen: [N] the policy's log-probability of preferred answers, summed over their tokens.
        rejected: [N] of other answers, which need not share their prompts.
        reference_chosen: [N] the reference's of the preferred answers.
        reference_rejected: [N] of the other answers.
        beta: how strongly the policy is held to its reference.
        label_smoothing: the probability that a label is wrong.

    Returns:
        [N] losses, one a rank, the smallest scores first.

    Raises:
        ValueError: if columns differ in length or are not finite, or a number is out of range.

    Source: TRL `DPOTrainer.dpo_loss`, loss `aot_pair`, pinned by its reference vectors.
    """
    return _by_rank(*log_ratios(chosen, rejected, reference_chosen, reference_rejected), beta, label_smoothing)


def _by_rank(better: Tensor, worse: Tensor, beta: float, label_smoothing: float) -> Tensor:
    check_positive("beta", beta)
    return preference_loss(beta * (better.sort().values - worse.sort().values), label_smoothing)
