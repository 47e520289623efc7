"""The table of papers, and the controls that filter it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hierlab.lab.entries import Entry
from hierlab.lab.html import chip, duration, month
from hierlab.lab.verdicts import INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED
from hierlab.papers import FAMILIES


def papers_table(chosen: Sequence[Entry], to_root: str, *, with_family: bool = True) -> str:
    """All chosen papers, one row each: method, family, month, claims tested, verdicts, cost."""
    names = ["Paper", *(["Family"] if with_family else []), "Month", "Claims tested", "Verdicts", "Cost"]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(_row(entry, to_root, names) for entry in chosen)
    return f'<table class="papers" data-papers><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def papers_filter(chosen: Sequence[Entry]) -> str:
    """The controls above the table of papers. They need a script, and stay hidden without one."""
    present = {e.paper.family for e in chosen}
    families = [(f.slug, f.title) for f in FAMILIES.values() if f.slug in present]
    states = [(v.split()[0], f"a claim {v}") for v in (SUPPORTED, REFUTED, INCONCLUSIVE)]
    states += [("published", "a published result"), ("written", "a lab, nothing published"), ("absent", "no lab yet")]
    return (
        '<form class="filter" data-papers-filter role="search" aria-label="Filter the papers" hidden>'
        '<label class="filter__text">Find'
        '<input type="search" name="q" autocomplete="off" placeholder="name, title, idea, arXiv id"></label>'
        f"{_choice('family', 'Family', 'all families', families)}{_choice('state', 'With', 'anything', states)}"
        '<p class="filter__count" role="status" aria-live="polite" data-papers-count></p>'
        '<button type="reset">Show all</button></form>'
    )


def _choice(name: str, label: str, everything: str, options: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in options)
    return f'<label>{label}<select name="{name}"><option value="">{everything}</option>{items}</select></label>'


def _row(entry: Entry, to_root: str, names: Sequence[str]) -> str:
    p, counts = entry.paper, entry.verdicts()
    state = "published" if entry.shown else "written" if entry.lab else "absent"
    said = {
        "published": "".join(chip(v, n) for v, n in counts.items() if v != NOT_TESTED) or '<span class="absent">none tested</span>',
        "written": '<span class="absent">lab written, nothing published yet</span>',
        "absent": '<span class="absent">lab not written yet</span>',
    }[state]
    cells = {
        "Paper": f'<a href="{to_root}labs/{p.slug}/">{escape(p.name)}</a><span class="papers__title">{escape(p.title)}</span>',
        "Family": f'<a href="{to_root}families/{p.family}/">{escape(FAMILIES[p.family].title)}</a>',
        "Month": f'<time datetime="{p.month}">{month(p.month)[:3]} {p.month[:4]}</time>',
        "Claims tested": f"{entry.tested} of {len(p.claims)}",
        "Verdicts": said,
        "Cost": duration(entry.shown["wall_seconds"]) if entry.shown else '<span class="absent" aria-label="none yet">–</span>',
    }
    found = " ".join([*(v.split()[0] for v in counts if entry.shown), state])
    words = escape(f"{p.slug} {p.arxiv} {p.idea} {p.venue or ''} {p.code or ''}")
    tds = "".join(f'<td data-label="{name}"><span class="cell">{cells[name]}</span></td>' for name in names[1:])
    return (
        f'<tr data-family="{p.family}" data-state="{found}" data-words="{words}">'
        f'<th scope="row"><span class="cell">{cells["Paper"]}</span></th>{tds}</tr>'
    )
