r"""Expected gradients without sampling: every group that a small policy can give, each weighed by its probability.

A policy chooses one of K behaviours with probabilities $\pi$, and each has a reward. A group of G attempts is one of $K^G$; an
estimator is shown them all at once, each as a task of its own, and the gradient it implies,

$$E\Big[\frac1G\sum_i \hat A_i\,\nabla\log\pi(o_i)\Big]\qquad\text{beside}\qquad\nabla J=\sum_o\pi(o)\,(R(o)-J)\,e_o,$$

with respect to the logits, is then a finite sum: where the two differ, the difference is bias, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hierlab.checks import check_range


class Bias(NamedTuple):
    """An expected gradient beside the exact one.

    Attributes:
        length: its length along the exact gradient, in lengths of the exact one.
        stray: length of what is not along it, in lengths of the exact one.
    """

    length: float
    stray: float


def expected_gradient(estimator: Callable[[Tensor, Tensor], Tensor], probabilities: Tensor, rewards: Tensor, group_size: int) -> Tensor:
    """What the estimator's gradient is on average over all groups. [K]

    Args:
        estimator: `(rewards, task) -> [N]`, such as `hierlab.credit.rloo`; groups must not see each other.
        probabilities: [K] of each behaviour, float64, summing to 1.
        rewards: [K] of each behaviour.
        group_size: attempts in a group; K to this power, at most a million, are looked at.

    Raises:
        ValueError: if the columns do not fit, or there are too many groups.
    """
    behaviours = len(probabilities)
    if rewards.shape != probabilities.shape or probabilities.dim() != 1:
        shapes = tuple(probabilities.shape), tuple(rewards.shape)
        raise ValueError(f"probabilities and rewards must have one entry a behaviour, got shapes {shapes[0]} and {shapes[1]}")
    check_range("group_size", group_size, 1)
    if behaviours**group_size > 1_000_000:
        raise ValueError(f"{behaviours} behaviours in groups of {group_size} are {behaviours**group_size} groups, more than a million")
    groups = torch.cartesian_prod(*[torch.arange(behaviours)] * group_size).view(-1, group_size)
    task = torch.arange(len(groups)).repeat_interleave(group_size)
    advantage = estimator(rewards[groups].flatten(), task).view_as(groups)
    weight = probabilities[groups].prod(dim=1) / group_size
    scores = torch.eye(behaviours, dtype=probabilities.dtype) - probabilities  # row o: gradient of log pi(o) by the logits
    return torch.einsum("g,gi,gik->k", weight, advantage.to(probabilities.dtype), scores[groups])


def exact_gradient(probabilities: Tensor, rewards: Tensor) -> Tensor:
    """Gradient of the expected reward by the logits. [K], [K] -> [K]"""
    return probabilities * (rewards - (probabilities * rewards).sum())


def bias(estimator: Callable[[Tensor, Tensor], Tensor], probabilities: Tensor, rewards: Tensor, group_size: int) -> Bias:
    """How the expected gradient differs from the exact one; arguments and errors as `expected_gradient`."""
    exact = exact_gradient(probabilities, rewards)
    mean = expected_gradient(estimator, probabilities, rewards, group_size)
    length = mean @ exact / (exact @ exact)
    return Bias(float(length), float((mean - length * exact).norm() / exact.norm()))
