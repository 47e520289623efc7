"""Chain sums: digit sums whose answers may be checked over and over, so that their lengths vary.

`3 4 9 1 =` is answered by its running sums modulo ten, any number of re-checks, and the answer proper: `7 6 7 ? 7 # 7 $`.
Only the form and the last digit are rewarded. A slip in a running sum spoils what follows, at a token one can name; a re-check
costs two tokens and teaches nothing. A model that imitates a demonstrator who slips and dithers has room to improve in both.
(Terms stand side by side, without signs, so that each running sum is as far behind its term as the next: a model of relative
positions then learns one place to look at, and learns it several times sooner.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from hierlab.checks import check_range
from hierlab.envs.digit_sum import DigitSum

WORDS = tuple("0123456789=?#$")
"""Every word that prompts and answers are made of."""
END = "$"
"""Ends an answer."""


@dataclass(frozen=True)
class ChainSum(DigitSum):
    """The sum of some digits; implements `Problem`.

    Attributes:
        digits: the terms, each from 0 to 9, at least two.
    """

    @property
    def prompt(self) -> str:
        """The terms, one blank between words."""
        return " ".join(map(str, self.digits)) + " ="

    @property
    def running_sums(self) -> tuple[int, ...]:
        """The sums of the first two terms, of the first three, and so on, modulo ten."""
        return tuple(total % 10 for total in accumulate(self.digits))[1:]

    @property
    def answer(self) -> str:
        """The shortest right answer."""
        return written(self.running_sums, (), self.running_sums[-1])

    def verify(self, response: str) -> float:
        """1 if the form is right (a digit for each running sum, re-checks, the answer, the end) and the answer is the sum; else 0.

        Neither running sums nor re-checks need be right: a lucky guess counts.
        """
        form = rf"[0-9]{{{len(self.digits) - 1}}}(\?[0-9])*#{self.running_sums[-1]}\{END}"
        return float(re.fullmatch(form, "".join(response.split())) is not None)

    def first_slip(self, response: str) -> int | None:
        """Place of the first word that is not the running sum that follows from the one before it; None if all are."""
        words = "".join(response.split()).ljust(len(self.digits) - 1)
        before = self.digits[0]
        for place, term in enumerate(self.digits[1:]):
            if words[place] != str((before + term) % 10):
                return place
            before = int(words[place])
        return None


@dataclass(frozen=True)
class Demonstrator:
    """Somebody who shows how chain sums are answered, not too well.

    Attributes:
        slip: probability that a running sum is replaced by another digit, from which the chain goes on.
        recheck: probability of a re-check, and after it of a further one.
        most_rechecks: how many there are at most.
        flip: probability that a re-check replaces the answer by another digit.
    """

    slip: float = 0.12
    recheck: float = 0.5
    most_rechecks: int = 4
    flip: float = 0.15

    def __post_init__(self):
        for name in ("slip", "recheck", "flip"):
            check_range(name, getattr(self, name), 0, 1)
        check_range("most_rechecks", self.most_rechecks, 0)

    def __call__(self, problem: ChainSum, generator: torch.Generator) -> str:
        """One demonstration: its form is right, and its answer unless a slip or a flip has spoilt it."""
        draws = len(problem.digits) - 1 + 2 * self.most_rechecks
        chance = iter(torch.rand(draws, generator=generator, dtype=torch.float64).tolist())
        total, sums, checks = problem.digits[0], [], []
        for term in problem.digits[1:]:
            total = _mistaken((total + term) % 10, next(chance), self.slip)
            sums.append(total)
        while len(checks) < self.most_rechecks and next(chance) < self.recheck:
            total = _mistaken(total, next(chance), self.flip)
            checks.append(total)
        return written(sums, checks, total)


def written(sums: Sequence[int], checks: Sequence[int], answer: int) -> str:
    """An answer as it is written, one blank between words.

    >>> written((7, 6, 7), (7,), 7)
    '7 6 7 ? 7 # 7 $'
    """
    return " ".join([*map(str, sums), *(f"? {check}" for check in checks), f"# {answer} {END}"])


def chain_sums(terms: int, number: int, *, generator: torch.Generator) -> list[ChainSum]:
    """Random problems, all different.

    Args:
        terms: number of terms of each.
        number: how many problems.
        generator: draws the terms.

    Raises:
        ValueError: if `terms` is below two, or there are not so many problems.
    """
    if terms < 2 or not 0 <= number <= 10**terms:
        raise ValueError(f"a chain sum has at least two terms, and 10^terms are different; got terms={terms}, number={number}")
    drawn: dict[ChainSum, None] = {}
    while missing := number - len(drawn):
        digits = torch.randint(10, (missing, terms), generator=generator).tolist()
        drawn |= dict.fromkeys(ChainSum(tuple(row)) for row in digits)
    return list(drawn)


def _mistaken(digit: int, chance: float, probability: float) -> int:
    """The digit, or with some probability any of the nine others; `chance` is uniform in [0, 1)."""
    return (digit + 1 + int(9 * chance / probability)) % 10 if chance < probability else digit
