"""What every environment and problem of hierlab looks like to a collector.

Two kinds of task. A *problem* is answered once and scored by a verifier. An *environment* is acted in for several
turns. Both are named by a hashable `id`: rollouts of the same id form a group.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Observation:
    """What the agent sees before it acts.

    Attributes:
        text: the observation, without any history; also the anchor state of GiGPO-like estimators.
        admissible: the commands that are accepted here, if the environment knows them.
    """

    text: str
    admissible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """What one action led to.

    Attributes:
        observation: the next observation.
        reward: the reward of this action, penalties included.
        done: whether the episode ended, by success, failure or its turn limit.
        valid: whether the action could be parsed and was admissible.
        success: whether the task has been solved.
    """

    observation: Observation
    reward: float
    done: bool
    valid: bool = True
    success: bool = False


@runtime_checkable
class Environment(Protocol):
    """One episode at a time: `reset`, then `step` until `done`."""

    def reset(self) -> Observation:
        """Begin a new episode of the same task, from the same initial state."""

    def step(self, action: str) -> Step:
        """Act. An action that cannot be parsed or is not admissible costs a turn and is marked invalid, never raised."""


@runtime_checkable
class EpisodicTask(Protocol):
    """A task acted in for several turns."""

    @property
    def id(self) -> Hashable:
        """Names the task; rollouts of one id are comparable."""

    def environment(self) -> Environment:
        """A fresh environment of this task; several may live side by side."""


@runtime_checkable
class Problem(Protocol):
    """A task answered once."""

    @property
    def id(self) -> Hashable:
        """Names the problem; rollouts of one id are comparable."""

    @property
    def prompt(self) -> str:
        """What the model is asked."""

    def verify(self, response: str) -> float:
        """The reward of a response; deterministic."""
