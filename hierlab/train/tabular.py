r"""Train a table of logits in a finite world, with any advantage estimator.

The policy is a softmax over one row of logits for each context (the last observations). Its rollouts are real `Rollouts`: the
prompt holds one token for each remembered observation, the response is one token, the action. So an estimator sees exactly what
it sees in the training of a language model, while a run of 60 iterations takes a fraction of a second and the policy's success is
known exactly, without evaluation noise.

Each iteration draws tasks, plays a group of episodes of each, and takes one on-policy gradient step
$\theta\leftarrow\theta+\eta\,u$ with

$$u_c=\frac{1}{n_c}\sum_{i:\,c_i=c}A_i\,\nabla_{\theta_c}\log\pi(a_i\mid c),\qquad \nabla_{\theta_c}\log\pi(a\mid c)=e_a-\pi(\cdot\mid c),$$

where $n_c$ counts the rows in context $c$ (`average="context"`). Dividing by the number of all trajectories instead
(`average="trajectory"`) gives the plain policy gradient, whose steps are small in rarely seen contexts; it needs a rate about ten
times as large.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.envs.finite import FiniteWorld, Truth, play, solve, success_probability
from hierlab.ops import group_ids
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.seeds import generator

Average = Literal["context", "trajectory"]
Estimator = Callable[..., Tensor]


def collect(world: FiniteWorld, logits: Tensor, *, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
    """Play `group_size` episodes of each of `groups` tasks, drawn with replacement.

    Every group is a task of its own, numbered from 0, even if two groups hide the same thing: that is how trainers name a prompt
    that is drawn twice. Rows are ordered by group, trajectory and turn.

    Args:
        world: what is played.
        logits: [C, A] the policy.
        groups: number of groups.
        group_size: episodes in each.
        generator: source of all randomness.

    Returns:
        Rollouts with the further columns `success` [N] and `valid` [N] (bool), `context` [N], `world_task` [N] and `world_state`
        [N] (int64: the row's numbers in the world's tables).

    Raises:
        ValueError: if a count is not positive, or the logits do not fit the world.
    """
    for name, value in {"groups": groups, "group_size": group_size}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    logp = logits.log_softmax(dim=1)
    hidden = torch.randint(len(world.start), (groups,), generator=generator).repeat_interleave(group_size)
    episodes = play(world, logp.exp(), hidden, generator)
    trajectory, turn = episodes.alive.nonzero(as_tuple=True)
    state, action = episodes.state[trajectory, turn], episodes.action[trajectory, turn]
    context = world.context[state]
    won = (world.won[episodes.state, episodes.action] & episodes.alive).any(dim=1)
    prompt_ids, prompt_mask = world.prompts
    texts = world.texts
    return Rollouts(
        prompt_ids=prompt_ids[context],
        prompt_mask=prompt_mask[context],
        response_ids=action[:, None],
        response_mask=torch.ones_like(action, dtype=torch.bool)[:, None],
        old_logp=logp[context, action][:, None],
        rewards=world.reward[state, action],
        task=(trajectory // group_size).tolist(),
        trajectory=trajectory.tolist(),
        turn=turn,
        state=[texts[s] for s in state.tolist()],
        columns={
            "success": won[trajectory],
            "valid": world.valid[state, action],
            "context": context,
            "world_task": hidden[trajectory],
            "world_state": state,
        },
    )


def policy_gradient(logits: Tensor, context: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    """The sum over rows of weight times the derivative of log pi(action | context) by the logits.

    Args:
        logits: [C, A].
        context: [N] int64.
        action: [N] int64.
        weight: [N], such as advantages.

    Returns:
        [C, A]
    """
    chosen = torch.zeros_like(logits).index_put((context, action), weight.to(logits.dtype), accumulate=True)
    return chosen - chosen.sum(dim=1, keepdim=True) * logits.softmax(dim=1)


@dataclass(frozen=True)
class TabularRun:
    """What a training run was like. I iterations.

    Attributes:
        success: [I + 1] exact probability of success after 0, 1, ..., I updates.
        sampled_success: [I] share of the iteration's trajectories that succeeded.
        entropy: [I] of the policy in nats, averaged over the rows it was trained on.
        gradient_norm: [I] length of the estimator's own update, before the rate.
        update_norm: [I] length of the update that was taken, before the rate; another one only with `length_of`.
        turns: [I] environment steps of the iteration.
        anchor_sizes: [I, 2 * group_size] how many anchor groups (same task, same observation) had 1, 2, ... members; the last
            entry counts all larger ones.
        estimator_seconds: [I] spent in the estimator. Like all seconds, not the same in every run.
        rollout_seconds: [I] spent in playing.
        logits: [C, A] the policy at the end.
    """

    success: tuple[float, ...]
    sampled_success: tuple[float, ...]
    entropy: tuple[float, ...]
    gradient_norm: tuple[float, ...]
    update_norm: tuple[float, ...]
    turns: tuple[int, ...]
    anchor_sizes: tuple[tuple[int, ...], ...]
    estimator_seconds: tuple[float, ...]
    rollout_seconds: tuple[float, ...]
    logits: Tensor

    @property
    def auc(self) -> float:
        """Mean of the success after 1 to I updates."""
        return sum(self.success[1:]) / len(self.success[1:])

    @property
    def singletons(self) -> tuple[float, ...]:
        """[I] share of size-1 groups among all anchor groups."""
        return tuple(sizes[0] / sum(sizes) for sizes in self.anchor_sizes)

    @property
    def cumulative_turns(self) -> tuple[int, ...]:
        """[I + 1] environment steps before each entry of `success`."""
        total = [0]
        for turns in self.turns:
            total.append(total[-1] + turns)
        return tuple(total)

    def values(self) -> dict[str, float | list[float]]:
        """The run as numbers and curves, as `Bench.compare` wants them.

        Curves of I + 1 entries (`success`, `turns` spent before, `updates`) or I entries (the others), `anchor_sizes_end` (shares of
        anchor groups with 1, 2, ... members over the last 10 iterations), and the numbers `auc`, `final_success`,
        `mean_singletons`, `max_singletons`, `estimator_seconds` and `rollout_seconds` (totals).
        """
        last = [sum(column) for column in zip(*self.anchor_sizes[-10:], strict=True)]
        return {
            "updates": list(range(len(self.success))),
            "turns": list(self.cumulative_turns),
            "success": list(self.success),
            "entropy": list(self.entropy),
            "gradient_norm": list(self.gradient_norm),
            "update_norm": list(self.update_norm),
            "singletons": list(self.singletons),
            "anchor_sizes_end": [count / sum(last) for count in last],
            "auc": self.auc,
            "final_success": self.success[-1],
            "mean_singletons": sum(self.singletons) / len(self.singletons),
            "max_singletons": max(self.singletons),
            "estimator_seconds": sum(self.estimator_seconds),
            "rollout_seconds": sum(self.rollout_seconds),
        }


def train_tabular(
    world: FiniteWorld,
    estimator: Estimator,
    *,
    rate: float,
    iterations: int = 60,
    tasks: int = 8,
    group_size: int = 8,
    seed: int = 0,
    average: Average = "context",
    length_of: Estimator | None = None,
    logits: Tensor | None = None,
    report: Callable[[int, int], Any] | None = None,
) -> TabularRun:
    """Train a policy for `iterations` updates.

    Runs with one seed are paired, whatever the estimator: their tasks are the same, and their actions come from the same random
    numbers. Same arguments, same machine, same numbers to the bit (seconds aside).

    Args:
        world: such as `SearchHouse().world(history=2)`.
        estimator: any function of columns that returns one advantage a row, [N] or [N, 1].
        rate: the step size.
        iterations: number of updates.
        tasks: groups an iteration.
        group_size: episodes a group.
        seed: of everything random.
        average: what the gradient is divided by; see the module.
        length_of: the control that separates an idea from its scale: each update keeps the direction that `estimator` gives it,
            but gets the length that this estimator's update would have had on the same rollouts. `train_tabular(world, grpo,
            length_of=gigpo)` is GRPO with GiGPO's step lengths. An update of length 0 stays 0.
        logits: [C, A] the initial policy; uniform by default.
        report: called as `report(done, iterations)` after each update.

    Raises:
        ValueError: if an argument is out of range, or an estimator returns anything but one finite number a row.
    """
    check_range("rate", rate, 0)
    check_choice("average", average, Average)
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    logits = torch.zeros_like(world.uniform()) if logits is None else logits.detach().clone().double()
    success = [success_probability(world, logits.softmax(dim=1))]
    records = []
    for iteration in range(iterations):
        began = time.perf_counter()
        rollouts = collect(world, logits, groups=tasks, group_size=group_size, generator=generator("tabular", seed, iteration))
        played = time.perf_counter()
        advantage = row_advantage(rollouts, estimator)
        seconds = {"rollout_seconds": played - began, "estimator_seconds": time.perf_counter() - played}
        update = own = _update(logits, rollouts, advantage, average)
        if length_of is not None and bool(own.any()):
            update = own * (_update(logits, rollouts, row_advantage(rollouts, length_of), average).norm() / own.norm())
        norms = {"gradient_norm": float(own.norm()), "update_norm": float(update.norm())}
        records.append({**_statistics(rollouts, logits, group_size), **norms, **seconds})
        logits = logits + rate * update
        success.append(success_probability(world, logits.softmax(dim=1)))
        if report:
            report(iteration + 1, iterations)
    return TabularRun(success=tuple(success), logits=logits, **{name: tuple(r[name] for r in records) for name in records[0]})


def row_advantage(rollouts: Rollouts, estimator: Estimator) -> Tensor:
    """The estimator's advantages for rollouts of one-token responses. [N]

    Raises:
        ValueError: if it returns anything but one finite number a row, [N] or [N, 1].
    """
    advantage = estimate(rollouts, estimator)
    if advantage.shape not in ((len(rollouts),), (len(rollouts), 1)):
        raise ValueError(f"an estimator must return one number for each of the {len(rollouts)} rows, got {list(advantage.shape)}")
    if not advantage.isfinite().all():
        raise ValueError(f"an estimator must return finite numbers, got {float(advantage[~advantage.isfinite()][0])}")
    return advantage.reshape(-1)


def ascend(world: FiniteWorld, success: float, *, rate: float = 0.5, iterations: int = 2000) -> Tensor:
    """The first policy on the path of exact gradient ascent, from the uniform one, that succeeds with this probability.

    The path is the same for everyone: no sampling, and no estimator whose habits a policy trained by it would show. The gradient of
    each context is divided by its expected visits, as in `train_tabular`. Between two steps the path is straight, and the policy is
    found by bisection.

    Args:
        world: such as `SearchHouse().world(history=2)`.
        success: the probability to be reached; if the uniform policy exceeds it, the uniform policy is the result.
        rate: the step size.
        iterations: when to give up.

    Returns:
        [C, A] logits.

    Raises:
        ValueError: if the probability is not reached.
    """
    check_range("success", success, 0, 1)
    logits = before = torch.zeros_like(world.uniform())
    for _ in range(iterations):
        truth = solve(world, logits.softmax(dim=1))
        if truth.success >= success:
            return _first_on_line(world, before, logits, success)
        before, logits = logits, logits + rate * truth.gradient / _context_visits(world, truth).clamp(min=1e-12)[:, None]
    raise ValueError(f"gradient ascent did not reach success {success} in {iterations} steps of {rate}, but {truth.success:.3f}")


def _first_on_line(world: FiniteWorld, below: Tensor, above: Tensor, success: float) -> Tensor:
    """Between logits that succeed too rarely and logits that succeed often enough, those that just do. [C, A]"""
    for _ in range(40):
        middle = (below + above) / 2
        if success_probability(world, middle.softmax(dim=1)) >= success:
            above = middle
        else:
            below = middle
    return above


def _update(logits: Tensor, rollouts: Rollouts, advantage: Tensor, average: Average) -> Tensor:
    """The direction of one step, before the rate. [C, A]"""
    context = rollouts["context"]
    gradient = policy_gradient(logits, context, rollouts.response_ids[:, 0], advantage)
    if average == "trajectory":
        return gradient / (rollouts.trajectory[-1] + 1)
    return gradient / torch.bincount(context, minlength=len(logits)).clamp(min=1)[:, None]


def _statistics(rollouts: Rollouts, logits: Tensor, group_size: int) -> dict[str, Any]:
    """What is recorded of an iteration's rollouts and of the policy that made them."""
    logp = logits.log_softmax(dim=1)[rollouts["context"]]
    members = torch.bincount(group_ids(rollouts.task, rollouts.state))
    sizes = torch.bincount(members.clamp(max=2 * group_size), minlength=2 * group_size + 1)
    first = rollouts.turn == 0
    return {
        "sampled_success": float(rollouts["success"][first].double().mean()),
        "entropy": float(-(logp.exp() * logp).sum(dim=1).mean()),
        "turns": len(rollouts),
        "anchor_sizes": tuple(sizes[1:].tolist()),
    }


def _context_visits(world: FiniteWorld, truth: Truth) -> Tensor:
    """Expected number of times an episode is in each context. [C]"""
    return torch.zeros_like(world.uniform()[:, 0]).index_add(0, world.context, truth.visits.sum(dim=0))
