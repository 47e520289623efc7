"""The merging lab's experiments, on the smallest sizes that still run every branch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hierlab.adaptation.bayesian_map import BayesianMAP
from hierlab.adaptation.nested_map import NestedMAP
from hierlab.adaptation.quadratic_world import QuadraticWorld
from hierlab.lab.errors import Refused
from hierlab.lab.figures import figure_json
from hierlab.studies.adaptation import merge_figures as figures
from hierlab.studies.adaptation import merge_problems
from hierlab.studies.adaptation.merge_choices import MERGERS, TREES, preference_scores, preferences, tree_scores
from hierlab.studies.adaptation.merge_fronts import front_volumes, surrogate_quality
from hierlab.studies.adaptation.merge_microscope import known_front, known_fronts, table
from hierlab.studies.adaptation.merge_problems import Material, dense_front, material_of
from hierlab.train.digit_views import DigitSettings, train_digit_views

DIGITS = Material()
QUICK = {"generations": 1, "population": 20}
SEARCHES = {"MAP": {"settings": QUICK}, "random": {"search": "random"}, "grid": {"search": "grid"}}


def quiet(*_: float, **__: float) -> None:
    """A progress bar that nobody looks at."""


@pytest.fixture(autouse=True)
def quickly_trained(monkeypatch):
    """Networks of one epoch: what is tested is not how well they learn."""
    settings = DigitSettings(base_epochs=1, fine_epochs=1)
    monkeypatch.setattr(merge_problems, "train_digit_views", lambda seed, names: train_digit_views(seed, names=names, settings=settings))
    yield
    merge_problems.digits_problem.cache_clear()


@pytest.mark.parametrize("arm", SEARCHES)
def test_fronts_measure_the_same_numbers_for_every_method(arm):
    found = front_volumes(SEARCHES[arm], material=DIGITS, seed=0, views=2, budgets=(9, 12), again=5, reference=40, report=quiet)
    assert set(found) == {
        *(f"{kind} {b}" for kind in ("volume", "charged", "wins") for b in (9, 12)),
        *("charged with 2 tasks", "evaluations", "volume", "charged"),
    }
    assert found["charged"] == [found["charged 9"], found["charged 12"]]
    assert 0 < found["volume 9"] < 2
    if arm == "MAP":
        assert found["volume 9"] == found["charged 9"]


def test_surrogates_are_held_to_a_dense_grid():
    for arm in ({"settings": QUICK}, {"rounds": True, "settings": QUICK}):
        found = surrogate_quality(arm, material=DIGITS, seed=0, views=2, unseen=40, side=5, report=quiet)
        assert set(found) == {"R² 2", "volume 2", "predicted", "measured", "missed"}
        assert found["R² 2"] < 1
        assert min(found["predicted"], found["measured"], found["missed"]) >= 0


def test_dense_front_is_that_of_the_grid():
    scales, metrics = dense_front(lambda c, tasks: np.stack([c[:, 0], -c[:, 0]], 1), 3)
    assert sorted(scales[:, 0]) == [0, 0.5, 1]
    assert (metrics[:, 0] == scales[:, 0]).all()


def test_every_merger_chooses_for_every_preference():
    for arm in MERGERS:
        found = preference_scores(arm, material=DIGITS, seed=0, views=2, budget=15, generations=1, report=quiet)
        assert 0 <= found["worst"] <= found["mean"] <= 1
        assert found["evaluations"] <= 15


def test_preferences_are_shares():
    assert preferences(2).tolist() == [[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]


def test_trees_cost_no_more_than_nested_map():
    found = {arm: tree_scores(arm, material=DIGITS, seed=0, sizes=(2, 3), pairs=12, generations=1, report=quiet) for arm in TREES}
    for n in (2, 3):
        assert max(f[f"task evaluations {n}"] for f in found.values()) == found["nested MAP"][f"task evaluations {n}"]
    assert found["nested MAP"]["depth"] == 2
    assert found["nested MAP"]["growth"] == pytest.approx(13 * (2 + 3) / (12 * 3 * np.log2(3)))


def test_known_front_is_found_exactly_without_noise():
    share, error = known_front({"settings": {}}, tasks=2, answers=0, again=20, seed=0)
    assert 0.95 < share <= 1
    assert error < 1e-5
    random_share, error = known_front({"search": "random"}, tasks=2, answers=0, again=20, seed=0)
    assert random_share < share
    assert np.isnan(error)


def test_table_of_known_fronts():
    made = table(known_fronts({"MAP": {"settings": QUICK}, "grid": {"search": "grid"}}, sizes=(2,), answers=600, again=5, repeats=2), (2,))
    assert made["columns"] == ["method", "share, 2 tasks", "error, 2 tasks"]
    assert made["rows"][1][2] == "none"


def test_clip_is_refused_before_anything_starts(tmp_path):
    settings = SimpleNamespace(material="clip", folder="", views=2, sizes=(2,), model="", finetuned="", images=1)
    with pytest.raises(Refused, match="set folder to where they are"):
        material_of(settings)
    settings.folder = str(tmp_path)
    with pytest.raises(Refused, match="found no images of sun397, stanford-cars in"):
        material_of(settings)
    for task in ("sun397", "stanford-cars"):
        (tmp_path / task / "class").mkdir(parents=True)
        (tmp_path / task / "class" / "one.png").touch()
    assert material_of(settings).kind == "clip"


def test_figures_are_small_and_complete():
    world = QuadraticWorld(2)
    rounds = BayesianMAP(schedule=(10, 3), **QUICK).fit(world.evaluate, 2)
    tree = NestedMAP(settings=QUICK).fit(QuadraticWorld(3).evaluate, 3).tree_
    axis, names = np.linspace(0, 1, 5), ("one", "two")
    values = np.random.default_rng(0).uniform(0, 1, 25)
    points = np.random.default_rng(1).uniform(0, 1, (30, 2))
    drawn = {
        "landscape": figures.landscapes(axis, values, {"predicted": values}, points, names),
        "scatter": figures.fitted_against_measured(values, {"a": values, "b": values}),
        "fronts": figures.fronts_with_preference({"dense": points, "found": points[:9]}, "found", names),
        "generations": figures.generations([points, points], names),
        "fan": figures.fan(rounds.bins_[0][0], rounds.scales_, rounds.task_scales_[0][10:], names),
        "tree": figures.merge_tree(tree, ("a", "b", "c")),
    }
    for name, figure in drawn.items():
        assert len(figure_json(figure, name)) < 60_000
        assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert sum(trace.visible is not False for trace in drawn["fronts"].data) == 3
    assert "× " in drawn["tree"].layout.annotations[0].text
