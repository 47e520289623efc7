"""A paper's claims during one run: what was measured for each, and what follows. Verdicts are computed, never typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hierlab.lab.verdicts import NOT_TESTED, REFUTED, SUPPORTED, Direction, Judgement, Verdict, combine, judge
from hierlab.papers import Paper


@dataclass(frozen=True)
class Part:
    """One test of a claim, with the numbers it was made from."""

    part: str
    judgement: Judgement
    measured: list[float]
    baseline: list[float] | float
    direction: Direction
    margin: float
    over: str
    note: str

    def record(self) -> dict[str, Any]:
        """The part as the ledger holds it: numbers, rule and outcome."""
        j = self.judgement
        return {
            "part": self.part,
            "measured": self.measured,
            "baseline": self.baseline,
            "direction": self.direction,
            "margin": self.margin,
            "over": self.over,
            "note": self.note,
            "effect": j.effect,
            "low": j.low,
            "high": j.high,
            "pairs": j.pairs,
            "agreeing": j.agreeing,
            "verdict": j.verdict,
            "test": j.test,
        }


class Claims:
    """All claims of a paper, and the parts tested so far.

    Args:
        paper: whose claims.
        scale: at smoke scale nothing is decided.
    """

    def __init__(self, paper: Paper, scale: str):
        self._paper, self._scale = paper, scale
        self._parts: dict[str, dict[str, Part]] = {}
        self._reasons: dict[str, str] = {}

    def add(self, claim_id: str, part: Part) -> str:
        """Add one part, replacing an earlier one of the same name (cells may be run again), and put it in words.

        Raises:
            ValueError: if the paper has no such claim, or the lab says it leaves it out.
        """
        self._paper.claim(claim_id)
        if claim_id in self._reasons:
            raise ValueError(f"claim {claim_id} is tested, and also said not to be tested")
        self._parts.setdefault(claim_id, {})[part.part] = part
        verdict = NOT_TESTED if self._scale == "smoke" else part.judgement.verdict
        return f"{claim_id}{f' ({part.part})' if part.part else ''}: {in_words(part.record())}: **{verdict}** ({part.judgement.test})"

    def leave_out(self, claim_id: str, reason: str) -> None:
        """Say why a claim is not tested.

        Raises:
            ValueError: if there is no such claim, it is tested, or the reason is empty.
        """
        self._paper.claim(claim_id)
        if claim_id in self._parts or not reason.strip():
            raise ValueError(f"claim {claim_id} {'is tested' if claim_id in self._parts else 'needs a reason for not being tested'}")
        self._reasons[claim_id] = reason.strip()

    def rows(self) -> list[dict[str, Any]]:
        """One row a claim, in the paper's order, as the ledger holds it."""
        return [self._row(claim.id, claim.statement, claim.published) for claim in self._paper.claims]

    def _row(self, claim_id: str, statement: str, published: str) -> dict[str, Any]:
        row: dict[str, Any] = {"id": claim_id, "statement": statement, "published": published}
        parts = [part.record() for part in self._parts.get(claim_id, {}).values()]
        if not parts:
            empty = {"measured": "", "effect": None, "low": None, "high": None, "test": "", "seeds": 0}
            reason = self._reasons.get(claim_id, "This lab does not test it.")
            return {**row, **empty, "verdict": NOT_TESTED, "note": reason, "parts": []}
        return {**row, **outcome(parts, self._scale), "parts": parts}


def outcome(parts: list[dict[str, Any]], scale: str) -> dict[str, Any]:
    """What the parts of a claim say together. Effect and interval are those of the part that decides."""
    verdict: Verdict = NOT_TESTED if scale == "smoke" else combine([p["verdict"] for p in parts])
    decisive = min(parts, key=_strength)
    notes = [p["note"] for p in parts if p["note"]] + (
        ["Smoke scale shows that the code runs, and decides nothing."] if scale == "smoke" else []
    )
    words = "; ".join(f"{p['part']}: {in_words(p)}" if p["part"] else in_words(p) for p in parts)
    numbers = {name: decisive[name] for name in ("effect", "low", "high", "test")}
    return {"measured": words, **numbers, "seeds": decisive["pairs"], "verdict": verdict, "note": " ".join(dict.fromkeys(notes))}


def rejudged(part: Mapping[str, Any]) -> dict[str, Any]:
    """The part with its outcome computed anew from its numbers: what the ledger must say."""
    judgement = judge(part["measured"], part["baseline"], direction=part["direction"], margin=part["margin"], over=part["over"])
    given = [part["part"], judgement, part["measured"], part["baseline"], part["direction"], part["margin"], part["over"], part["note"]]
    return Part(*given).record()


def in_words(part: Mapping[str, Any]) -> str:
    """Effect, interval and agreement for a reader: "+0.12 (+0.05 to +0.19), 5 of 5 seeds agree"."""
    single = part["low"] is None
    span = "" if single else f" ({part['low']:+.3g} to {part['high']:+.3g})"
    return f"{part['effect']:+.3g}{span}, {part['agreeing']} of {part['pairs']} {part['over']} agree"


def _strength(part: Mapping[str, Any]) -> tuple[int, float]:
    """Order parts by verdict, refuted first, then by how far the interval's near end is beyond the margin."""
    rank = {REFUTED: 0, SUPPORTED: 2}.get(part["verdict"], 1)
    low, high = (part["effect"],) * 2 if part["low"] is None else (part["low"], part["high"])
    slack = {"greater": low - part["margin"], "less": -high - part["margin"], "within": part["margin"] - max(high, -low)}
    return rank, slack[part["direction"]]
