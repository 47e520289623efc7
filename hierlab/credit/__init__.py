"""Advantage estimators for LLM reinforcement learning: pure functions of columns, one module a method.

Estimators of one number per row return [N]; those of one number per token return [N, T]. Parameter names are column names of
`hierlab.rollout.Rollouts`, so that `estimate(rollouts, gigpo, gamma=0.95)` can fill them; nothing here knows about rollouts.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from hierlab.credit.anchors import anchor_groups
from hierlab.credit.dapo import live_groups, overlong_penalty
from hierlab.credit.dr_grpo import dr_grpo
from hierlab.credit.gae import gae, lambda_returns, turn_gae
from hierlab.credit.gigpo import gigpo
from hierlab.credit.grpo import grpo
from hierlab.credit.reinforce_plus_plus import reinforce_plus_plus, reinforce_plus_plus_baseline
from hierlab.credit.rloo import rloo

__all__ = [
    "ESTIMATORS",
    "anchor_groups",
    "dr_grpo",
    "gae",
    "gigpo",
    "grpo",
    "lambda_returns",
    "live_groups",
    "overlong_penalty",
    "register",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "rloo",
    "turn_gae",
]

Estimator = Callable[..., Tensor]


def register(*estimators: Estimator) -> dict[str, Estimator]:
    """The estimators by name.

    Raises:
        ValueError: if two have the same name.
    """
    table: dict[str, Estimator] = {}
    for estimator in estimators:
        if estimator.__name__ in table:
            raise ValueError(
                f"two estimators are called {estimator.__name__!r}: {table[estimator.__name__].__module__}, {estimator.__module__}"
            )
        table[estimator.__name__] = estimator
    return table


ESTIMATORS = register(grpo, dr_grpo, rloo, reinforce_plus_plus, reinforce_plus_plus_baseline, gae, turn_gae, gigpo)
"""Every advantage estimator by name."""
