r"""Preference learning where the optimum is known: a table of logits over a few answers.

A prompt has K answers with utilities $u$, and a rater prefers answer $i$ to $j$ with probability $\sigma(u_i-u_j)$. The policy that DPO
and RLHF agree on is then $\pi^*\propto\pi_\text{ref}\,e^{u/\beta}$. `fit_table` finds it by minimising the DPO loss over all pairs, weighed
by what raters say, and knows nothing of the formula.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hierlab.checks import check_finite, check_shapes
from hierlab.preference import dpo

# At the optimum the loss is flat: a gradient of 1e-12 is an error of about 1e-10 in rewards.
_PRECISION = 1e-12


def fit_table(reference_logits: Tensor, utility: Tensor, *, beta: float = 0.1, gamma: float = 1.0, steps: int = 500) -> Tensor:
    r"""The policy of least DPO loss over all pairs of answers, labels weighed by how often raters give them.

    Args:
        reference_logits: [N, K] float64, the reference of each prompt.
        utility: [N, K] of each answer.
        beta: of the loss.
        gamma: weight of the reference in it.
        steps: iterations of L-BFGS, at most.

    Returns:
        [N, K] log-probabilities.

    Raises:
        ValueError: if shapes differ, a number is not finite, or a prompt has fewer than two answers.
        ArithmeticError: if the loss has not settled after `steps`.
    """
    check_finite("reference_logits", reference_logits, dims=2)
    check_finite("utility", utility, dims=2)
    check_shapes(reference_logits=reference_logits, utility=utility)
    answers = reference_logits.shape[1]
    if answers < 2:
        raise ValueError(f"a comparison needs two answers a prompt, got {answers}")
    reference = reference_logits.double().log_softmax(dim=1)
    better, worse = torch.triu_indices(answers, answers, offset=1)
    doubt = (utility[:, worse] - utility[:, better]).double().sigmoid().flatten()
    rewards = torch.zeros_like(reference, requires_grad=True)  # in these units the loss has the same curvature for every beta
    search = torch.optim.LBFGS([rewards], max_iter=steps, tolerance_grad=_PRECISION, tolerance_change=0, line_search_fn="strong_wolfe")

    def policy() -> Tensor:
        return (gamma * reference + rewards / beta).log_softmax(dim=1)

    def loss() -> Tensor:
        search.zero_grad()
        columns = [x[:, side].flatten() for x in (policy(), reference) for side in (better, worse)]
        total = dpo(*columns, beta=beta, gamma=gamma, label_smoothing=doubt).mean()
        total.backward()
        return total

    search.step(loss)
    loss()
    if float(rewards.grad.abs().max()) > 1e-8:
        raise ArithmeticError(f"the loss has not settled after {steps} steps: its gradient is still {float(rewards.grad.abs().max()):.1e}")
    return policy().detach()


def ideal_policy(reference_logits: Tensor, utility: Tensor, *, beta: float = 0.1) -> Tensor:
    r"""$\log\pi^*$, where $\pi^*\propto\pi_\text{ref}\,e^{u/\beta}$: the formula that `fit_table` is held against. [N, K]"""
    return (reference_logits.double().log_softmax(dim=1) + utility.double() / beta).log_softmax(dim=1)
