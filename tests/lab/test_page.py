"""The pieces of a paper's page, from made-up ledgers; nothing that no ledger says may appear."""

import json
import re

import pytest

from hierlab.lab import ledger, page
from hierlab.lab.claims import Claims, Part
from hierlab.lab.entries import Entry, entries
from hierlab.lab.errors import Refused
from hierlab.lab.html import chip, duration, month, table
from hierlab.lab.papers_table import papers_filter, papers_table
from hierlab.lab.results import Results, summary
from hierlab.lab.verdicts import NOT_TESTED, REFUTED, SUPPORTED, judge
from hierlab.papers import Claim, Paper

PAPER = Paper(
    "gigpo",
    "A <title> & more",
    "Made-up",
    "2505.10978",
    "2025-05",
    "credit",
    "An idea.",
    (Claim("C1", "It is better.", "1 → 2"), Claim("C2", "It is cheap.", "no figure")),
    code="owner/name",
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HIERLAB_ROOT", str(tmp_path))
    return tmp_path


def lab(root):
    path = root / "labs" / "credit" / "gigpo.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import marimo\n\nprint('`````')\n")
    return path


def record(**changes):
    claims = Claims(PAPER, "reduced")
    for part, difference in (("one", 0.3), ("two", -0.3)):
        measured, baseline = [0.5 + difference + d for d in (0.0, 0.01, 0.02)], [0.5, 0.51, 0.5]
        claims.add("C1", Part(part, judge(measured, baseline), measured, baseline, "greater", 0.0, "seeds", ""))
    claims.leave_out("C2", "Needs a <clock>.")
    units = {(a, r, s): {"auc": 0.1 * s + r} for a in ("GRPO", "GiGPO") for r in (0.5, 1.0) for s in (0, 1)}
    results = Results("house", ("GRPO", "GiGPO"), (0.5, 1.0), (0, 1), "auc", False, 0.5, units)
    content = {
        "schema": 1, "lab": "gigpo", "scale": "reduced", "seeds": [0, 1, 2], "claims": claims.rows(),
        "metrics": {"GiGPO": {"house: auc": summary([0.5, 0.6, 0.7])}, "one seed": {"house: auc": summary([0.5])}},
        "tables": {"errors": {"columns": ["arm", "bias"], "rows": [["a|b", 0.123456], ["<c>", None]]}},
        "experiments": {"house": results.record()},
        "figures": [{"name": "curve", "title": "A title", "caption": "A caption.", "alt": 'An "alt"', "digest": ""}],
        "settings": {"rates": [0.5, 1.0]}, "settings_docs": {"rates": "to choose from"}, "settings_hash": "0123456789",
        "wall_seconds": 252.0, "unit_seconds": 400.0, "workers": 2, "peak_memory_mb": 812.0,
        "hardware": {"processor": "P", "cores": 2, "memory_gb": 8.0, "system": "Linux"}, "versions": {"python": "3.11.0"},
        "commit": "abc", "code": {"lab": "d"}, "finished": "2026-01-01T00:00:00+00:00", "command": "hierlab run gigpo --seeds 3",
    }  # fmt: skip
    return {**content, **changes}


def visible(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


class TestNothingPublished:
    def test_a_paper_without_a_lab_says_so(self):
        assert "Figure curve: the lab is not written yet" in page.figure(Entry(PAPER), "curve", "")
        assert "lab not written yet" in visible(papers_table([Entry(PAPER)], ""))

    def test_a_lab_without_a_result_says_how_to_get_one(self, root):
        entry = Entry(PAPER, lab(root))
        for piece in (page.claims, page.cost, page.provenance):
            assert "hierlab run gigpo" in piece(entry)
        assert page.NOT_RUN in page.value(entry, "house: auc", "GiGPO")
        assert "nothing published yet" in visible(papers_table([entry], ""))

    def test_no_number_is_invented(self, root):
        entry = Entry(PAPER, lab(root))
        pieces = [
            page.claims(entry),
            page.value(entry, "m", "a"),
            page.experiment(entry, "e"),
            page.ledger_table(entry, "t"),
            page.cost(entry),
        ]
        assert not re.search(r"\d", visible(" ".join(pieces)).replace("C1", "").replace("C2", "").replace("1 → 2", ""))

    def test_smoke_results_are_never_shown(self, root):
        lab(root)
        for scale in ("smoke", "reduced"):
            ledger.write(root / "data" / "results" / f"gigpo.{scale}.json", record(scale=scale))
        found = {e.paper.slug: e for e in entries()}["gigpo"]
        assert list(found.results) == ["reduced"]


class TestSmallThings:
    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0.0, "0 s"),
            (0.34, "0.34 s"),
            (9.96, "10 s"),
            (59.6, "1 min"),
            (60, "1 min"),
            (252, "4 min 12 s"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
        ],
    )
    def test_durations(self, seconds, words):
        assert duration(seconds) == words

    def test_months(self):
        assert month("2025-05") == "May 2025"

    def test_a_chip_says_its_verdict_in_words(self):
        assert visible(chip(SUPPORTED)) == "supported"
        assert visible(chip(REFUTED, 2)) == "2 refuted"
        assert 'class="chip chip--not"' in chip(NOT_TESTED)

    def test_a_table_escapes_its_cells_and_sets_numbers_to_the_right(self):
        html = table(["name", "n"], [["<b>", 1.23456], ["c", 2]])
        assert "&lt;b&gt;" in html
        assert "<td class=n>1.235</td>" in html
        assert "<td>c</td>" in html

    def test_an_empty_table(self):
        assert "<tbody></tbody>" in table(["a"], [])


class TestClaims:
    def test_each_claim_has_its_verdict_and_each_part_its_interval(self):
        html = page.claims(Entry(PAPER, results={"reduced": record()}))
        words = visible(html)
        assert "C1 refuted It is better. Published 1 → 2 Measured here one" in words
        assert "3 of 3 seeds agree supported" in words
        assert "0 of 3 seeds agree refuted" in words
        assert "C2 not tested at this scale It is cheap. Published no figure Why not Needs a &lt;clock&gt;." in words
        assert html.count("<svg") == 2

    def test_both_scales_are_shown_when_both_are_published(self):
        words = visible(page.claims(Entry(PAPER, results={"reduced": record(), "full": record(scale="full", seeds=[0])})))
        assert "At reduced scale, 3 seeds" in words
        assert "At full scale, 1 seed" in words

    def test_a_claim_the_ledger_does_not_know_has_no_verdict(self):
        entry = Entry(PAPER, results={"reduced": record(claims=[])})
        assert entry.verdicts() == {NOT_TESTED: 2}
        assert "chip" not in page.claims(entry)

    def test_the_glyph_places_zero_interval_and_margin(self):
        part = {"low": -1.0, "high": 1.0, "effect": 0.0, "margin": 0.0, "direction": "greater"}
        centred = page.interval_glyph(part)
        assert 'cx="60.0"' in centred
        assert "margin" not in centred
        assert page.interval_glyph({**part, "margin": 0.5, "direction": "within"}).count("glyph__margin") == 2
        assert page.interval_glyph({**part, "low": None, "high": None}) == ""


class TestPieces:
    def test_the_heading_escapes_and_links(self):
        html = page.heading(Entry(PAPER), "../../")
        assert "A &lt;title&gt; &amp; more" in html
        assert 'href="../../families/credit/"' in html
        assert 'href="https://arxiv.org/abs/2505.10978"' in html

    def test_a_value_has_its_interval_and_one_seed_has_none(self):
        entry = Entry(PAPER, results={"reduced": record()})
        assert visible(page.value(entry, "house: auc", "GiGPO")) == "0.6 0.352 to 0.848"
        assert visible(page.value(entry, "house: auc", "one seed")) == "0.5"

    def test_an_experiment_shows_both_rates_and_the_rule(self):
        words = visible(page.experiment(Entry(PAPER, results={"reduced": record()}), "house", "auc"))
        assert "auc at best rate auc at 0.5" in words
        assert "over the other seeds" in words

    def test_a_figure_names_its_file_its_words_and_its_height(self, root):
        folder = root / "figures" / "gigpo"
        folder.mkdir(parents=True)
        (folder / "curve.json").write_text(json.dumps({"data": [], "layout": {"height": 333}}))
        entry = Entry(PAPER, results={"reduced": record()})
        html = page.figure(entry, "curve", "../../")
        assert 'data-figure="../../figures/gigpo/curve.json"' in html
        assert "min-height:333px" in html
        assert 'data-alt="An &quot;alt&quot;"' in html
        assert "<img" not in html
        (folder / "curve.png").write_bytes(b"")
        assert '<img src="../../figures/gigpo/curve.png" alt="An &quot;alt&quot;"' in page.figure(entry, "curve", "../../")

    def test_full_scale_figures_have_their_own_folder(self, root):
        folder = root / "figures" / "gigpo" / "full"
        folder.mkdir(parents=True)
        (folder / "curve.json").write_text(json.dumps({"data": [], "layout": {}}))
        assert "figures/gigpo/full/curve.json" in page.figure(Entry(PAPER, results={"full": record(scale="full")}), "curve", "")

    def test_cost_and_provenance(self):
        entry = Entry(PAPER, results={"reduced": record()})
        assert "Wall time 4 min 12 s Work in all 6 min 40 s in 2 processes Peak memory 812 MB" in visible(page.cost(entry))
        words = visible(page.provenance(entry))
        assert "hierlab run gigpo --seeds 3" in words
        assert "rates 0.5, 1.0 to choose from" in words

    def test_the_command_shown_is_the_ledgers_own(self, root):
        assert "hierlab run gigpo --seeds 3" in page.commands(Entry(PAPER, lab(root), {"reduced": record()}))
        assert "hierlab run gigpo --scale reduced" in page.commands(Entry(PAPER, lab(root)))

    def test_the_labs_code_is_folded_away_and_cannot_end_its_own_block(self, root):
        text = page.source(Entry(PAPER, lab(root)))
        assert text.startswith("??? lab")
        fence = text.splitlines()[1].strip().removesuffix("python")
        assert text.count(fence) == 2


class TestPapersTable:
    def test_a_row_carries_what_the_filter_looks_at(self):
        html = papers_table([Entry(PAPER, results={"reduced": record()})], "")
        assert 'data-family="credit"' in html
        assert 'data-state="refuted not published"' in html
        assert "1 of 2" in visible(html)
        assert "4 min 12 s" in visible(html)

    def test_every_control_has_a_label_and_only_present_families_are_offered(self):
        html = papers_filter([Entry(PAPER)])
        assert len(re.findall(r"<label[^>]*>\w+(?:<input|<select)", html)) == len(re.findall(r"<(?:input|select)", html)) == 3
        assert 'value="credit"' in html
        assert 'value="theory"' not in html


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("piece", "arguments", "words"),
        [
            (page.figure, ("curves", ""), "no figure 'curves': did you mean curve"),
            (page.value, ("auc", "GiGPO"), "no metric 'auc' of GiGPO"),
            (page.value, ("house: auc", "GigPO"), "no arm 'GigPO'"),
            (page.ledger_table, ("error",), "no table 'error'"),
            (page.experiment, ("home",), "no experiment 'home'"),
            (page.experiment, ("house", "success"), "no metric 'success'"),
        ],
    )
    def test_what_was_not_published_is_refused_with_what_was(self, piece, arguments, words):
        with pytest.raises(Refused, match=words):
            piece(Entry(PAPER, results={"reduced": record()}), *arguments)

    def test_a_result_changed_by_hand_is_refused(self, root):
        path = root / "data" / "results" / "gigpo.reduced.json"
        ledger.write(path, record())
        path.write_text(path.read_text().replace("252.0", "2.0"))
        with pytest.raises(Refused, match="changed"):
            entries()
