"""Overlong reward shaping (DAPO, arXiv 2503.14476): answers close to the length limit are penalised softly, not only when cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hierlab.credit.dapo import overlong_penalty
from hierlab.rollout.engine import Engine
from hierlab.rollout.rollouts import Rollouts
from hierlab.rollout.summary import Collector


@dataclass(frozen=True)
class OverlongCollector:
    """Adds the penalty to the rewards; the column `success` stays as it is, so that a right answer stays right.

    Attributes:
        collect: collects from problems.
        max_length: an answer of so many tokens gets the whole penalty.
        buffer: how many tokens before that the penalty sets in.
        factor: the whole penalty.
    """

    collect: Collector
    max_length: int
    buffer: int
    factor: float = 1.0

    def __call__(self, policy: Engine, tasks: Sequence[Any], generator: torch.Generator) -> Rollouts:
        """The same rollouts with other rewards.

        Raises:
            ValueError: unless 1 <= buffer <= max_length and factor >= 0.
        """
        rollouts = self.collect(policy, tasks, generator)
        penalty = overlong_penalty(rollouts["response_length"], max_length=self.max_length, buffer=self.buffer, factor=self.factor)
        return replace(rollouts, rewards=rollouts.rewards + penalty.to(rollouts.rewards.dtype))
