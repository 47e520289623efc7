"""The site as files: it builds without warnings and quickly, carries what it needs, and leads nowhere wrong."""

import json
import os
import subprocess
import sys

import pytest
from synthetic_results import REPOSITORY

from hierlab.lab.dead_links import dead_links
from hierlab.lab.reference_pages import modules
from hierlab.papers import companions, papers


def build(tmp_path, root):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(REPOSITORY / "mkdocs.yml")]
    environment = os.environ | {"HIERLAB_ROOT": str(root)}
    command += ["--site-dir", str(tmp_path / "site")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_builds_without_warnings_in_under_40_seconds_of_one_core(built):
    assert built.code == 0, built.words
    assert "WARNING" not in built.words
    assert built.seconds < 40


def test_every_paper_and_every_module_has_a_page(site):
    assert {path.parent.name for path in site.glob("labs/*/index.html")} == {p.slug for p in (*papers(), *companions())}
    assert len(list(site.glob("reference/**/index.html"))) == len(modules())


def test_no_link_is_dead_and_nothing_comes_from_elsewhere(site):
    assert dead_links(site) == []


def test_pages_are_light(site):
    assert max(path.stat().st_size for path in site.rglob("*.html")) < 1_000_000
    assert (site / "search" / "search_index.json").stat().st_size < 1_500_000


def test_plotly_and_the_figures_are_served_by_the_site(site):
    assert (site / "assets" / "plotly.min.js").stat().st_size > 1_000_000
    figures = list(site.glob("figures/gigpo/*.json"))
    assert figures
    assert all("data" in json.loads(path.read_text()) for path in figures)


def test_plotly_is_not_loaded_by_the_page_itself(site):
    assert "<script" in (html := (site / "labs" / "gigpo" / "index.html").read_text())
    assert 'src="../../assets/plotly.min.js"' not in html


def test_the_repository_as_it_stands_builds(tmp_path):
    """What is really published fits the articles that speak of it."""
    done = build(tmp_path, REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_damaged_result_stops_the_build_and_is_named(tmp_path):
    (tmp_path / "root" / "data" / "results").mkdir(parents=True)
    (tmp_path / "root" / "data" / "results" / "gigpo.reduced.json").write_text('{"lab": "gig')
    done = build(tmp_path, tmp_path / "root")
    assert done.returncode != 0
    assert "gigpo.reduced.json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["index.html", "labs/gigpo/index.html"])
def test_pages_forbid_other_hosts(site, name):
    assert "default-src 'self'" in (site / name).read_text()
