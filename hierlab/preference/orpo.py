r"""Odds-ratio preference optimisation (ORPO, arXiv 2403.07691): fine-tune on what was preferred, and push the odds apart.

With averages per token $a=\ell/|y|$ and log-odds $\log\frac{p}{1-p}=a-\log(1-e^a)$, where $p=e^a$,

$$L=\text{NLL}_w-\beta\log\sigma(o),\qquad o=(a_w-a_l)-\big(\log(1-e^{a_w})-\log(1-e^{a_l})\big).$$

Odds explode as $a\to0$; averages are held below $-10^{-6}$, which no reference does. TRL takes the likelihood over prompt *and* answer, the
authors leave that open; here it is the answer's, unless another is handed in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hierlab.checks import check_range
from hierlab.preference.log_ratios import check_pairs

LEAST_NATS = 1e-6
"""Averages are clamped to at most minus this many nats a token."""


def orpo(chosen_average: Tensor, rejected_average: Tensor, nll: Tensor | None = None, *, beta: float = 0.1) -> Tensor:
    r"""The ORPO loss of each pair.

    Args:
        chosen_average: [N] the policy's log-probability of the preferred answer, averaged over its tokens.
        rejected_average: [N] of the other answer.
        nll: [N] the negative log-likelihood to lower; None for that of the preferred answer, averaged over its tokens.
        beta: weight of the odds ratio ($\lambda$ in the paper).

    Returns:
        [N] losses.

    Raises:
        ValueError: if columns differ in length or are not finite, an average is positive, or `beta` is negative.

    Source: TRL `ORPOTrainer.odds_ratio_loss` and HALOs `ORPOTrainer.loss`, pinned by their reference vectors.
    """
    check_range("beta", beta, 0)
    odds = logsigmoid(log_odds_ratio(chosen_average, rejected_average))
    if nll is None:
        nll = -chosen_average
    check_pairs(chosen_average=chosen_average, nll=nll)
    return nll - beta * odds


def log_odds_ratio(chosen_average: Tensor, rejected_average: Tensor) -> Tensor:
    """How much larger the odds of the preferred answer are than those of the other, in logs. [N]

    Raises:
        ValueError: if columns differ in length or are not finite, or an average is positive.
    """
    check_pairs(chosen_average=chosen_average, rejected_average=rejected_average)
    return log_odds(chosen_average) - log_odds(rejected_average)


def log_odds(average: Tensor) -> Tensor:
    r"""$a-\log(1-e^a)$ of averages per token, without cancellation near 0 and without loss far from it.

    Raises:
        ValueError: if an average is positive.
    """
    if bool((average > 0).any()):
        raise ValueError(f"log-probabilities averaged over tokens must not be positive, got {float(average.max()):g}")
    a = average.clamp(max=-LEAST_NATS)
    far = torch.log1p(-torch.where(a < -math.log(2), a, -1.0).exp())
    near = torch.log(-torch.expm1(torch.where(a < -math.log(2), -0.5, a)))
    return a - torch.where(a < -math.log(2), far, near)
