"""Markers in a page, the pages nobody writes, and the reference."""

import importlib.util
import re

import pytest

from hierlab.lab.entries import Entry
from hierlab.lab.errors import Refused
from hierlab.lab.places import root
from hierlab.lab.reference_pages import AUTHORS, modules, reference_navigation, reference_pages
from hierlab.lab.site_pages import filled, navigation, paper_pages
from hierlab.papers import FAMILIES, companions, paper, papers

SHELF = {p.slug: Entry(p) for p in papers()}
ARTICLE = "\n".join(f"{{{{ {name} }}}}" for name in ("paper", "claims", "cost", "commands", "source", "provenance"))


def with_lab():
    return {**SHELF, "gigpo": Entry(paper("gigpo"), root() / "pyproject.toml")}


class TestMarkers:
    def test_text_without_markers_is_left_alone(self):
        text = r"Braces $\frac{{a}}{{b}}$ and {{x}} and `{ { y } }`."
        assert filled(text, "index.md", "", SHELF) == text

    def test_counts(self):
        assert filled("{{ count papers }} papers", "index.md", "", SHELF) == f"{len(papers())} papers"

    def test_every_paper_is_in_the_table(self):
        html = filled("{{ papers }}", "index.md", "", SHELF)
        assert html.count("<tr data-family") == len(papers())

    def test_what_has_most_to_show_stands_first(self):
        html = filled("{{ papers }}", "index.md", "", with_lab())
        assert re.findall(r'href="labs/([\w-]+)/"', html)[:2] == ["gigpo", next(iter(SHELF))]

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_family_page_lists_its_papers(self, family):
        html = filled("{{ methods }}", f"families/{family}/index.md", "../../", SHELF)
        assert set(re.findall(r'href="../../labs/([\w-]+)/"', html)) == {p.slug for p in papers() if p.family == family}

    def test_companions_are_on_their_familys_page_and_not_among_the_papers(self):
        shelf = {**SHELF, **{p.slug: Entry(p) for p in companions()}}
        assert filled("{{ count papers }}", "index.md", "", shelf) == f"{len(papers())}"
        assert "credit-bench" not in filled("{{ papers }}", "index.md", "", shelf)
        assert "labs/credit-bench/" in filled("{{ methods }}", "families/credit/index.md", "../../", shelf)
        assert "labs/credit-bench.md" in str(navigation(shelf))

    def test_arguments_may_be_quoted(self):
        text = filled(f'{ARTICLE}\n| {{{{ value "house: auc" "step only" }}}} |', "labs/gigpo.md", "../../", with_lab())
        assert "not run yet" in text

    def test_what_is_placed_by_name_is_not_among_the_rest(self):
        entry = with_lab()["gigpo"]
        tables = {name: {"columns": ["x"], "rows": [[f"cell of {name}"]]} for name in ("first", "second")}
        shown = {"claims": [], "seeds": [0], "tables": tables, "figures": [], "experiments": {}}
        shelf = {**SHELF, "gigpo": Entry(entry.paper, None, {"reduced": shown})}
        text = filled("{{ table second }}\n\n--\n\n{{ tables }}", "labs/gigpo.md", "", shelf)
        before, after = text.split("--")
        assert "cell of second" in before
        assert 'table-name">first' in after
        assert "second" not in after

    def test_a_family_page_shows_figures_tables_and_costs_of_its_labs(self):
        shown = {"seeds": [0], "figures": [], "experiments": {}, "tables": {"t": {"columns": ["x"], "rows": [["a cell"]]}}}
        shown |= {"claims": [], "wall_seconds": 90.0, "unit_seconds": 150.0, "peak_memory_mb": 1200.0}
        shelf = {**SHELF, "gigpo": Entry(paper("gigpo"), root() / "pyproject.toml", {"reduced": shown})}
        text = filled("{{ table gigpo t }} {{ costs }} {{ figure hgpo x }}", "families/credit/index.md", "../../", shelf)
        assert "a cell" in text
        assert re.search(r"labs/gigpo/.*1 min 30 s.*2 min 30 s.*1.2 GB", text)
        assert "Figure x" in text

    def test_a_family_without_results_says_so(self):
        assert "Nothing is published yet" in filled("{{ costs }}", "families/market/index.md", "../../", SHELF)


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "where", "words"),
        [
            ("{{ figgure x }}", "labs/hgpo.md", "docs/labs/hgpo.md: no marker 'figgure': did you mean figure"),
            ("{{ figure }}", "labs/hgpo.md", "missing a required argument"),
            ("{{ claims now }}", "labs/hgpo.md", "too many positional arguments"),
            ("{{ count stars }}", "index.md", "nothing counts 'stars'"),
            ("{{ claims }}", "index.md", "no marker 'claims'"),
            ("{{ figure nobody x }}", "families/credit/index.md", "no paper 'nobody'"),
            ("text", "labs/nobody.md", "no paper 'nobody'"),
        ],
    )
    def test_a_marker_that_cannot_be_filled(self, text, where, words):
        with pytest.raises(Refused, match=re.escape(words)):
            filled(text, where, "", SHELF)

    def test_an_article_without_its_sections(self):
        with pytest.raises(Refused, match="needs the markers claims, commands"):
            filled(ARTICLE.replace("{{ claims }}", "").replace("{{ commands }}", ""), "labs/gigpo.md", "", with_lab())


class TestPagesNobodyWrites:
    def test_every_paper_has_one_and_it_can_be_filled(self):
        pages = paper_pages(with_lab())
        assert set(pages) == {f"labs/{p.slug}.md" for p in papers()}
        for where, text in pages.items():
            assert "{{" not in filled(text, where, "../../", with_lab())

    def test_a_paper_without_a_lab_says_so(self):
        assert "is not written yet" in paper_pages(SHELF)["labs/hgpo.md"]

    def test_a_lab_without_an_article_gets_its_methods_documentation(self):
        assert "::: hierlab.credit.gigpo" in paper_pages(with_lab())["labs/gigpo.md"]

    def test_every_paper_is_in_the_navigation_once(self):
        families, _ = navigation(SHELF)
        found = re.findall(r"labs/([\w-]+)\.md", str(families))
        assert sorted(found) == sorted(SHELF)


class TestReference:
    def test_every_module_can_be_imported_and_has_a_docstring(self):
        for name, about in modules().items():
            assert importlib.util.find_spec(name), name
            assert about, f"{name} has no docstring"

    def test_every_module_has_a_page_and_a_place_in_the_navigation(self):
        pages = reference_pages()
        assert len(pages) == len(modules())
        assert sorted(re.findall(r"reference/[\w/]+\.md", str(reference_navigation()))) == sorted(pages)
        assert "::: hierlab.credit.gigpo" in pages["reference/credit/gigpo.md"]
        assert "[`gigpo`](gigpo.md)" in pages["reference/credit/index.md"]

    def test_private_modules_and_the_machinery_of_the_bench_are_left_out(self):
        assert not [name for name in modules() if "._" in name]
        assert "hierlab.lab.locks" not in modules()
        assert {"hierlab.lab.bench", "hierlab.lab.stepper", "hierlab.lab.microscope"} <= modules().keys()

    def test_what_authors_call_exists(self):
        assert modules().keys() >= AUTHORS
