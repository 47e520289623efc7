"""Dynamic sampling (DAPO, arXiv 2503.14476): go on collecting until enough groups have both right and wrong answers.

A group that agrees has an advantage of 0 and only dilutes the batch. It is dropped and replaced by another problem's, and what it cost
is not forgotten: the tokens of all that was sampled and not kept stand in the column `extra_tokens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hierlab.credit.dapo import live_groups
from hierlab.rollout.engine import Engine
from hierlab.rollout.rollouts import Rollouts, concatenate
from hierlab.rollout.summary import Collector


@dataclass(frozen=True)
class DynamicCollector:
    """As many live groups as problems were asked for, or an error.

    The problems given come first, then others of the pool, `batch` at a time, none twice. Live groups beyond those wanted are dropped
    too, as in the DAPO recipe of verl.

    Attributes:
        collect: collects from problems; its rollouts have the column `success`, in which a live group differs.
        pool: problems to replace dead groups from.
        batch: how many are tried at a time.
        most: batches tried before giving up, the problems given not counted.
    """

    collect: Collector
    pool: Sequence[Any]
    batch: int = 16
    most: int = 10

    def __post_init__(self):
        if self.batch < 1 or self.most < 0:
            raise ValueError(f"batch must be at least 1 and most not negative, got {self.batch} and {self.most}")

    def __call__(self, policy: Engine, tasks: Sequence[Any], generator: torch.Generator) -> Rollouts:
        """The rows of the first `len(tasks)` live groups, with the column `extra_tokens` [N].

        What was dropped is counted on the first row, since it belongs to no row in particular.

        Raises:
            RuntimeError: if too few groups are live when the batches, or the problems of the pool, have been used up.
        """
        wanted, parts, live = len(tasks), [self.collect(policy, tasks, generator)], []
        live += _live_tasks(parts[0])
        reserve = self._reserve(tasks, generator)
        for _ in range(self.most):
            if len(live) >= wanted or not reserve:
                break
            chosen, reserve = reserve[: self.batch], reserve[self.batch :]
            parts.append(self.collect(policy, chosen, generator))
            live += _live_tasks(parts[-1])
        collected = concatenate(parts, pad_id=policy.tokenizer.pad_token_id or 0)
        if len(live) < wanted:
            tried = len(set(collected.task))
            raise RuntimeError(
                f"{len(live)} of {tried} problems were solved in some attempts and not in others, {wanted} are wanted: the policy solves "
                f"nearly all or none of them; stop earlier, ask for fewer, or allow more than most={self.most} batches of {self.batch}"
            )
        kept = set(live[:wanted])
        rows = [row for row, task in enumerate(collected.task) if task in kept]
        rollouts = collected.select(rows)
        extra = torch.zeros(len(rows), dtype=torch.int64, device=rollouts.rewards.device)
        extra[0] = _cost(collected) - int(rollouts.response_mask.sum())
        return rollouts.with_columns(extra_tokens=extra)

    def _reserve(self, tasks: Sequence[Any], generator: torch.Generator) -> list[Any]:
        """The rest of the pool in random order."""
        given = {task.id for task in tasks}
        order = torch.randperm(len(self.pool), generator=generator).tolist()
        return [self.pool[i] for i in order if self.pool[i].id not in given]


def _live_tasks(rollouts: Rollouts) -> list[Any]:
    """The tasks whose attempts do not all succeed or all fail, in order."""
    success = torch.as_tensor(rollouts["success"], dtype=torch.float32)
    return list(dict.fromkeys(task for task, live in zip(rollouts.task, live_groups(success, rollouts.task).tolist(), strict=True) if live))


def _cost(rollouts: Rollouts) -> int:
    """Tokens generated for these rows, those that an inner collector has already counted as extra included."""
    extra = torch.as_tensor(rollouts["extra_tokens"]).sum() if "extra_tokens" in rollouts else 0
    return int(rollouts.response_mask.sum() + extra)
