"""Advantage estimators for LLM reinforcement learning: pure functions of columns, one module a method.

Estimators of one number per row return [N]; those of one number per token return [N, T]. Parameter names are column names of
`hierlab.rollout.Rollouts`, so that `estimate(rollouts, gigpo, gamma=0.95)` can fill them; nothing here knows about rollouts.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from hierlab.credit.a_grae import a_grae
from hierlab.credit.anchors import anchor_groups
from hierlab.credit.dapo import live_groups, overlong_penalty
from hierlab.credit.dr_grpo import dr_grpo
from hierlab.credit.gae import gae, lambda_returns, turn_gae
from hierlab.credit.gigpo import gigpo
from hierlab.credit.grpo import grpo
from hierlab.credit.hae import HAE, boundaries, hae
from hierlab.credit.hgpo import context_groups, hgpo, level_advantages, past_groups
from hierlab.credit.hicra import hicra, most_uncertain
from hierlab.credit.hiper import decision_masks, hiper, shaped_rewards
from hierlab.credit.plan_execute import parse_plans, read_values, token_pieces, value_masks
from hierlab.credit.reinforce_plus_plus import reinforce_plus_plus, reinforce_plus_plus_baseline
from hierlab.credit.rloo import rloo
from hierlab.credit.spo import best_of_gain, cutpoint_starts, equal_starts, probability_mask, spo, spo_tree
from hierlab.credit.strategic_grams import mine_strategic_grams, planning_mask, semantic_entropy
from hierlab.credit.w_reinforce import w_reinforce

__all__ = [
    "ESTIMATORS",
    "HAE",
    "a_grae",
    "anchor_groups",
    "best_of_gain",
    "boundaries",
    "context_groups",
    "cutpoint_starts",
    "decision_masks",
    "dr_grpo",
    "equal_starts",
    "gae",
    "gigpo",
    "grpo",
    "hae",
    "hgpo",
    "hicra",
    "hiper",
    "lambda_returns",
    "level_advantages",
    "live_groups",
    "mine_strategic_grams",
    "most_uncertain",
    "overlong_penalty",
    "parse_plans",
    "past_groups",
    "planning_mask",
    "probability_mask",
    "read_values",
    "register",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "rloo",
    "semantic_entropy",
    "shaped_rewards",
    "spo",
    "spo_tree",
    "token_pieces",
    "turn_gae",
    "value_masks",
    "w_reinforce",
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


ESTIMATORS = register(
    grpo,
    dr_grpo,
    rloo,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    gae,
    turn_gae,
    gigpo,
    hgpo,
    hiper,
    spo,
    spo_tree,
    a_grae,
    hicra,
)
"""Every advantage estimator by name."""
