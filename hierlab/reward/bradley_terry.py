r"""The Bradley-Terry loss of reward models: the chosen answer should score higher than the rejected one.

With scores $r_w$ and $r_l$ the model believes in the preference with probability $\sigma(r_w-r_l)$, and

$$L=\overline{-\log\sigma(r_w-r_l-m)}+\kappa\,\overline{(r_w+r_l)^2}$$

is the negative log-likelihood of a set of pairs, with two extras that trainers offer: a margin $m$ of each pair that must be exceeded,
and a pull of the scores towards 0, since the likelihood does not change when a constant is added to all of them. A pair whose winner
is uncertain has a probability $p$ instead of a winner: $-p\log\sigma(d)-(1-p)\log\sigma(-d)$, $d=r_w-r_l$; with $p=\frac12$ a tie.

TRL, OpenRLHF and RewardBench's own training script agree on all of this; OpenRLHF's `LogExpLoss`, $\log(1+e^{r_l-r_w})$, is the same number
until the exponential overflows.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hierlab.checks import check_choice, check_finite, check_range, check_shapes

Reduction = Literal["mean", "none"]


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | None = None,
    centering: float = 0.0,
    preference: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Negative log-likelihood of preferences.

    Args:
        chosen: [N] scores of the preferred answers, $r_w$.
        rejected: [N] scores of the others, $r_l$.
        margin: [N] by how much the chosen score must be higher; None for 0.
        centering: $\kappa$, the weight of the mean squared sum of a pair's scores; TRL recommends 0.01 if any.
        preference: [N] probability in [0, 1] that the chosen answer is the better one; None for 1. Cannot be combined with a margin.
        reduction: "mean", or "none" for one loss a pair.

    Returns:
        A scalar, or [N]. Finite for any finite scores.

    Raises:
        ValueError: if shapes differ, a number is not finite, a probability or the weight is out of range, or there is no pair.

    Source: TRL `RewardTrainer.compute_loss`, OpenRLHF `PairWiseLoss`, pinned by their reference vectors.
    """
    check_choice("reduction", reduction, Reduction)
    check_range("centering", centering, 0)
    check_shapes(
        chosen=chosen, rejected=rejected, **{k: v for k, v in {"margin": margin, "preference": preference}.items() if v is not None}
    )
    for name, column in {"chosen": chosen, "rejected": rejected, "margin": margin, "preference": preference}.items():
        if column is not None:
            check_finite(name, column)
    if not len(chosen):
        raise ValueError("a loss needs at least one pair")
    if margin is not None and preference is not None:
        raise ValueError("margin belongs to pairs with a winner, preference to pairs without: give one of them")
    difference = chosen - rejected
    if preference is None:
        loss = -logsigmoid(difference if margin is None else difference - margin)
    else:
        outside = (preference < 0) | (preference > 1)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise ValueError(f"preference must be a probability, got {float(preference[row]):g} in row {row}")
        loss = -preference * logsigmoid(difference) - (1 - preference) * logsigmoid(-difference)
    if centering:
        loss = loss + centering * (chosen + rejected).square()
    return loss.mean() if reduction == "mean" else loss


def preference_accuracy(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Share of pairs whose chosen answer scores strictly higher; equal scores count as wrong, as in TRL.

    Args:
        chosen: [N].
        rejected: [N].

    Raises:
        ValueError: if shapes differ, or there is no pair.
    """
    check_shapes(chosen=chosen, rejected=rejected)
    if not len(chosen):
        raise ValueError("an accuracy needs at least one pair")
    return (chosen > rejected).to(torch.float64).mean()
