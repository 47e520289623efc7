r"""The symmetry of group-relative advantages, measured: what right and wrong answers weigh, and what one step does to every logit.

Three identities of arXiv 2602.05548 about a group of $G$ attempts with rewards 0 and 1, of which a share $p$ succeeds, each held
against the library's own functions:

$$\sum_{r_i=1}|A_i|=\sum_{r_i=0}|A_i|,\qquad \sum_i|A_i|=2G\sqrt{p(1-p)},\qquad
\Delta z_b=\eta\,\Bigl(\sum_{i:b_i=b}A_i-C\,\pi_b\Bigr)\text{ with } C=\sum_i A_i .$$
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.envs.behaviours import Behaviours
from hierlab.train.behaviours import attempts
from hierlab.train.tabular import Estimator, row_advantage


@dataclass(frozen=True)
class Groups:
    """Groups of attempts with rewards of 0 and 1, and what their right and wrong attempts weigh. g groups.

    Attributes:
        size: [g] attempts in each.
        rate: [g] share of them that succeed.
        right: [g] sum of the sizes of the advantages of those that do.
        wrong: [g] the same of those that do not.
    """

    size: Tensor
    rate: Tensor
    right: Tensor
    wrong: Tensor

    @property
    def imbalance(self) -> Tensor:
        """[g] How far apart right and wrong are, as a share of both."""
        return (self.right - self.wrong).abs() / (self.right + self.wrong)

    @property
    def weight_ratio(self) -> Tensor:
        r"""[g] The total weight beside $2G\sqrt{p(1-p)}$."""
        return (self.right + self.wrong) / (2 * self.size * (self.rate * (1 - self.rate)).sqrt())


def random_groups(number: int, sizes: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Groups with at least one success and one failure, all numbers of successes equally likely.

    Args:
        number: of groups.
        sizes: attempts a group, drawn from these with equal probability.
        generator: source of all randomness.

    Returns:
        rewards [N] float64 and task [N] int64.

    Raises:
        ValueError: if there are no groups, or a size is below 2.
    """
    if number < 1 or not sizes or min(sizes) < 2:
        raise ValueError(f"need at least one group and sizes of at least 2, got {number} groups of {list(sizes)}")
    size = torch.tensor(sizes)[torch.randint(len(sizes), (number,), generator=generator)]
    successes = 1 + (torch.rand(number, generator=generator, dtype=torch.float64) * (size - 1)).long()
    task = torch.arange(number).repeat_interleave(size)
    place = torch.arange(len(task)) - (size.cumsum(0) - size)[task]
    return (place < successes[task]).double(), task


def weigh(advantage: Tensor, rewards: Tensor, task: Tensor) -> Groups:
    """What right and wrong attempts weigh in each group.

    Args:
        advantage: [N].
        rewards: [N] of 0 and 1.
        task: [N] int64, numbered from 0.
    """
    empty = advantage.new_zeros(int(task.max()) + 1)
    size = empty.index_add(0, task, torch.ones_like(advantage))
    right = empty.index_add(0, task, advantage.abs() * rewards)
    return Groups(size, empty.index_add(0, task, rewards) / size, right, empty.index_add(0, task, advantage.abs() * (1 - rewards)))


def logit_gradient(logits: Tensor, behaviour: Tensor, advantage: Tensor) -> Tensor:
    r"""What one step moves every logit by, before the rate: $\nabla_z\sum_i A_i\log\pi(b_i)$, by automatic differentiation.

    Args:
        logits: [B].
        behaviour: [G] int64, what was sampled; one may come several times.
        advantage: [G].

    Returns:
        [B]
    """
    leaf = logits.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad((leaf.log_softmax(dim=0)[behaviour] * advantage).sum(), leaf)
    return gradient


def predicted_gradient(logits: Tensor, behaviour: Tensor, advantage: Tensor) -> Tensor:
    """The same by Theorem 1: the advantages of what was sampled, minus their sum times the policy. [B]"""
    return torch.zeros_like(logits).index_add(0, behaviour, advantage) - advantage.sum() * logits.softmax(dim=0)


@dataclass(frozen=True)
class LogitSteps:
    """What one step, before the rate, does to the logits of some prompts. n prompts, B behaviours.

    Attributes:
        own: [n, B] the gradient by each prompt's logits: what a table of logits would be moved by.
        predicted: [n, B] the same by Theorem 1.
        moved: [n, B] what the logits are moved by where prompts share features.
        sampled: [n, B] bool, the behaviours that were sampled.
        right: [n, B] bool, those that are right.
        total: [n] $C$, the sum of each prompt's advantages.
    """

    own: Tensor
    predicted: Tensor
    moved: Tensor
    sampled: Tensor
    right: Tensor
    total: Tensor

    @property
    def error(self) -> float:
        """The largest difference between gradient and prediction."""
        return float((self.own - self.predicted).abs().max())

    def stray(self, movement: Tensor) -> float:
        """The share of all squared movement, [n, B], that falls on behaviours nobody sampled."""
        return float(movement[~self.sampled].square().sum() / movement.square().sum())

    def means(self) -> dict[str, float]:
        """The mean step of the logits of sampled right, sampled wrong, and unsampled behaviours."""
        kinds = {"sampled, right": self.sampled & self.right, "sampled, wrong": self.sampled & ~self.right, "not sampled": ~self.sampled}
        return {name: float(self.own[kind].mean()) for name, kind in kinds.items()}


def logit_steps(world: Behaviours, estimator: Estimator, draw: torch.Generator, *, prompts: int = 16, group_size: int = 8) -> LogitSteps:
    """Answer some prompts several times, and see what one step does to every logit.

    Args:
        world: the prompts, and the policy that answers.
        estimator: any function of columns that returns one advantage a row.
        draw: source of all randomness; equal generators give every estimator the same answers.
        prompts: n.
        group_size: attempts a prompt.
    """
    asked = torch.randperm(len(world.correct), generator=draw)[:prompts]
    logits = world.logits(world.own, world.shared)
    rollouts = attempts(world, logits, asked, group_size, draw)
    behaviour = rollouts.response_ids[:, 0].view(prompts, group_size)
    advantage = row_advantage(rollouts, estimator).view(prompts, group_size)
    rows = list(zip(logits[asked], behaviour, advantage, strict=True))
    own = torch.stack([logit_gradient(*row) for row in rows])
    features = world.features[asked]
    return LogitSteps(
        own=own,
        predicted=torch.stack([predicted_gradient(*row) for row in rows]),
        moved=own + features @ torch.einsum("nb,nbf->f", own, features),
        sampled=torch.zeros_like(own, dtype=torch.bool).scatter(1, behaviour, True),
        right=world.correct[asked],
        total=advantage.sum(dim=1),
    )
