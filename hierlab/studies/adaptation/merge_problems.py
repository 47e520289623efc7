"""What the merging lab merges: digit classifiers trained once a seed and process; and what its experiments share.

Methods are compared at equal *task evaluations*: one merged model measured on one task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from hierlab.adaptation.direct_search import full_grid
from hierlab.adaptation.evaluations import Evaluate
from hierlab.adaptation.scale_sampling import Floats
from hierlab.envs import clip_tasks
from hierlab.envs.digit_views import VIEWS
from hierlab.lab.errors import Refused
from hierlab.pareto import front
from hierlab.seeds import derive_seed
from hierlab.train.digit_views import train_digit_views

Report = Callable[..., None]
Numbers = dict[str, float | list[float]]
LEAN = 20
"""Points of a predicted front that are re-evaluated where 100 would be more than the search itself."""


class Problem(Protocol):
    """Fine-tuned models that can be merged and measured: `MergedDigits` or `MergedEncoders`.

    Attributes:
        base: [d] the pre-trained parameters.
        vectors: [N, d] task vectors.
        names: [N] of the tasks.
        tasks: N.
    """

    base: Tensor
    vectors: Tensor
    names: tuple[str, ...]
    tasks: int

    def evaluate(self, scales: ArrayLike, tasks: Sequence[int] | None = None) -> Floats:
        """[K, n] accuracies of scale vectors [K, N] on some tasks, or all."""

    def only(self, tasks: Sequence[int]) -> Problem:
        """The same base with some of the tasks."""

    def with_vectors(self, vectors: Tensor) -> Problem:
        """The same with other task vectors."""

    def halves(self) -> tuple[Problem, Problem]:
        """The same measured on either half of the images."""


REMEMBERED = 64
"""How many small things a process keeps: the units of an experiment come arm by arm, so every seed's are wanted again and again."""


@dataclass(frozen=True)
class Material:
    """What is merged.

    Attributes:
        kind: "digits", trained here; or "clip".
        model, finetuned, folder, images: with "clip", as of `hierlab.envs.clip_tasks.merged_encoders`.
    """

    kind: Literal["digits", "clip"] = "digits"
    model: str = ""
    finetuned: str = ""
    folder: str = ""
    images: int = 0


def material_of(settings: Any) -> Material:
    """The material that a lab's settings ask for, once everything it needs has been found.

    Raises:
        Refused: naming the first thing that is missing, and what provides it.
    """
    if settings.material == "digits":
        return Material()
    if missing := clip_tasks.missing_for_clip(settings.folder, clip_tasks.TASKS[: max(settings.views, *settings.sizes)]):
        raise Refused(missing)
    return Material("clip", settings.model, settings.finetuned, settings.folder, settings.images)


def merge_problem(material: Material, seed: int, views: int) -> Problem:
    """The first so many tasks of a material, made once a process."""
    return digits_problem(seed, views) if material.kind == "digits" else _clip(material, seed, views)


@lru_cache(maxsize=REMEMBERED)
def digits_problem(seed: int, views: int) -> Problem:
    """Networks trained here to the first so many views of digits, once a process."""
    return train_digit_views(seed, names=tuple(VIEWS)[:views])


@lru_cache(maxsize=1)  # gigabytes each
def _clip(material: Material, seed: int, views: int) -> Problem:
    names = clip_tasks.TASKS[:views]
    return clip_tasks.merged_encoders(material.model, material.finetuned, material.folder, names, images=material.images, seed=seed)


def random_state(*parts: int | str) -> np.random.Generator:
    """A NumPy generator by name."""
    return np.random.default_rng(derive_seed("map lab", *parts))


def dense_front(evaluate: Evaluate, side: int, *, maximise: bool = True) -> tuple[Floats, Floats]:
    """The front of all points of a two-dimensional grid: scale vectors and metrics."""
    grid = full_grid(side, 2)
    metrics = np.asarray(evaluate(grid, (0, 1)))
    kept = front(metrics, maximise=maximise)
    return grid[kept], metrics[kept]
