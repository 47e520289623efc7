r"""Trees of segments: responses that share their beginnings, so that each token is generated once.

SPO's second way to a value (arXiv 2505.23564). Behind the prompt, the policy writes `branches[0]` segments of at most
`segment_tokens` tokens; behind each of them that has not ended its response, `branches[1]` more, and so on; those of the last level
are written to the end. A leaf is worth the reward of the whole response it ends, and every segment is a sample to train on: nothing
is thrown away.

In the released code a response that is still unfinished on the last level is scored by the text of its last segment alone. Here, as
everywhere else, it has not ended and earns 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

import torch

from hierlab.credit.spo import spo_tree
from hierlab.envs.environment import Problem
from hierlab.rollout.collect import as_rollouts, check_tasks, decode
from hierlab.rollout.engine import Engine
from hierlab.rollout.prompts import encode_prompts
from hierlab.rollout.rollouts import Rollouts, concatenate, estimate
from hierlab.rollout.sampling import SamplingParams
from hierlab.rollout.states import State, go_on, outcomes, unsure_tokens

Name = tuple[int, ...]
"""The place of a problem among those given, then that of each segment among its siblings: (3, 0, 2) was sampled behind (3, 0)."""

_TIE = 1e-6  # values are means of means in float32: what differs by less is equal


class _Segment(NamedTuple):
    """Where a segment led, and whether it ended the response."""

    state: State
    ended: bool


@dataclass(frozen=True)
class TreeCollector:
    r"""A tree of segments for each problem.

    Attributes:
        branches: segments sampled behind the prompt, then behind each unfinished segment of the first level, and so on (paper: 6-6-6).
        segment_tokens: $M$, the most tokens of a segment that is not on the last level (paper: 30 for GSM8K, 600 for MATH).
        params: how whole responses are sampled; one must end within `max_new_tokens`, or earn 0.
        threshold: $\rho$ of the probability mask: the loss looks at tokens of a lower probability only. None: at all tokens.
        skip_ties: leave segments that are worth exactly what they were sampled behind out of the loss, as the released code does.
            They stay among the rows, since the values of others rest on them.
        prompt: what the policy reads; by default the problem's own prompt.
    """

    branches: tuple[int, ...]
    segment_tokens: int
    params: SamplingParams
    threshold: float | None = 0.9
    skip_ties: bool = True
    prompt: Callable[[Problem], str] = attrgetter("prompt")

    def __post_init__(self):
        object.__setattr__(self, "branches", tuple(self.branches))
        if not self.branches or min(self.branches) < 1:
            raise ValueError(f"branches must hold one number of at least 1 for each level, got {self.branches}")
        if self.segment_tokens < 1:
            raise ValueError(f"segment_tokens must be at least 1, got {self.segment_tokens}")

    def __call__(self, policy: Engine, tasks: Sequence[Problem], generator: torch.Generator) -> Rollouts:
        """One row a segment: what was written in it is its response, what was read and written before it its prompt.

        Each leaf is a trajectory, and a segment that several leaves share a turn of the first of them. Segments stand before those
        sampled behind them. Further columns: `node`, `parent` (None behind the prompt), `success` of the trajectory, `response` and,
        unless the loss looks at everything, `loss_mask`.

        Raises:
            ValueError: if there are no tasks, a prompt cannot be answered (`Engine.generate`), or a reward is not finite.
        """
        check_tasks(tasks)
        prompts = encode_prompts(policy.tokenizer, [self.prompt(task) for task in tasks])
        unfinished = {(place,): State(task, ids) for place, (task, ids) in enumerate(zip(tasks, prompts, strict=True))}
        parts: list[Rollouts] = []
        segments: dict[Name, _Segment] = {}
        while unfinished and len(parts) < len(self.branches):
            part, led_to = self._grow(policy, unfinished, len(parts), generator)
            parts.append(part)
            segments |= led_to
            unfinished = {name: segment.state for name, segment in led_to.items() if not segment.ended and self._has_room(segment.state)}
        rollouts = concatenate(parts, pad_id=policy.tokenizer.pad_token_id or 0)
        names = rollouts["node"]
        return self._score(policy, rollouts.select(sorted(range(len(names)), key=names.__getitem__)), segments)

    def _has_room(self, state: State) -> bool:
        return len(state.written) < self.params.max_new_tokens

    def _grow(
        self, policy: Engine, states: Mapping[Name, State], level: int, generator: torch.Generator
    ) -> tuple[Rollouts, dict[Name, _Segment]]:
        """One level: the segments sampled from these states, as rows without rewards, and where they led."""
        asked = [(name, state) for name, state in states.items() for _ in range(self.branches[level])]
        names = [(*name, branch) for name in states for branch in range(self.branches[level])]
        most = None if level + 1 == len(self.branches) else self.segment_tokens
        continued = go_on(policy, [state for _, state in asked], self.params, generator, most)
        rows = as_rollouts(
            continued.samples,
            rewards=[0.0] * len(asked),
            task=[state.problem.id for _, state in asked],
            trajectory=names,
            turn=[level] * len(asked),
            state=[(self.prompt(state.problem), tuple(state.written)) for _, state in asked],
            node=names,
            parent=[name if level else None for name, _ in asked],
            response=decode(policy, continued.samples),
        )
        led_to = {name: _Segment(*where) for name, *where in zip(names, continued.states, continued.ended, strict=True)}
        if (written := continued.samples.response_mask.any(1)).all():
            return rows, led_to
        kept = written.nonzero()[:, 0].tolist()  # an engine may return nothing: there is nothing to train on, nor to go on from
        return rows.select(kept), {names[row]: led_to[names[row]] for row in kept}

    def _score(self, policy: Engine, rollouts: Rollouts, segments: Mapping[Name, _Segment]) -> Rollouts:
        """Rewards of the leaves, what trajectory each row belongs to, and what the loss looks at."""
        names = rollouts["node"]
        rewards = outcomes(policy, [segments[name].state for name in names], [segments[name].ended for name in names])
        leaf, reward_of = first_leaves(names), dict(zip(names, rewards, strict=True))
        trajectory = [leaf[name] for name in names]
        rollouts = replace(rollouts, rewards=rollouts.rewards.new_tensor(rewards), trajectory=trajectory)
        rollouts = rollouts.with_columns(success=[reward_of[name] >= 1 for name in trajectory])
        if self.threshold is None and not self.skip_ties:
            return rollouts
        telling = estimate(rollouts, spo_tree).abs() > _TIE if self.skip_ties else None
        return rollouts.with_columns(loss_mask=unsure_tokens(rollouts.old_logp, rollouts.response_mask, self.threshold, telling))


def first_leaves(names: Collection[Name]) -> dict[Name, Name]:
    """The first leaf behind each segment: itself if it is one. Every leaf is thereby that of some unbroken path that ends in it."""
    leaf: dict[Name, Name] = {}
    for name in sorted(names, reverse=True):  # children before their parents, and the first child last
        leaf[name[:-1]] = leaf.setdefault(name, name)
    return leaf
