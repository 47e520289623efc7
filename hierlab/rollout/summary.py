"""Rollouts in a few numbers, and the evaluation of a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import torch

from hierlab.rollout.engine import Engine
from hierlab.rollout.rollouts import Rollouts

Collector = Callable[[Engine, Sequence[Any], torch.Generator], Rollouts]
"""Turns tasks into rollouts of a policy."""


def success_rate(rollouts: Rollouts) -> float:
    """Share of trajectories that solved their task, each counted once however many rows it has.

    Raises:
        KeyError: if the rollouts have no column `success`.
    """
    solved = dict(zip(rollouts.trajectory, rollouts["success"], strict=True))
    return sum(map(float, solved.values())) / len(solved)


def pass_at_k(successes: Sequence[int], attempts: int, k: int) -> float:
    r"""Probability that at least one of k attempts solves a problem, averaged over problems, $1-\binom{n-c}{k}/\binom nk$.

    Unbiased; the share of problems solved by at least one of the first k attempts has the same mean and a larger variance.

    Args:
        successes: $c$, for each problem the number of attempts that solved it.
        attempts: $n$, the attempts at each problem.
        k: attempts allowed, at most `attempts`.

    Raises:
        ValueError: if there are no problems, `k` is not in 1 .. attempts, or a problem was solved more often than it was tried.

    Source: Chen et al., arXiv 2107.03374, Equation 1.
    """
    if not len(successes):
        raise ValueError("pass@k needs at least one problem")
    if not 1 <= k <= attempts:
        raise ValueError(f"k must be from 1 to the number of attempts, {attempts}, got {k}")
    for problem, solved in enumerate(successes):
        if not 0 <= solved <= attempts:
            raise ValueError(f"problem {problem} was solved {solved} times in {attempts} attempts")
    return 1 - sum(comb(attempts - solved, k) for solved in successes) / (comb(attempts, k) * len(successes))


def summary(rollouts: Rollouts) -> dict[str, float]:
    """What the rollouts were like, and what they cost.

    Returns:
        return: mean over trajectories of the sum of their rewards.
        trajectories: how many there are.
        rows: turns or responses; for agents, also the number of environment steps.
        generated_tokens: tokens that the policy wrote; with a column `extra_tokens`, also those that were sampled for a row but
            are not in its response, such as continuations that value its segments.
        success: share of trajectories that solved their task; only with a column `success`.
        valid: share of rows whose command was valid; only with a column `valid`.
    """
    trajectories = len(set(rollouts.trajectory))
    result = {
        "return": float(rollouts.rewards.sum()) / trajectories,
        "trajectories": trajectories,
        "rows": len(rollouts),
        "generated_tokens": int(rollouts.response_mask.sum()),
    }
    if "extra_tokens" in rollouts:
        result["generated_tokens"] += int(torch.as_tensor(rollouts["extra_tokens"]).sum())
    if "success" in rollouts:
        result["success"] = success_rate(rollouts)
    if "valid" in rollouts:
        result["valid"] = sum(map(float, rollouts["valid"])) / len(rollouts)
    return result


def evaluate(policy: Engine, tasks: Sequence[Any], collector: Collector, generator: torch.Generator) -> dict[str, float]:
    """The `summary` of one collection from the given tasks, such as held-out games.

    >>> held_out = partial(evaluate, tasks=games, collector=EpisodeCollector(1, SamplingParams(8, temperature=0)))  # doctest: +SKIP
    """
    return summary(collector(policy, tasks, generator))
