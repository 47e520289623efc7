"""Classification in context: a task is an item with its label, a sequence a context of noisy items and a query (arXiv 2506.17859).

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/utils.py`, `ClassificationDataset`; `config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice
from hierlab.theory.generalising import generalised_classification
from hierlab.theory.memorising import check_positive, memorised_classification
from hierlab.theory.sizes import check_sizes, check_tensor

Query = Literal["in context", "in weights"]


@dataclass(frozen=True)
class ClassificationSequences:
    """Sequences of labelled items and a query.

    Attributes:
        pairs: [n, C, d + 1] noisy items with their label in the last column; the query in the last row, its label hidden as -1.
        label: [n] the query's label.
        task: [n] which row of the tasks the query copies.
    """

    pairs: Tensor
    label: Tensor
    task: Tensor


@dataclass(frozen=True)
class Classification:
    r"""The setting. Items are normal with variance 1 / d, labels uniform; a prediction is a distribution over the query's label.

    An item appears as $(\mathrm{item}+\sqrt{\sigma^2}\,\epsilon)/\sqrt{1+\sigma^2}$ with fresh noise of an item's own distribution.

    Attributes:
        dims: d, dimensions of an item.
        length: C, rows of a sequence: C - 1 labelled items and the query.
        labels: how many there are.
        within_class_variance: $\sigma^2$.

    Raises:
        ValueError: if a size is too small or the variance is not positive.
    """

    dims: int = 8
    length: int = 128
    labels: int = 2
    within_class_variance: float = 0.5

    name = "classification"
    distance = "kl"

    def __post_init__(self):
        check_sizes(dims=self.dims)
        check_sizes(2, length=self.length, labels=self.labels)
        check_positive("within_class_variance", self.within_class_variance)

    def draw_tasks(self, number: int, generator: torch.Generator) -> Tensor:
        """Labelled items from the prior, the label in the last column. [number, d + 1] in double precision.

        Raises:
            ValueError: if `number` is not positive.
        """
        check_sizes(number=number)
        items = torch.randn(number, self.dims, generator=generator, dtype=torch.float64) / self.dims**0.5
        labels = torch.randint(self.labels, (number, 1), generator=generator)
        return torch.cat([items, labels.to(items.dtype)], 1)

    def draw(self, tasks: Tensor, number: int, generator: torch.Generator, query: Query = "in context") -> ClassificationSequences:
        """Sequences with C - 1 items drawn with replacement.

        Args:
            tasks: [D, d + 1] labelled items.
            number: n.
            generator: of the draws.
            query: "in context" repeats one of the context's items; "in weights" asks for a training item that the context lacks, so
                that only a memoriser can know its label.

        Raises:
            ValueError: if `number` is not positive, `tasks` has not d + 1 columns, or one task alone cannot be absent from its context.
        """
        check_sizes(number=number)
        check_choice("query", query, Query)
        check_tensor("tasks", tasks, "[D, d + 1]")
        if tasks.shape[1] != self.dims + 1:
            raise ValueError(f"tasks must have {self.dims + 1} columns, the last for the label, got {tasks.shape[1]}")
        context, target = self._choose(len(tasks), number, generator, query)
        rows = torch.cat([context, target[:, None]], 1)
        pairs = tasks[rows].clone()  # [n, C, d + 1]
        noise = torch.randn(*rows.shape, self.dims, generator=generator, dtype=tasks.dtype) / self.dims**0.5
        s2 = self.within_class_variance
        pairs[..., :-1] = (pairs[..., :-1] + noise * s2**0.5) / (1 + s2) ** 0.5
        pairs[:, -1, -1] = -1
        return ClassificationSequences(pairs, tasks[target, -1].long(), target)

    def _choose(self, tasks: int, number: int, generator: torch.Generator, query: Query) -> tuple[Tensor, Tensor]:
        """Which tasks stand in the context [n, C - 1], and which is asked for [n]."""
        if query == "in context":
            context = torch.randint(tasks, (number, self.length - 1), generator=generator)
            chosen = torch.randint(self.length - 1, (number, 1), generator=generator)
            return context, context.gather(1, chosen)[:, 0]
        if tasks < 2:
            raise ValueError("a query in weights needs at least two tasks: with one, every context holds it")
        target = torch.randint(tasks, (number,), generator=generator)
        others = torch.randint(tasks - 1, (number, self.length - 1), generator=generator)
        return others + (others >= target[:, None]), target

    def memorising(self, tasks: Tensor, sequences: ClassificationSequences) -> Tensor:
        """What M predicts. [n, labels]"""
        return memorised_classification(tasks, sequences.pairs, self.within_class_variance, self.labels).exp()

    def generalising(self, sequences: ClassificationSequences) -> Tensor:
        """What G predicts. [n, labels]"""
        return generalised_classification(sequences.pairs, self.within_class_variance, self.labels).exp()

    def constant(self, sequences: ClassificationSequences) -> Tensor:
        """The best prediction that looks at nothing: every label alike. [n, labels]"""
        return torch.full((len(sequences.label), self.labels), 1 / self.labels, dtype=sequences.pairs.dtype)

    def losses(self, predicted: Tensor, tasks: Tensor, sequences: ClassificationSequences) -> Tensor:
        """Cross-entropy of the query's label in nats. [n]"""
        return -predicted.gather(-1, sequences.label[:, None])[:, 0].log()
