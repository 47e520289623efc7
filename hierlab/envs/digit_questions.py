r"""Questions about a digit, answered in words: a verifiable problem in which an answer plans before it computes.

`tripled 4 ?` asks to triple a digit (modulo ten) over and over, and may be answered `we multiply by three 2 6 so we go on 8 4`. The
opening phrase chooses a *method*; each kind of question has one that answers it, and each method two phrases. Each digit behind it is
what the method makes of the one before. Half-way a second phrase chooses a *course*: on from there, again from the start, or no
further. Only the last digits are verified.

So an answer can fail in two ways, and `DigitQuestion.outcome` tells them apart: its plan was wrong (a method for another question, or the
rest left out), or a right plan was carried out wrongly. `Pupil` demonstrates both, at rates of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
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
"""For each kind of question, the method that answers it: what becomes of a digit. All ten digits come out equally often."""

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
"""How an answer goes on half-way: on from there, again from the start, or no further."""

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
        start: the digit to begin with, from 0 to 9.
        steps: how many digits are wanted, at least two.
    """

    kind: str
    start: int
    steps: int = 4

    def __post_init__(self):
        if self.kind not in METHODS:
            raise ValueError(f"a question is one of {', '.join(METHODS)}, got {self.kind!r}")
        if isinstance(self.start, bool) or not isinstance(self.start, int) or not 0 <= self.start <= 9:
            raise ValueError(f"a question starts with a digit from 0 to 9, got {self.start!r}")
        if self.steps < 2:
            raise ValueError(f"a question wants at least two digits, got {self.steps}")

    @property
    def id(self) -> str:
        """Names the question; those with another number of steps are named alike, as their prompts are."""
        return f"{self.kind} {self.start}"

    @property
    def prompt(self) -> str:
        """The question, one blank between words."""
        return f"{self.kind} {self.start} ?"

    @property
    def results(self) -> tuple[int, ...]:
        """The wanted digits."""
        method = METHODS[self.kind]
        return tuple(accumulate(range(self.steps), lambda digit, _: method(digit), initial=self.start))[1:]

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


def digit_questions(steps: int = 4) -> list[DigitQuestion]:
    """Every question there is: each kind with each digit.

    Args:
        steps: how many digits are wanted.

    Raises:
        ValueError: if fewer than two are.
    """
    return [DigitQuestion(kind, start, steps) for kind in METHODS for start in range(10)]


@dataclass(frozen=True)
class Pupil:
    """Somebody who plans and computes with some luck.

    The two phrases for one thing are equally likely, and so are the three courses.

    Attributes:
        sense: probability that the method is the right one; else each of the others is as likely.
        skill: probability that a digit follows rightly from the one before; else it is any other one, from which the answer goes on.
    """

    sense: float = 0.4
    skill: float = 0.97

    def __post_init__(self):
        check_range("sense", self.sense, 0, 1)
        check_range("skill", self.skill, 0, 1)

    def __call__(self, question: DigitQuestion, generator: torch.Generator) -> str:
        """One demonstration."""
        u = torch.rand(5 + 2 * question.steps, generator=generator, dtype=torch.float64).tolist()
        others = [kind for kind in METHODS if kind != question.kind]
        method = question.kind if u[0] < self.sense else _pick(others, u[1])
        opening, course = _pick(OPENINGS[method], u[2]), _pick(COURSES[_pick(tuple(COURSES), u[3])], u[4])
        slips = [0 if x < self.skill else _pick(range(1, 10), (x - self.skill) / (1 - self.skill)) for x in u[5:]]
        return written(question.start, question.steps, opening, course, slips)


def written(start: int, steps: int, opening: str, course: str, slips: Sequence[int] = ()) -> str:
    """The answer that begins with this phrase and goes on with that one.

    Args:
        start: the question's digit.
        steps: how many digits are wanted; half of them, rounded up, are written before the second phrase.
        opening: one of the phrases of `OPENINGS`.
        course: one of the phrases of `COURSES`.
        slips: what is added, modulo ten, to each digit that is written, in their order; nothing to those beyond.

    Raises:
        ValueError: if one of the phrases is unknown.

    >>> written(4, 4, "we multiply by three", "so we go on")
    'we multiply by three 2 6 so we go on 8 4'
    """
    method = next((METHODS[name] for name, phrases in OPENINGS.items() if opening in phrases), None)
    name = next((name for name, phrases in COURSES.items() if course in phrases), None)
    if method is None or name is None:
        raise ValueError(f"an answer begins with a phrase of OPENINGS and goes on with one of COURSES, got {opening!r} and {course!r}")
    added = chain(slips, repeat(0))

    def run(digit: int, number: int) -> list[int]:
        return list(accumulate(range(number), lambda before, _: (method(before) + next(added)) % 10, initial=digit))[1:]

    first = run(start, (steps + 1) // 2)
    rest = {"on": (first[-1], steps // 2), "again": (start, steps), "skip": (start, 0)}[name]
    return " ".join([opening, *map(str, first), course, *map(str, run(*rest))])


def _pick(choices: Sequence, uniform: float):
    """One of the choices, by a number uniform in [0, 1)."""
    return choices[min(int(uniform * len(choices)), len(choices) - 1)]
