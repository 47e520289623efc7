"""Digit sums: a verifiable problem small enough for a model trained in a minute.

`3 + 4 + 9 + 1 =` is answered by its running sums modulo ten and an end mark, `7 6 7 $`. One slip spoils the answer, so success
falls with the number of terms while every step stays easy: groups with both right and wrong answers are plentiful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

CHARACTERS = tuple("0123456789+=;$")
"""Every word that prompts and answers are made of."""


@dataclass(frozen=True)
class DigitSum:
    """The sum of some digits; implements `Problem`.

    Attributes:
        digits: the terms, each from 0 to 9, at least two.
    """

    digits: tuple[int, ...]

    def __post_init__(self):
        if len(self.digits) < 2 or any(isinstance(d, bool) or not isinstance(d, int) or not 0 <= d <= 9 for d in self.digits):
            raise ValueError(f"a digit sum needs at least two terms, each an integer from 0 to 9, got {self.digits!r}")

    @property
    def id(self) -> str:
        """Names the problem: the sum without blanks."""
        return "+".join(map(str, self.digits))

    @property
    def prompt(self) -> str:
        """The sum, one blank between characters, so that each is a word."""
        return " + ".join(map(str, self.digits)) + " ="

    @property
    def answer(self) -> str:
        """The running sums modulo ten and the end mark, one blank between characters."""
        sums = list(accumulate(self.digits))[1:]
        return " ".join([*(str(total % 10) for total in sums), "$"])

    def verify(self, response: str) -> float:
        """1 for the answer, whatever its blanks; 0 for anything else, an answer without end mark included."""
        return float("".join(response.split()) == self.answer.replace(" ", ""))


def digit_sums(terms: int | Sequence[int], number: int, *, generator: torch.Generator) -> list[DigitSum]:
    """Random problems; the same one may come twice.

    Args:
        terms: number of terms, or several numbers to choose from at random.
        number: how many problems.
        generator: draws the terms.

    Raises:
        ValueError: if a number of terms is below two, or `number` is negative.
    """
    choices = [terms] if isinstance(terms, int) else list(terms)
    if not choices or min(choices) < 2 or number < 0:
        raise ValueError(
            f"a digit sum has at least two terms, and there cannot be fewer than no problems; got terms={terms!r}, number={number}"
        )
    lengths = torch.randint(len(choices), (number,), generator=generator).tolist()
    return [DigitSum(tuple(torch.randint(10, (choices[i],), generator=generator).tolist())) for i in lengths]
