"""Language models as judges of a few generated items: does the harness ask, swap, read and credit as it should?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hierlab.envs.reward_questions import Question, questions
from hierlab.models import load
from hierlab.reward import Item, JudgeReport, evaluate_judge
from hierlab.reward.harness import FIRST
from hierlab.reward.judge import LETTERS, FirstAnswer, Judge
from hierlab.rollout.text_judge import TextJudge
from hierlab.seeds import generator

DOMAINS = ("Math", "Factuality")
"""Arithmetic and plain facts: what even a small language model has met."""


def judge_items(number: int, *, seed: int = 0) -> list[Item]:
    """Items whose right answer can be checked, of both domains alternately.

    Args:
        number: how many.
        seed: draws questions and answers.

    Raises:
        ValueError: if the number is below 1.
    """
    if number < 1:
        raise ValueError(f"a judge needs at least one item, got {number}")
    draw = generator(seed, "judge items")
    pools = [questions(domain) for domain in DOMAINS]
    return [_drawn(pools[place % len(pools)], str(place), draw) for place in range(number)]


def judge_small_items(
    name: str, number: int, *, seed: int = 0, report: Callable[..., None] | None = None
) -> dict[str, float | list[float]]:
    """What a judge earns on such items when it ranks, and where it looks.

    Args:
        name: "first answer", or a language model as `hierlab.models.load` knows it.
        number: of items.
        seed: draws items and places.
        report: called with (done, total).

    Returns:
        `score` (mean credit), `errors` (share of verdicts that could not be read), `read_score` (credit where one could be; chance if
        none could), and the lists `held` and `chose`: how often each of A, B, C, D (and no letter) held the right answer and was chosen.
    """
    judge: Judge = FirstAnswer() if name == FIRST else TextJudge(load(name))
    found = evaluate_judge(judge, judge_items(number, seed=seed), seed=seed)
    if report:
        report(1, 1)
    return {"score": found.final, "errors": found.errors, "read_score": read_score(found), **_places(found)}


def read_score(found: JudgeReport) -> float:
    """Share of right verdicts among those that could be read; 1/4 if none could."""
    read = [verdict == LETTERS[place] for verdict, place in zip(found.verdicts, found.places, strict=True) if verdict != "error"]
    return sum(read) / len(read) if read else 0.25


def _places(found: JudgeReport) -> dict[str, list[float]]:
    held = [float(found.places.count(place)) for place in range(4)]
    return {"held": [*held, 0.0], "chose": [float(count) for count in found.chosen().values()]}


def _drawn(pool: Sequence[Question], name: str, draw: torch.Generator) -> Item:
    """An item of a question drawn at random."""
    return pool[int(torch.randint(len(pool), (), generator=draw))].item(name, draw)
