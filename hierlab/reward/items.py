"""What a benchmark of reward models asks: a prompt, its right answers, and wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hierlab.reward.rewardbench2 import DOMAINS


@dataclass(frozen=True)
class Item:
    """One prompt with its answers.

    Attributes:
        domain: one of `DOMAINS`.
        id: names the item in its domain; in Ties "ref:p" or "tied:p", where p names the prompt.
        prompt: what was asked.
        responses: the answers, the right ones first.
        num_correct: how many are right; 1 outside Ties.
    """

    domain: str
    id: str
    prompt: str
    responses: tuple[str, ...]
    num_correct: int = 1

    def __post_init__(self):
        if self.domain not in DOMAINS:
            raise ValueError(f"no domain {self.domain!r}; there are {', '.join(DOMAINS)}")
        if not 1 <= self.num_correct < len(self.responses):
            raise ValueError(
                f"item {self.id} of {self.domain} needs a right and a wrong answer, got {self.num_correct} right of {len(self.responses)}"
            )
        if self.domain != "Ties" and self.num_correct != 1:
            raise ValueError(f"item {self.id} of {self.domain} has {self.num_correct} right answers; only Ties may have several")


def check_items(items: Sequence[Item]) -> None:
    """Refuse a benchmark without items or with two of one name.

    Raises:
        ValueError: naming the item.
    """
    if not items:
        raise ValueError("a benchmark needs at least one item")
    seen: set[tuple[str, str]] = set()
    for item in items:
        if (item.domain, item.id) in seen:
            raise ValueError(f"two items of {item.domain} are named {item.id}")
        seen.add((item.domain, item.id))
