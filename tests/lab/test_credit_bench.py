from functools import partial

import numpy as np
import pytest

from hierlab.credit import ESTIMATORS, grpo, rloo
from hierlab.lab.credit_bench import SUBJECTS, TITLES, bed_of, credit_bench, look
from hierlab.lab.microscope import METRICS, microscope, together
from hierlab.lab.side_by_side import TRUTH, maps, side_by_side
from hierlab.lab.token_testbed import tree_testbed


@pytest.fixture(scope="module")
def seen():
    return credit_bench(batches=20, tasks=1, resamples=100)


def test_every_registered_estimator_has_its_place():
    placed = [subject.estimator for subjects in SUBJECTS.values() for subject in subjects.values()]
    assert {(e.func if isinstance(e, partial) else e).__name__ for e in placed} == set(ESTIMATORS)
    assert set(SUBJECTS) == set(TITLES)
    assert all(subject.bed == bed for bed, subjects in SUBJECTS.items() for subject in subjects.values())


def test_everything_is_seen_in_order(seen):
    assert {bed: list(found.measured) for bed, found in seen.seen.items()} == {bed: list(subjects) for bed, subjects in SUBJECTS.items()}
    table = seen.table(["correlation", "batch_cosine"])
    assert len(table["rows"]) == sum(map(len, SUBJECTS.values()))
    assert table["columns"] == ["testbed", "estimator", "correlation", "cosine, one batch"]


@pytest.mark.parametrize("bed", ["turns", "tokens", "plans"])
def test_critics_change_values_and_nothing_else(bed):
    from hierlab.seeds import generator

    exact, noisy, learnt = (bed_of(bed, critic).collect(2, 4, generator(0)) for critic in ("exact", "noisy", "learnt"))
    for other in (noisy, learnt):
        assert (other["choice"] == exact["choice"]).all()
        assert (other.rewards == exact.rewards).all()
        assert not (other["values"] == exact["values"]).all()


def test_better_critics_make_better_estimates(seen):
    for bed, name in (("tokens", "GAE"), ("turns", "turn GAE"), ("plans", "HiPER")):
        errors = [seen.seen[bed][f"{name}, {critic} critic"]["relative_error"].value for critic in ("exact", "learnt", "noisy")]
        assert errors == sorted(errors)


def test_one_estimator_alone_is_seen_as_among_the_others(seen):
    alone = look("tokens", ["SPO"], batches=20, tasks=1, resamples=100)
    assert alone["SPO"] == seen.seen["tokens"]["SPO"]
    with pytest.raises(ValueError, match="no estimator 'PPO' is tried on tokens; there are GRPO"):
        look("tokens", ["PPO"])


def test_the_menu_shows_each_metric_as_it_was_measured(seen):
    figure = seen.plot(["correlation", "variance"])
    first, second = figure.layout.updatemenus[0].buttons
    assert [button.label for button in (first, second)] == [METRICS[m].title for m in ("correlation", "variance")]
    wanted = [[found["variance"].value] for bed in seen.seen.values() for found in bed.measured.values()]
    assert second.args[0]["x"] == wanted
    assert [list(trace.x) for trace in figure.data] == first.args[0]["x"]


# --- several looks at the same rollouts ---

BED = tree_testbed(0.4, bits=3, spare=1)
FEW = {"batches": 20, "tasks": 1, "resamples": 100}


def test_looks_together_are_one_look():
    apart = together(microscope({"GRPO": grpo}, BED, **FEW), microscope({"RLOO": rloo}, BED, **FEW))
    at_once = microscope({"RLOO": rloo, "GRPO": grpo}, BED, **FEW).ordered(["GRPO", "RLOO"])
    assert apart.measured == at_once.measured
    assert apart.difference("correlation", "GRPO", "RLOO") == at_once.difference("correlation", "GRPO", "RLOO")


def test_looks_at_other_rollouts_are_refused():
    one = microscope({"GRPO": grpo}, BED, **FEW)
    with pytest.raises(ValueError, match="the same rollouts"):
        together(one, microscope({"RLOO": rloo}, BED, **FEW, seed=1))
    with pytest.raises(ValueError, match="the same rollouts"):
        together(one, one)


# --- side by side ---


def test_maps_hold_what_was_decided_and_the_truth_comes_first():
    found = maps("tokens")
    assert next(iter(found)) == TRUTH
    assert list(found)[1:] == list(SUBJECTS["tokens"])
    decided = {name: ~np.isnan(values) for name, values in found.items()}
    assert all((mask == decided[TRUTH]).all() for mask in decided.values())
    assert decided[TRUTH].shape[0] == 8
    grpo_map = found["GRPO"]
    assert all(np.unique(line[~np.isnan(line)]).size == 1 for line in grpo_map)  # one number an attempt


def test_the_matrix_has_a_menu_entry_and_titles_for_every_testbed():
    figure = side_by_side()
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == list(TITLES.values())
    for button, subjects in zip(buttons, SUBJECTS.values(), strict=True):
        visible, titles = button.args
        assert sum(visible["visible"]) == len(subjects) + 1
        assert [title for title in titles.values() if title.strip()] == [TRUTH, *subjects]
