"""The pieces of a paper's page: what the register and the published ledgers say, as HTML that a Markdown page can hold.

Nothing here is typed by hand and nothing is made up: a number comes from a ledger, or the page says that there is none yet.
Which pieces a page has, and in which order, is the page's own affair: see `hierlab.lab.site_pages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hierlab.lab.claims import in_words
from hierlab.lab.entries import Entry
from hierlab.lab.errors import Refused, suggest
from hierlab.lab.html import chip, definitions, duration, month, table
from hierlab.lab.places import figures_folder, root
from hierlab.lab.results import from_record
from hierlab.papers import FAMILIES, Claim

NOT_RUN = "not run yet"


def not_published(entry: Entry) -> str:
    """What a page says in the place of a result that does not exist."""
    if entry.lab is None:
        return '<p class="absent">The lab for this paper is not written yet.</p>'
    slug = entry.paper.slug
    steps = f"<code>hierlab run {slug} --scale reduced</code> and then <code>hierlab publish {slug}</code>"
    return f'<p class="absent">No result is published yet; {steps} put one here.</p>'


def _awaited(entry: Entry, what: str) -> str:
    """The same in few words, for a place among others."""
    return f'<p class="absent">{what}: {"not published yet" if entry.lab else "the lab is not written yet"}.</p>'


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
        seeds = f"{len(record['seeds'])} seed{'s' * (len(record['seeds']) != 1)}"
        title = f'<p class="claims__scale">At {scale} scale, {seeds}</p>' if len(entry.results) > 1 else ""
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
        f'<p class="claim__statement">{escape(claim.statement)}</p>{definitions(pairs, "claim__facts")}</li>'
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


def figure(entry: Entry, name: str, to_root: str, *, anchor: str = "") -> str:
    """A published figure: a still, which the page makes interactive when the reader comes near it.

    Its address on the page is "#figure-" and its name, or `anchor` if another figure of the page may have the same name.

    Raises:
        Refused: if results are published, but not this figure.
    """
    if entry.shown is None:
        return _awaited(entry, f"Figure {name}")
    found = {f["name"]: f for f in entry.shown["figures"]}
    if name not in found:
        raise Refused(f"{entry.paper.slug} has published no figure {name!r}: {suggest(name, found)}")
    folder = figures_folder(entry.paper.slug, entry.shown["scale"])
    still, data = folder / f"{name}.png", folder / f"{name}.json"
    height = json.loads(data.read_text(encoding="utf-8"))["layout"].get("height", 450)
    address, about = f"{to_root}{folder.relative_to(root()).as_posix()}/{name}", found[name]
    poster = f'<img src="{address}.png" alt="{escape(about["alt"])}" loading="lazy">' if still.is_file() else ""
    return (
        f'<figure class="figure" id="figure-{anchor or name}"><p class="figure__title">{escape(about["title"])}</p>'
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
        return _awaited(entry, f"Table {name}")
    tables = entry.shown["tables"]
    if name not in tables:
        raise Refused(f"{entry.paper.slug} has published no table {name!r}: {suggest(name, tables)}")
    return table(tables[name]["columns"], tables[name]["rows"])


def experiment(entry: Entry, name: str, *metrics: str) -> str:
    """An experiment's arms, at each one's best rate and at the shared one, and how the best was chosen.

    Raises:
        Refused: if results are published, but not this experiment or one of these metrics.
    """
    if entry.shown is None:
        return _awaited(entry, f"Experiment {name}")
    found = entry.shown["experiments"]
    if name not in found:
        raise Refused(f"{entry.paper.slug} has published no experiment {name!r}: {suggest(name, found)}")
    results = from_record(name, found[name], "")
    try:
        columns, rows = results.table(*metrics)
    except KeyError as error:
        raise Refused(f"{entry.paper.slug}: {error.args[0]}") from None
    note = " ".join(filter(None, [f"Mean over {len(results.seeds)} seeds and its 95 % interval.", results.rule]))
    return f'{table(columns, rows)}<p class="table-note">{escape(note)}</p>'


def named(name: str, html: str) -> str:
    """A table under its name, where no sentence introduces it."""
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
    return definitions(pairs, "facts")


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
    return definitions(pairs, "facts") + table(["setting", "value", "what it is"], rows)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def source(entry: Entry) -> str:
    """The lab's own file, folded away, as Markdown."""
    if entry.lab is None:
        return not_published(entry)
    name, code = entry.lab.relative_to(root()), entry.lab.read_text(encoding="utf-8")
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", code)), 0))
    lines = [f"{fence}python", *code.splitlines(), fence]
    return f'??? lab "The lab: `{name}`"\n' + "\n".join(f"    {line}".rstrip() for line in lines)
