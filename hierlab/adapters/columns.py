"""What every trainer of single-turn responses knows, under the names that our estimators ask for.

Shapes: N rows (responses), T response positions (padded on the right).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hierlab.ops import group_ids


def single_turn_columns(
    *, rewards: Tensor, token_rewards: Tensor, response_mask: Tensor, task: Sequence[Hashable] | Tensor
) -> dict[str, Tensor]:
    """Columns of responses that are each a whole attempt: its own trajectory, of one turn, whose state is its task.

    Args:
        rewards: [N] reward of each response.
        token_rewards: [N, T] the same, at the tokens that earned it.
        response_mask: [N, T] the tokens the policy chose.
        task: [N] what the row is an attempt at.

    Returns:
        What was given, and success [N] bool (full marks: a reward of 1 or more), response_length, trajectory, turn and state [N].
    """
    row = torch.arange(len(rewards), device=rewards.device)
    tasks = group_ids(task, device=rewards.device)
    return {
        "rewards": rewards,
        "success": rewards >= 1,
        "token_rewards": token_rewards,
        "response_mask": response_mask,
        "response_length": response_mask.sum(dim=1),
        "task": tasks,
        "trajectory": row,
        "turn": torch.zeros_like(row),
        "state": tasks,
    }


def estimator_name(estimator: Callable[..., Any]) -> str:
    """The name of an estimator, a `functools.partial` of one included."""
    return getattr(estimator.func if isinstance(estimator, partial) else estimator, "__name__", "estimator")
