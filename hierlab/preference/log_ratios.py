r"""What pair losses are made of: how much more likely the policy finds an answer than its reference does.

$\rho_w=\log\pi(y_w\mid x)-\gamma\log\pi_\text{ref}(y_w\mid x)$, likewise $\rho_l$, and the margin $h=\rho_w-\rho_l$. A policy that
still is its reference has $h=0$ (at $\gamma=1$).

Log-probabilities are natural, of whole answers: summed over the answer's tokens, the one that ends it included. Columns are named
alike in all losses (`chosen`, `rejected`, `reference_chosen`, `reference_rejected`, `chosen_tokens`, `rejected_tokens`), so that
`hierlab.rollout.estimate` fills them from a mapping.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hierlab.checks import check_finite, check_needed, check_range, check_shapes


def log_ratios(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
    *,
    gamma: float = 1.0,
    length_average: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""The scores $\rho_w$ and $\rho_l$, in nats.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        chosen_tokens: [N] length of the preferred answer; wanted by `length_average`.
        rejected_tokens: [N] of the other answer.
        gamma: weight of the reference: 1 is DPO, 0 leaves it out.
        length_average: divide each score by its answer's number of tokens.

    Returns:
        [N] each.

    Raises:
        ValueError: if columns differ in length or are not finite, `gamma` is negative, or lengths are missing or below 1.
    """
    check_pairs(chosen=chosen, rejected=rejected, reference_chosen=reference_chosen, reference_rejected=reference_rejected)
    check_range("gamma", gamma, 0)
    ratios = chosen - gamma * reference_chosen, rejected - gamma * reference_rejected
    if not length_average:
        return ratios
    check_needed(True, "length_average=True", chosen_tokens=chosen_tokens, rejected_tokens=rejected_tokens)
    return ratios[0] / token_counts("chosen_tokens", chosen_tokens, chosen), ratios[1] / token_counts(
        "rejected_tokens", rejected_tokens, rejected
    )


def implicit_rewards(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1
) -> tuple[Tensor, Tensor]:
    r"""The rewards $\beta\rho_w$ and $\beta\rho_l$ that trainers log; no gradient flows through them.

    Raises:
        ValueError: as `log_ratios`, or if `beta` is negative.
    """
    check_range("beta", beta, 0)
    better, worse = log_ratios(chosen, rejected, reference_chosen, reference_rejected)
    return (beta * better).detach(), (beta * worse).detach()


def check_pairs(**columns: Tensor) -> None:
    """Refuse columns that are not finite floating-point vectors of one length.

    Raises:
        ValueError: naming the column, and its first entry that is not finite.
    """
    for name, column in columns.items():
        check_finite(name, column)
    check_shapes(**columns)


def check_positive(name: str, value: float) -> None:
    """Refuse all but a positive finite number.

    Raises:
        ValueError: naming it.
    """
    check_range(name, value, 0)
    if value == 0:
        raise ValueError(f"{name} must be positive, got 0")


def token_counts(name: str, tokens: Tensor, like: Tensor) -> Tensor:
    """Lengths of answers in the dtype of `like`.

    Args:
        name: what the caller knows the column by.
        tokens: [N] numbers of tokens.
        like: [N] log-probabilities.

    Raises:
        ValueError: if there is not one length of at least 1 an answer.
    """
    counts = torch.as_tensor(tokens, device=like.device).to(like.dtype)
    if counts.shape != like.shape or not bool((counts >= 1).all()):
        raise ValueError(f"{name} must hold one length of at least 1 for each of {len(like)} answers, got {counts.tolist()[:8]}")
    return counts
