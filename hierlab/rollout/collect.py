"""Collectors turn tasks into `Rollouts`: independent groups of responses, and groups of episodes played in lockstep.

A collector is called as `collector(policy, tasks, generator)`; the policy is an engine. Rows stand in the order of tasks, of their
rollouts, and of turns. Tasks of equal id form one group, so a task given twice has a group twice as large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import torch

from hierlab.envs.environment import Environment, EpisodicTask, Problem, Step
from hierlab.rollout.engine import Engine
from hierlab.rollout.prompts import Render, Turn, encode_prompts, encode_response, transcript
from hierlab.rollout.rollouts import Rollouts, concatenate
from hierlab.rollout.sampling import Samples, SamplingParams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Demonstration = tuple[list[int], list[int]]
"""Token ids of a prompt, and of the response to it, end-of-sequence token included."""


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
    prompt: Callable[[Problem], str] = attrgetter("prompt")

    def __post_init__(self):
        check_group_size(self.group_size)

    def __call__(self, policy: Engine, tasks: Sequence[Problem], generator: torch.Generator) -> Rollouts:
        """One row a response: its own trajectory, its state the prompt, its reward the verifier's.

        Optional columns: `success` (whether the verifier gave full marks, 1) and `response`.

        Raises:
            ValueError: if there are no tasks, or a prompt cannot be answered (`Engine.generate`).
        """
        check_tasks(tasks)
        asked = [(task, place, k) for place, task in enumerate(tasks) for k in range(self.group_size)]
        texts = [self.prompt(task) for task in tasks for _ in range(self.group_size)]
        samples = policy.generate(encode_prompts(policy.tokenizer, texts), self.params, generator)
        responses = decode(policy, samples)
        rewards = [task.verify(response) for (task, _, _), response in zip(asked, responses, strict=True)]
        return as_rollouts(
            samples,
            rewards=rewards,
            task=[task.id for task, _, _ in asked],
            trajectory=[(task.id, place, k) for task, place, k in asked],
            turn=[0] * len(asked),
            state=texts,
            success=[reward >= 1 for reward in rewards],
            response=responses,
        )

    def demonstrate(self, tokenizer: PreTrainedTokenizerBase, task: Problem, response: str) -> Demonstration:
        """A right response to the prompt that the policy will read, for imitation."""
        return encode_prompts(tokenizer, [self.prompt(task)])[0], encode_response(tokenizer, response)


@dataclass(frozen=True)
class EpisodeCollector:
    """Several episodes of each task, all played in lockstep: one batch of prompts a turn, over the episodes still running.

    Attributes:
        group_size: episodes a task.
        params: how commands are sampled.
        history: how many past turns the policy reads besides the present observation (GiGPO: 2).
        max_turns: an episode is cut after so many turns; None leaves its end to the environment.
        render: how past turns and the present observation become a text.
    """

    group_size: int
    params: SamplingParams
    history: int = 2
    max_turns: int | None = None
    render: Render = transcript

    def __post_init__(self):
        check_group_size(self.group_size)
        if self.history < 0:
            raise ValueError(f"history must not be negative, got {self.history}")
        if self.max_turns is not None and self.max_turns < 1:
            raise ValueError(f"max_turns must be at least 1, got {self.max_turns}")

    def __call__(self, policy: Engine, tasks: Sequence[EpisodicTask], generator: torch.Generator) -> Rollouts:
        """One row a turn. The state is the bare observation.

        Optional columns: `success` of the whole trajectory, `valid`, `done`, `admissible` (the commands that were accepted) and `response`.

        Raises:
            ValueError: if there are no tasks, or a prompt cannot be answered (`Engine.generate`).
        """
        check_tasks(tasks)
        named = [(task, (task.id, place, k)) for place, task in enumerate(tasks) for k in range(self.group_size)]
        episodes = [Episode(task, name, self.history) for task, name in named]
        parts, owner = [], []  # owner: which episode each row belongs to
        while running := [number for number, episode in enumerate(episodes) if not episode.over(self.max_turns)]:
            parts.append(self._turn(policy, [episodes[number] for number in running], generator))
            owner += running
        rollouts = concatenate(parts, pad_id=policy.tokenizer.pad_token_id or 0)
        order = sorted(range(len(owner)), key=owner.__getitem__)  # stable: the turns of an episode keep their order
        return rollouts.select(order).with_columns(success=[episodes[owner[row]].success for row in order])

    def prompt(self, episode: Episode) -> str:
        """What the policy reads."""
        return self.render(episode.remembered, episode.now)

    def command(self, episode: Episode, response: str) -> str:
        """The command in what the policy wrote: all of it. Formats in which it writes more take the command out of it here."""
        return response

    def _turn(self, policy: Engine, episodes: Sequence[Episode], generator: torch.Generator) -> Rollouts:
        """The next turn of each episode."""
        turn = [episode.turn for episode in episodes]
        seen = [episode.now for episode in episodes]
        prompts = [self.prompt(episode) for episode in episodes]
        samples = policy.generate(encode_prompts(policy.tokenizer, prompts), self.params, generator)
        responses = decode(policy, samples)
        steps = [episode.act(self.command(episode, response)) for episode, response in zip(episodes, responses, strict=True)]
        return as_rollouts(
            samples,
            rewards=[step.reward for step in steps],
            task=[episode.task.id for episode in episodes],
            trajectory=[episode.name for episode in episodes],
            turn=turn,
            state=[observation.text for observation in seen],
            valid=[step.valid for step in steps],
            done=[step.done for step in steps],
            admissible=[observation.admissible for observation in seen],
            response=responses,
        )

    def demonstrate(self, tokenizer: PreTrainedTokenizerBase, task: EpisodicTask, responses: Sequence[str]) -> list[Demonstration]:
        """What the policy would read and should write, turn by turn, where an expert writes these responses.

        Raises:
            ValueError: if a command is not valid, or comes after the end of the episode.
        """
        episode = Episode(task, task.id, self.history)
        pairs = []
        for response in responses:
            if episode.done:
                raise ValueError(f"the episode of {task.id!r} ends before the command {response!r}")
            prompt = self.prompt(episode)
            if not episode.act(self.command(episode, response)).valid:
                raise ValueError(f"the expert's command {response!r} is not valid in turn {episode.turn - 1} of {task.id!r}")
            pairs.append((encode_prompts(tokenizer, [prompt])[0], encode_response(tokenizer, response)))
        return pairs


class Episode:
    """One episode under way.

    Attributes:
        task: what is played.
        name: of the trajectory.
        environment: where it is played.
        now: what is to be seen.
        remembered: the turns that the policy remembers, oldest first.
        turn: turns played.
        note: what the policy hands on to itself from turn to turn, such as a subgoal.
        done: whether the environment has ended it.
        success: whether the task has been solved.
    """

    def __init__(self, task: EpisodicTask, name: object, history: int):
        self.task, self.name, self.history = task, name, history
        self.environment: Environment = task.environment()
        self.now = self.environment.reset()
        self.remembered: list[Turn] = []
        self.turn = 0
        self.note = ""
        self.done = self.success = False

    def over(self, max_turns: int | None) -> bool:
        """Whether there is no further turn."""
        return self.done or self.turn == max_turns

    def act(self, command: str) -> Step:
        """Give a command."""
        step = self.environment.step(command)
        self.remembered = [*self.remembered, (self.now.text, command)][-self.history :] if self.history else []
        self.now, self.done, self.success = step.observation, step.done, step.success
        self.turn += 1
        return step


def as_rollouts(samples: Samples, *, rewards: Sequence[float], turn: Sequence[int], **columns) -> Rollouts:
    """Samples and what came of them, as rows."""
    standard = {name: columns.pop(name) for name in ("task", "trajectory", "state")}
    device = samples.logp.device
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


def decode(policy: Engine, samples: Samples) -> list[str]:
    """The text of each response."""
    return policy.tokenizer.batch_decode(samples.responses(), skip_special_tokens=True)


def check_group_size(group_size: int) -> None:
    """Refuse groups of nobody."""
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")


def check_tasks(tasks: Sequence) -> None:
    """Refuse to collect from nothing."""
    if len(tasks) == 0:
        raise ValueError("no tasks to collect from: give at least one")
