r"""The microscope at equal cost: ways of giving credit that generate different amounts of tokens, each within one budget.

A group's budget of tokens buys some responses and, where segments are valued, continuations of them. Whoever needs no continuations
gets more responses. All see the same world and policy, though not the same rollouts.

    arms = {"GRPO": (grpo, tree_testbed(0.5)), "int2": (spo, chain_worth(40, cut))}
    at_equal_cost(arms, tokens=320).plot()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

from torch import Tensor

from hierlab.lab.microscope import Microscope, microscope
from hierlab.lab.token_testbed import BranchingTestbed, ChainTestbed, ResponseTestbed, tree_testbed
from hierlab.rollout.rollouts import Rollouts
from hierlab.rollout.summary import summary
from hierlab.seeds import generator
from hierlab.train.tabular import Estimator

PILOT = 2000
"""Responses from which a cost is estimated, at least."""


@cache
def tokens_of_group(testbed: ResponseTestbed, group_size: int) -> float:
    """Tokens that a group costs on average, those of continuations counted."""
    groups = max(50, PILOT // group_size)
    rollouts = testbed.collect(groups, group_size, generator("equal cost", group_size))
    return summary(rollouts)["generated_tokens"] / groups


def chain_worth(tokens: float, cut: Callable[[Rollouts], Tensor], success: float = 0.5, **tree: Any) -> ChainTestbed:
    """A chain testbed with as many continuations of each state as let a response cost so many tokens, at least one.

    Args:
        tokens: of a response with all its continuations, on average.
        cut: where segments start.
        success: as `tree_testbed`.
        **tree: as `tree_testbed`.
    """
    once = tree_testbed(success, ChainTestbed, cut=cut, continuations=1, **tree)
    rollouts = once.collect(PILOT, 1, generator("equal cost", "continuations"))
    written, extra = float(rollouts.response_mask.sum()) / PILOT, float(rollouts["extra_tokens"].sum()) / PILOT
    return replace(once, continuations=max(1, round((tokens - written) / extra)))


def groups_worth(testbed: ResponseTestbed, tokens: float) -> tuple[float, int]:
    """How many groups, and how many responses in each, cost so many tokens on average.

    One group of two responses or more; of trees, which have the leaves they have, as many as it takes, perhaps a part of one.
    """
    if isinstance(testbed, BranchingTestbed):
        leaves = prod(testbed.branches)
        return tokens / tokens_of_group(testbed, leaves), leaves
    return 1.0, max(2, round(tokens / tokens_of_group(testbed, 1)))


def at_equal_cost(
    arms: Mapping[str, tuple[Estimator, ResponseTestbed]], tokens: float, *, batches: int = 200, tasks: int = 4, **how: Any
) -> Microscope:
    """All arms under the microscope, with batches that cost `tasks` times so many tokens.

    Args:
        arms: estimator and testbed, by name.
        tokens: of a task, on average.
        batches: as `microscope`.
        tasks: groups a batch, of trees as many as cost the same.
        **how: further arguments of `microscope`.

    Raises:
        ValueError: if there are no arms; or as `microscope`.
    """
    if not arms:
        raise ValueError("give at least one arm")
    seen = {}
    for name, (estimator, testbed) in arms.items():
        groups, size = groups_worth(testbed, tokens)
        seen[name] = microscope({name: estimator}, testbed, batches=batches, tasks=max(1, round(groups * tasks)), group_size=size, **how)
    measured = {name: part.measured[name] for name, part in seen.items()}
    samples = {name: part._samples[name] for name, part in seen.items()}
    description = next(iter(seen.values())).description
    return Microscope(description, {"batches": batches, "tasks": tasks, "tokens": round(tokens)}, measured, samples)
