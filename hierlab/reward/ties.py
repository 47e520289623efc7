r"""The Ties score of RewardBench 2: several answers are right, and a reward model should not prefer one of them much.

Every prompt $p$ of this domain comes twice: as `ref:p`, with exactly one right answer, and as `tied:p`, with several. In each row, with
$C$ the scores of right and $I$ those of wrong answers, the *gap* is $g=\min C-\max I$ and, where several are right, the *spread* is
$d=\max C-\min C$. The score asks whether right answers stand above wrong ones, and whether they stand closer together than that:

$$A=\overline{[g>0]},\quad P=\overline{[g^{tied}>d]},\quad H=\overline{[\min(g^{ref},g^{tied})>d]},\quad
B=\overline{\tanh\Big(\frac{\min(g^{ref},g^{tied})}{d}-1\Big)}$$

$$\text{Ties}=0.30A^{tied}+0.30A^{ref}+0.20P+0.20H+0.01B$$

The paper says this in words only ("a weighted score of accuracy and margin"); the numbers are the released code's, and so are three
things one may trip over, which `variant` keeps or mends:

* **official** (the default: published scores are made with it). The weights add up to 1.01, so a perfect model scores 1.01. A
  hopeless one can score less than 0. Where gap and spread are both 0, as for a model that says the same to everything, $B$ counts 0,
  which is *more* than a spread of almost 0 would give.
* **corrected**. The weights are divided by 1.01, the sum is at least 0, and $0/0$ counts $\tanh(-1)$, which a gap of 0 gives over every
  spread above 0. The score lies in [0, 1], and a constant model has exactly 0 of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hierlab.checks import check_choice
from hierlab.reward.groups import as_groups
from hierlab.trace import show

Variant = Literal["official", "corrected"]
WEIGHTS: Mapping[str, float] = {
    "tied accuracy": 0.30,
    "ref accuracy": 0.30,
    "preferred": 0.20,
    "preferred, hard": 0.20,
    "margin": 0.01,
}
"""The five terms and their weights, as released."""


@dataclass(frozen=True)
class TiesRow:
    """The scores of one prompt's answers.

    Attributes:
        id: "ref:p" or "tied:p", where p names the prompt.
        scores: of all answers, the right ones first.
        num_correct: how many are right: 1 in a `ref` row, at least 2 in a `tied` row; at least one more must be wrong.
    """

    id: str
    scores: Sequence[float]
    num_correct: int

    def __post_init__(self):
        if self.kind not in ("ref", "tied") or not self.prompt:
            raise ValueError(f"a row of the Ties domain is named ref:<prompt> or tied:<prompt>, got {self.id!r}")
        if not 1 <= self.num_correct < len(self.scores):
            raise ValueError(f"row {self.id} needs a right and a wrong answer, got {self.num_correct} right ones of {len(self.scores)}")
        if self.kind == "ref" and self.num_correct != 1:
            raise ValueError(f"row {self.id} is a reference, where exactly one answer is right, got {self.num_correct}")
        if self.kind == "tied" and self.num_correct == 1:
            raise ValueError(f"row {self.id} needs at least two right answers: with one there is no spread to compare the gap with")

    @property
    def kind(self) -> str:
        """ "ref" or "tied"."""
        return self.id.partition(":")[0]

    @property
    def prompt(self) -> str:
        """Names the prompt that both rows share."""
        return self.id.partition(":")[2]


@dataclass(frozen=True)
class TiesScore:
    """The score and what it is made of. P prompts have both rows.

    Attributes:
        prompts: [P] their names, in order of appearance.
        spread: [P] d, from the tied row.
        tied_gap: [P] g of the tied row.
        ref_gap: [P] g of the reference row.
        shares: the five terms before weighting, by the names in `WEIGHTS`.
        variant: which rules were used.
    """

    prompts: tuple[str, ...]
    spread: np.ndarray
    tied_gap: np.ndarray
    ref_gap: np.ndarray
    shares: Mapping[str, float]
    variant: Variant

    @property
    def terms(self) -> dict[str, float]:
        """What each of the five adds to the score."""
        total = 1.0 if self.variant == "official" else sum(WEIGHTS.values())
        return {name: weight / total * self.shares[name] for name, weight in WEIGHTS.items()}

    @property
    def overall(self) -> float:
        """The score."""
        total = float(sum(self.terms.values()))
        return total if self.variant == "official" else min(1.0, max(0.0, total))


def ties_score(rows: Iterable[TiesRow], *, variant: Variant = "official") -> TiesScore:
    """Score the Ties domain.

    Args:
        rows: `ref` and `tied` rows in any order. Accuracies are means over all rows of a kind; the other terms are means over the
            prompts that have both. Without any row of a kind its accuracy would be 0, but then no prompt has both.
        variant: "official" or "corrected", see above.

    Returns:
        The score, its terms, and gaps and spreads by prompt.

    Raises:
        ValueError: if two rows have one id, no prompt has both rows, or a score is not finite; for badly formed rows see `TiesRow`.

    Source: arXiv 2506.01937, Section 3; allenai/reward-bench@05a9005 `rewardbench/utils.py`, `process_single_model`.
    """
    check_choice("variant", variant, Variant)
    rows = list(rows)
    by_kind: dict[str, dict[str, int]] = {"ref": {}, "tied": {}}
    for number, row in enumerate(rows):
        if row.prompt in by_kind[row.kind]:
            raise ValueError(f"two rows are named {row.id}")
        by_kind[row.kind][row.prompt] = number
    prompts = tuple(prompt for prompt in by_kind["tied"] if prompt in by_kind["ref"])
    if not prompts:
        raise ValueError("the Ties score compares tied:<prompt> with ref:<prompt>, but no prompt has both rows")
    spread, gap = spread_and_gap(rows)
    ref, tied = (np.array([by_kind[kind][prompt] for prompt in prompts]) for kind in ("ref", "tied"))
    show("gap with one right answer", gap[ref], r"g^{ref}=min C-max I")
    show("gap with several right answers", gap[tied], r"g^{tied}=min C-max I")
    show("spread of the right answers", spread[tied], r"d=max C-min C")
    smaller = show("smaller gap", np.minimum(gap[ref], gap[tied]), r"min(g^{ref},g^{tied})")
    preferred = show("preferred", (gap[tied] > spread[tied]).astype(float), r"[g^{tied}>d]")
    hard = show("preferred, hard", (smaller > spread[tied]).astype(float), r"[min(g^{ref},g^{tied})>d]")
    margin = show("margin", margin_term(smaller, spread[tied], variant=variant), r"tanh(min(g^{ref},g^{tied})/d-1)")
    accurate = {kind: float(np.mean([gap[number] > 0 for number in numbers.values()])) for kind, numbers in by_kind.items()}
    shares = {
        "tied accuracy": accurate["tied"],
        "ref accuracy": accurate["ref"],
        "preferred": float(preferred.mean()),
        "preferred, hard": float(hard.mean()),
        "margin": float(margin.mean()),
    }
    return TiesScore(prompts, spread[tied], gap[tied], gap[ref], shares, variant)


def margin_term(gap: np.ndarray, spread: np.ndarray, *, variant: Variant = "official") -> np.ndarray:
    r"""$\tanh(g/d-1)$ with its limits: a spread of 0 gives 1 above and -1 below a gap of 0, and at it 0 or (corrected) tanh(-1).

    Args:
        gap: any shape.
        spread: the same shape, not negative.
        variant: as in `ties_score`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        term = np.tanh(np.asarray(gap, dtype=float) / np.asarray(spread, dtype=float) - 1)
    return np.where(np.isnan(term), 0.0 if variant == "official" else np.tanh(-1.0), term)


def spread_and_gap(rows: Sequence[TiesRow]) -> tuple[np.ndarray, np.ndarray]:
    """Of every row: largest minus smallest right score, and smallest right minus largest wrong one. [N], [N]"""
    groups = as_groups("scores", [row.scores for row in rows])
    right = groups.spread(np.array([row.num_correct for row in rows])) > np.arange(len(groups.flat)) - groups.spread(groups.starts)
    worst = groups.reduce(np.minimum, np.where(right, groups.flat, np.inf))
    best = groups.reduce(np.maximum, np.where(right, groups.flat, -np.inf))
    wrong = groups.reduce(np.maximum, np.where(right, -np.inf, groups.flat))
    return best - worst, worst - wrong
