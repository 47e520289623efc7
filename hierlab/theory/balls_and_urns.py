"""Balls and urns: a task is a distribution over V kinds of balls, a sequence is a start token and C draws (arXiv 2506.17859).

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/utils.py`, `CategoricalSequenceDataset`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.theory.generalising import generalised_urns
from hierlab.theory.memorising import check_positive, memorised_urns
from hierlab.theory.sizes import check_sizes, check_tasks_are_distributions


@dataclass(frozen=True)
class UrnSequences:
    """Sequences of draws.

    Attributes:
        draws: [n, C + 1] the start token, whose id is V, then C balls.
        task: [n] which row of the tasks each was drawn from.
    """

    draws: Tensor
    task: Tensor


@dataclass(frozen=True)
class BallsAndUrns:
    """The setting: how tasks and sequences are drawn, what M and G predict, and how far a prediction is from the truth.

    Predictions are distributions over the next ball at the C positions 0 to C - 1, the first before any draw. The one after the last
    draw is dropped, as in the released code.

    Attributes:
        alphabet: V, kinds of balls.
        length: C, draws a sequence.
        concentration: of the Dirichlet prior over urns; 1 is uniform over the simplex.

    Raises:
        ValueError: if a size is not a whole number of at least 1 (the alphabet: 2), or the concentration is not positive.
    """

    alphabet: int = 8
    length: int = 128
    concentration: float = 1.0

    name = "balls and urns"
    distance = "kl"

    def __post_init__(self):
        check_sizes(2, alphabet=self.alphabet)
        check_sizes(1, length=self.length)
        check_positive("concentration", self.concentration)

    @property
    def dims(self) -> int:
        """Numbers a task consists of."""
        return self.alphabet

    def draw_tasks(self, number: int, generator: torch.Generator) -> Tensor:
        """Urns from the prior. [number, V] in double precision.

        Raises:
            ValueError: if `number` is not positive.
        """
        check_sizes(number=number)
        shape = torch.full((number, self.alphabet), float(self.concentration), dtype=torch.float64)
        return torch._sample_dirichlet(shape, generator)

    def draw(self, tasks: Tensor, number: int, generator: torch.Generator) -> UrnSequences:
        """Sequences, each from an urn chosen uniformly.

        Raises:
            ValueError: if `number` is not positive, or a row of `tasks` is no distribution over V balls.
        """
        check_sizes(number=number)
        check_tasks_are_distributions(tasks)
        if tasks.shape[1] != self.alphabet:
            raise ValueError(f"tasks must have {self.alphabet} columns, one a kind of ball, got {tasks.shape[1]}")
        task = torch.randint(len(tasks), (number,), generator=generator)
        below = tasks[task].cumsum(-1)
        at = torch.rand(number, self.length, generator=generator, dtype=tasks.dtype) * below[:, -1:]
        balls = torch.searchsorted(below, at, right=True).clamp_max(self.alphabet - 1)
        start = torch.full((number, 1), self.alphabet)
        return UrnSequences(torch.cat([start, balls], 1), task)

    def memorising(self, tasks: Tensor, sequences: UrnSequences) -> Tensor:
        """What M predicts. [n, C, V]"""
        return memorised_urns(tasks, sequences.draws[:, :-1]).exp()

    def generalising(self, sequences: UrnSequences) -> Tensor:
        """What G predicts. [n, C, V]"""
        prior = torch.full((self.alphabet,), float(self.concentration), dtype=torch.float64)
        return generalised_urns(prior, sequences.draws[:, :-1]).exp()

    def constant(self, sequences: UrnSequences) -> Tensor:
        """The best prediction that looks at nothing: the prior's mean, uniform. [n, C, V]"""
        return torch.full((len(sequences.draws), self.length, self.alphabet), 1 / self.alphabet, dtype=torch.float64)

    def losses(self, predicted: Tensor, tasks: Tensor, sequences: UrnSequences) -> Tensor:
        """Kullback-Leibler divergence from the true urn to the prediction in nats, mean over positions. [n]"""
        truth = tasks[sequences.task][:, None]
        return (torch.xlogy(truth, truth) - torch.xlogy(truth, predicted)).sum(-1).mean(-1)
