r"""Identity preference optimisation (IPO, arXiv 2310.12036): regress the margin on a finite target, $L=(h-\frac1{2\tau})^2$.

DPO's loss falls for ever as the margin grows; this one is least at a margin of $\frac{1}{2\tau}$ nats. On text the margin is that of scores
*per token*: the authors confirmed it to TRL, whose loss function at v0.19.1 took whatever it got (averages, from its trainer) and whose
later ones divide by the lengths themselves. `length_average=False` is the sum of the theory.
"""

from __future__ import annotations

from torch import Tensor

from hierlab.preference.log_ratios import check_positive, log_ratios


def ipo(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
    *,
    beta: float = 0.1,
    gamma: float = 1.0,
    length_average: bool = True,
) -> Tensor:
    r"""The IPO loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        chosen_tokens: [N] length of the preferred answer; wanted by `length_average`.
        rejected_tokens: [N] of the other answer.
        beta: $\tau$; the target margin is $1/(2\tau)$ nats.
        gamma: weight of the reference in the margin.
        length_average: divide each answer's score by its number of tokens.

    Returns:
        [N] losses, in squared nats.

    Raises:
        ValueError: if columns differ in length or are not finite, lengths are missing, or a number is out of range.

    Source: TRL `DPOTrainer`, loss `ipo`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    better, worse = log_ratios(
        chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, gamma=gamma, length_average=length_average
    )
    return (better - worse - 1 / (2 * beta)).square()
