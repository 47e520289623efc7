r"""Prompts with a finite number of behaviours: the smallest world in which Pass@k and entropy are known exactly.

Each prompt is answered by one of $B$ behaviours, of which a few are right. The policy is a softmax over logits that have two parts: a
number of its own for each prompt and behaviour, and what all prompts share,

$$z_{qb}=\theta_{qb}+\phi_{qb}\cdot w .$$

The first part is the setting of A-GRAE's Theorem 1: a logit moves only by what was sampled of its own prompt. The second part is what a
neural network adds: an update of one prompt moves the others. Right behaviours lean to one side in the space of features, so that
something learnt on one prompt is worth something on another.

If the policy answers a prompt correctly with probability $p$, at least one of $k$ independent answers is right with probability
$1-(1-p)^k$: Pass@k without sampling noise, for any $k$.

Shapes: Q prompts, B behaviours, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.checks import check_range


@dataclass(frozen=True, eq=False)
class Behaviours:
    """Prompts, their behaviours, and the policy that training starts from.

    Attributes:
        correct: [Q, B] bool, which behaviours are right.
        features: [Q, B, F] float64, what prompts share.
        own: [Q, B] float64, the initial logits of each prompt's own.
        shared: [F] float64, the initial weights of the features.

    Raises:
        ValueError: if a table has another shape, or a prompt has no right or no wrong behaviour.
    """

    correct: Tensor
    features: Tensor
    own: Tensor
    shared: Tensor

    def __post_init__(self):
        if self.correct.dim() != 2 or self.correct.dtype != torch.bool:
            raise ValueError(f"correct must be bool of shape [prompts, behaviours], got {self.correct.dtype} {list(self.correct.shape)}")
        wanted = {"own": self.correct.shape, "features": (*self.correct.shape, self.features.shape[-1]), "shared": self.features.shape[-1:]}
        for name, shape in wanted.items():
            if getattr(self, name).shape != tuple(shape):
                raise ValueError(f"{name} must have shape {list(shape)}, got {list(getattr(self, name).shape)}")
        one_sided = self.correct.all(dim=1) | ~self.correct.any(dim=1)
        if one_sided.any():
            raise ValueError(f"every prompt needs right and wrong behaviours; prompt {int(one_sided.nonzero()[0])} has only one kind")

    def logits(self, own: Tensor, shared: Tensor) -> Tensor:
        """The policy's logits. [Q, B], [F] -> [Q, B]"""
        return own + self.features @ shared

    def success(self, probabilities: Tensor) -> Tensor:
        """How likely each prompt is answered correctly. [Q, B] -> [Q]"""
        return (probabilities * self.correct).sum(dim=1)

    def kept_modes(self, probabilities: Tensor, least: float = 0.02) -> float:
        """The share of right behaviours that the policy still shows with a probability above `least`."""
        return float(((probabilities > least) & self.correct).sum() / self.correct.sum())


def exact_pass_at_k(success: Tensor, k: int) -> float:
    """How likely at least one of `k` independent answers is right, mean over prompts.

    Args:
        success: [Q] how likely one answer to each prompt is right.
        k: number of answers.

    Raises:
        ValueError: if `k` is not positive.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return float((1 - (1 - success) ** k).mean())


def entropy(probabilities: Tensor) -> Tensor:
    """Of each row, in nats. [Q, B] -> [Q]"""
    return -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)


def draw_behaviours(
    generator: torch.Generator,
    *,
    prompts: int = 40,
    behaviours: int = 60,
    most_correct: int = 4,
    features: int = 16,
    spread: float = 1.0,
    lift: float = 2.0,
    difficulty: float = 2.0,
    lean: float = 0.5,
) -> Behaviours:
    """A random world, and a policy that is neither hopeless nor perfect in it.

    Args:
        generator: source of all randomness.
        prompts: Q.
        behaviours: B.
        most_correct: each prompt has 1 to so many right behaviours, all numbers equally likely.
        features: F.
        spread: standard deviation of the initial logits.
        lift: how much the initial logits of right behaviours are raised, on average over prompts: what the policy knows already.
        difficulty: standard deviation of this lift between prompts.
        lean: how far the features of right behaviours are shifted along one direction. Features are of length 1 on average.

    Raises:
        ValueError: if a number is out of range.
    """
    check_range("prompts", prompts, 1)
    check_range("behaviours", behaviours, 2)
    check_range("most_correct", most_correct, 1, behaviours - 1)
    check_range("features", features, 1)
    for name, value in {"spread": spread, "difficulty": difficulty}.items():
        check_range(name, value, 0)
    number = torch.randint(1, most_correct + 1, (prompts, 1), generator=generator)
    rank = torch.rand(prompts, behaviours, generator=generator).argsort(dim=1).argsort(dim=1)
    correct = rank < number
    direction = torch.nn.functional.normalize(torch.randn(features, generator=generator, dtype=torch.float64), dim=0)
    noise = torch.randn(prompts, behaviours, features, generator=generator, dtype=torch.float64) / features**0.5
    own = spread * torch.randn(prompts, behaviours, generator=generator, dtype=torch.float64)
    own += correct * (lift + difficulty * torch.randn(prompts, 1, generator=generator, dtype=torch.float64))
    return Behaviours(correct, noise + lean * correct[:, :, None] * direction, own, torch.zeros(features, dtype=torch.float64))
