r"""Direct preference optimisation (DPO, arXiv 2305.18290), and what is one switch away from it.

With $h$ the policy's margin over its reference (`hierlab.preference.log_ratios`),

$$L=-\log\sigma(\beta h).$$

* **Soft and noisy labels.** If a pair is labelled right with probability $p$, cDPO (Mitchell's note on noisy preferences) takes the
  cross-entropy $-p\log\sigma(\beta h)-(1-p)\log\sigma(-\beta h)$, least at $\beta h=\operatorname{logit}p$, so that margins stay finite.
  Robust DPO (arXiv 2403.00409) instead takes the loss whose mean over random flips is that of clean labels,
  $\big(-(1-\epsilon)\log\sigma(\beta h)+\epsilon\log\sigma(-\beta h)\big)/(1-2\epsilon)$; it can be negative.
* **$\gamma$-DPO** (arXiv 2405.19534, Eq. 4) weighs the reference by $\gamma$ in $h$: 1 is DPO, 0 asks for the policy's own ranking.
* **Other divergences** (f-DPO, arXiv 2309.16240): $h$ is the difference of $\rho$ (reverse KL), $-e^{-\rho}$ (forward KL),
  $\log\sigma(\rho)$ (Jensen-Shannon) or $e^{(a-1)\rho}/(a-1)$ ($\alpha$-divergence).
* **Length-averaged scores** divide each $\rho$ by its answer's length (TRL's `sigmoid_norm`).

TRL at v0.19.1 reads `label_smoothing` in its loss `sigmoid`, TRL after v1.9.0 ignores it there. Here it is read.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hierlab.checks import check_choice, check_finite, check_range, check_shapes
from hierlab.preference.log_ratios import check_positive, log_ratios
from hierlab.trace import show

Noise = Literal["conservative", "robust"]
Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
    *,
    beta: float = 0.1,
    gamma: float = 1.0,
    label_smoothing: float | Tensor = 0.0,
    noise: Noise = "conservative",
    divergence: Divergence = "reverse_kl",
    divergence_alpha: float = 0.5,
    length_average: bool = False,
) -> Tensor:
    r"""The DPO loss of each pair.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        chosen_tokens: [N] length of the preferred answer; wanted by `length_average`.
        rejected_tokens: [N] of the other answer.
        beta: how strongly the policy is held to its reference.
        gamma: weight of the reference in the margin; 0 is what TRL calls reference-free.
        label_smoothing: $\epsilon$, the probability that a label is wrong; a number, or [N] numbers, one a pair: with $1-\alpha$ for a
            share $\alpha$ of raters who prefer `chosen`, the loss is the expected one over raters.
        noise: what becomes of $\epsilon$: "conservative" (cDPO), or "robust".
        divergence: the divergence that holds the policy to its reference.
        divergence_alpha: $a$ of the $\alpha$-divergence; not 1.
        length_average: divide each answer's score by its number of tokens.

    Returns:
        [N] losses, in nats.

    Raises:
        ValueError: if columns differ in length or are not finite, a number is out of range (a robust loss needs $\epsilon<0.5$), or a
            switch has an unknown value.

    Source: eric-mitchell/direct-preference-optimization `preference_loss`; TRL `DPOTrainer.dpo_loss`, pinned by their reference vectors.
    """
    check_positive("beta", beta)
    better, worse = log_ratios(
        chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, gamma=gamma, length_average=length_average
    )
    show("score of the preferred answer", better, r"\rho_w=\log\pi(y_w)-\gamma\log\pi_{\text{ref}}(y_w)")
    show("score of the other answer", worse, r"\rho_l=\log\pi(y_l)-\gamma\log\pi_{\text{ref}}(y_l)")
    scores = (divergence_score(ratio, divergence, divergence_alpha) for ratio in (better, worse))
    margin = show("margin", next(scores) - next(scores), r"h=\rho_w-\rho_l")
    return show("loss", preference_loss(beta * margin, label_smoothing, noise), r"-\log\sigma(\beta h)")


def preference_loss(reward_margin: Tensor, label_smoothing: float | Tensor = 0.0, noise: Noise = "conservative") -> Tensor:
    r"""The logistic loss of a margin $u$ of rewards, with labels that are wrong with probability $\epsilon$.

    Args:
        reward_margin: [N] $u$.
        label_smoothing: $\epsilon$, a number or [N]; in [0, 1], or for "robust" in [0, 0.5).
        noise: as in `dpo`.

    Returns:
        [N] losses.

    Raises:
        ValueError: if $\epsilon$ is out of range or does not fit, or `noise` is unknown.
    """
    check_choice("noise", noise, Noise)
    wrong = _smoothing(label_smoothing, reward_margin, noise)
    if noise == "robust":
        return (wrong * logsigmoid(-reward_margin) - (1 - wrong) * logsigmoid(reward_margin)) / (1 - 2 * wrong)
    return -(1 - wrong) * logsigmoid(reward_margin) - wrong * logsigmoid(-reward_margin)


def divergence_score(ratio: Tensor, divergence: Divergence = "reverse_kl", alpha: float = 0.5) -> Tensor:
    r"""$f'$ of the density ratio $e^\rho$, up to what cancels in a margin.

    Args:
        ratio: $\rho$, of any shape.
        divergence: as in `dpo`.
        alpha: $a$ of the $\alpha$-divergence.

    Raises:
        ValueError: if the divergence is unknown, or `alpha` is 1, where the $\alpha$-divergence is the reverse KL.
    """
    check_choice("divergence", divergence, Divergence)
    if divergence == "reverse_kl":
        return ratio
    if divergence == "js":
        return logsigmoid(ratio)
    if divergence == "forward_kl":
        return -(-ratio).exp()
    check_range("divergence_alpha", alpha)
    if alpha == 1:
        raise ValueError("divergence_alpha=1 is the reverse KL: pass divergence='reverse_kl'")
    return ((alpha - 1) * ratio).exp() / (alpha - 1)


def _smoothing(label_smoothing: float | Tensor, like: Tensor, noise: Noise) -> float | Tensor:
    most = 0.5 if noise == "robust" else 1.0
    if isinstance(label_smoothing, Tensor):
        check_finite("label_smoothing", label_smoothing)
        check_shapes(label_smoothing=label_smoothing, chosen=like)
        low, high = (float(x) for x in torch.aminmax(label_smoothing)) if label_smoothing.numel() else (0.0, 0.0)
    else:
        check_range("label_smoothing", label_smoothing)
        low = high = float(label_smoothing)
    if low < 0 or high > most or (noise == "robust" and high == most):
        raise ValueError(f"label_smoothing must lie in [0, {most:g}{')' if noise == 'robust' else ']'} with noise={noise!r}, got {high:g}")
    return label_smoothing
