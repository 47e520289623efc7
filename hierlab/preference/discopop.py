r"""The loss that a language model discovered (DiscoPOP, arXiv 2406.08414): logistic on one side, exponential on the other.

With $u=\beta h$ and $m=\sigma(u/\tau)$, $L=(1-m)\cdot(-\log\sigma(u))+m\,e^{-u}$. Where $e^{-u}$ is large, $m$ is smaller still; released
code multiplies the two after the first has overflowed. Here they share one exponent, so that lost pairs have a finite loss.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from hierlab.preference.log_ratios import check_positive, log_ratios


def discopop(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1, temperature: float = 0.05
) -> Tensor:
    r"""The DiscoPOP loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: how strongly the policy is held to its reference.
        temperature: $\tau$, how sharply the two losses are blended.

    Returns:
        [N] losses.

    Raises:
        ValueError: if columns differ in length or are not finite, or a number is not positive.

    Source: TRL `DPOTrainer.dpo_loss`, loss `discopop`, pinned by its reference vectors.
    """
    check_positive("beta", beta)
    check_positive("temperature", temperature)
    better, worse = log_ratios(chosen, rejected, reference_chosen, reference_rejected)
    margin = beta * (better - worse)
    exponential = (logsigmoid(margin / temperature) - margin).exp()  # m e^-u, without its overflow
    return -(-margin / temperature).sigmoid() * logsigmoid(margin) + exponential
