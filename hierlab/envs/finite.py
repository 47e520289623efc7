r"""Finite worlds: decision problems written down as tables, played in lockstep, and solved exactly.

A world has several *tasks*, each with its own first state, drawn with equal probability. An action leads from a state to one next
state, so that all randomness is the policy's. The policy does not see the state but a *context*: what it has observed and still
remembers. States that look alike share one context, and the policy must treat them alike. An episode ends by an action that is
over, or after `horizon` actions.

A house to search is such a world (context: the last observations), and so is a token tree (context: the prefix; action: the token).

Shapes: S states, A actions, C contexts, Z tasks, H turns (the horizon), E episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FiniteWorld:
    """A decision problem as tables.

    Attributes:
        commands: [A] what each action is called.
        contexts: [C] the observations each context consists of, oldest first; the last one is the present observation.
        start: [Z] int64, the first state of each task.
        context: [S] int64, what the policy sees in each state.
        move: [S, A] int64, the state each action leads to; of no matter where the episode is over.
        reward: [S, A] float64, the reward of each action.
        over: [S, A] bool, whether the action ends the episode.
        won: [S, A] bool, whether it solves the task, which must also end it.
        valid: [S, A] bool, whether it can be carried out.
        horizon: H, the number of actions after which an episode ends.

    Raises:
        ValueError: if a table has another shape, or points outside the states or contexts.
    """

    commands: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    start: Tensor
    context: Tensor
    move: Tensor
    reward: Tensor
    over: Tensor
    won: Tensor
    valid: Tensor
    horizon: int

    def __post_init__(self):
        shape = len(self.context), len(self.commands)
        for name in ("move", "reward", "over", "won", "valid"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape [states, actions] = {list(shape)}, got {list(getattr(self, name).shape)}")
        for name, size in {"start": shape[0], "move": shape[0], "context": len(self.contexts)}.items():
            table = getattr(self, name)
            if not len(table) or int(table.min()) < 0 or int(table.max()) >= size:
                raise ValueError(f"{name} must hold numbers from 0 to {size - 1}")
        if not self.reward.isfinite().all():
            raise ValueError("reward must be finite")
        if (self.won & ~self.over).any():
            raise ValueError("an action that solves the task must end the episode")
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {self.horizon}")

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """[S] what is observed in each state, without history."""
        return tuple(self.contexts[c][-1] for c in self.context.tolist())

    @cached_property
    def prompts(self) -> tuple[Tensor, Tensor]:
        """Each context as token ids, one an observation, padded with 0 on the left: ids [C, P] int64 and mask [C, P] bool."""
        number = {text: i for i, text in enumerate(sorted({text for context in self.contexts for text in context}), start=1)}
        width = max(map(len, self.contexts))
        ids = torch.tensor([[0] * (width - len(context)) + [number[text] for text in context] for context in self.contexts])
        return ids, ids > 0

    def uniform(self) -> Tensor:
        """The policy that knows nothing: equal probabilities. [C, A] float64"""
        return self.reward.new_full((len(self.contexts), len(self.commands)), 1 / len(self.commands))


@dataclass(frozen=True)
class Episodes:
    """E episodes played in lockstep. Entries after an episode's end (`alive` is false there) have no meaning.

    Attributes:
        task: [E] int64.
        state: [E, H] int64, where each turn was taken.
        action: [E, H] int64, what was done.
        alive: [E, H] bool, whether the turn took place.
    """

    task: Tensor
    state: Tensor
    action: Tensor
    alive: Tensor


def play(world: FiniteWorld, probabilities: Tensor, task: Tensor, generator: torch.Generator, *, state: Tensor | None = None) -> Episodes:
    """Play one episode of each given task, all at once.

    Every turn of every episode has its own random number, drawn beforehand, and actions are chosen by inverting the distribution
    function: two policies played with equal generators act alike where they agree, and the generator advances by the same amount.

    Args:
        world: what is played.
        probabilities: [C, A] of each action in each context.
        task: [E] int64, the task of each episode.
        generator: source of all randomness.
        state: [E] int64, where each episode begins; by default where its task does. From there it may take a whole horizon of turns.

    Raises:
        ValueError: if `probabilities` is not a policy for this world, or a task does not exist.
    """
    _check_policy(world, probabilities)
    if len(task) and not 0 <= int(task.min()) <= int(task.max()) < len(world.start):
        raise ValueError(f"tasks are numbered from 0 to {len(world.start) - 1}, got {task.tolist()}")
    uniform = torch.rand(len(task), world.horizon, generator=generator, dtype=torch.float64)
    return follow(world, task, lambda place, t: _choose(probabilities, world.context[place], uniform[:, t]), state=state)


def follow(world: FiniteWorld, task: Tensor, choose: Callable[[Tensor, int], Tensor], *, state: Tensor | None = None) -> Episodes:
    """Play one episode of each given task, or from each state, with the actions that `choose(state [E], turn) -> action [E]` names."""
    state, alive = world.start[task] if state is None else state, torch.ones(len(task), dtype=torch.bool)
    states, actions, lives = [], [], []
    for t in range(world.horizon):
        action = choose(state, t)
        states.append(state), actions.append(action), lives.append(alive)
        alive = alive & ~world.over[state, action]
        state = world.move[state, action]
    return Episodes(task, *(torch.stack(columns, dim=1) for columns in (states, actions, lives)))


def _choose(probabilities: Tensor, context: Tensor, uniform: Tensor) -> Tensor:
    """The first action whose cumulative probability exceeds the random number, hence never one of probability 0. [E] -> [E]"""
    cumulative = probabilities.cumsum(dim=1)
    level = uniform * cumulative[context, -1]
    return (cumulative[context] <= level[:, None]).sum(dim=1)


@dataclass(frozen=True)
class Truth:
    """What is exactly true of a policy in a world. Returns are sums of rewards, without discount.

    Attributes:
        value: [H, S] expected return from each state at each turn.
        q: [H, S, A] expected return after each action.
        advantage: [H, S, A] q minus value: how much better the action is than what the policy does on average, for one who knows
            the task.
        visits: [H, S] probability that an episode is in the state at that turn.
        probabilities: [C, A] the policy.
        expected_return: of an episode.
        success: probability that an episode solves its task.
        gradient: [C, A] derivative of the expected return by the policy's logits.
    """

    value: Tensor
    q: Tensor
    advantage: Tensor
    visits: Tensor
    probabilities: Tensor
    expected_return: float
    success: float
    gradient: Tensor


def solve(world: FiniteWorld, probabilities: Tensor) -> Truth:
    r"""Values backward and visits forward in time, and the policy gradient they give.

    $$Q_t(s,a)=r(s,a)+V_{t+1}(s'),\quad V_t(s)=\sum_a\pi(a\mid c(s))\,Q_t(s,a),\quad V_H=0,$$
    $$\frac{\partial J}{\partial\theta_{c,a}}=\sum_t\sum_{s:\,c(s)=c}d_t(s)\,\pi(a\mid c)\,\bigl(Q_t(s,a)-V_t(s)\bigr)$$

    for a softmax over logits $\theta$, where $d_t(s)$ is the probability of being in $s$ at turn $t$.

    Args:
        world: S states.
        probabilities: [C, A] of each action in each context.

    Raises:
        ValueError: if `probabilities` is not a policy for this world.
    """
    _check_policy(world, probabilities)
    pi = probabilities.double()[world.context]  # [S, A]
    q, value = [], [torch.zeros_like(pi[:, 0])]
    for _ in range(world.horizon):
        q.append(world.reward + (~world.over) * value[-1][world.move])
        value.append((pi * q[-1]).sum(dim=1))
    q_HSA, value_HS = torch.stack(q[::-1]), torch.stack(value[:0:-1])
    advantage = q_HSA - value_HS[:, :, None]
    flows = torch.stack(list(_flows(world, pi)))  # [H, S, A]
    gradient = torch.zeros_like(world.uniform()).index_add(0, world.context, (flows * advantage).sum(dim=0))
    expected_return = float((flows * world.reward).sum())
    success = float(flows.sum(dim=0)[world.won].sum())
    return Truth(value_HS, q_HSA, advantage, flows.sum(dim=2), probabilities, expected_return, success, gradient)


def success_probability(world: FiniteWorld, probabilities: Tensor) -> float:
    """The probability that an episode solves its task, without the rest of `solve`.

    Raises:
        ValueError: as `solve`.
    """
    _check_policy(world, probabilities)
    return sum(float(flow[world.won].sum()) for flow in _flows(world, probabilities.double()[world.context]))


def _flows(world: FiniteWorld, pi: Tensor) -> Iterator[Tensor]:
    """For each turn, the probability of being in each state and taking each action. pi [S, A] -> H times [S, A]"""
    place = torch.bincount(world.start, minlength=len(pi)).double() / len(world.start)
    for _ in range(world.horizon):
        flow = place[:, None] * pi
        yield flow
        place = torch.zeros_like(place).index_add(0, world.move.flatten(), (flow * ~world.over).flatten())


def _check_policy(world: FiniteWorld, probabilities: Tensor) -> None:
    shape = len(world.contexts), len(world.commands)
    if probabilities.shape != shape:
        raise ValueError(f"a policy for this world has shape [contexts, actions] = {list(shape)}, got {list(probabilities.shape)}")
    if not (probabilities >= 0).all() or not torch.allclose(probabilities.sum(dim=1), probabilities.new_ones(())):
        raise ValueError("a policy's probabilities must not be negative and must sum to 1 in every context")
