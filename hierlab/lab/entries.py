"""What this repository has of each paper: its entry in the register, its lab, its published results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hierlab.lab import ledger
from hierlab.lab.places import SCALES, labs
from hierlab.lab.verdicts import INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED
from hierlab.papers import Paper, companions, papers

VERDICTS = (SUPPORTED, REFUTED, INCONCLUSIVE, NOT_TESTED)


@dataclass(frozen=True)
class Entry:
    """One paper, and what this repository has of it.

    Attributes:
        paper: its entry in the register.
        lab: the lab's file, if it has been written.
        results: the published ledgers by scale.
    """

    paper: Paper
    lab: Path | None = None
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def companion(self) -> bool:
        """Whether it is about no single paper."""
        return self.paper in companions()

    @property
    def shown(self) -> Mapping[str, Any] | None:
        """The ledger the page is about: reduced scale, which a reader can repeat; else what there is, but never smoke."""
        return self.results.get("reduced") or self.results.get("full")

    def verdicts(self) -> dict[str, int]:
        """How many claims came out each way; a claim without an entry in the ledger is not tested."""
        given = {claim["id"]: claim["verdict"] for claim in (self.shown or {}).get("claims", ())}
        found = [given.get(claim.id, NOT_TESTED) for claim in self.paper.claims]
        return {verdict: found.count(verdict) for verdict in VERDICTS if verdict in found}

    @property
    def tested(self) -> int:
        """How many claims have been tested."""
        return sum(count for verdict, count in self.verdicts().items() if verdict != NOT_TESTED)


def entries() -> tuple[Entry, ...]:
    """Every paper of the register and every companion, with its lab and its published results.

    Raises:
        Refused: if a published result is truncated or was changed.
        ValueError: if the register is broken.
    """
    written = labs()
    return tuple(
        Entry(p, written.get(p.slug), {s: record for s in SCALES if s != "smoke" and (record := ledger.published(p.slug, s))})
        for p in (*papers(), *companions())
    )
