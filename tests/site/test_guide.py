"""What the guide and the articles tell a reader to type: every command exists, every example runs, every number is what comes out."""

import doctest
import inspect
import re
import shlex
import sys
import tomllib
import types

import pytest
import torch
from synthetic_results import REPOSITORY

from hierlab.credit import ESTIMATORS
from hierlab.lab.check import check_lab
from hierlab.lab.ledger import published
from hierlab.lab.notebook import read_notebook
from hierlab.lab.places import SCALES, lab_file
from hierlab.lab.settings import assignments
from hierlab.lab.site_pages import MARKER
from hierlab.papers import papers

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.glob("guide/*.md"), *DOCS.glob("labs/*.md")])
EXAMPLE = REPOSITORY / "tests" / "site" / "example_labs" / "credit" / "a-grae.py"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def python_blocks(name):
    return {f"{name}, example {number}": code for number, code in enumerate(blocks(DOCS / "guide" / f"{name}.md", "python"), start=1)}


PLAIN = python_blocks("use-an-estimator") | python_blocks("other-families")
TRL = python_blocks("trl")
VERL = python_blocks("verl")


def commands():
    lines = [line.split("  #")[0].strip() for page in PAGES for code in blocks(page, "sh") for line in code.splitlines()]
    return sorted({line for line in lines if line})


class TestCommands:
    @pytest.mark.parametrize("line", [c for c in commands() if c.startswith("hierlab ")])
    def test_the_command_line_accepts_them(self, line):
        import typer

        from hierlab.cli import app

        _, name, *words = shlex.split(line)
        command = typer.main.get_command(app).commands[name]
        given = command.make_context(name, list(words)).params
        slugs = {p.slug for p in papers()}
        assert set(given.get("labs") or [given.get("lab", "gigpo")]) <= slugs
        assert given.get("scale", "reduced") in SCALES
        for lab in given.get("labs") or []:  # settings that do not exist, or do not fit, are refused here
            read_notebook(lab_file(lab)).settings(given.get("scale", "reduced"), assignments(given.get("set_") or []))

    @pytest.mark.parametrize("line", [c for c in commands() if not c.startswith("hierlab ")])
    def test_the_others_are_known(self, line):
        if line.startswith("make "):
            target = line.split()[1]
            assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        elif line.startswith("pip install"):
            extras = re.search(r"\[(.*)\]", line)[1].split(",")
            assert set(extras) <= set(PROJECT["optional-dependencies"])
        else:
            assert line in (". .venv/bin/activate", "alfworld-download", "accelerate launch --num_processes 2 train.py")


class TestExamples:
    @pytest.mark.parametrize("name", PLAIN)
    def test_the_guides_python_runs(self, name, capsys):
        exec(compile(PLAIN[name], name, "exec"), {})

    def test_the_articles_numbers_are_what_comes_out(self):
        parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        for path in DOCS.glob("labs/*.md"):
            text = "\n".join(code for code in blocks(path, "python") if ">>>" in code)
            runner.run(parser.get_doctest(text, {}, path.name, str(path), 0))
        assert runner.tries > 0
        assert runner.failures == 0

    @pytest.mark.parametrize("name", VERL)
    def test_the_examples_for_verl_register(self, name, monkeypatch):
        """In a stand-in for verl's registry; tests/adapters/test_verl.py has the real one."""
        registry = {}
        for module in ("verl", "verl.trainer", "verl.trainer.ppo", "verl.trainer.ppo.core_algos"):
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        sys.modules["verl.trainer.ppo.core_algos"].register_adv_est = lambda name: lambda function: registry.setdefault(name, function)
        exec(compile(VERL[name], name, "exec"), {})
        estimator = registry.get("hierlab_rloo") or next(iter(registry.values()))
        rewards, mask = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[1, 1], [1, 0]])
        advantage, returns = estimator(rewards, mask, index=["p", "p"], config=None)
        assert (advantage * torch.tensor([1, -1])[:, None] >= 0).all()
        assert advantage.abs().sum() > 0
        assert torch.equal(advantage, returns)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", TRL)
    def test_the_examples_for_trl_run(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        space = {}
        exec(compile(TRL[name], name, "exec"), space)
        if "trainer" in space:
            assert space["trainer"].state.global_step == 2

    def test_the_table_of_columns_is_true(self):
        text = (DOCS / "guide" / "use-an-estimator.md").read_text()
        told = dict(re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE))
        for name, columns in told.items():
            parameters = inspect.signature(ESTIMATORS[name]).parameters.values()
            assert re.findall(r"`(\w+)`", columns) == [p.name for p in parameters if p.default is p.empty]
        assert {"grpo", "rloo", "gae", "gigpo"} <= set(told)


class TestExampleLab:
    def test_it_keeps_to_the_skeleton(self):
        assert check_lab(EXAMPLE) == []

    def test_it_is_what_the_guide_shows(self):
        assert 'example_labs/credit/a-grae.py:2:"' in (DOCS / "guide" / "write-a-lab.md").read_text()

    @pytest.mark.slow
    def test_it_runs_is_published_and_has_a_page(self, tmp_path, monkeypatch):
        from hierlab.lab.entries import entries
        from hierlab.lab.publish import publish_lab
        from hierlab.lab.run import jobs_for, run_jobs
        from hierlab.lab.site_pages import filled, paper_pages

        monkeypatch.setenv("HIERLAB_ROOT", str(tmp_path))
        lab = tmp_path / "labs" / "credit" / EXAMPLE.name
        lab.parent.mkdir(parents=True)
        lab.write_text(EXAMPLE.read_text())
        outcome = run_jobs(jobs_for(["a-grae"], "reduced", {}, seeds=0, workers=1), at_once=1)["a-grae"]
        assert outcome.status == "complete", outcome.message
        publish_lab("a-grae", stills=False)
        shelf = {entry.paper.slug: entry for entry in entries()}
        text = filled(paper_pages(shelf)["labs/a-grae.md"], "labs/a-grae.md", "../../", shelf)
        assert shelf["a-grae"].verdicts() == {"supported": 1, "not tested at this scale": 8}
        assert 'data-figure="../../figures/a-grae/stepper.json"' in text
        assert "weight of the right" in text


class TestArticles:
    @pytest.mark.parametrize("page", sorted(DOCS.glob("labs/*.md")), ids=lambda p: p.stem)
    def test_every_numbered_detail_says_whose_it_is(self, page):
        section = re.search(r"^## Implementation details\n(.*?)^## ", page.read_text(), re.MULTILINE | re.DOTALL)[1]
        items = re.findall(r"^\d+\. (.*)", section, re.MULTILINE)
        assert len(items) >= 5
        assert all(re.match(r"==(paper|released code|our choice)== ", item) for item in items)

    @pytest.mark.parametrize("page", sorted(DOCS.glob("labs/*.md")), ids=lambda p: p.stem)
    def test_every_published_number_is_explained(self, page):
        """What a table of the ledger calls a number stands in the article's glossary."""
        record = published(page.stem, "reduced")
        if record is None:
            return
        lines = re.findall(r"^(.+)\n:   ", page.read_text(), re.MULTILINE)
        terms = {term.strip() for line in lines for term in (line, *re.split("[,;]", line))}
        shown = [m for m in MARKER.finditer(page.read_text()) if m[1] == "experiment"]
        assert {metric for m in shown for metric in shlex.split(m[2])[1:]} <= terms
        assert {name.partition(": ")[2] for metrics in record["metrics"].values() for name in metrics} <= terms
