"""What a reward model is to everything that uses one, and four that know nothing: what any of them must beat.

A reward model turns a prompt and a response into a number. Benchmarks, best-of-n selection and reinforcement learning need no more;
probes of what it has learnt also read the hidden state that the number is computed from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hierlab.checks import check_rows
from hierlab.seeds import generator


@runtime_checkable
class RewardModel(Protocol):
    """Gives scores of any scale; only their order and differences mean something."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """One number for each prompt and response. [N] floating point"""


@runtime_checkable
class ReadableRewardModel(RewardModel, Protocol):
    """A reward model whose inside can be read."""

    def last_hidden(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """The hidden state that each score is computed from, at the last token. [N, D] float32"""


@dataclass(frozen=True)
class ConstantReward:
    """Says the same to everything: 1/n in best-of-n, 0 in Ties.

    Attributes:
        value: what it says.
    """

    value: float = 0.0

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """[N] the constant."""
        check_rows(prompts=prompts, responses=responses)
        return torch.full((len(responses),), self.value)


@dataclass(frozen=True)
class RandomReward:
    """A standard normal number drawn by the text: the same for the same text, and otherwise noise.

    Attributes:
        seed: another seed is another model.
    """

    seed: int = 0

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """[N] the draws."""
        check_rows(prompts=prompts, responses=responses)
        draws = [torch.randn(1, generator=generator(self.seed, "random reward", *pair)) for pair in zip(prompts, responses, strict=True)]
        return torch.cat(draws) if draws else torch.zeros(0)


@dataclass(frozen=True)
class LengthReward:
    """The number of a response's words: the longest answer wins.

    Attributes:
        sign: 1; or -1, and the shortest wins.
    """

    sign: int = 1

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """[N] the numbers of words."""
        check_rows(prompts=prompts, responses=responses)
        return self.sign * torch.tensor([float(len(response.split())) for response in responses])


BASELINES: dict[str, RewardModel] = {"constant": ConstantReward(), "random": RandomReward(), "longest answer": LengthReward()}
"""What every table of reward models shows first. The first answer, the fourth of them, is a judge: `hierlab.reward.judge.FirstAnswer`."""
