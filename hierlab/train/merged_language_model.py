"""Language models to merge: a tiny one that has met two kinds of problems, fine-tuned to each, measured by its loss on both.

The problems are sums of two numbers and the reversal of four digits, written as words, so both want the model to copy and to
transform digits, and each fine-tuning forgets some of the other. A merged model's metric is a loss: unbounded above, so that MAP's
surrogate goes through a softplus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from hierlab.models import LanguageModel, TinySize, load
from hierlab.rollout.collect import Demonstration
from hierlab.seeds import generator
from hierlab.train.imitation import ImitationSettings, imitate, imitation_loss

PROBLEMS = ("sums", "reversals")
_SIZE = TinySize(hidden=32, layers=2, heads=2, inner=64, context=32)
_WORDS = [*map(str, range(10)), "+", "=", "reverse"]


@dataclass(frozen=True)
class MergeSettings:
    """How the models to be merged are trained.

    Attributes:
        base_steps: steps of imitation on both kinds of problems.
        fine_steps: steps on one kind.
        batch: problems a step.
        base_rate: peak learning rate of the base.
        rate: peak learning rate of fine-tuning.
        held_out: problems of each kind that losses are measured on.
    """

    base_steps: int = 200
    fine_steps: int = 40
    batch: int = 32
    base_rate: float = 1e-2
    rate: float = 3e-3
    held_out: int = 64


@dataclass(frozen=True)
class MergedLanguageModel:
    """Fine-tuned language models, ready to be merged and measured.

    Attributes:
        language_model: one model of their kind; its weights are overwritten by every measurement.
        base: [d] the parameters that all were fine-tuned from.
        vectors: [N, d] task vectors.
        problems: [N] held-out demonstrations of each task.
    """

    language_model: LanguageModel
    base: Tensor
    vectors: Tensor
    problems: tuple[Sequence[Demonstration], ...]

    @property
    def tasks(self) -> int:
        """N, the number of kinds of problems."""
        return len(self.vectors)

    @torch.no_grad()
    def evaluate(self, scales: ArrayLike, tasks: Sequence[int] | None = None) -> np.ndarray:
        """Losses of merged models on held-out problems.

        Args:
            scales: [K, N] scale vectors.
            tasks: numbers of the tasks to measure; None for all.

        Returns:
            [K, n] mean negative log-probability of an answer's tokens, in nats.

        Raises:
            ValueError: if scales does not have one column a task vector.
        """
        c = torch.as_tensor(np.asarray(scales), dtype=self.base.dtype)
        if c.dim() != 2 or c.shape[1] != self.tasks:
            raise ValueError(f"scales must be [K, {self.tasks}], one column a task vector, got shape {tuple(c.shape)}")
        wanted = list(range(self.tasks)) if tasks is None else list(tasks)
        losses = np.empty((len(c), len(wanted)))
        for row, merged in enumerate(self.base + c @ self.vectors):
            vector_to_parameters(merged, self.language_model.model.parameters())
            losses[row] = [float(imitation_loss(self.language_model.model, self.problems[n])) for n in wanted]
        return losses


def train_merged_language_model(
    seed: int, settings: MergeSettings | None = None, *, report: Callable[[int, int], None] | None = None
) -> MergedLanguageModel:
    """A tiny model trained on both kinds of problems, and one fine-tuned from it for each.

    Args:
        seed: of the first weights, the problems and their order.
        settings: how to train.
        report: called with the number of models trained so far and in all.

    Raises:
        ValueError: if a setting is out of range.
    """
    settings = settings or MergeSettings()
    policy = load("tiny", vocabulary=_WORDS, size=_SIZE, seed=seed)
    problems = [_problems(kind, policy, settings.held_out, seed) for kind in PROBLEMS]
    both = [demonstration for train, _ in problems for demonstration in train]
    fit = {"batch": settings.batch, "max_grad_norm": 1.0}
    imitate(policy, both, ImitationSettings(steps=settings.base_steps, rate=settings.base_rate, **fit), seed=seed)
    base = _flat(policy.model)
    vectors = []
    for number, (train, _) in enumerate(problems, start=1):
        if report:
            report(number, len(problems) + 1)
        vector_to_parameters(base.clone(), policy.model.parameters())  # the parameters become views of it
        imitate(policy, train, ImitationSettings(steps=settings.fine_steps, rate=settings.rate, **fit), seed=seed)
        vectors.append(_flat(policy.model) - base)
    return MergedLanguageModel(policy, base, torch.stack(vectors), tuple(held_out for _, held_out in problems))


def _flat(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().clone()


def _problems(kind: str, policy: LanguageModel, held_out: int, seed: int) -> tuple[list[Demonstration], list[Demonstration]]:
    """Problems to learn from and to be measured on, none in both."""
    draw = generator("merged language model", kind, seed)
    if kind == "sums":
        texts = [(f"{a // 10} {a % 10} + {b // 10} {b % 10} =", " ".join(str(a + b))) for a in range(50) for b in range(50)]
    else:
        texts = [(f"reverse {' '.join(f'{n:04d}')} =", " ".join(reversed(f"{n:04d}"))) for n in range(0, 10_000, 4)]
    if not 0 < held_out < len(texts):
        raise ValueError(f"held_out must be at least 1 and below the {len(texts)} problems of a kind, got {held_out}")
    order = torch.randperm(len(texts), generator=draw).tolist()
    encoded = [_demonstration(policy, *texts[i]) for i in order]
    return encoded[held_out:], encoded[:held_out]


def _demonstration(policy: LanguageModel, question: str, answer: str) -> Demonstration:
    tokenizer = policy.tokenizer
    response = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return tokenizer(question)["input_ids"], [*response, tokenizer.eos_token_id]
