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

from hierlab.checks import check_finite, check_rows
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


def uncut(response_mask: Tensor) -> Tensor:
    """No segments at all, hence no continuations: what is left of a chain is a group of responses with a probability mask."""
    return torch.zeros_like(response_mask, dtype=torch.bool)


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
        whole = ended(policy, unpadded(answers.response_ids, answers.response_mask), self.params)
        rewards = answers.rewards * answers.rewards.new_tensor(whole)
        answers = replace(answers, rewards=rewards).with_columns(success=(rewards >= 1).tolist())
        problems = [task for task in tasks for _ in range(self.group_size)]
        how = {"cut": self.cut, "continuations": self.continuations}
        valued = value_segments(policy, answers, problems, self.params, generator, **how)
        if self.threshold is None:
            return valued
        return valued.with_columns(loss_mask=unsure_tokens(answers.old_logp, answers.response_mask, self.threshold))


def value_segments(
    policy: Engine,
    answers: Rollouts,
    problems: Sequence[Problem],
    params: SamplingParams,
    generator: torch.Generator,
    *,
    cut: Cut = cutpoint_starts,
    continuations: int = 9,
) -> Rollouts:
    """Cut responses into segments, and value the states between them.

    Args:
        policy: the engine that continues.
        answers: N responses.
        problems: N, what each of them answers.
        params: how whole responses are sampled.
        generator: source of all randomness.
        cut: where segments start.
        continuations: $N$, of each state.

    Returns:
        The responses with the columns `segment_start`, `segment_value` and `extra_tokens`.

    Raises:
        ValueError: as `ChainCollector.__call__`.
    """
    check_rows(answers=answers, problems=problems)
    start = estimate(answers, cut)
    segments = segments_between(start, answers.response_mask)
    prompts, responses = unpadded(answers.prompt_ids, answers.prompt_mask), unpadded(answers.response_ids, answers.response_mask)
    states = [
        State(problems[row], prompts[row], responses[row][:token])
        for row, token in zip(segments.row.tolist(), segments.start.tolist(), strict=True)
    ]
    found, cost = state_values(policy, states, params, generator, continuations)
    value = torch.zeros_like(answers.old_logp).index_put((segments.row, segments.start), found.to(answers.old_logp))
    extra = torch.zeros_like(answers.turn).index_add(0, segments.row, cost.to(answers.turn))
    return answers.with_columns(segment_start=start, segment_value=value, extra_tokens=extra)
