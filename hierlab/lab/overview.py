"""What the command line tells: the table of papers, and how a run ended."""

from __future__ import annotations

import sys
from collections import Counter

from hierlab.lab import ledger
from hierlab.lab.errors import Refused, suggest
from hierlab.lab.job import Job, Outcome
from hierlab.lab.places import labs, register, shown
from hierlab.lab.verdicts import INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED
from hierlab.papers import FAMILIES, Paper, papers

COLOURS = {SUPPORTED: "green", REFUTED: "red", INCONCLUSIVE: "yellow", NOT_TESTED: "dim"}
WORDS = {SUPPORTED: "supported", REFUTED: "refuted", INCONCLUSIVE: "inconclusive", NOT_TESTED: "not tested"}


def overview(family: str | None) -> None:
    """Print the table of papers, of one family or of all.

    Raises:
        Refused: if there is no such family.
    """
    from rich.console import Console
    from rich.table import Table

    if family is not None and family not in FAMILIES:
        raise Refused(f"no family {family!r}: {suggest(family, FAMILIES)}")
    known, table = labs(), Table(box=None, header_style="bold", pad_edge=False)
    for column in ("lab", "method", "family", "paper", "claims", "published verdicts"):
        table.add_column(column, no_wrap=column in ("lab", "family"), overflow="ellipsis")
    for paper in register():
        if family in (None, paper.family):
            verdicts = _verdicts(paper) if paper.slug in known else "[dim]no lab yet[/]"
            table.add_row(paper.slug, paper.name, paper.family, f"arXiv {paper.arxiv}", str(len(paper.claims)), verdicts)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    listed = [p for p in papers() if family in (None, p.family)]
    console.print(f"{len(listed)} papers, {sum(p.slug in known for p in listed)} with a lab", style="dim")


def _verdicts(paper: Paper) -> str:
    try:
        record = ledger.published(paper.slug, "reduced")
    except Refused:
        return "[red]damaged: see hierlab check[/]"
    if record is None:
        return f"[dim]none: hierlab run {paper.slug}[/]"
    return _counted([claim["verdict"] for claim in record["claims"]])


def _counted(verdicts: list[str]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"[{colour}]{counts[verdict]} {WORDS[verdict]}[/]" for verdict, colour in COLOURS.items() if counts[verdict])


def report(job: Job, outcome: Outcome) -> None:
    """Print how a run ended: its verdicts, or what went wrong, with the cell that failed."""
    from rich.console import Console

    if outcome.status != "complete":
        if outcome.source:
            print("\n".join(f"    {line}" for line in outcome.source.splitlines()), file=sys.stderr)
        print(f"hierlab: {job.slug}: {outcome.message}", file=sys.stderr)
        return
    record = ledger.read(job.folder / ledger.NAME)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[bold]{job.slug}[/] {job.scale}: {_counted([c['verdict'] for c in record['claims']])}; {outcome.seconds:.0f} s")
    for claim in record["claims"]:
        if claim["parts"]:
            console.print(f"  {claim['id']} [{COLOURS[claim['verdict']]}]{claim['verdict']}[/]: {claim['measured']}")
    console.print(f"  [dim]{shown(job.folder)}[/]")
