r"""Train a policy over prompts and behaviours with any advantage estimator, and know its Pass@k and entropy exactly.

Each iteration draws some prompts, answers each several times, and takes one on-policy gradient step $\theta\leftarrow\theta+\eta u$ on
the policy's two parts (`hierlab.envs.behaviours`),

$$u=\frac1G\sum_{i}A_i\,\nabla\log\pi(b_i\mid q_i)+\beta\,\nabla\sum_q H(\pi(\cdot\mid q)),$$

the sums over the iteration's attempts and prompts, $G$ attempts a prompt. Nothing is clipped and nothing adapts the step, so that
what an estimator does to the policy is not mixed up with what an optimiser does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.behaviours import Behaviours, entropy, exact_pass_at_k
from hierlab.rollout.rollouts import Rollouts
from hierlab.seeds import generator
from hierlab.train.tabular import Estimator, policy_gradient, row_advantage

KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""The numbers of answers whose Pass@k is reported, as in the paper."""
COLLAPSE = 0.5
"""A run has collapsed if it ends below this share of the Pass@1 it once had."""

Policy = tuple[Tensor, Tensor]
"""Logits of each prompt's own, [Q, B], and weights of the features, [F]."""


@dataclass(frozen=True)
class BehaviourRun:
    """What a training run was like, before it and after each of I updates. K numbers of answers.

    Attributes:
        pass_at: [I + 1, K] exact Pass@k for each k of `KS`.
        entropy: [I + 1] of the policy in nats, mean over prompts.
        kept_modes: [I + 1] share of right behaviours with a probability above 2 %.
        gradient_norm: [I] length of each update, before the rate.
        own, shared: the policy at the end.
    """

    pass_at: tuple[tuple[float, ...], ...]
    entropy: tuple[float, ...]
    kept_modes: tuple[float, ...]
    gradient_norm: tuple[float, ...]
    own: Tensor
    shared: Tensor

    def curve(self, k: int) -> list[float]:
        """[I + 1] Pass@k before each update and after the last."""
        return [row[KS.index(k)] for row in self.pass_at]

    @property
    def collapsed(self) -> bool:
        """Whether the run ended with less than half of the Pass@1 it once had."""
        first = self.curve(1)
        return first[-1] < COLLAPSE * max(first)

    def at_level(self, level: float) -> dict[str, float]:
        """What the policy was like when its Pass@1 first reached `level`, on a straight line between two updates.

        Returns:
            `pass_16`, `pass_256`, `entropy` and `updates`; and `reached`, 1 or 0. A run that never gets there is taken at its best Pass@1.
        """
        first = self.curve(1)
        columns = {"pass_16": self.curve(16), "pass_256": self.curve(256), "entropy": self.entropy, "updates": range(len(first))}
        place = next((i for i, value in enumerate(first) if value >= level), None)
        if not place:  # never, or from the start
            place = first.index(max(first)) if place is None else 0
            return {name: float(column[place]) for name, column in columns.items()} | {"reached": float(first[place] >= level)}
        share = (level - first[place - 1]) / (first[place] - first[place - 1])
        return {name: c[place - 1] + share * (c[place] - c[place - 1]) for name, c in columns.items()} | {"reached": 1.0}

    def values(self, levels: Sequence[float] = (), points: int = 13) -> dict[str, float | list[float]]:
        """The run as numbers and curves, as `Bench.compare` wants them.

        Numbers: `auc` (mean Pass@1 after each update), `early` (the same over the first quarter of them), `pass_1`, `pass_16`,
        `pass_256`, `entropy_end`, `modes_end` (at the end), `collapsed` (1 or 0), and for each level what `at_level` gives, named
        `pass_256_at_0.8`. Curves of at most so many points, to four digits: `updates`, `pass_1_curve`, `pass_256_curve`, `entropy`;
        `ks` and `pass_at_end`, the final Pass@k of each k.
        """
        first = self.curve(1)
        early = first[1 : 1 + max(1, (len(first) - 1) // 4)]
        kept = sorted({round(i * (len(first) - 1) / max(1, points - 1)) for i in range(points)})
        reached = {f"{name}_at_{level:g}": value for level in levels for name, value in self.at_level(level).items()}
        return {
            "auc": sum(first[1:]) / len(first[1:]),
            "early": sum(early) / len(early),
            **{f"pass_{k}": self.curve(k)[-1] for k in (1, 16, 256)},
            "entropy_end": self.entropy[-1],
            "modes_end": self.kept_modes[-1],
            "collapsed": float(self.collapsed),
            **reached,
            "updates": kept,
            "pass_1_curve": _short(first, kept),
            "pass_256_curve": _short(self.curve(256), kept),
            "entropy": _short(self.entropy, kept),
            "ks": list(KS),
            "pass_at_end": _short(self.pass_at[-1], range(len(KS))),
        }


def train_behaviours(
    world: Behaviours,
    estimator: Estimator,
    *,
    rate: float,
    iterations: int = 400,
    prompts: int = 16,
    group_size: int = 8,
    seed: int = 0,
    length_of: Estimator | None = None,
    entropy_weight: float = 0.0,
    report: Callable[[int, int], Any] | None = None,
) -> BehaviourRun:
    """Train a policy for `iterations` updates. Same arguments, same machine, same numbers to the bit.

    Args:
        world: the prompts, and where to start.
        estimator: any function of columns that returns one advantage a row, [N] or [N, 1].
        rate: the step size.
        iterations: number of updates.
        prompts: prompts an iteration, drawn without replacement.
        group_size: attempts a prompt.
        seed: of the prompts' order and of the answers.
        length_of: the control that separates an idea from its scale: each update keeps the direction that `estimator` gives it,
            but gets the length that this estimator's update would have had on the same attempts.
        entropy_weight: what the entropy of the iteration's prompts counts in the objective; its gradient is exact.
        report: called as `report(done, iterations)` after each update.

    Raises:
        ValueError: if a number is out of range, or an estimator returns anything but one finite number a row.
    """
    check_range("rate", rate, 0)
    check_range("entropy_weight", entropy_weight, 0)
    check_range("prompts", prompts, 1, len(world.correct))
    if iterations < 1 or group_size < 1:
        raise ValueError(f"iterations and group_size must be at least 1, got {iterations} and {group_size}")
    policy = world.own.clone(), world.shared.clone()
    seen, norms = [_look(world, policy)], []
    for iteration in range(iterations):
        draw = generator("behaviours", seed, iteration)
        asked = torch.randperm(len(world.correct), generator=draw)[:prompts]
        update = _update(world, policy, asked, estimator, length_of, entropy_weight, group_size, draw)
        norms.append(_length(update))
        policy = policy[0] + rate * update[0], policy[1] + rate * update[1]
        seen.append(_look(world, policy))
        if report:
            report(iteration + 1, iterations)
    pass_at, entropies, modes = zip(*seen, strict=True)
    return BehaviourRun(pass_at, entropies, modes, tuple(norms), *policy)


def attempts(world: Behaviours, logits: Tensor, asked: Tensor, group_size: int, draw: torch.Generator) -> Rollouts:
    """Answer each of the prompts `asked` several times: rollouts of one-token responses, rewarded by 1 or 0. N = prompts * attempts.

    Args:
        world: the prompts.
        logits: [Q, B] the policy.
        asked: [n] int64, distinct prompts.
        group_size: attempts a prompt.
        draw: source of all randomness.
    """
    logp = logits[asked].log_softmax(dim=1)
    behaviour = torch.multinomial(logp.exp(), group_size, replacement=True, generator=draw)  # [n, G]
    prompt, behaviour = asked.repeat_interleave(group_size), behaviour.flatten()
    right = world.correct[prompt, behaviour]
    rows = torch.arange(len(prompt))
    return Rollouts(
        prompt_ids=prompt[:, None],
        prompt_mask=torch.ones(len(prompt), 1, dtype=torch.bool),
        response_ids=behaviour[:, None],
        response_mask=torch.ones(len(prompt), 1, dtype=torch.bool),
        old_logp=logp.repeat_interleave(group_size, dim=0).gather(1, behaviour[:, None]),
        rewards=right.double(),
        task=prompt,
        trajectory=rows,
        turn=torch.zeros_like(rows),
        state=prompt,
    )


def _short(curve: Sequence[float], kept: Sequence[int]) -> list[float]:
    return [float(f"{curve[i]:.4g}") for i in kept]


def _update(
    world: Behaviours,
    policy: Policy,
    asked: Tensor,
    estimator: Estimator,
    length_of: Estimator | None,
    entropy_weight: float,
    group_size: int,
    draw: torch.Generator,
) -> Policy:
    """The direction of one step, before the rate."""
    logits = world.logits(*policy)
    rollouts = attempts(world, logits, asked, group_size, draw)

    def direction(estimate: Estimator) -> Policy:
        return _both_parts(world, asked, _logit_gradient(logits, rollouts, estimate, group_size)[asked])

    update = direction(estimator)
    if length_of is not None and (own := _length(update)):
        factor = _length(direction(length_of)) / own
        update = update[0] * factor, update[1] * factor
    if entropy_weight:
        probabilities = logits[asked].softmax(dim=1)
        slope = -probabilities * (probabilities.clamp(min=1e-300).log() + entropy(probabilities)[:, None])
        bonus = _both_parts(world, asked, entropy_weight * slope)
        update = update[0] + bonus[0], update[1] + bonus[1]
    return update


def _logit_gradient(logits: Tensor, rollouts: Rollouts, estimator: Estimator, group_size: int) -> Tensor:
    """Derivative of the objective by every logit. [Q, B]"""
    advantage = row_advantage(rollouts, estimator)
    return policy_gradient(logits, rollouts.prompt_ids[:, 0], rollouts.response_ids[:, 0], advantage) / group_size


def _both_parts(world: Behaviours, asked: Tensor, gradient: Tensor) -> Policy:
    """A gradient by the logits of the prompts asked, [n, B], as one by the policy's two parts."""
    own = torch.zeros_like(world.own).index_copy(0, asked, gradient)
    return own, torch.einsum("nb,nbf->f", gradient, world.features[asked])


def _length(update: Policy) -> float:
    return float((update[0].square().sum() + update[1].square().sum()).sqrt())


def _look(world: Behaviours, policy: Policy) -> tuple[tuple[float, ...], float, float]:
    """Pass@k for each k, entropy, and share of right modes that are kept."""
    probabilities = world.logits(*policy).softmax(dim=1)
    success = world.success(probabilities)
    return tuple(exact_pass_at_k(success, k) for k in KS), float(entropy(probabilities).mean()), world.kept_modes(probabilities)
