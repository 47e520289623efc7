"""States of responses under way: going on from them, scoring what comes of it, and valuing them by doing so many times.

What chains and trees of segments share. A response that was cut before it ended earns nothing, whatever its text says so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hierlab.credit.spo import probability_mask
from hierlab.envs.environment import Problem
from hierlab.rollout.engine import Engine
from hierlab.rollout.sampling import Samples, SamplingParams

_AT_ONCE = 8192  # continuations that are sampled side by side: each has a cache of its own


class State(NamedTuple):
    """A response under way.

    Attributes:
        problem: what is answered.
        prompt: token ids.
        written: token ids of the response so far; none at its beginning.
    """

    problem: Problem
    prompt: Sequence[int]
    written: Sequence[int] = ()


class Continued(NamedTuple):
    """What was sampled from N states.

    Attributes:
        samples: the new tokens; their prompts are what the policy read, the response so far included.
        states: N, where this led.
        ended: N, whether each response has ended by itself.
    """

    samples: Samples
    states: list[State]
    ended: list[bool]


def go_on(
    policy: Engine, states: Sequence[State], params: SamplingParams, generator: torch.Generator, most: int | None = None
) -> Continued:
    """Sample from each state once.

    Equal states are read once by `TransformersEngine`, common beginnings once by vLLM.

    Args:
        policy: the engine.
        states: N states; one that is listed several times is continued as often.
        params: how whole responses are sampled: what was written before counts towards `max_new_tokens`.
        generator: source of all randomness.
        most: pause after so many tokens, if a response has not ended before.

    Raises:
        ValueError: as `Engine.generate`, also for a state that leaves no room.
    """
    room = [params.max_new_tokens - len(state.written) for state in states]
    limits = room if most is None else [min(most, left) for left in room]
    samples = policy.generate([[*state.prompt, *state.written] for state in states], params, generator, limits)
    sampled = samples.responses()
    led_to = [state._replace(written=[*state.written, *ids]) for state, ids in zip(states, sampled, strict=True)]
    return Continued(samples, led_to, ended(policy, sampled, params))


def ended(policy: Engine, responses: Sequence[Sequence[int]], params: SamplingParams) -> list[bool]:
    """Whether the last token of each response is one that ends responses."""
    ends = {*policy.end_ids, *params.stop_ids}
    return [len(ids) > 0 and ids[-1] in ends for ids in responses]


def outcomes(policy: Engine, states: Sequence[State], whole: Sequence[bool]) -> list[float]:
    """The verifier's reward of each response, and 0 for one that has not ended.

    Continuations of one state often agree, and verifiers are deterministic: equal responses to one problem are verified once.

    Args:
        policy: the engine, whose tokenizer decodes.
        states: N responses.
        whole: N, whether each has ended.

    Raises:
        ValueError: naming row and problem, if a reward is not finite.
    """
    known: dict[tuple, float] = {}
    rewards = [0.0] * len(states)
    for row, (problem, _, written) in enumerate(states):
        if not whole[row]:
            continue
        key = problem.id, tuple(written)
        if key not in known:
            known[key] = float(problem.verify(policy.tokenizer.decode(written, skip_special_tokens=True)))
            if not math.isfinite(known[key]):
                raise ValueError(f"rewards must be finite, got {known[key]} in row {row}, a response to problem {problem.id!r}")
        rewards[row] = known[key]
    return rewards


def state_values(
    policy: Engine, states: Sequence[State], params: SamplingParams, generator: torch.Generator, continuations: int
) -> tuple[Tensor, Tensor]:
    r"""Values by Monte Carlo: the mean reward of several continuations of each state, $\frac1N\sum_j R$.

    Args:
        policy: the engine.
        states: S states, none of them ended.
        params: how whole responses are sampled.
        generator: source of all randomness.
        continuations: $N$, of each state.

    Returns:
        The values [S] float32, and the tokens that were sampled to find each, [S] int64.

    Raises:
        ValueError: as `go_on` and `outcomes`, or if `continuations` is less than 1.
    """
    if continuations < 1:
        raise ValueError(f"continuations must be at least 1, got {continuations}")
    if not states:
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    at_once = max(1, _AT_ONCE // continuations)
    parts = [_valued(policy, states[i : i + at_once], params, generator, continuations) for i in range(0, len(states), at_once)]
    return torch.cat([value for value, _ in parts]), torch.cat([cost for _, cost in parts])


def _valued(
    policy: Engine, states: Sequence[State], params: SamplingParams, generator: torch.Generator, continuations: int
) -> tuple[Tensor, Tensor]:
    continued = go_on(policy, [state for state in states for _ in range(continuations)], params, generator)
    mask = continued.samples.response_mask
    rewards = torch.tensor(outcomes(policy, continued.states, continued.ended), device=mask.device)
    return rewards.view(-1, continuations).mean(1), mask.sum(1).view(-1, continuations).sum(1)


def unsure_tokens(old_logp: Tensor, response_mask: Tensor, threshold: float | None, rows: Tensor | None = None) -> Tensor:
    r"""What the loss looks at: response tokens of a probability below the threshold, in the given rows.

    Where there is none in the whole batch it is all response tokens, as in the released code of SPO, whose advantages are then 0.

    Args:
        old_logp: [N, T].
        response_mask: [N, T] bool.
        threshold: $\rho$; None for tokens of any probability.
        rows: [N] bool; None for all.

    Returns:
        [N, T] bool.
    """
    mask = response_mask if threshold is None else probability_mask(old_logp, response_mask, threshold=threshold)
    mask = mask if rows is None else mask & rows[:, None]
    return mask if mask.any() else response_mask


def unpadded(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """The ids of each row where the mask is set. [N, T] each"""
    return [[i for i, there in zip(*row, strict=True) if there] for row in zip(ids.tolist(), mask.tolist(), strict=True)]
