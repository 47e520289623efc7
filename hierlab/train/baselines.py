"""The baselines of LLM reinforcement learning as recipes: an estimator, switches of the surrogate, and how rollouts are collected.

    train_recipe(solver, BASELINES["Dr.GRPO"], PolicySettings(learning_rate=1e-3), iterations=50)

| recipe | baseline | scale | aggregation | clip | further |
| --- | --- | --- | --- | --- | --- |
| GRPO | group mean | group deviation | mean over answers of token means | 0.2, 0.2 | |
| + clip-higher | | | | 0.2, 0.28 | |
| + token-level loss | | | mean over tokens | 0.2, 0.28 | |
| + dynamic sampling | | | mean over tokens | 0.2, 0.28 | dead groups are replaced |
| DAPO | | | mean over tokens | 0.2, 0.28 | and long answers penalised |
| Dr.GRPO | group mean | 1 | sum over a constant | | |
| RLOO | mean of the others | 1 | mean over answers of token means | | |
| REINFORCE++ | mean of the batch's returns | deviation of the batch | mean over tokens | | |
| PPO | a critic's value | deviation of the batch | mean over tokens | | the critic is trained |

The four rows from "+ clip-higher" to "DAPO" are DAPO's ladder: each adds one change to the row above. Switches that a recipe does not
name are those of the `PolicySettings` at hand, and none of them has a KL term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from hierlab.credit import dr_grpo, gae, grpo, reinforce_plus_plus, rloo
from hierlab.models.value_heads import value_model
from hierlab.rollout import GroupCollector, Rollouts
from hierlab.rollout.dynamic import DynamicCollector
from hierlab.rollout.overlong import OverlongCollector
from hierlab.train.critic import Critic, CriticSettings
from hierlab.train.policy import PolicySettings
from hierlab.train.readouts import TokenValues
from hierlab.train.solver import Solver, train_solver

OVERLONG_BUFFER = 0.2
"""Share of the length limit in which the overlong penalty grows: 4,096 of 20,480 tokens in the DAPO paper."""


@dataclass(frozen=True)
class Recipe:
    """One baseline.

    Attributes:
        estimator: of advantages.
        switches: fields of `PolicySettings` that it sets.
        dynamic: whether groups without contrast are replaced.
        overlong: whether long answers are penalised.
        critic: whether it trains a critic, whose values the estimator reads.
    """

    estimator: Callable[..., Tensor]
    switches: Mapping[str, Any] = field(default_factory=dict)
    dynamic: bool = False
    overlong: bool = False
    critic: bool = False


_ANSWERS = {"aggregation": "seq-mean-token-mean"}
_HIGHER = {"clip_high": 0.28}
_TOKENS = {"aggregation": "token-mean"}

BASELINES: dict[str, Recipe] = {
    "GRPO": Recipe(grpo, _ANSWERS),
    "+ clip-higher": Recipe(grpo, _ANSWERS | _HIGHER),
    "+ token-level loss": Recipe(grpo, _TOKENS | _HIGHER),
    "+ dynamic sampling": Recipe(grpo, _TOKENS | _HIGHER, dynamic=True),
    "DAPO": Recipe(grpo, _TOKENS | _HIGHER, dynamic=True, overlong=True),
    "Dr.GRPO": Recipe(dr_grpo, {"aggregation": "row-mean-token-sum-norm"}),
    "RLOO": Recipe(rloo, _ANSWERS),
    "REINFORCE++": Recipe(reinforce_plus_plus, _TOKENS),
    "PPO": Recipe(partial(gae, lam=0.95), _TOKENS, critic=True),
}
"""By name, DAPO's ladder in its order."""


def train_recipe(
    solver: Solver,
    recipe: Recipe,
    settings: PolicySettings,
    *,
    group_size: int = 8,
    most: int = 10,
    critic: CriticSettings | None = None,
    **training: Any,
) -> dict[str, float | list[float]]:
    """Train a solver with a baseline; its policy changes in place.

    Args:
        solver: where to start from.
        recipe: the baseline.
        settings: how the policy is updated, where the recipe does not say.
        group_size: answers to each problem.
        most: how many batches of further problems dynamic sampling may try, each as large as the first.
        critic: how a critic learns; by default at the policy's rate and in as many steps.
        **training: passed on to `train_solver`.

    Returns:
        As `train_solver`, and the curve `wrong_length`, tokens in a wrong answer.

    Raises:
        RuntimeError: if dynamic sampling finds too few groups with both right and wrong answers.
    """
    limit = solver.params.max_new_tokens
    constant = {"loss_length": limit} if recipe.switches.get("aggregation", "").endswith("norm") else {}
    settings = replace(settings, **recipe.switches, **constant)
    collector: Any = GroupCollector(group_size, solver.params)
    if recipe.overlong:
        collector = OverlongCollector(collector, max_length=limit, buffer=max(1, round(OVERLONG_BUFFER * limit)))
    if recipe.dynamic:
        collector = DynamicCollector(collector, solver.tasks, batch=settings.tasks, most=most)
    trained = None
    if recipe.critic:
        shared = {name: getattr(settings, name) for name in ("learning_rate", "epochs", "mini_batches", "micro_batch")}
        trained = Critic(value_model(solver.policy), TokenValues(), critic or CriticSettings(**shared))
    return train_solver(solver, recipe.estimator, settings, collector=collector, critic=trained, measure=wrong_length, **training)


def wrong_length(rollouts: Rollouts) -> dict[str, float]:
    """Mean number of tokens in a wrong answer; nothing if there is none."""
    lengths = [n for n, right in zip(rollouts["response_length"].tolist(), rollouts["success"], strict=True) if not right]
    return {"wrong_length": sum(lengths) / len(lengths)} if lengths else {}
