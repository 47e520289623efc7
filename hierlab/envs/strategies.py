r"""Plan, then carry out: a world of two levels in which everything is known exactly.

A problem belongs to one of several classes. The first token of a solution chooses a *strategy*, of which few are valid for the class;
the tokens after it carry it out, and at each step one token is right. A solution is worth 1 if its strategy is valid and every step
is right, else 0. Problems of different classes may look alike: the policy sees only the *kind*, and of the strategies that are valid
for a class only the first serves all classes of the kind. So a policy that settles on the first strategy that works may settle on one
that works half of the time.

The policy is factored: the choice of strategy depends on the kind alone, and a step on its number alone, so that skill in carrying out
is shared by all problems. With K classes,

$$P(\text{solved})=\frac1K\sum_{k}\pi(\text{valid for }k\mid\text{kind of }k)\;\prod_{t}\pi(\text{right}\mid t).$$

Planning is the bottleneck where the steps are nearly sure; where they are not, carrying out is. `logits(skill)` sets where to begin.
The world is that of the HICRA lab (arXiv 2509.03646), which needs to know which tokens plan; that classes look alike is an addition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.finite import FiniteWorld


@dataclass(frozen=True)
class Strategies:
    """Classes of problems, strategies, and the steps that carry them out.

    Strategy and step are words of one vocabulary, which is as large as there are strategies.

    Attributes:
        classes: number of problem classes.
        alike: how many classes look the same; `classes` is a multiple of it.
        strategies: number of strategies, and of tokens.
        valid: how many strategies are valid for each class: one for all classes of its kind, and `valid - 1` of its own.
        steps: number of steps after the strategy.
    """

    classes: int = 8
    alike: int = 2
    strategies: int = 12
    valid: int = 2
    steps: int = 4

    def __post_init__(self):
        for name, least in {"classes": 1, "alike": 1, "strategies": 2, "valid": 1, "steps": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.classes % self.alike:
            raise ValueError(f"classes must be a multiple of alike, got {self.classes} and {self.alike}")
        if self._serving > self.strategies:
            raise ValueError(
                f"classes that look alike have {self._serving} valid strategies in all, more than the {self.strategies} there are"
            )

    @property
    def kinds(self) -> int:
        """Number of kinds, M: what the policy tells apart when it plans."""
        return self.classes // self.alike

    @property
    def _serving(self) -> int:
        """Number of strategies that are valid for some class of a kind."""
        return 1 + self.alike * (self.valid - 1)

    @property
    def planning(self) -> Tensor:
        """[C, A] bool, whether a token plans: in the contexts where a strategy is chosen, one a kind, every one does; in steps none."""
        return (torch.arange(self.kinds + self.steps) < self.kinds)[:, None].expand(-1, self.strategies)

    @property
    def valid_for(self) -> Tensor:
        """[K, A] bool, the strategies that are valid for each class."""
        kind, place = torch.arange(self.classes) // self.alike, torch.arange(self.classes) % self.alike
        own = 1 + place[:, None] * (self.valid - 1) + torch.arange(self.valid - 1)
        choices = kind[:, None] * self._serving + torch.cat([torch.zeros_like(kind)[:, None], own], dim=1)
        return torch.zeros(self.classes, self.strategies, dtype=torch.bool).scatter(1, choices % self.strategies, True)

    @property
    def right(self) -> Tensor:
        """[steps, A] bool, the token that is right at each step."""
        return torch.arange(self.steps)[:, None] % self.strategies == torch.arange(self.strategies)

    def world(self) -> FiniteWorld:
        """The world as tables. A state is a class before its strategy, or a step and whether all went well so far."""
        classes, steps = torch.arange(self.classes), torch.arange(self.steps).repeat_interleave(2)
        going_well = torch.arange(2).repeat(self.steps).bool()
        good = torch.cat([self.valid_for, self.right[steps] & going_well[:, None]])  # [S, A]
        following = torch.cat([torch.full_like(classes, self.classes), self.classes + 2 * (steps + 1)])[:, None] + good.long()
        over = torch.cat([classes < 0, steps == self.steps - 1])[:, None].expand_as(good).clone()
        return FiniteWorld(
            commands=tuple(f"token {i}" for i in range(self.strategies)),
            contexts=(*((f"kind {m}",) for m in range(self.kinds)), *((f"step {t}",) for t in range(self.steps))),
            start=classes,
            context=torch.cat([classes // self.alike, self.kinds + steps]),
            move=torch.where(over, 0, following),
            reward=(good & over).double(),
            over=over,
            won=good & over,
            valid=torch.ones_like(good),
            horizon=1 + self.steps,
        )

    def logits(self, skill: float, sense: float | None = None) -> Tensor:
        r"""A policy that takes each step rightly with the same probability, and chooses strategies at random or with some sense.

        Args:
            skill: $e_0$, the probability of the right token, above 0 and below 1.
            sense: probability of the strategy that is valid for every class of the kind, above 0 and below 1; the others share the
                rest. None: all strategies are equally likely.

        Returns:
            [C, A] float64.
        """
        strategy = torch.arange(self.strategies) == (torch.arange(self.kinds) * self._serving % self.strategies)[:, None]
        return torch.cat([self._leaning(strategy, 1 / self.strategies if sense is None else sense), self._leaning(self.right, skill)])

    def _leaning(self, chosen: Tensor, probability: float) -> Tensor:
        """Logits that give one token of each row this probability, and the others equal ones. [R, A] bool -> [R, A]"""
        check_range("skill and sense", probability, 0, 1)
        if probability in (0, 1):
            raise ValueError(f"skill and sense must lie between 0 and 1, or nothing is left to learn, got {probability}")
        p = torch.tensor(probability, dtype=torch.float64)
        return torch.where(chosen, p.log(), ((1 - p) / (self.strategies - 1)).log())

    def measure(self, logits: Tensor) -> dict[str, float]:
        """How well a policy plans and carries out, exactly.

        Args:
            logits: [C, A].

        Returns:
            planned: probability of a valid strategy, mean over classes.
            executed: probability that all steps are right.
            planning_entropy, execution_entropy: of the policy in nats, mean over kinds and over steps.
        """
        logp = logits.log_softmax(dim=1)
        p = logp.exp()
        entropy = -(p * logp).sum(dim=1)
        return {
            "planned": float((p[: self.kinds].repeat_interleave(self.alike, dim=0) * self.valid_for).sum(dim=1).mean()),
            "executed": float((p[self.kinds :] * self.right).sum(dim=1).prod()),
            "planning_entropy": float(entropy[: self.kinds].mean()),
            "execution_entropy": float(entropy[self.kinds :].mean()),
        }
