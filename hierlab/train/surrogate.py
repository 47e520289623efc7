r"""Surrogate losses: what turns advantages into a number to descend.

The importance ratio $\rho$ compares the policy with the one that sampled. PPO takes the more pessimistic of the plain and the
clipped objective for each token, so that a token whose probability has moved far enough stops pulling:

$$\ell=\max\big(-A\rho,\;-A\,\mathrm{clip}(\rho,\,1-\epsilon_{low},\,1+\epsilon_{high})\big),\qquad
\rho=\frac{\pi(o_t)}{\pi_{old}(o_t)}.$$

Five switches make the published variants out of it, orthogonal to the estimator:

| method | switches of `policy_loss` | source |
| --- | --- | --- |
| PPO, GRPO in verl | the defaults | arXiv 1707.06347, 2402.03300 |
| dual clip | `dual_clip=3.0` (default; None for none) | arXiv 1912.09729 |
| DAPO | `clip_high=0.28, dual_clip=10.0` | arXiv 2503.14476 |
| Dr. GRPO | `aggregation="seq-mean-token-sum-norm"` | arXiv 2503.20783 |
| GSPO | `ratio="sequence", clip_low=3e-4, clip_high=4e-4, dual_clip=None, aggregation="seq-mean-token-mean"` | arXiv 2507.18071 |

Shapes: N rows, T response positions. What stands at masked positions, NaN and infinity included, changes neither a loss nor a
gradient. Advantages, old log-probabilities, old values and returns are constants: no gradient flows into them.
Source of the formulas: verl `core_algos.py`, pinned by its reference vectors.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_choice, check_floats, check_range, check_shapes
from hierlab.ops import masked_mean
from hierlab.trace import recording, show

Ratio = Literal["token", "sequence"]
KLEstimator = Literal["k1", "k2", "k3", "abs"]
Aggregation = Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm", "row-mean-token-sum-norm"]


def policy_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
    ratio: Ratio = "token",
    aggregation: Aggregation = "token-mean",
    loss_length: int | None = None,
) -> tuple[Tensor, dict[str, float]]:
    r"""The clipped surrogate of PPO and its descendants.

    Args:
        logp: [N, T] log-probability of each response token under the policy, with gradient.
        old_logp: [N, T] the same under the policy that sampled.
        advantage: [N], one number for all tokens of a row, or [N, T].
        mask: [N, T] the tokens to train on.
        clip_low: $\epsilon_{low}$, in [0, 1].
        clip_high: $\epsilon_{high}$; larger than `clip_low` ("clip higher") lets rare tokens grow.
        dual_clip: $c\ge 1$; where the advantage is negative, the loss is at most $-cA$, so that a token that has become much more
            likely than when it was sampled does not dominate. None for no bound.
        ratio: "token", or "sequence": all tokens of a row share the geometric mean of their ratios, and each keeps its own
            gradient (GSPO).
        aggregation: how token losses become one number, see `aggregate`.
        loss_length: the constant of the "-norm" aggregations, see `aggregate`.

    Returns:
        The loss, a scalar, and diagnostics over the masked tokens: `clip_fraction` (tokens whose clipped loss is the larger one),
        `clip_fraction_lower` (tokens held by `dual_clip`), `approx_kl` (mean of `old_logp - logp`).

    Raises:
        ValueError: if shapes do not fit, a switch has an unknown value, a bound is out of range, or the loss is not finite (the
            message names the first row and token to blame).
    """
    check_choice("ratio", ratio, Ratio)
    check_range("clip_low", clip_low, 0, 1)
    check_range("clip_high", clip_high, 0)
    if dual_clip is not None:
        check_range("dual_clip", dual_clip, 1)
    check_floats("logp", logp, dims=2)
    check_shapes(logp=logp, old_logp=old_logp)
    mask = as_mask("mask", mask, logp.shape)
    advantage = _on_tokens(advantage, mask)

    difference = torch.where(mask, logp - old_logp.detach(), 0)
    log_ratio = difference.clamp(-20, 20) if ratio == "token" else _sequence_log_ratio(logp, difference, mask)
    rho = show("importance ratio", log_ratio.exp(), r"\rho=\frac{\pi}{\pi_{\mathrm{old}}}")
    plain, clipped = -advantage * rho, -advantage * rho.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(plain, clipped)
    held = torch.zeros_like(mask)
    if dual_clip is not None:
        bound = -advantage * dual_clip
        held = (advantage < 0) & (loss > bound)
        loss = torch.where(held, bound, loss)
    if recording():
        show("token loss", torch.where(mask, loss, 0), r"\mathrm{max}(-A\rho,\,-A\,\mathrm{clip}(\rho))")

    total = aggregate(loss, mask, aggregation=aggregation, loss_length=loss_length)
    _check_loss(total, mask, logp=logp, old_logp=old_logp, advantage=advantage)
    diagnostics = {
        "clip_fraction": masked_mean((clipped > plain).to(loss.dtype), mask),
        "clip_fraction_lower": masked_mean(held.to(loss.dtype), mask),
        "approx_kl": masked_mean(-(log_ratio if ratio == "token" else difference), mask),
    }
    return total, _floats(diagnostics)


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    *,
    clip: float | None = 0.5,
    factor: float = 0.5,
    aggregation: Aggregation = "token-mean",
    loss_length: int | None = None,
) -> tuple[Tensor, dict[str, float]]:
    r"""The critic's clipped squared error, $f\max\big((V-R)^2,\;(\mathrm{clip}(V,\,V_{old}\pm c)-R)^2\big)$.

    Args:
        values: [N, T] the critic's values, with gradient.
        old_values: [N, T] the values when the batch was collected.
        returns: [N, T] what the critic learns towards, such as `hierlab.credit.lambda_returns`.
        mask: [N, T] the tokens to train on.
        clip: $c$; verl's default is 0.5. None for the plain squared error.
        factor: $f$; 0.5 in verl, 1 in older forks such as HiPER-agent.
        aggregation: how token losses become one number, see `aggregate`.
        loss_length: the constant of the "-norm" aggregations, see `aggregate`.

    Returns:
        The loss, a scalar, and diagnostics: `value_clip_fraction` (tokens whose clipped error is the larger one).

    Raises:
        ValueError: as `policy_loss`.
    """
    if clip is not None:
        check_range("clip", clip, 0)
    check_range("factor", factor, 0)
    check_floats("values", values, dims=2)
    check_shapes(values=values, old_values=old_values, returns=returns)
    mask = as_mask("mask", mask, values.shape)
    value, old, target = (torch.where(mask, x, 0) for x in (values, old_values.detach(), returns.detach()))
    plain = (value - target) ** 2
    clipped = plain if clip is None else (value.clamp(old - clip, old + clip) - target) ** 2
    total = factor * aggregate(torch.maximum(plain, clipped), mask, aggregation=aggregation, loss_length=loss_length)
    _check_loss(total, mask, values=values, old_values=old_values, returns=returns)
    return total, _floats({"value_clip_fraction": masked_mean((clipped > plain).to(value.dtype), mask)})


def kl(logp: Tensor, ref_logp: Tensor, mask: Tensor | None = None, *, estimator: KLEstimator = "k3") -> Tensor:
    r"""Estimate of $KL(\pi\,\|\,\pi_{ref})$ at each token that $\pi$ sampled, with $d=\log\pi-\log\pi_{ref}$.

    Args:
        logp: [N, T] log-probability under the policy, with gradient.
        ref_logp: [N, T] under the reference.
        mask: [N, T] the tokens to look at; None: all. With a mask, what stands elsewhere has no effect on the gradient either.
        estimator: "k1" is $d$ (unbiased, of either sign); "k2" is $d^2/2$ (biased, but its gradient is the divergence's); "k3" is
            $e^{-d}+d-1$ (unbiased, never negative; exponent held in [-20, 20] and result in [-10, 10] as in verl); "abs" is $|d|$.

    Returns:
        [N, T], 0 where masked.

    Raises:
        ValueError: if the shapes differ or `estimator` is none of these.

    Source: Schulman, "Approximating KL divergence" (2020); verl `core_algos.kl_penalty`.
    """
    check_choice("estimator", estimator, KLEstimator)
    check_floats("logp", logp, dims=2)
    check_shapes(logp=logp, ref_logp=ref_logp)
    d = logp - ref_logp.detach()
    if mask is not None:
        d = torch.where(as_mask("mask", mask, logp.shape), d, 0)
    if estimator == "k1":
        return d
    if estimator == "abs":
        return d.abs()
    if estimator == "k2":
        return d**2 / 2
    d = d.clamp(-20, 20)
    return ((-d).exp() + d - 1).clamp(-10, 10)


def aggregate(token_loss: Tensor, mask: Tensor, *, aggregation: Aggregation = "token-mean", loss_length: int | None = None) -> Tensor:
    r"""One number out of token losses $\ell_{i,t}$, masked by $m_{i,t}$. Where nothing is masked in, 0.

    | aggregation | formula | used by |
    | --- | --- | --- |
    | "token-mean" | $\sum \ell m / \sum m$ | DAPO, verl's default |
    | "seq-mean-token-mean" | mean over rows of $\sum_t \ell m/\sum_t m$ | GRPO, GSPO |
    | "seq-mean-token-sum" | mean over rows of $\sum_t \ell m$ | PPO-like |
    | "seq-mean-token-sum-norm" | $\sum \ell m / L$ | Dr. GRPO in verl |
    | "row-mean-token-sum-norm" | $\sum \ell m / (N L)$ | Dr. GRPO in TRL |

    Rows without any token are left out of the means over rows, but count in the N of the last line.

    Args:
        token_loss: [N, T].
        mask: [N, T] bool or 0/1.
        aggregation: one of the above.
        loss_length: $L$; None: T, the width of the batch.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ, `aggregation` is none of the above, or `loss_length` is not positive.

    Source: verl `core_algos.agg_loss`; TRL `GRPOTrainer` with `loss_type="dr_grpo"`.
    """
    check_choice("aggregation", aggregation, Aggregation)
    check_floats("token_loss", token_loss, dims=2)
    mask = as_mask("mask", mask, token_loss.shape)
    length = mask.shape[1] if loss_length is None else loss_length
    check_range("loss_length", length, 0 if loss_length is None else 1)
    loss = torch.where(mask, token_loss, 0)
    total = loss.sum() if aggregation != "seq-mean-token-mean" else (loss.sum(1) / (mask.sum(1).to(loss.dtype) + 1e-8)).sum()
    divisor = loss_weight(mask, aggregation).clamp(min=1)
    return total / (divisor * max(length, 1) if aggregation.endswith("norm") else divisor)


def loss_weight(mask: Tensor, aggregation: Aggregation) -> Tensor:
    r"""How much a part of a batch weighs in the loss of the whole: $\sum_k w_k \ell_k / w = \ell$.

    With it a batch can be worked off in micro-batches of unequal lengths and still have the gradient of one pass. (For the
    "-norm" aggregations this holds if `loss_length` is given, or all parts are of one width.)

    Args:
        mask: [N, T] of the part, or of the whole batch.
        aggregation: as in `aggregate`.

    Returns:
        A scalar: the number of tokens, of rows with a token, of rows, or 1.

    Raises:
        ValueError: if `aggregation` is unknown.
    """
    check_choice("aggregation", aggregation, Aggregation)
    mask = as_mask("mask", mask, mask.shape)
    if aggregation == "token-mean":
        return mask.sum()
    if aggregation == "seq-mean-token-sum-norm":
        return mask.new_ones((), dtype=torch.int64)
    if aggregation == "row-mean-token-sum-norm":
        return mask.new_full((), len(mask), dtype=torch.int64)
    return mask.any(1).sum()


def _sequence_log_ratio(logp: Tensor, difference: Tensor, mask: Tensor) -> Tensor:
    """GSPO: the row's mean log-ratio as value, each token's own log-probability as gradient. [N, T]"""
    mean = difference.detach().sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return (torch.where(mask, logp - logp.detach(), 0) + mean).clamp(max=10)


def _on_tokens(advantage: Tensor, mask: Tensor) -> Tensor:
    """The advantage without gradient, as it broadcasts over the tokens. [N] or [N, T] -> [N, 1] or [N, T]"""
    if advantage.shape not in (mask.shape, mask.shape[:1]):
        n, t = mask.shape
        raise ValueError(f"advantage must have shape ({n},) or ({n}, {t}), got {tuple(advantage.shape)}")
    return advantage.detach() if advantage.dim() == 2 else advantage.detach()[:, None]


def _check_loss(total: Tensor, mask: Tensor, **parts: Tensor) -> None:
    """Refuse a loss that is not finite, naming what it is made of and where that is not finite."""
    if torch.isfinite(total):
        return
    total, parts = total.detach(), {name: part.detach().expand_as(mask) for name, part in parts.items()}
    for name, part in parts.items():
        bad = (~torch.isfinite(part) & mask).nonzero()
        if len(bad):
            row, token = bad[0].tolist()
            raise ValueError(f"the loss is {float(total)}: {name} is {float(part[row, token])} in row {row}, token {token}")
    raise ValueError(f"the loss is {float(total)}, though all it is made of is finite: the numbers are too large for {total.dtype}")


def _floats(diagnostics: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as floats, moved to the host in one go."""
    return dict(zip(diagnostics, torch.stack(list(diagnostics.values())).detach().tolist(), strict=True))
