r"""Train a table of logits whose rollouts are whole responses of several tokens.

As `hierlab.train.tabular`, but an episode of the finite world is one row of `Rollouts`: the prompt is what is observed at its start,
each action is a token of the response, and the row's reward is the sum of the actions' rewards. So methods that tell the tokens of a
response apart (planning tokens, segments, values at each token) train on a policy whose success is known exactly, in a fraction of a
second.

One iteration takes the on-policy step $\theta\leftarrow\theta+\eta\,u$ with

$$u=\frac1N\sum_{i=1}^{N}\sum_{t}A_{i,t}\,\nabla_\theta\log\pi(y_{i,t}\mid c_{i,t}),$$

the plain policy gradient of N responses, or, with `average="context"`, each context's sum divided by its number of tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_choice
from hierlab.envs.finite import Episodes, FiniteWorld, play, success_probability
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.seeds import generator
from hierlab.train.tabular import Average, Estimator, policy_gradient

CURVE_POINTS = 21
"""Entries of a curve in `TokenRun.values`: every unit of an experiment keeps them."""


def collect_responses(
    world: FiniteWorld, logits: Tensor, *, groups: int, group_size: int, generator: torch.Generator, planning: Tensor | None = None
) -> Rollouts:
    """Play `group_size` episodes of each of `groups` tasks, drawn with replacement; a row is an episode, a token one of its actions.

    Every group is a task of its own, numbered from 0, as in `hierlab.train.tabular.collect`.

    Args:
        world: what is played; H is its horizon.
        logits: [C, A] the policy.
        groups: number of groups.
        group_size: episodes in each.
        generator: source of all randomness.
        planning: as in `as_responses`.

    Returns:
        N = groups * group_size rows with the columns of `as_responses`, and `world_task` [N] (int64).

    Raises:
        ValueError: if a count is not positive, or the logits or `planning` do not fit the world.
    """
    for name, value in {"groups": groups, "group_size": group_size}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    probabilities = logits.softmax(dim=1)
    hidden = torch.randint(len(world.start), (groups,), generator=generator).repeat_interleave(group_size)
    episodes = play(world, probabilities, hidden, generator)
    row = torch.arange(len(hidden))
    rollouts = as_responses(world, probabilities, episodes, task=(row // group_size).tolist(), trajectory=row.tolist(), planning=planning)
    return rollouts.with_columns(world_task=hidden)


def as_responses(
    world: FiniteWorld,
    probabilities: Tensor,
    episodes: Episodes,
    *,
    task: Sequence[Hashable],
    trajectory: Sequence[Hashable],
    planning: Tensor | None = None,
) -> Rollouts:
    """Episodes as whole responses: one row an episode, one token an action.

    Args:
        world: H turns, C contexts, A actions.
        probabilities: [C, A] the policy that played.
        episodes: N of them.
        task: N names.
        trajectory: N names.
        planning: [A], or [C, A] where it depends on the context: whether an action plans. None: none does.

    Returns:
        Rollouts with the further columns `success` [N] (bool), `planning_mask` [N, H] (bool), `token_rewards` [N, H] (the rewards where
        they fall), `entropy` [N, H] (of the policy at each token, in nats), `context` and `world_state` [N, H] (int64: places in the
        world's tables, 0 where masked).
    """
    alive = episodes.alive
    state, action = torch.where(alive, episodes.state, 0), torch.where(alive, episodes.action, 0)
    context, first = torch.where(alive, world.context[state], 0), world.context[episodes.state[:, 0]]
    plans = _as_planning(planning, probabilities)
    prompt_ids, prompt_mask = world.prompts
    token_rewards = torch.where(alive, world.reward[state, action], 0)
    return Rollouts(
        prompt_ids=prompt_ids[first],
        prompt_mask=prompt_mask[first],
        response_ids=action,
        response_mask=alive,
        old_logp=torch.where(alive, probabilities.log()[context, action], 0),
        rewards=token_rewards.sum(dim=1),
        task=task,
        trajectory=trajectory,
        turn=torch.zeros_like(first),
        state=[" ".join(world.contexts[c]) for c in first.tolist()],
        columns={
            "success": (world.won[state, action] & alive).any(dim=1),
            "planning_mask": alive & plans[context, action],
            "token_rewards": token_rewards,
            "entropy": torch.where(alive, torch.special.entr(probabilities).sum(dim=1)[context], 0),
            "context": context,
            "world_state": state,
        },
    )


def _as_planning(planning: Tensor | None, probabilities: Tensor) -> Tensor:
    """Whether each action plans in each context. [C, A] bool"""
    if planning is None:
        return torch.zeros(probabilities.shape, dtype=torch.bool)
    shape = probabilities.shape if planning.dim() == 2 else probabilities.shape[1:]
    return as_mask("planning", planning, shape).expand(probabilities.shape)


def token_advantage(rollouts: Rollouts, estimator: Estimator) -> Tensor:
    """The estimator's advantages, spread over the tokens of each row. [N, T], 0 where masked

    Raises:
        ValueError: if it returns anything but finite numbers of shape [N] or [N, T].
    """
    advantage = estimate(rollouts, estimator)
    mask = rollouts.response_mask
    if advantage.shape not in (mask.shape, mask.shape[:1]):
        raise ValueError(f"an estimator must return {list(mask.shape[:1])} or {list(mask.shape)} numbers, got {list(advantage.shape)}")
    if not advantage.isfinite().all():
        row = int((~advantage.isfinite()).nonzero()[0, 0])
        raise ValueError(f"an estimator must return finite numbers, got {advantage[row].tolist()} in row {row}")
    return torch.where(mask, advantage if advantage.dim() == 2 else advantage[:, None], 0)


@dataclass(frozen=True)
class TokenRun:
    """What a training run was like. I iterations.

    Attributes:
        success: [I + 1] exact probability of success after 0, 1, ..., I updates.
        policies: [I + 1, C, A] the logits of each of these policies.
        sampled_success: [I] share of the iteration's responses that succeeded.
        gradient_norm: [I] length of the estimator's own update, before the rate.
        update_norm: [I] length of the update that was taken; another one only with `length_of`.
        tokens: [I] tokens generated in the iteration.
        estimator_seconds: [I] spent in the estimator. Not the same in every run.
    """

    success: tuple[float, ...]
    policies: Tensor
    sampled_success: tuple[float, ...]
    gradient_norm: tuple[float, ...]
    update_norm: tuple[float, ...]
    tokens: tuple[int, ...]
    estimator_seconds: tuple[float, ...]

    @property
    def auc(self) -> float:
        """Mean of the success after 1 to I updates."""
        return sum(self.success[1:]) / len(self.success[1:])

    def values(
        self, measure: Callable[[Tensor], Mapping[str, float]] | None = None, *, points: int = CURVE_POINTS
    ) -> dict[str, float | list[float]]:
        """The run as numbers and curves, as `Bench.compare` wants them.

        Args:
            measure: exact numbers of a policy by name, of its logits [C, A]; each becomes a curve.
            points: entries of a curve, at most: the first, the last, and evenly spaced ones between.

        Returns:
            The curves `updates`, `tokens` (generated before), `success` and those measured; the numbers `auc`, `final_success`,
            `mean_update_norm` and `generated_tokens`.
        """
        last = len(self.success) - 1
        kept = sorted({round(last * i / max(1, points - 1)) for i in range(points)})
        spent = [0, *torch.tensor(self.tokens).cumsum(0).tolist()]
        measured = [measure(self.policies[i]) for i in kept] if measure else [{}]
        return {
            "updates": [float(i) for i in kept],
            "tokens": [float(spent[i]) for i in kept],
            "success": [self.success[i] for i in kept],
            **{name: [numbers[name] for numbers in measured] for name in measured[0]},
            "auc": self.auc,
            "final_success": self.success[-1],
            "mean_update_norm": sum(self.update_norm) / len(self.update_norm),
            "generated_tokens": float(spent[-1]),
        }


def train_token_table(
    world: FiniteWorld,
    estimator: Estimator,
    *,
    rate: float,
    iterations: int = 200,
    tasks: int = 8,
    group_size: int = 8,
    seed: int = 0,
    logits: Tensor | None = None,
    planning: Tensor | None = None,
    average: Average = "trajectory",
    length_of: Estimator | None = None,
    report: Callable[[int, int], Any] | None = None,
) -> TokenRun:
    """Train a policy for `iterations` updates.

    Runs with one seed are paired, whatever the estimator: their tasks are the same, and their tokens come from the same random
    numbers. Same arguments, same machine, same numbers to the bit (seconds aside).

    Args:
        world: such as `Strategies().world()`.
        estimator: any function of columns that returns advantages, [N] or [N, H].
        rate: the step size.
        iterations: number of updates.
        tasks: groups an iteration.
        group_size: responses a group.
        seed: of tasks and tokens.
        logits: [C, A] where to start; the uniform policy if None.
        planning: as in `as_responses`.
        average: "trajectory" divides by the number of responses, "context" by the tokens of each context.
        length_of: another estimator whose update lends its length: a control that separates a method's direction from its scale.
        report: called as `report(done, iterations)`.

    Raises:
        ValueError: if `average` is neither of the two, there is no iteration, or as `collect_responses` and `token_advantage`.
    """
    check_choice("average", average, Average)
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    logits = torch.zeros_like(world.uniform()) if logits is None else logits.clone()
    policies, records = [logits], []
    for iteration in range(iterations):
        source = generator("token table", seed, iteration)
        rollouts = collect_responses(world, logits, groups=tasks, group_size=group_size, generator=source, planning=planning)
        began = time.perf_counter()
        advantage = token_advantage(rollouts, estimator)
        seconds = time.perf_counter() - began
        update = own = _update(logits, rollouts, advantage, average)
        if length_of is not None and bool(own.any()):
            update = own * (_update(logits, rollouts, token_advantage(rollouts, length_of), average).norm() / own.norm())
        logits = logits + rate * update
        policies.append(logits)
        records.append(
            {
                "sampled_success": float(rollouts["success"].double().mean()),
                "gradient_norm": float(own.norm()),
                "update_norm": float(update.norm()),
                "tokens": int(rollouts.response_mask.sum()),
                "estimator_seconds": seconds,
            }
        )
        if report:
            report(iteration + 1, iterations)
    success = tuple(success_probability(world, policy.softmax(dim=1)) for policy in policies)
    columns = {name: tuple(record[name] for record in records) for name in records[0]}
    return TokenRun(success=success, policies=torch.stack(policies), **columns)


def _update(logits: Tensor, rollouts: Rollouts, advantage: Tensor, average: Average) -> Tensor:
    """The direction of one step, before the rate. [C, A]"""
    mask = rollouts.response_mask
    context = rollouts["context"][mask]
    gradient = policy_gradient(logits, context, rollouts.response_ids[mask], advantage[mask])
    if average == "trajectory":
        return gradient / len(rollouts)
    return gradient / torch.bincount(context, minlength=len(logits)).clamp(min=1)[:, None]
