r"""Self-play preference optimisation with hard labels (SPPO, arXiv 2405.00675): regress each score on what a sure win or loss is worth.

$L=(\rho_w-\frac{1}{2\beta})^2+(\rho_l+\frac{1}{2\beta})^2$: least at IPO's margin twice over, and with both scores in their places.
"""

from __future__ import annotations

from torch import Tensor

from hierlab.preference.log_ratios import check_positive, log_ratios


def sppo_hard(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    r"""The SPPO loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: $1/(2\beta)$ nats is what a win is worth.

    Returns:
        [N] losses, in squared nats.

    Raises:
        ValueError: if columns differ in length or are not finite, or `beta` is not positive.

    Source: TRL `DPOTrainer.dpo_loss`, loss `sppo_hard`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    better, worse = log_ratios(chosen, rejected, reference_chosen, reference_rejected)
    return (better - 1 / (2 * beta)).square() + (worse + 1 / (2 * beta)).square()
