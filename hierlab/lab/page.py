"""The pieces of a paper's page: what the register and the published ledgers say, as HTML that a Markdown page can hold.

Nothing here is typed by hand and nothing is made up: a number comes from a ledger, or the page says that there is none yet.
Which pieces a page has, and in which order, is the page's own affair: see `hierlab.lab.site_pages`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from hierlab.lab import ledger
from hierlab.lab.claims import in_words
from hierlab.lab.errors import Refused, suggest
from hierlab.lab.places import SCALES, figures_folder, labs, root
from hierlab.lab.results import from_record
from hierlab.lab.verdicts import INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED
from hierlab.papers import FAMILIES, Claim, Paper, papers

VERDICTS = (SUPPORTED, REFUTED, INCONCLUSIVE, NOT_TESTED)
NOT_RUN = "not run yet"
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]


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
    """Every paper of the register, with its lab and its published results.

    Raises:
        Refused: if a published result is truncated or was changed.
        ValueError: if the register is broken.
    """
    written = labs()
    return tuple(
        Entry(p, written.get(p.slug), {s: record for s in SCALES if s != "smoke" and (record := ledger.published(p.slug, s))})
        for p in papers()
    )


# ---------------------------------------------------------------- small things


def chip(verdict: str, count: int | None = None) -> str:
    """A verdict as a small label; with a count, several of them."""
    words = verdict if count is None else f"{count} {verdict}"
    return f'<span class="chip chip--{verdict.split()[0]}">{escape(words)}</span>'


def duration(seconds: float) -> str:
    """A time a reader can feel: "41 s", "4 min 12 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    big, small, names = (*divmod(whole, 60), ("min", "s")) if whole < 3600 else (*divmod(round(whole / 60), 60), ("h", "min"))
    return f"{big} {names[0]}" + (f" {small} {names[1]}" if small else "")


def month(text: str) -> str:
    """ "2025-05" as "May 2025"."""
    year, number = text.split("-")
    return f"{_MONTHS[int(number) - 1]} {year}"


def table(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table that scrolls sideways on a phone instead of breaking the page; numbers are set to the right."""
    rows = [list(row) for row in rows]
    right = [bool(rows) and all(_numeric(row[i]) for row in rows) for i in range(len(columns))]

    def line(cells: Sequence[Any], tag: str) -> str:
        return "".join(f"<{tag}{' class=n' if n else ''}>{escape(_cell(c))}</{tag}>" for c, n in zip(cells, right, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{line(columns, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value[:1].isdigit()) or (value or "")[:1] in ("+", "-", "−")


def _definitions(pairs: Iterable[tuple[str, str]], name: str) -> str:
    """A list of terms and what they are; the second half is HTML already."""
    items = "".join(f"<div><dt>{escape(term)}</dt> <dd>{meaning}</dd></div>" for term, meaning in pairs if meaning)
    return f'<dl class="{name}">{items}</dl>'


def not_published(entry: Entry) -> str:
    """What a page says in the place of a result that does not exist."""
    if entry.lab is None:
        return '<p class="absent">The lab for this paper is not written yet.</p>'
    slug = entry.paper.slug
    commands = f"<code>hierlab run {slug} --scale reduced</code>, then <code>hierlab publish {slug}</code>"
    return f'<p class="absent">No result is published yet. {commands}, puts it here.</p>'


# ---------------------------------------------------------------- the register, as a table


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


# ---------------------------------------------------------------- one paper


def heading(entry: Entry, to_root: str) -> str:
    """What stands under a page's title: the paper, its sources, the idea in one sentence."""
    p = entry.paper
    facts = [f"<span>{escape(p.venue)}</span>"] if p.venue else []
    facts += [f'<time datetime="{p.month}">{month(p.month)}</time>', f'<a href="{p.url}">arXiv {p.arxiv}</a>']
    note = f" ({escape(p.code_note)})" if p.code_note else ""
    facts += [f'<span><a href="{p.code_url}">{escape(p.code)}</a>{note}</span>' if p.code else f"<span>no public code{note}</span>"]
    facts += [f'<a href="{to_root}families/{p.family}/">{escape(FAMILIES[p.family].title)}</a>']
    lines = "".join(f"<li>{fact}</li>" for fact in facts)
    return (
        f'<div class="paper"><p class="paper__title">{escape(p.title)}</p><ul class="paper__facts">{lines}</ul>'
        f'<p class="paper__idea">{escape(p.idea)}</p></div>'
    )


def claims(entry: Entry) -> str:
    """Every claim of the paper: as published, as measured here, and the verdict, once for each published scale."""
    if not entry.results:
        return (not_published(entry) if entry.lab else "") + _claims_list(entry.paper.claims, {})
    sections = []
    for scale, record in entry.results.items():
        title = f'<p class="claims__scale">At {scale} scale, {len(record["seeds"])} seeds</p>' if len(entry.results) > 1 else ""
        sections.append(title + _claims_list(entry.paper.claims, {claim["id"]: claim for claim in record["claims"]}))
    return "".join(sections)


def _claims_list(claimed: Sequence[Claim], found: Mapping[str, Mapping[str, Any]]) -> str:
    return f'<ol class="claims">{"".join(_claim(claim, found.get(claim.id)) for claim in claimed)}</ol>'


def _claim(claim: Claim, found: Mapping[str, Any] | None) -> str:
    pairs = [("Published", escape(claim.published))]
    label = ""
    if found is not None:
        label = chip(found["verdict"])
        pairs += [("Measured here", "".join(_part(part, len(found["parts"]) > 1) for part in found["parts"]))]
        pairs += [("By" if found["parts"] else "Why not", escape(". ".join(filter(None, [found["test"], found["note"]]))))]
    return (
        f'<li class="claim"><p class="claim__head"><span class="claim__id">{claim.id}</span>{label}</p>'
        f'<p class="claim__statement">{escape(claim.statement)}</p>{_definitions(pairs, "claim__facts")}</li>'
    )


def _part(part: Mapping[str, Any], several: bool) -> str:
    name = f"<strong>{escape(part['part'])}</strong> " if part["part"] else ""
    verdict = f" {chip(part['verdict'])}" if several else ""
    return f'<span class="part">{interval_glyph(part)}<span>{name}{escape(in_words(part))}{verdict}</span></span>'


def interval_glyph(part: Mapping[str, Any]) -> str:
    """The interval of an effect as a small picture: where it lies, with zero and the claim's margin marked."""
    if part["low"] is None:
        return ""
    low, high, effect, margin = part["low"], part["high"], part["effect"], part["margin"]
    reach = 1.15 * max(abs(low), abs(high), margin, 1e-12)
    marks = {"greater": [margin], "less": [-margin], "within": [margin, -margin]}[part["direction"]]

    def x(value: float) -> str:
        return f"{60 + 56 * value / reach:.1f}"

    lines = "".join(f'<path class="glyph__margin" d="M{x(m)} 3V17"/>' for m in marks if m)
    return (
        f'<svg class="glyph" viewBox="0 0 120 20" aria-hidden="true" focusable="false"><path class="glyph__axis" d="M2 10H118"/>'
        f'<path class="glyph__zero" d="M60 3V17"/>{lines}<path class="glyph__interval" d="M{x(low)} 10H{x(high)}"/>'
        f'<circle class="glyph__effect" cx="{x(effect)}" cy="10" r="4"/></svg>'
    )


def figure(entry: Entry, name: str, to_root: str) -> str:
    """A published figure: a still, which the page makes interactive when the reader comes near it.

    Raises:
        Refused: if results are published, but not this figure.
    """
    if entry.shown is None:
        return not_published(entry)
    found = {f["name"]: f for f in entry.shown["figures"]}
    if name not in found:
        raise Refused(f"{entry.paper.slug} has published no figure {name!r}: {suggest(name, found)}")
    folder = figures_folder(entry.paper.slug, entry.shown["scale"])
    still, data = folder / f"{name}.png", folder / f"{name}.json"
    height = json.loads(data.read_text(encoding="utf-8"))["layout"].get("height", 450)
    address, about = f"{to_root}{folder.relative_to(root()).as_posix()}/{name}", found[name]
    poster = f'<img src="{address}.png" alt="{escape(about["alt"])}" loading="lazy">' if still.is_file() else ""
    return (
        f'<figure class="figure" id="figure-{name}"><p class="figure__title">{escape(about["title"])}</p>'
        f'<div class="figure__stage" data-figure="{address}.json" data-plotly="{to_root}assets/plotly.min.js" '
        f'data-alt="{escape(about["alt"])}" style="min-height:{int(height)}px">{poster}</div>'
        f'<figcaption>{escape(about["caption"])} <a href="{address}.json" download>Data of this figure</a></figcaption></figure>'
    )


def value(entry: Entry, metric: str, arm: str) -> str:
    """One number of the ledger with its interval, inside a sentence or a cell.

    Raises:
        Refused: if results are published, but not this arm or this metric.
    """
    if entry.shown is None:
        return f'<span class="absent">{NOT_RUN}</span>'
    metrics = entry.shown["metrics"]
    if arm not in metrics:
        raise Refused(f"{entry.paper.slug} has published no arm {arm!r}: {suggest(arm, metrics)}")
    if metric not in metrics[arm]:
        raise Refused(f"{entry.paper.slug} has published no metric {metric!r} of {arm}: {suggest(metric, metrics[arm])}")
    number = metrics[arm][metric]
    span = "" if number["low"] is None else f' <span class="value__interval">{number["low"]:.3g} to {number["high"]:.3g}</span>'
    return f'<span class="value">{number["mean"]:.3g}{span}</span>'


def ledger_table(entry: Entry, name: str) -> str:
    """A table the lab put into its ledger.

    Raises:
        Refused: if results are published, but not this table.
    """
    if entry.shown is None:
        return not_published(entry)
    tables = entry.shown["tables"]
    if name not in tables:
        raise Refused(f"{entry.paper.slug} has published no table {name!r}: {suggest(name, tables)}")
    return _named(name, table(tables[name]["columns"], tables[name]["rows"]))


def experiment(entry: Entry, name: str, *metrics: str) -> str:
    """An experiment's arms, at each one's best rate and at the shared one, and how the best was chosen.

    Raises:
        Refused: if results are published, but not this experiment or one of these metrics.
    """
    if entry.shown is None:
        return not_published(entry)
    found = entry.shown["experiments"]
    if name not in found:
        raise Refused(f"{entry.paper.slug} has published no experiment {name!r}: {suggest(name, found)}")
    results = from_record(name, found[name], "")
    try:
        columns, rows = results.table(*metrics)
    except KeyError as error:
        raise Refused(f"{entry.paper.slug}: {error.args[0]}") from None
    note = " ".join(filter(None, [f"Mean over {len(results.seeds)} seeds and its 95 % interval.", results.rule]))
    return _named(name, f'{table(columns, rows)}<p class="table-note">{escape(note)}</p>')


def _named(name: str, html: str) -> str:
    """A table under its name."""
    return f'<p class="table-name">{escape(name)}</p>{html}'


# ---------------------------------------------------------------- how it was made


def cost(entry: Entry) -> str:
    """What the published result cost."""
    if entry.shown is None:
        return not_published(entry)
    r, machine = entry.shown, entry.shown["hardware"]
    pairs = [
        ("Wall time", duration(r["wall_seconds"])),
        (
            "Work in all",
            f"{duration(r['unit_seconds'])} in {r['workers']} process{'es' * (r['workers'] > 1)}" if "unit_seconds" in r else "",
        ),
        ("Peak memory", f"{r['peak_memory_mb'] / 1000:.2g} GB" if r["peak_memory_mb"] >= 1000 else f"{r['peak_memory_mb']:.0f} MB"),
        ("Machine", escape(f"{machine['cores']} cores, {machine['memory_gb']:g} GB, {machine['processor']}")),
        ("GPU", escape(", ".join(machine.get("gpu", [])))),
    ]
    return _definitions(pairs, "facts")


def commands(entry: Entry) -> str:
    """How to open, repeat and publish the lab, as a block of shell; the command of the published result is the ledger's own."""
    if entry.lab is None:
        return not_published(entry)
    slug = entry.paper.slug
    made = (entry.shown or {}).get("command", f"hierlab run {slug} --scale reduced")
    comment = "the run behind this page" if entry.shown else "run it headlessly"
    lines = [
        (f"hierlab open {slug}", "step through it in the browser"),
        (f"hierlab run {slug} --scale smoke", "seconds: does it work here?"),
        (made, comment),
        (f"hierlab publish {slug}", "put your result in the place of ours"),
    ]
    width = max(len(command) for command, _ in lines)
    return "```sh\n" + "\n".join(f"{command:<{width}}  # {said}" for command, said in lines) + "\n```"


def provenance(entry: Entry) -> str:
    """Commit, versions, hardware, seeds and settings of the published result."""
    if entry.shown is None:
        return not_published(entry)
    r = entry.shown
    docs = r.get("settings_docs", {})
    pairs = [
        ("Command", f"<code>{escape(r['command'])}</code>"),
        ("Finished", escape(r["finished"])),
        ("Commit", f"<code>{escape(r['commit'] or 'unknown')}</code>"),
        ("Seeds", escape(", ".join(map(str, r["seeds"])))),
        ("Settings", f"<code>{escape(r['settings_hash'])}</code>"),
        ("Machine", escape(", ".join(f"{name} {value}" for name, value in r["hardware"].items()))),
        ("Versions", escape(", ".join(f"{name} {version}" for name, version in r["versions"].items()))),
        ("Code", f"{len(r['code'])} modules, digests in the ledger" if r.get("code") else ""),
    ]
    rows = [[name, _listed(v), docs.get(name, "")] for name, v in r["settings"].items()]
    return _definitions(pairs, "facts") + table(["setting", "value", "what it is"], rows)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def source(entry: Entry) -> str:
    """The lab's own file, folded away, as Markdown."""
    if entry.lab is None:
        return not_published(entry)
    name = entry.lab.relative_to(root())
    code = "\n".join(f"    {line}".rstrip() for line in entry.lab.read_text(encoding="utf-8").splitlines())
    return f'??? lab "The lab: `{name}`"\n    ````python\n{code}\n    ````'
