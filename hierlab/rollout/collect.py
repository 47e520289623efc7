"""Collectors turn tasks into `Rollouts`: independent groups of responses, and groups of episodes played in lockstep.

A collector is called as `collector(policy, tasks, generator)`; the policy is an engine. Rows stand in the order of tasks, of their
rollouts, and of turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from hierlab.envs.environment import Environment, EpisodicTask, Observation, Problem
from hierlab.rollout.engine import Engine
from hierlab.rollout.rollouts import Rollouts, concatenate
from hierlab.rollout.sampling import Samples, SamplingParams

Turn = tuple[str, str]
"""What was seen before, and the command that was given."""

Render = Callable[[Sequence[Turn], Observation], str]
"""The text that a policy reads: the turns it may remember, oldest first, and what it sees now."""


def transcript(turns: Sequence[Turn], now: Observation) -> str:
    """Remembered turns and the present observation as a transcript, `observation > command`, that ends where a command is due.

    >>> transcript([("hall", "go east")], Observation("kitchen"))
    'hall > go east kitchen >'
    """
    return " ".join([*(f"{seen} > {command}" for seen, command in turns), f"{now.text} >"])


@dataclass(frozen=True)
class GroupCollector:
    """Several independent responses to each problem.

    Attributes:
        group_size: responses a problem.
        params: how they are sampled.
        prompt: what the policy reads; by default the problem's own prompt.
    """

    group_size: int
    params: SamplingParams
    prompt: Callable[[Problem], str] = field(default=lambda problem: problem.prompt)

    def __post_init__(self):
        _check_group_size(self.group_size)

    def __call__(self, policy: Engine, tasks: Sequence[Problem], generator: torch.Generator) -> Rollouts:
        """One row a response; a row is its own trajectory, its state is the prompt, its reward the verifier's.

        Raises:
            ValueError: if there are no tasks.
        """
        _check_tasks(tasks)
        asked = [task for task in tasks for _ in range(self.group_size)]
        texts = [self.prompt(task) for task in asked]
        samples = policy.generate([policy.tokenizer.encode(text) for text in texts], self.params, generator)
        responses = _texts(policy, samples)
        rewards = [task.verify(response) for task, response in zip(asked, responses, strict=True)]
        return _rows(
            samples,
            rewards,
            task=[task.id for task in asked],
            trajectory=[(task.id, i) for i, task in enumerate(asked)],
            turn=[0] * len(asked),
            state=texts,
            response=responses,
        )


@dataclass(frozen=True)
class EpisodeCollector:
    """Several episodes of each task, all played in lockstep: one batch of prompts a turn, over the episodes still running.

    Attributes:
        group_size: episodes a task.
        params: how commands are sampled.
        history: how many past turns the policy reads besides the present observation (GiGPO: 2).
        render: how these become a text.
    """

    group_size: int
    params: SamplingParams
    history: int = 2
    render: Render = transcript

    def __post_init__(self):
        _check_group_size(self.group_size)
        if self.history < 0:
            raise ValueError(f"history must not be negative, got {self.history}")

    def __call__(self, policy: Engine, tasks: Sequence[EpisodicTask], generator: torch.Generator) -> Rollouts:
        """One row a turn. The state is the bare observation; optional columns: `success` of the trajectory, `valid`, `response`.

        Raises:
            ValueError: if there are no tasks.
        """
        _check_tasks(tasks)
        episodes = [_Episode((task.id, i, k), task.id, task.environment()) for i, task in enumerate(tasks) for k in range(self.group_size)]
        parts, owner = [], []
        while running := [number for number, episode in enumerate(episodes) if not episode.done]:
            parts.append(self._turn(policy, [episodes[number] for number in running], generator))
            owner += running
        rollouts = concatenate(parts, pad_id=policy.tokenizer.pad_token_id or 0)
        order = sorted(range(len(owner)), key=owner.__getitem__)  # stable: the turns of an episode keep their order
        return rollouts.select(order).with_columns(success=[episodes[owner[row]].success for row in order])

    def _turn(self, policy: Engine, episodes: Sequence[_Episode], generator: torch.Generator) -> Rollouts:
        """Every running episode's next turn."""
        states = [episode.now.text for episode in episodes]
        prompts = [self.render(episode.remembered(self.history), episode.now) for episode in episodes]
        samples = policy.generate([policy.tokenizer.encode(prompt) for prompt in prompts], self.params, generator)
        commands = _texts(policy, samples)
        turn = [len(episode.turns) for episode in episodes]
        outcomes = [episode.act(command) for episode, command in zip(episodes, commands, strict=True)]
        return _rows(
            samples,
            [reward for reward, _ in outcomes],
            task=[episode.task for episode in episodes],
            trajectory=[episode.name for episode in episodes],
            turn=turn,
            state=states,
            response=commands,
            valid=[valid for _, valid in outcomes],
        )


class _Episode:
    """One episode under way."""

    def __init__(self, name: tuple, task, environment: Environment):
        self.name, self.task, self.environment = name, task, environment
        self.now = environment.reset()
        self.turns: list[Turn] = []
        self.done = self.success = False

    def remembered(self, history: int) -> Sequence[Turn]:
        """The last `history` turns."""
        return self.turns[-history:] if history else []

    def act(self, command: str) -> tuple[float, bool]:
        """Reward of the command, and whether it was valid."""
        step = self.environment.step(command)
        self.turns.append((self.now.text, command))
        self.now, self.done, self.success = step.observation, step.done, step.success
        return step.reward, step.valid


def success_rate(rollouts: Rollouts) -> float:
    """Share of trajectories that solved their task, each counted once.

    Raises:
        KeyError: if the rollouts have no column `success`.
    """
    solved = dict(zip(rollouts.trajectory, rollouts["success"], strict=True))
    return sum(map(float, solved.values())) / len(solved)


def _rows(samples: Samples, rewards: Sequence[float], *, turn: Sequence[int], **columns) -> Rollouts:
    """Samples and what came of them, as rows."""
    device = samples.logp.device
    standard = {name: columns.pop(name) for name in ("task", "trajectory", "state")}
    return Rollouts(
        prompt_ids=samples.prompt_ids,
        prompt_mask=samples.prompt_mask,
        response_ids=samples.response_ids,
        response_mask=samples.response_mask,
        old_logp=samples.logp,
        rewards=torch.tensor(rewards, dtype=torch.float32, device=device),
        turn=torch.tensor(turn, dtype=torch.int64, device=device),
        columns=columns,
        **standard,
    )


def _texts(policy: Engine, samples: Samples) -> list[str]:
    return policy.tokenizer.batch_decode(samples.responses(), skip_special_tokens=True)


def _check_group_size(group_size: int) -> None:
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")


def _check_tasks(tasks: Sequence) -> None:
    if not tasks:
        raise ValueError("no tasks to collect from: give at least one")
