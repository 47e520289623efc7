"""Put any reward model, or any language model that judges, through a benchmark, and set baselines that know nothing beside it.

report = evaluate(model, items)
report.domains["Math"], report.final
table({**evaluate_baselines(items), "ours": report})
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from hierlab.checks import check_choice
from hierlab.reward.best_of_n import best_of_n_credit
from hierlab.reward.interface import BASELINES, RewardModel
from hierlab.reward.items import Item, check_items
from hierlab.reward.judge import (
    LETTERS,
    FirstAnswer,
    Judge,
    Verdict,
    majority,
    parse_rating,
    parse_verdict,
    ranking_prompt,
    rating_credit,
    rating_prompt,
    swapped,
    verdict_credit,
)
from hierlab.reward.rewardbench2 import DOMAINS, final_score, missing_domains
from hierlab.reward.ties import TiesRow, TiesScore, Variant, ties_score
from hierlab.seeds import generator

Mode = Literal["ranking", "ratings"]
FIRST = "first answer"
"""The baseline that is a judge."""


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Attributes:
        domains: score by domain, in the order of `DOMAINS`.
        credits: [G] what each prompt earned, by domain; none for Ties, which has no score by prompt.
        scores: the scores or ratings of each item, by domain and id; none where a judge ranked.
        ties: the Ties score in parts; None without that domain.
    """

    domains: Mapping[str, float]
    credits: Mapping[str, np.ndarray]
    scores: Mapping[tuple[str, str], tuple[float, ...]]
    ties: TiesScore | None

    @property
    def final(self) -> float:
        """The mean of the domains there are; `missing` says which are not."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return final_score(self.domains)

    @property
    def missing(self) -> tuple[str, ...]:
        """The domains without a score."""
        return missing_domains(self.domains)


@dataclass(frozen=True)
class JudgeReport(Report):
    """What a benchmark found about a judge that ranks.

    Attributes:
        places: [G] where the right answer stood, 0 to 3, in the order of the ranked items; empty where the judge rated.
        verdicts: [G] what the judge said.
    """

    places: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def errors(self) -> float:
        """Share of verdicts that could not be read; 0 if nothing was ranked."""
        return self.verdicts.count("error") / max(1, len(self.verdicts))

    def chosen(self) -> dict[str, int]:
        """How often each letter, and none, was chosen."""
        return {letter: self.verdicts.count(letter) for letter in (*LETTERS, "error")}


def evaluate(model: RewardModel, items: Sequence[Item], *, variant: Variant = "official") -> Report:
    """Score every answer of every item, and the domains by the benchmark's rules.

    Args:
        model: anything with `score(prompts, responses)`.
        items: of any of the six domains.
        variant: of the Ties score.

    Raises:
        ValueError: if there is no item, two share a name, or the model does not give one finite number for each answer.
    """
    check_items(items)
    prompts = [item.prompt for item in items for _ in item.responses]
    given = torch.as_tensor(model.score(prompts, [response for item in items for response in item.responses]))
    if given.shape != (len(prompts),):
        raise ValueError(f"a reward model gives one number for each response, [{len(prompts)}], got shape {tuple(given.shape)}")
    sizes = [len(item.responses) for item in items]
    flat = given.detach().cpu().tolist()
    ends = np.cumsum(sizes).tolist()
    scores = {(item.domain, item.id): tuple(flat[end - size : end]) for item, size, end in zip(items, sizes, ends, strict=True)}
    _check_finite(scores)
    return Report(**_scored(items, scores, variant))


def evaluate_judge(
    judge: Judge | Sequence[Judge], items: Sequence[Item], *, mode: Mode = "ranking", seed: int = 0, variant: Variant = "official"
) -> JudgeReport:
    """Ask a language model, or an odd number of them, which answers are best.

    Args:
        judge: replies to prompts; several vote, which only a ranking allows.
        items: of any domain; outside Ties a ranking wants four answers each.
        mode: "ranking" or "ratings"; Ties is rated in either.
        seed: draws the place where each right answer is shown.
        variant: of the Ties score.

    Raises:
        ValueError: as `evaluate`; if the number of judges is even; or if several are to rate.
    """
    check_items(items)
    check_choice("mode", mode, Mode)
    judges = list(judge) if isinstance(judge, Sequence) else [judge]
    rated = [item for item in items if mode == "ratings" or item.domain == "Ties"]
    ranked = [item for item in items if mode == "ranking" and item.domain != "Ties"]
    if len(judges) % 2 == 0 or (len(judges) > 1 and rated):
        raise ValueError(f"an odd number of judges may rank and one may rate, got {len(judges)} and {len(rated)} items to rate")
    places = tuple(torch.randint(4, (len(ranked),), generator=generator(seed, "places of right answers")).tolist())
    shown = [ranking_prompt(i.prompt, swapped(i.responses, place)) for i, place in zip(ranked, places, strict=True)]
    votes = [[parse_verdict(text) for text in _replies(one, shown)] for one in judges]
    verdicts = tuple(majority(each) for each in zip(*votes, strict=True)) if ranked else ()
    earned = [verdict_credit(verdict, place) for verdict, place in zip(verdicts, places, strict=True)]

    ratings = _ratings(judges[0], rated)
    found = _scored(rated, ratings, variant, by_rating=True)
    for domain in DOMAINS:
        own = np.array([credit for item, credit in zip(ranked, earned, strict=True) if item.domain == domain])
        if len(own):
            found["credits"][domain], found["domains"][domain] = own, float(own.mean())
    found["domains"] = {domain: found["domains"][domain] for domain in DOMAINS if domain in found["domains"]}
    return JudgeReport(**found, places=places, verdicts=verdicts)


def evaluate_baselines(items: Sequence[Item], *, seed: int = 0, variant: Variant = "official") -> dict[str, Report]:
    """The four that know nothing: constant, random, the longest answer, and the first answer.

    The first answer is left out where an item outside Ties has not four answers, since a judge could not name it by a letter.

    Raises:
        ValueError: as `evaluate`.
    """
    four = all(len(item.responses) == 4 for item in items if item.domain != "Ties")
    names = [*BASELINES, *([FIRST] if four else [])]
    return {name: evaluate_baseline(name, items, seed=seed, variant=variant) for name in names}


def evaluate_baseline(name: str, items: Sequence[Item], *, seed: int = 0, variant: Variant = "official") -> Report:
    """One of them.

    Args:
        name: a key of `BASELINES`, or "first answer": that of a judge who always takes the first of four, the right one among them in
            a random place.
        items: as in `evaluate`.
        seed: draws these places.
        variant: of the Ties score.

    Raises:
        ValueError: if there is no such baseline; or as `evaluate`.
    """
    if name == FIRST:
        return evaluate_judge(FirstAnswer(), items, seed=seed, variant=variant)
    if name not in BASELINES:
        raise ValueError(f"no baseline {name!r}; there are {', '.join([*BASELINES, FIRST])}")
    return evaluate(BASELINES[name], items, variant=variant)


def table(reports: Mapping[str, Report]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: one row a model, one column a domain, in per cent; domains that a model was not tested in are empty."""
    columns = ["model", "mean", *DOMAINS]
    rows = [
        [name, f"{100 * report.final:.1f}", *(f"{100 * report.domains[d]:.1f}" if d in report.domains else "" for d in DOMAINS)]
        for name, report in reports.items()
    ]
    return columns, rows


def _ratings(judge: Judge, items: Sequence[Item]) -> dict[tuple[str, str], tuple[float, ...]]:
    """What the judge rates each answer of each item."""
    asked = [(item, rating_prompt(item.prompt, response, ties=item.domain == "Ties")) for item in items for response in item.responses]
    replies = iter(_replies(judge, [text for _, text in asked]))
    return {(item.domain, item.id): tuple(parse_rating(next(replies)) for _ in item.responses) for item in items}


def _replies(judge: Judge, prompts: list[str]) -> list[str]:
    replies = judge.reply(prompts) if prompts else []
    if len(replies) != len(prompts):
        raise ValueError(f"a judge gives one reply for each prompt, got {len(replies)} for {len(prompts)}")
    return replies


def _scored(items: Sequence[Item], scores: Mapping, variant: Variant, *, by_rating: bool = False) -> dict:
    """The fields of a report that follow from scores."""
    earned: dict[str, np.ndarray] = {}
    domains: dict[str, float] = {}
    for domain in DOMAINS[:-1]:
        groups = [scores[domain, item.id] for item in items if item.domain == domain]
        if groups:
            earned[domain] = np.array([rating_credit(group) for group in groups]) if by_rating else best_of_n_credit(groups)
            domains[domain] = float(earned[domain].mean())
    rows = [TiesRow(item.id, scores["Ties", item.id], item.num_correct) for item in items if item.domain == "Ties"]
    ties = ties_score(rows, variant=variant) if rows else None
    if ties:
        domains["Ties"] = ties.overall
    return {"domains": domains, "credits": earned, "scores": dict(scores), "ties": ties}


def _check_finite(scores: Mapping[tuple[str, str], tuple[float, ...]]) -> None:
    for (domain, name), values in scores.items():
        if not np.isfinite(values).all():
            raise ValueError(f"the model's scores of item {name} of {domain} must be finite, got {list(values)}")
