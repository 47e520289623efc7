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


def python_blocks():
    guide = DOCS / "guide" / "use-an-estimator.md"
    return {f"example {number}": code for number, code in enumerate(blocks(guide, "python"), start=1)}


PYTHON = python_blocks()
PLAIN = {name: code for name, code in PYTHON.items() if "trl" not in code and "verl" not in code}


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
        exec(compile(PLAIN[name], f"use-an-estimator.md: {name}", "exec"), {})

    def test_the_articles_numbers_are_what_comes_out(self):
        parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        for path in DOCS.glob("labs/*.md"):
            text = "\n".join(code for code in blocks(path, "python") if ">>>" in code)
            runner.run(parser.get_doctest(text, {}, path.name, str(path), 0))
        assert runner.tries > 0
        assert runner.failures == 0

    def test_the_verl_function_against_a_stand_in_for_its_registry(self, monkeypatch):
        registry = {}
        stand_in = types.ModuleType("verl.trainer.ppo.core_algos")
        stand_in.register_adv_est = lambda name: lambda function: registry.setdefault(name, function)
        for name in ("verl", "verl.trainer", "verl.trainer.ppo"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
        exec(next(code for code in PYTHON.values() if "verl" in code), {})
        rewards, mask = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[1, 1], [1, 0]])
        advantage, returns = registry["hierlab_rloo"](rewards, mask, index=["p", "p"], config=None)
        assert advantage.tolist() == [[1.0, 1.0], [-1.0, 0.0]]
        assert torch.equal(advantage, returns)

    @pytest.mark.slow
    def test_the_trl_subclass_trains_with_our_advantages(self, tmp_path):
        trl = pytest.importorskip("trl")
        from datasets import Dataset

        from hierlab.credit import rloo
        from hierlab.models import load

        space = {}
        exec(next(code for code in PYTHON.values() if "trl" in code), space)
        policy = load("tiny", vocabulary=["a b c d"])
        configuration = trl.GRPOConfig(
            str(tmp_path), per_device_train_batch_size=8, num_generations=4, max_completion_length=4, max_steps=1, report_to=[],
            use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        seen = {}

        class Watched(space["RLOOAdvantages"]):
            def _compute_loss(self, model, inputs):
                seen.setdefault("advantages", inputs["advantages"])
                return super()._compute_loss(model, inputs)

        trainer = Watched(
            model=policy.model,
            processing_class=policy.tokenizer,
            args=configuration,
            reward_funcs=lambda completions, **others: [float(len(text)) for text in completions],
            train_dataset=Dataset.from_dict({"prompt": ["a b", "c d", "b", "a"]}),
        )
        trainer.train()
        expected = rloo(trainer.rewards[:, 0], torch.arange(8) // 4)
        assert seen["advantages"].shape == (8,)
        torch.testing.assert_close(seen["advantages"].sort().values, expected.sort().values)

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
        terms = {term.strip() for line in re.findall(r"^(.+)\n:   ", page.read_text(), re.MULTILINE) for term in re.split("[,;]", line)}
        shown = [m for m in MARKER.finditer(page.read_text()) if m[1] == "experiment"]
        assert {metric for m in shown for metric in shlex.split(m[2])[1:]} <= terms
        assert {name.partition(": ")[2] for metrics in record["metrics"].values() for name in metrics} <= terms
