r"""Contrastive preference optimisation (CPO, arXiv 2401.08417): DPO without its reference, plus the likelihood of what was preferred.

$L=-\log\sigma(\beta(\ell_w-\ell_l))+\lambda\,\text{NLL}_w$. It asks for the policy's own ranking, so a pair that the reference ranks
wrongly starts with a large loss instead of $\log2$; the likelihood term holds the policy where it was.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hierlab.checks import check_choice, check_needed, check_range
from hierlab.preference.dpo import preference_loss
from hierlab.preference.log_ratios import check_pairs, check_positive
from hierlab.preference.sft import sft

Form = Literal["sigmoid", "hinge"]


def cpo(
    chosen: Tensor,
    rejected: Tensor,
    chosen_tokens: Tensor | None = None,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    form: Form = "sigmoid",
    sft_weight: float = 1.0,
) -> Tensor:
    r"""The CPO loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        chosen_tokens: [N] length of the preferred answer; wanted unless `sft_weight` is 0.
        beta: scale of the margin.
        label_smoothing: the probability that a label is wrong; of the form "sigmoid".
        form: "sigmoid", or "hinge" for $\max(0,1-\beta(\ell_w-\ell_l))$.
        sft_weight: $\lambda$, weight of the negative log-likelihood of the preferred answers (`hierlab.preference.sft`).

    Returns:
        [N] losses.

    Raises:
        ValueError: if columns differ in length or are not finite, a number is out of range, `form` is unknown, or lengths are missing.

    Source: TRL `CPOTrainer.cpo_loss`, pinned by its reference vectors.
    """
    check_pairs(chosen=chosen, rejected=rejected)
    check_choice("form", form, Form)
    check_positive("beta", beta)
    check_range("sft_weight", sft_weight, 0)
    margin = beta * (chosen - rejected)
    loss = preference_loss(margin, label_smoothing) if form == "sigmoid" else (1 - margin).relu()
    if sft_weight == 0:
        return loss
    check_needed(True, "sft_weight above 0", chosen_tokens=chosen_tokens)
    return loss + sft_weight * sft(chosen, chosen_tokens)
