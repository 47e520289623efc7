"""The bench in a reader's hands: nothing long starts by itself, claims follow from measurements."""

import json
import subprocess
import sys

import plotly.graph_objects as go
import pytest

from hierlab.lab import Bench, display, settings
from hierlab.lab.claims import Claims, Part
from hierlab.lab.errors import Refused
from hierlab.lab.notebook import read_notebook
from hierlab.lab.places import lab_file
from hierlab.lab.publish import publish_lab
from hierlab.lab.verdicts import judge
from hierlab.papers import paper


def bench_of(slug="gigpo", scale="reduced", overrides=None, **options):
    choice = read_notebook(lab_file(slug)).settings(scale, overrides or {})
    return Bench(slug, choice, workers=1, **options)


def train(arm, rate, seed):
    return {"final": arm * rate + seed, "curve": [0.0, arm], "updates": [1.0, 2.0]}


ASCENT = {"train": train, "rates": (0.1, 0.5), "choose_by": "final"}
ARMS = {"GRPO": 1.0, "GiGPO": 2.0}


def test_seeds():
    for wrong in (-1, 1.5, "3", True, None):
        with pytest.raises(Refused, match="seeds must be a whole number"):
            Bench("gigpo", settings(*_settings()), seeds=wrong)


def _settings():
    from dataclasses import dataclass

    from hierlab.lab import setting

    @dataclass(frozen=True)
    class Settings:
        tasks: int = setting(1, "tasks")

    return (Settings,)


def test_opening_a_lab_that_was_never_run_says_how_to_run_it(root_of, capsys):
    for folder in root_of.glob("runs/gigpo"):
        folder.rename(root_of / "elsewhere")
    bench = bench_of()
    with pytest.raises(display.NotYetRun, match="Not run yet") as caught:
        bench.compare("ascent", ARMS, **ASCENT)
    assert "hierlab run gigpo --scale reduced" in str(caught.value)
    assert caught.value._render_traceback_() == [str(caught.value)]
    assert not list((root_of / "runs").glob("gigpo/*/units"))


def test_opening_a_lab_shows_what_was_published(root_of):
    publish_lab("gigpo", stills=False)
    (root_of / "runs/gigpo").rename(root_of / "elsewhere")
    runs = bench_of().compare("ascent", ARMS, **ASCENT)
    assert runs.source.startswith("Published result of 20")
    assert "other code" not in runs.source
    lab = lab_file("gigpo")
    lab.write_text(lab.read_text().replace("arm - value", "arm - 0.9 * value"))
    assert "by other code than the present" in bench_of().compare("ascent", ARMS, **ASCENT).source
    assert runs.best("GiGPO").final[0] == pytest.approx(2.0232, abs=1e-4)
    with pytest.raises(display.NotYetRun):  # other settings: nothing is published for them
        bench_of(overrides={"iterations": 3}).compare("ascent", ARMS, **ASCENT)


def test_running_here_keeps_units_and_runs_them_once(root_of, capsys):
    calls = []

    def counted(arm, rate, seed):
        calls.append((arm, rate, seed))
        return train(arm, rate, seed)

    options = {**ASCENT, "train": counted}
    bench = bench_of(overrides={"iterations": 3}, seeds=2)
    runs = bench.compare("ascent", ARMS, **options, run=True)
    assert len(calls) == 8
    assert runs.source.startswith("Run here")
    assert bench.compare("ascent", ARMS, **options) == runs
    more = bench_of(overrides={"iterations": 3}, seeds=3).compare("ascent", ARMS, **options, run=True)
    assert len(calls) == 12
    assert more.best("GiGPO").final == (1.0, 2.0, 3.0)
    assert not list(root_of.glob("runs/gigpo/*/ledger.json.new"))
    assert "8 of 8 units" in capsys.readouterr().out


def test_a_training_function_may_use_the_bench_in_another_process(root_of, monkeypatch):
    from cloudpickle import dumps, loads

    monkeypatch.setenv("HIERLAB_HEADLESS", "1")
    bench = bench_of(overrides={"iterations": 3})
    there = loads(dumps(lambda: (bench.settings.iterations, bench.seeds, bench.scale)))
    assert there() == (3, (0, 1, 2), "reduced")


def test_wrong_experiments_are_refused(root_of):
    bench = bench_of()
    with pytest.raises(Refused, match="has no arms"):
        bench.compare("ascent", {}, **ASCENT)
    with pytest.raises(Refused, match=r"no cell calls bench.compare\('descent'"):
        bench.compare("descent", ARMS, **ASCENT)
    with pytest.raises(TypeError, match="asks for model"):
        bench.compare("ascent", ARMS, train=lambda arm, model: {})


def test_figures_and_tables_are_checked(root_of):
    bench = bench_of()
    words = {"title": "t", "caption": "c", "alt": "a"}
    for name in ("", "Curves", "a b", "../x", "a--b"):
        with pytest.raises(Refused, match="lower-case letters"):
            bench.figure(name, go.Figure(), **words)
    with pytest.raises(Refused, match="needs a title"):
        bench.figure("x", go.Figure(), **{**words, "alt": " "})
    with pytest.raises(ValueError, match="has 2 columns, but a row of 1"):
        bench.table("t", ["a", "b"], [["x"]])
    assert str(bench.table("t", ["a"], [["x|y"]])) == "| a |\n| :--- |\n| x\\|y |"
    assert bench.figure("x", go.Figure(), **words).layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_a_figure_too_large_for_a_page_is_refused(root_of, monkeypatch):
    monkeypatch.setenv("HIERLAB_HEADLESS", "1")
    large = go.Figure(go.Scatter(y=[i / 7 for i in range(80_000)]))
    with pytest.raises(Refused, match=r"figure 'large' is 1\.\d MB, the limit is 1 MB: draw fewer points"):
        bench_of().figure("large", large, title="t", caption="c", alt="a")


def part(measured, baseline, name="", **options):
    rule = {"direction": "greater", "margin": 0.0, "over": "seeds", **options}
    return Part(name, judge(measured, baseline, **rule), measured, baseline, *rule.values(), "")


def test_a_claim_is_as_strong_as_its_weakest_part():
    claims = Claims(paper("gigpo"), "reduced")
    claims.add("C3", part([2.0, 2.1, 2.2], [1.0, 1.0, 1.0], "clear"))
    claims.add("C3", part([2.0, 0.1, 1.2], [1.0, 1.0, 1.0], "unclear"))
    row = claims.rows()[2]
    assert row["verdict"] == "inconclusive"
    assert row["effect"] == pytest.approx(0.1)
    assert row["measured"].startswith("clear: +1.1 (")
    claims.add("C3", part([0.0, 0.1, 0.2], [1.0, 1.0, 1.0], "unclear"))  # the cell was run again
    assert claims.rows()[2]["verdict"] == "refuted"
    assert len(claims.rows()[2]["parts"]) == 2
    json.dumps(claims.rows(), allow_nan=False)


def test_smoke_scale_decides_nothing():
    claims = Claims(paper("gigpo"), "smoke")
    words = claims.add("C1", part([2.0, 2.1, 2.2], [1.0, 1.0, 1.0]))
    assert "**not tested at this scale**" in words
    row = claims.rows()[0]
    assert (row["verdict"], row["note"]) == ("not tested at this scale", "Smoke scale shows that the code runs, and decides nothing.")


def test_claims_are_the_papers_own():
    claims = Claims(paper("gigpo"), "reduced")
    with pytest.raises(ValueError, match="no claim 'C99'; it has C1, C2"):
        claims.add("C99", part([1.0], [0.0]))
    claims.leave_out("C2", "It needs WebShop.")
    with pytest.raises(ValueError, match="also said not to be tested"):
        claims.add("C2", part([1.0], [0.0]))
    claims.add("C1", part([1.0], [0.0]))
    with pytest.raises(ValueError, match="C1 is tested"):
        claims.leave_out("C1", "x")
    with pytest.raises(ValueError, match="needs a reason"):
        claims.leave_out("C4", " ")
    notes = [row["note"] for row in claims.rows()]
    assert notes[1] == "It needs WebShop."
    assert notes[3] == "This lab does not test it."


def test_the_paper_is_shown_with_its_claims_and_the_settings(root_of):
    text = str(bench_of(overrides={"iterations": "7"}).paper())
    for words in ("# GiGPO", "2505.10978", "| C1 |", "| iterations | 7 | set here | policy updates |", "Scale **reduced**, 3 seeds"):
        assert words in text


def test_marimos_controls_have_their_values_outside_marimo():
    """Headlessly and in Jupyter a lab reads `.value` of the same controls, which stand at their first value."""
    code = """
import marimo as mo
assert not mo.running_in_notebook()
assert mo.ui.slider(0, 2, 0.1, value=1).value == 1
assert mo.ui.radio(["none", "std"], value="none").value == "none"
assert mo.ui.switch(value=True).value is True
assert mo.ui.dropdown({"a": 1, "b": 2}, value="b").value == 2
assert not mo.ui.run_button().value
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
