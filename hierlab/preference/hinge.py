r"""A hinge on the margin of implicit rewards (RSO, arXiv 2309.06657), $L=\max(0,1-\beta h)$: no gradient once a pair is won by 1."""

from __future__ import annotations

from torch import Tensor

from hierlab.preference.log_ratios import check_positive, log_ratios


def hinge(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1, gamma: float = 1.0
) -> Tensor:
    """The hinge loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: scale of the margin; the hinge opens at 1 / beta nats.
        gamma: weight of the reference in the margin.

    Returns:
        [N] losses.

    Raises:
        ValueError: if columns differ in length or are not finite, or a number is out of range.

    Source: TRL `DPOTrainer.dpo_loss`, loss `hinge`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    better, worse = log_ratios(chosen, rejected, reference_chosen, reference_rejected, gamma=gamma)
    return (1 - beta * (better - worse)).relu()
