r"""Questions about a row of digits, answered in words: a verifiable problem in which an answer plans before it computes.

`mirrored 3 7 2 9 ?` may be answered `we subtract from nine 6 2 so we go on 7 0`. The opening phrase chooses a *method*; each kind of
question has one that answers it, and each method two phrases. The digits behind it are what the method makes of the row. Half-way
a second phrase chooses a *course*: on with the rest, again from the start, or no further. Only the last digits are verified.

So an answer can fail in two ways, and `DigitQuestion.outcome` tells them apart: its plan was wrong (a method for another question, or the
rest left out), or a right plan was carried out wrongly. `Pupil` demonstrates both, at rates of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Literal

import torch

from hierlab.checks import check_range

METHODS: Mapping[str, Callable[[int], int]] = {
    "following": lambda digit: (digit + 1) % 10,
    "preceding": lambda digit: (digit - 1) % 10,
    "mirrored": lambda digit: 9 - digit,
    "tripled": lambda digit: 3 * digit % 10,
    "opposite": lambda digit: (digit + 5) % 10,
    "repeated": lambda digit: digit,
}
"""For each kind of question, the method that answers it: what becomes of each digit. All ten digits come out equally often."""

OPENINGS: Mapping[str, tuple[str, ...]] = {
    "following": ("let us add one", "we step up once"),
    "preceding": ("let us take one", "we step down once"),
    "mirrored": ("let us mirror all", "we subtract from nine"),
    "tripled": ("let us triple all", "we multiply by three"),
    "opposite": ("let us add five", "we go half way"),
    "repeated": ("let us copy all", "we keep them all"),
}
"""How an answer begins, by method."""

Course = Literal["on", "again", "skip"]
COURSES: Mapping[Course, tuple[str, ...]] = {
    "on": ("so we go on", "then comes the rest"),
    "again": ("now start over again", "better check that first"),
    "skip": ("that should be enough", "no need for more"),
}
"""How an answer goes on half-way: with the remaining digits, with all of them from the first, or no further."""

PHRASES = tuple(phrase for phrases in (*OPENINGS.values(), *COURSES.values()) for phrase in phrases)
"""Every phrase that plans."""
WORDS = (*PHRASES, *METHODS, "0 1 2 3 4 5 6 7 8 9 ?")
"""Texts that hold every word of questions and answers."""

Outcome = Literal["right", "planning", "execution"]


@dataclass(frozen=True)
class DigitQuestion:
    """One question; implements `Problem`.

    Attributes:
        kind: what is asked, a key of `METHODS`.
        digits: each from 0 to 9, at least two.
    """

    kind: str
    digits: tuple[int, ...]

    def __post_init__(self):
        if self.kind not in METHODS:
            raise ValueError(f"a question is one of {', '.join(METHODS)}, got {self.kind!r}")
        if len(self.digits) < 2 or any(isinstance(d, bool) or not isinstance(d, int) or not 0 <= d <= 9 for d in self.digits):
            raise ValueError(f"a question needs at least two digits, each an integer from 0 to 9, got {self.digits!r}")

    @property
    def id(self) -> str:
        """Names the question."""
        return f"{self.kind} {''.join(map(str, self.digits))}"

    @property
    def prompt(self) -> str:
        """The question, one blank between words."""
        return f"{self.kind} {' '.join(map(str, self.digits))} ?"

    @property
    def results(self) -> tuple[int, ...]:
        """What the right method makes of the digits."""
        return tuple(map(METHODS[self.kind], self.digits))

    def verify(self, response: str) -> float:
        """1 if the response ends in a digit and its last digits are the results; else 0."""
        words = response.split()
        written = [word for word in words if re.fullmatch(r"\d", word)]
        expected = list(map(str, self.results))
        return float(written[-len(expected) :] == expected and words[-1] == expected[-1])

    def outcome(self, response: str) -> Outcome:
        """Whether the response is right, or else whether its plan or its execution failed."""
        if self.verify(response):
            return "right"
        method, course = plan_of(response)
        return "execution" if method == self.kind and course in ("on", "again") else "planning"


def plan_of(response: str) -> tuple[str | None, Course | None]:
    """The method of the opening phrase and the course of the second one; None for what cannot be read."""
    text = f" {' '.join(response.split())} "
    method = next((name for name, phrases in OPENINGS.items() if any(text.startswith(f" {phrase} ") for phrase in phrases)), None)
    course = next((name for name, phrases in COURSES.items() if any(f" {phrase} " in text for phrase in phrases)), None)
    return method, course


def digit_questions(number: int, *, digits: int, generator: torch.Generator) -> list[DigitQuestion]:
    """Random questions, all different.

    Args:
        number: how many.
        digits: how many digits each is about.
        generator: draws them.

    Raises:
        ValueError: if there are fewer than two digits, or not so many questions.
    """
    if digits < 2 or not 0 <= number <= len(METHODS) * 10**digits:
        raise ValueError(f"a question has at least two digits, and there are {len(METHODS)} * 10^digits; got {digits=}, {number=}")
    drawn: dict[DigitQuestion, None] = {}
    while missing := number - len(drawn):
        kinds = torch.randint(len(METHODS), (missing,), generator=generator).tolist()
        rows = torch.randint(10, (missing, digits), generator=generator).tolist()
        drawn |= dict.fromkeys(DigitQuestion(tuple(METHODS)[kind], tuple(row)) for kind, row in zip(kinds, rows, strict=True))
    return list(drawn)


@dataclass(frozen=True)
class Pupil:
    """Somebody who plans and computes with some luck.

    The two phrases for one thing are equally likely, and so are the three courses.

    Attributes:
        sense: probability that the method is the right one; else each of the others is as likely.
        skill: probability that a digit is right; else it is any other one.
    """

    sense: float = 0.4
    skill: float = 0.97

    def __post_init__(self):
        check_range("sense", self.sense, 0, 1)
        check_range("skill", self.skill, 0, 1)

    def __call__(self, question: DigitQuestion, generator: torch.Generator) -> str:
        """One demonstration."""
        u = torch.rand(5 + 2 * len(question.digits), generator=generator, dtype=torch.float64).tolist()
        others = [kind for kind in METHODS if kind != question.kind]
        method = question.kind if u[0] < self.sense else _pick(others, u[1])
        opening, course = _pick(OPENINGS[method], u[2]), _pick(COURSES[_pick(tuple(COURSES), u[3])], u[4])
        slips = [0 if x < self.skill else _pick(range(1, 10), (x - self.skill) / (1 - self.skill)) for x in u[5:]]
        return written(question.digits, opening, course, slips)


def written(digits: Sequence[int], opening: str, course: str, slips: Sequence[int] = ()) -> str:
    """The answer that begins with this phrase and goes on with that one.

    Args:
        digits: of the question.
        opening: one of the phrases of `OPENINGS`.
        course: one of the phrases of `COURSES`.
        slips: what is added, modulo ten, to each digit that is written, in their order; nothing to those beyond.

    Raises:
        ValueError: if one of the phrases is unknown.

    >>> written((3, 7, 2, 9), "we subtract from nine", "so we go on")
    'we subtract from nine 6 2 so we go on 7 0'
    """
    method = next((METHODS[name] for name, phrases in OPENINGS.items() if opening in phrases), None)
    name = next((name for name, phrases in COURSES.items() if course in phrases), None)
    if method is None or name is None:
        raise ValueError(f"an answer begins with a phrase of OPENINGS and goes on with one of COURSES, got {opening!r} and {course!r}")
    half = (len(digits) + 1) // 2
    parts = list(digits[:half]), {"on": list(digits[half:]), "again": list(digits), "skip": []}[name]
    added = chain(slips, repeat(0))
    first, rest = ([str((method(digit) + next(added)) % 10) for digit in part] for part in parts)
    return " ".join([opening, *first, course, *rest])


def _pick(choices: Sequence, uniform: float):
    """One of the choices, by a number uniform in [0, 1)."""
    return choices[min(int(uniform * len(choices)), len(choices) - 1)]
