"""Results: best rates chosen without looking, tables, curves."""

from itertools import pairwise

import numpy as np
import pytest

from hierlab.lab.figures import in_words
from hierlab.lab.results import Results, from_record, summary


def make(values, *, rates=(0.1, 0.5), seeds=3, choose_by="auc", **options):
    """Results whose metric `auc` of (arm, rate, seed) is `values[arm][rate number][seed]`."""
    units = {
        (arm, rate, seed): {"auc": float(values[arm][i][seed]), "x": [1.0, 2.0], "curve": [0.0, float(values[arm][i][seed])]}
        for arm in values
        for i, rate in enumerate(rates)
        for seed in range(seeds)
    }
    options = {"lower": False, "shared_rate": rates[0], "source": "made up", **options}
    return Results("bandit", tuple(values), tuple(rates), tuple(range(seeds)), choose_by, units=units, **options)


def test_one_rate_one_seed():
    runs = make({"a": [[0.5]]}, rates=(None,), seeds=1, choose_by=None)
    assert runs.best("a").auc == (0.5,)
    assert runs.rule == ""
    assert runs.table("auc") == (["arm", "auc"], [["a", "0.5"]])


def test_each_seeds_rate_is_chosen_by_the_other_seeds():
    runs = make({"a": [[5, 0, 0], [1, 1, 1]]})
    assert runs.best_rate("a") == 0.1  # mean 1.67 against 1
    # Without seed 0 the second rate is better; without seed 1 or 2 the first is.
    assert runs.best("a").rates == (0.5, 0.1, 0.1)
    assert runs.best("a").auc == (1, 0, 0)
    assert runs.at(0.1)["a"].auc == (5, 0, 0)


def test_lower_may_be_better():
    runs = make({"a": [[1, 1, 1], [0, 0, 0]]}, lower=True)
    assert runs.best("a").rates == (0.5,) * 3
    assert "lowest" in runs.rule


def test_choosing_by_the_others_does_not_flatter():
    rng = np.random.default_rng(0)
    flattered, fair = [], []
    for _ in range(400):
        values = rng.normal(0, 1, (5, 5))  # five rates, all equally good
        flattered.append(values.mean(axis=1).max())
        fair.append(np.mean(make({"a": values}, rates=(1, 2, 3, 4, 5), seeds=5).best("a").auc))
    assert np.mean(flattered) > 0.4
    assert abs(np.mean(fair)) < 0.08


def test_the_record_is_complete():
    runs = make({"a": [[1, 2, 3], [4, 5, 6]], "b": [[0, 0, 0], [1, 1, 1]]})
    again = from_record("bandit", runs.record(), "made up")
    assert again == runs


def test_the_record_keeps_curves_where_they_are_looked_at():
    runs = make({"a": [[1, 2, 3], [4, 5, 6], [0, 0, 0]]}, rates=(0.1, 0.5, 0.9))
    again = from_record("bandit", runs.record(), "made up")
    assert again.table("auc") == runs.table("auc")
    assert again.plot("x", "curve") == runs.plot("x", "curve")
    assert again.at(0.9)["a"].auc == runs.at(0.9)["a"].auc
    with pytest.raises(KeyError, match="no metric 'curve'"):
        again.at(0.9)["a"]["curve"]


def test_long_curves_are_thinned_evenly_and_keep_their_ends():
    units = {("a", None, 0): {"auc": 1.0, "x": [float(i) for i in range(201)], "y": [float(i * i) for i in range(201)]}}
    again = from_record("e", Results("e", ("a",), (None,), (0,), None, False, None, units).record(), "").best("a")
    (x,), (y,) = again.x, again.y
    assert len(x) == 40
    assert (x[0], x[-1]) == (0, 200)
    assert y == [value**2 for value in x]
    assert max(b - a for a, b in pairwise(x)) <= 6


def test_table_has_both_comparisons():
    columns, rows = make({"a": [[1, 2, 3], [4, 5, 6]]}).table("auc")
    assert columns == ["arm", "best rate", "auc at best rate", "auc at 0.1"]
    assert rows == [["a", "0.5", "5 (2.52 to 7.48)", "2 (-0.484 to 4.48)"]]


def test_plot_shows_both_comparisons_and_bands():
    figure = make({"a": [[1, 2, 3], [4, 5, 6]], "b": [[0, 0, 0], [1, 1, 1]]}).plot("x", "curve")
    lines = [t for t in figure.data if t.fill is None]
    assert [t.name for t in lines] == ["a", "b", "a", "b"]
    assert list(lines[0].y) == [0, 2]
    assert list(lines[2].y) == [0, 5]
    assert len(figure.data) == 8
    assert len(make({"a": [[1], [2]]}, seeds=1).plot("x", "curve", rate=0.5).data) == 1  # one seed has no band


def test_axes_are_named_in_words():
    assert [in_words(name) for name in ("updates", "click_rate_curve", "pass_at_8", "rate by round")] == [
        "updates",
        "click rate",
        "pass at 8",
        "rate by round",
    ]


def test_curves_must_share_their_positions():
    runs = make({"a": [[1, 2, 3], [4, 5, 6]]})
    runs.units["a", 0.1, 1]["x"] = [1.0, 3.0]
    with pytest.raises(ValueError, match="must be one list for all seeds"):
        runs.plot("x", "curve", rate=0.1)


def test_wrong_usage():
    runs = make({"a": [[1, 2, 3], [4, 5, 6]]})
    with pytest.raises(ValueError, match=r"no arm 'A': did you mean a"):
        runs.best("A")
    with pytest.raises(ValueError, match=r"was run at rates 0.1, 0.5, not at 0.2"):
        runs.at(0.2)
    with pytest.raises(AttributeError, match="no metric 'acu': did you mean auc"):
        _ = runs.best("a").acu
    with pytest.raises(ValueError, match="say which metric chooses"):
        make({"a": [[1], [2]]}, seeds=1, choose_by=None)
    with pytest.raises(ValueError, match="choose_by='curve' is no number"):
        make({"a": [[1], [2]]}, seeds=1, choose_by="curve")
    with pytest.raises(ValueError, match="measures 'seeds': choose another name"):
        Results("e", ("a",), (None,), (0,), None, False, None, {("a", None, 0): {"seeds": 1.0}})
    record = runs.record()
    record["units"].pop()
    with pytest.raises(ValueError, match="incomplete: 1 units are missing"):
        from_record("bandit", record, "")


def test_summary():
    assert summary([2.0]) == {"per_seed": [2.0], "mean": 2.0, "low": None, "high": None}
    assert summary([1.0, 1.0]) == {"per_seed": [1.0, 1.0], "mean": 1.0, "low": 1.0, "high": 1.0}
