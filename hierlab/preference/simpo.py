r"""Simple preference optimisation (SimPO, arXiv 2405.14734): rank likelihoods per token, by a margin, without a reference.

With averages per token $a=\ell/|y|$, $L=-\log\sigma(\beta(a_w-a_l)-\gamma)$. The authors' code writes the margin as a share of $\beta$, so
`margin_ratio` is $\gamma/\beta$; TRL takes $\gamma$ itself, and its defaults (beta 0.1, simpo_gamma 0.5) make a ratio of 5. What is pushed
is what is sampled from, but a pair may be won by making both answers unlikely.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.preference.dpo import preference_loss
from hierlab.preference.log_ratios import check_pairs, check_positive

Form = Literal["sigmoid", "hinge"]


def simpo(
    chosen_average: Tensor,
    rejected_average: Tensor,
    *,
    beta: float = 2.0,
    margin_ratio: float = 0.25,
    label_smoothing: float = 0.0,
    form: Form = "sigmoid",
) -> Tensor:
    r"""The SimPO loss of each pair.

    Args:
        chosen_average: [N] the policy's log-probability of the preferred answer, averaged over its tokens.
        rejected_average: [N] of the other answer.
        beta: scale of the margin (authors: 2 to 10).
        margin_ratio: $\gamma/\beta$, the margin wanted, in nats a token (authors: about 0.5).
        label_smoothing: the probability that a label is wrong; of the form "sigmoid".
        form: "sigmoid", or "hinge" for $\max(0,1-\beta(a_w-a_l-\gamma/\beta))$.

    Returns:
        [N] losses.

    Raises:
        ValueError: if columns differ in length or are not finite, a number is out of range, or `form` is unknown.

    Source: princeton-nlp/SimPO `simpo_loss`, pinned by its reference vectors.
    """
    check_pairs(chosen_average=chosen_average, rejected_average=rejected_average)
    check_choice("form", form, Form)
    check_positive("beta", beta)
    check_range("margin_ratio", margin_ratio, 0)
    margin = beta * (chosen_average - rejected_average - margin_ratio)
    return preference_loss(margin, label_smoothing) if form == "sigmoid" else (1 - margin).relu()
