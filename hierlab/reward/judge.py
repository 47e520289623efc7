r"""Language models as judges ("generative reward models" in RewardBench 2): what they are asked, how their verdict is read.

There are two ways of asking. **Ranking** shows all four answers, *A* to *D*, and wants the letter of the best. The right answer is first
swapped with a place drawn uniformly, since judges favour places. **Ratings** shows each answer alone and wants a whole number from 1 to
10. Ties can only be asked this way, whose ratings are then scores like any others.

The words of the prompts are our own. What is read out of the replies, and what they earn, is the released code's to the letter: a
verdict is the first of `[[A]]`, `[[B]]`, `[[C]]`, `[[D]]` *in that order* that stands anywhere in the text, and a rating is a number at
its very end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from hierlab.checks import check_range

LETTERS = ("A", "B", "C", "D")
Verdict = Literal["A", "B", "C", "D", "error"]
FAILED = -1
"""The rating of a reply that has none."""
_RATING = re.compile(r"\b([1-9]|10)\b\s*$")


class Judge(Protocol):
    """A language model that replies to prompts."""

    def reply(self, prompts: Sequence[str]) -> list[str]:
        """One text for each prompt."""


@dataclass(frozen=True)
class FirstAnswer:
    """The judge that always takes the first answer, and rates everything alike: what a judge must beat."""

    def reply(self, prompts: Sequence[str]) -> list[str]:
        """[[A]] and a 5: either parser finds its own."""
        return ["[[A]] 5"] * len(prompts)


def ranking_prompt(question: str, answers: Sequence[str]) -> str:
    """The text that asks for the best of four answers.

    Raises:
        ValueError: if there are not four.
    """
    _check_four(answers)
    shown = "\n\n".join(
        f"[Answer of assistant {letter}]\n{answer}\n[End of assistant {letter}'s answer]"
        for letter, answer in zip(LETTERS, answers, strict=True)
    )
    return (
        "You are an impartial judge. Four assistants answered the question below. Decide which answer follows the question best: "
        "is it right, relevant and helpful? Neither the order of the answers nor their length may count. Explain in one short "
        'sentence, then end with the letter of the best answer in double brackets: "[[A]]", "[[B]]", "[[C]]" or "[[D]]".\n\n'
        f"[Question]\n{question}\n\n{shown}"
    )


def rating_prompt(question: str, answer: str, *, ties: bool = False) -> str:
    """The text that asks for a rating of one answer.

    Args:
        question: what was asked.
        answer: the answer.
        ties: leave depth and detail out of what counts, as the Ties domain does: its right answers differ in these.
    """
    counts = "helpful, relevant and right" if ties else "helpful, relevant, right, deep and detailed"
    return (
        f"You are an impartial judge. Is the answer below {counts}? Explain in one short sentence, then rate it from 1 to 10. End with "
        f"that number alone, with nothing behind it.\n\n[Question]\n{question}\n\n[Answer]\n{answer}\n\n[Rating]"
    )


def swapped(answers: Sequence[str], place: int) -> tuple[str, ...]:
    """The answers with the first one swapped to a place; the others keep theirs.

    Args:
        answers: the right one first.
        place: 0 to 3.

    Raises:
        ValueError: if there are not four answers, or no such place.
    """
    _check_four(answers)
    if place not in range(4):
        raise ValueError(f"place must be 0, 1, 2 or 3, got {place!r}")
    result = list(answers)
    result[0], result[place] = result[place], result[0]
    return tuple(result)


def parse_verdict(reply: str) -> Verdict:
    """The letter that a reply decides for: the first of [[A]], [[B]], [[C]], [[D]], in this order, that it contains anywhere.

    >>> parse_verdict("At first I thought [[C]], but it is [[B]]")
    'B'
    """
    return next((letter for letter in LETTERS if f"[[{letter}]]" in reply), "error")


def parse_rating(reply: str) -> int:
    """The whole number from 1 to 10 at the end of a reply, -1 if there is none.

    >>> tuple(parse_rating(text) for text in ("Good.\\n\\n9", "Score 7/10", "8.", "0"))
    (9, 10, -1, -1)
    """
    found = _RATING.search(reply.strip())
    return int(found[1]) if found else FAILED


def majority(verdicts: Sequence[Verdict]) -> Verdict:
    """What an odd number of judges decides together: the verdict that most of them gave.

    "error" is a verdict like the others, as in the released code. That code takes one of several verdicts that are equally frequent
    by the order of a set of texts, which differs from run to run; here such a vote is an error.

    Raises:
        ValueError: if the number of judges is even, or a verdict is unknown.
    """
    if len(verdicts) % 2 == 0:
        raise ValueError(f"an ensemble needs an odd number of judges, got {len(verdicts)}")
    if unknown := [verdict for verdict in verdicts if verdict not in (*LETTERS, "error")]:
        raise ValueError(f"a verdict is one of A, B, C, D and error, got {unknown[0]!r}")
    first, *others = Counter(verdicts).most_common(2)
    return "error" if others and others[0][1] == first[1] else first[0]


def verdict_credit(verdict: Verdict, place: int, *, error: float = 0.25) -> float:
    """What a verdict earns: 1 if it is the letter of the place where the right answer stood, 0 if another, and chance for none.

    Raises:
        ValueError: if there is no such place, or the credit for an error is not in [0, 1].
    """
    check_range("error", error, 0, 1)
    if place not in range(4):
        raise ValueError(f"place must be 0, 1, 2 or 3, got {place!r}")
    return error if verdict == "error" else float(verdict == LETTERS[place])


def rating_credit(ratings: Sequence[int], *, error: float = 0.25) -> float:
    """What ratings earn, the right answer's first: its share among the top-rated; chance if no reply could be read.

    Raises:
        ValueError: if there is no rating, one is neither 1 to 10 nor -1, or the credit for an error is not in [0, 1].
    """
    check_range("error", error, 0, 1)
    if not ratings or any(rating not in (FAILED, *range(1, 11)) for rating in ratings):
        raise ValueError(f"ratings are whole numbers from 1 to 10, or -1 for none, got {list(ratings)}")
    best = max(ratings)
    if best == FAILED:
        return error
    return float(ratings[0] == best) / sum(rating == best for rating in ratings)


def _check_four(answers: Sequence[str]) -> None:
    if len(answers) != 4:
        raise ValueError(f"a ranking is of four answers, got {len(answers)}")
