r"""Chains of segments: responses whose states are valued, segment by segment, by continuing from them.

SPO's first way to a value (arXiv 2505.23564): cut a response into segments, go back to the state before each, let the policy answer
$N$ times from there, and take the mean reward, $\hat V(s_{t_k})=\frac1N\sum_j R(x,[y_{<t_k},\tau^{(j)}])$. The continuations are
thrown away, so their tokens are a further cost of the response they value: the column `extra_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch import Tensor

from hierlab.checks import check_finite
from hierlab.credit.segments import segments_between
from hierlab.credit.spo import cutpoint_starts
from hierlab.envs.environment import Problem
from hierlab.rollout.collect import GroupCollector, check_group_size
from hierlab.rollout.engine import Engine
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.rollout.sampling import SamplingParams
from hierlab.rollout.states import State, ended, state_values, unpadded, unsure_tokens

Cut = Callable[..., Tensor]
"""A function of columns that says where segments start, [N, T] bool: `cutpoint_starts`, or a `partial` of it or of `equal_starts`."""


@dataclass(frozen=True)
class ChainCollector:
    r"""Several responses to each problem, and the value of every state between their segments.

    Attributes:
        group_size: responses a problem (paper: 8).
        params: how responses and continuations are sampled. A response and what continues it must end within `max_new_tokens`, or
            earn 0.
        continuations: $N$, sampled from each state (paper: 9).
        cut: where segments start; by default before every fifth token of a probability below 0.9.
        threshold: $\rho$ of the probability mask: the loss looks at tokens of a lower probability only. None: at all tokens.
        prompt: what the policy reads; by default the problem's own prompt.
    """

    group_size: int
    params: SamplingParams
    continuations: int = 9
    cut: Cut = cutpoint_starts
    threshold: float | None = 0.9
    prompt: Callable[[Problem], str] = attrgetter("prompt")

    def __post_init__(self):
        check_group_size(self.group_size)
        if self.continuations < 1:
            raise ValueError(f"continuations must be at least 1, got {self.continuations}")

    def __call__(self, policy: Engine, tasks: Sequence[Problem], generator: torch.Generator) -> Rollouts:
        """One row a response, with the columns of `GroupCollector`, and what `spo` and the trainer want besides.

        These are `segment_start`, `segment_value` (0 where no segment starts), `extra_tokens` and, with a threshold, `loss_mask`.

        Raises:
            ValueError: if there are no tasks, a prompt cannot be answered (`Engine.generate`), a reward is not finite, or `cut`
                starts a segment at a token that is none of the response's.
        """
        answers = GroupCollector(self.group_size, self.params, self.prompt)(policy, tasks, generator)
        check_finite("rewards", answers.rewards)
        prompts, responses = unpadded(answers.prompt_ids, answers.prompt_mask), unpadded(answers.response_ids, answers.response_mask)
        answers = replace(answers, rewards=answers.rewards * answers.rewards.new_tensor(ended(policy, responses, self.params)))
        start = estimate(answers, self.cut)
        segments = segments_between(start, answers.response_mask)
        states = [
            State(tasks[row // self.group_size], prompts[row], responses[row][:token])
            for row, token in zip(segments.row.tolist(), segments.start.tolist(), strict=True)
        ]
        found, cost = state_values(policy, states, self.params, generator, self.continuations)
        place = segments.row, segments.start
        columns = {
            "segment_start": start,
            "segment_value": torch.zeros_like(answers.old_logp).index_put(place, found.to(answers.old_logp)),
            "extra_tokens": torch.zeros_like(answers.turn).index_add(0, segments.row, cost.to(answers.turn)),
            "success": (answers.rewards >= 1).tolist(),
        }
        if self.threshold is not None:
            columns["loss_mask"] = unsure_tokens(answers.old_logp, answers.response_mask, self.threshold)
        return answers.with_columns(**columns)
