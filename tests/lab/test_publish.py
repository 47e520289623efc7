"""Publishing and checking: what is taken, what is refused, and that every edit is noticed."""

import json
import shutil

import pytest

from hierlab.files import digest, read_json, write_json
from hierlab.lab import ledger, publish
from hierlab.lab.check import check_lab, check_labs, check_result
from hierlab.lab.errors import Refused
from hierlab.lab.places import lab_file, result_file
from hierlab.lab.publish import publish_lab
from hierlab.lab.seal import read_sealed, write_sealed


@pytest.fixture
def published(root_of):
    publish_lab("gigpo", stills=False)
    return root_of


def changed(path, change):
    """Change a sealed record and seal it again, as only somebody who means to deceive would."""
    record = read_sealed(path, "result file")
    change(record)
    write_sealed(path, record)


def test_a_published_run_is_in_order(published):
    assert (published / "data/results/gigpo.reduced.json").is_file()
    assert {p.name for p in (published / "figures/gigpo").iterdir()} == {"stepper.json", "curves.json"}
    assert check_labs(["gigpo"]) == ([], "1 lab, 1 published result")
    assert ledger.published("gigpo", "reduced")["lab"] == "gigpo"
    assert ledger.published("gigpo", "full") is None


def test_publishing_again_removes_figures_the_lab_no_longer_draws(published):
    stale = published / "figures/gigpo/old.json"
    stale.write_text("{}")
    assert any("old.json belongs to no published result" in f for f in check_result(result_file("gigpo", "reduced")))
    publish_lab("gigpo", stills=False)
    assert not stale.exists()


def test_stills_are_drawn_or_their_absence_is_said(root_of, monkeypatch):
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    browser = publish.browser()
    monkeypatch.setattr(publish, "BROWSERS", ())
    lines = publish_lab("gigpo")
    assert lines[1].startswith("no stills: no Chromium found; install it")
    assert check_labs(["gigpo"])[0] == []
    monkeypatch.setenv("BROWSER_PATH", str(root_of / "no-such-browser"))
    assert publish_lab("gigpo")[1].startswith("no stills: ")
    assert result_file("gigpo", "reduced").is_file()
    if browser:
        monkeypatch.setenv("BROWSER_PATH", browser)
        assert len(publish_lab("gigpo")) == 1
        assert (root_of / "figures/gigpo/stepper.png").read_bytes().startswith(b"\x89PNG")


def test_what_must_not_be_published_is_refused(root_of):
    folder = next((root_of / "runs/gigpo").glob("reduced-*"))
    for slug, scale, words in (
        ("gigpo", "smoke", "a smoke run"),
        ("gigpo", "full", "no full run with the lab's own settings; run `hierlab run gigpo --scale full`"),
        ("hiper", "reduced", r"is not complete \(failed\)"),
        ("gigpoo", "reduced", "did you mean gigpo"),
    ):
        with pytest.raises(Refused, match=words):
            publish_lab(slug, scale)
    changed(folder / "ledger.json", lambda r: r.update(seeds=[0]))
    with pytest.raises(Refused, match="has 1 seeds, reduced scale asks for 3"):
        publish_lab("gigpo")
    shutil.move(folder, folder.with_name("reduced-0123456789"))
    with pytest.raises(Refused, match="the 1 there is of other settings"):
        publish_lab("gigpo")
    assert not (root_of / "data").exists()


def test_a_run_made_by_other_code_is_refused_naming_what_differs(root_of):
    path = lab_file("gigpo")
    path.write_text(path.read_text().replace("arm - value", "arm - 0.9 * value"))
    with pytest.raises(Refused, match=r"made by other code: lab changed; run `hierlab run gigpo"):
        publish_lab("gigpo")


def test_comments_and_prose_may_change_after_publication(published):
    path = lab_file("gigpo")
    path.write_text(
        path.read_text().replace("Two rollouts of one task.", "Both rollouts.").replace("    import time\n", "    import time  # to wait\n")
    )
    assert check_labs(["gigpo"])[0] == []


def test_check_names_exactly_what_differs(published):
    path = lab_file("gigpo")
    path.write_text(path.read_text().replace("setting(20,", "setting(21,"))
    findings, _ = check_labs(["gigpo"])
    assert len(findings) == 2
    assert "made with other settings: iterations was 20, is 21" in findings[0]
    assert "made by other code: lab changed" in findings[1]
    result = result_file("gigpo", "reduced")
    changed(result, lambda r: r["code"].update({"hierlab.seeds": "0"}))
    assert any("hierlab.seeds changed" in f for f in check_result(result))


@pytest.mark.parametrize("edit", ["truncated", "hand-edited", "not JSON", "a list", "unsealed"])
def test_a_damaged_result_is_refused_everywhere(published, edit):
    path = result_file("gigpo", "reduced")
    text = path.read_text()
    record = json.loads(text)
    del record["content"]
    path.write_text(
        {
            "truncated": text[: len(text) // 2],
            "hand-edited": text.replace('"verdict": "refuted"', '"verdict": "supported"'),
            "not JSON": "<<<<<<< HEAD\n" + text,
            "a list": "[]",
            "unsealed": json.dumps(record),
        }[edit]
    )
    [finding] = check_labs(["gigpo"])[0]
    assert "gigpo.reduced.json" in finding
    assert "restore it from git" in finding
    with pytest.raises(Refused, match="restore it from git"):
        ledger.published("gigpo", "reduced")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["claims"][2].update(verdict="supported"), "claim C3: effect, interval or verdict do not follow"),
        (lambda r: r["claims"][0]["parts"][0].update(low=0.5), "claim C1: effect, interval or verdict do not follow"),
        (lambda r: r["claims"][0]["parts"][0]["measured"].__setitem__(0, 9.0), "claim C1: effect, interval or verdict do not follow"),
        (lambda r: r["claims"].pop(), "claims are C1, C2, C3, C4, C5, C6, C7; the register has"),
        (lambda r: r["metrics"]["GRPO"]["ascent: final"].update(mean=7.0), "mean or interval do not follow"),
        (
            lambda r: [u["values"].update(final=0.0) for u in r["experiments"]["ascent"]["units"]],
            "does not follow from the experiment's units",
        ),
        (lambda r: r["experiments"]["ascent"]["units"].pop(), "incomplete: 1 units are missing"),
        (lambda r: r.update(lab="hiper"), "holds the result of hiper"),
        (lambda r: r["figures"][0].update(digest="0"), "was changed after it was written"),
    ],
)
def test_even_a_sealed_forgery_must_add_up(published, change, words):
    path = result_file("gigpo", "reduced")
    changed(path, change)
    assert any(words in finding for finding in check_result(path))


def test_a_figure_that_is_missing_or_changed_is_named(published):
    figure = published / "figures/gigpo/curves.json"
    figure.write_text(figure.read_text().replace("GiGPO", "GiGPO+"))
    assert "curves.json was changed after it was written" in check_labs(["gigpo"])[0][0]
    figure.unlink()
    assert "curves.json is missing" in check_labs(["gigpo"])[0][0]


def test_a_changed_unit_is_refused_by_the_next_run(root_of):
    from hierlab.lab.units import Unit, finished

    path = next(root_of.glob("runs/gigpo/*/units/ascent/GRPO-0.1-s0-*.json"))
    record = read_json(path)
    unit = Unit("ascent", "GRPO", 0.1, 0, record["key"])
    folder = path.parents[2]
    assert finished(unit, folder)["values"]["final"] == record["values"]["final"]
    record["values"]["final"] = 99.0
    write_json(path, record)
    with pytest.raises(Refused, match=r"unit .*GRPO-0.1-s0.* was changed after it was written"):
        finished(unit, folder)


def test_result_files_with_strange_names_are_found(published):
    (published / "data/results/stray.json").write_text("{}")
    assert any("stray.json: a result file is named" in f for f in check_labs()[0])


def test_the_skeleton_is_held(root_of):
    assert check_lab(lab_file("gigpo")) == []
    findings = "\n".join(check_lab(lab_file("canon")))
    for words in (
        "wants Bench('canon', ...)",
        "the first cell must be the one named parameters",
        "bench is defined here and in line",
        "lacks the sections Microscope, Verdicts, Take it home",
        "sections stand in the order Experiment, Step through",
        "the section 'Experiment' must call compare(...)",
        "bench.paper() must stand before",
    ):
        assert words in findings, findings


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('scale = "reduced"', 'scale = "smoke"', "the parameters cell holds scale, seeds, overrides"),
        ("seeds = 0  #", "seeds = None  #", "the parameters cell holds"),
        ("overrides = {}  #", "extra = 1\n    overrides = {}  #", "the parameters cell holds"),
        ("def parameters():", "def params():", "the first cell must be the one named parameters"),
        ("## Microscope", "## Looking closer", "lacks the section Microscope"),
        ("## Take it home", "## Verdicts", "has two sections headed Verdicts"),
        ('"iterations": 2', '"iteration": 2', "smoke scale: no setting 'iteration'"),
        ("setting(20,", "setting(0,", "iterations must be at least 1"),
        ("bench.verdicts()", "bench.claims", "the section 'Verdicts' must call verdicts(...)"),
    ],
)
def test_small_departures_from_the_skeleton_are_found(root_of, old, new, words):
    path = lab_file("gigpo")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert any(words in finding for finding in check_lab(path)), check_lab(path)


def test_a_lab_in_the_wrong_place_is_found(root_of):
    (root_of / "labs/market").mkdir()
    wrong = root_of / "labs/market/gigpo.py"
    lab_file("gigpo").rename(wrong)
    assert any("belongs in labs/credit/" in f for f in check_lab(wrong))
    nobody = wrong.rename(wrong.with_name("nobody.py"))
    assert any("no paper's slug" in f for f in check_lab(nobody))


def test_seals(tmp_path):
    write_sealed(tmp_path / "a.json", {"x": 1.5})
    assert read_sealed(tmp_path / "a.json", "file") == {"x": 1.5}
    assert read_json(tmp_path / "a.json")["content"] == digest({"x": 1.5})
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "b.json", "file")
