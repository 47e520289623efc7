"""How the lab of active evaluation chooses the best, and its pictures."""

from __future__ import annotations

import numpy as np
import pytest

from hierlab.lab import stepper
from hierlab.lab.results import Results
from hierlab.ranking import votes
from hierlab.studies.ranking.active_evaluation import ALGORITHMS, best_of, lead, mean_over, synthetic, worst_of
from hierlab.studies.ranking.active_evaluation_figures import (
    bump_chart,
    descent_paths,
    error_bars,
    error_curves,
    rule_names,
    verdict_table,
    walk,
)


def measured(**arms: list[dict[str, float]]) -> Results:
    """One experiment: for each arm, what each seed measured."""
    seeds = tuple(range(len(next(iter(arms.values())))))
    units = {(arm, None, seed): values[seed] | {"rounds": [50, 100]} for arm, values in arms.items() for seed in seeds}
    return Results("e", tuple(arms), (None,), seeds, None, True, None, units)


FOUND = measured(
    steady=[{"x": 0.3, "y": 0.1, "curve": [0.3, 0.1]}] * 3,
    lucky=[{"x": x, "y": 0.2, "curve": [0.5, x]} for x in (0.0, 0.5, 0.5)],
)


def test_no_seed_chooses_the_arm_it_is_measured_with():
    """Seed 0 is where the lucky arm is best, but the other seeds prefer the steady one; without seed 1 it is the lucky one's turn."""
    assert best_of(FOUND, "x", ("steady", "lucky")) == [0.3, 0.5, 0.5]
    alone = measured(a=[{"x": 1.0}], b=[{"x": 0.5}])
    assert best_of(alone, "x", ("a", "b")) == [0.5]


def test_worst_is_seed_by_seed():
    assert worst_of(FOUND, "x", ("steady", "lucky")) == [0.3, 0.5, 0.5]
    assert mean_over(FOUND, ("x", "y"), "lucky") == pytest.approx([0.1, 0.35, 0.35])


def test_the_lead_is_that_of_the_setting_that_decides():
    """Without seed 0 the lead in y is the smaller one, without another seed that in x."""
    assert lead(FOUND, ("x", "y"), "steady", ("lucky",)) == pytest.approx([0.1, 0.2, 0.2])
    one = measured(own=[{"x": 0.1, "y": 0.5}] * 2, other=[{"x": 0.3, "y": 0.2}] * 2)
    assert lead(one, ("x", "y"), "own", ("other",)) == pytest.approx([-0.3, -0.3])
    assert lead(one, ("x", "y"), "own", ("other",), spare=1) == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("algorithm", ["BatchElo", "SCO", "BasicUCB", "representative tasks"])
def test_a_walk_is_drawn(algorithm):
    steps = walk(synthetic(0.5, 0, agents=4, tasks=3), 60, algorithm)
    names = [step.name for step in steps]
    assert names[0] == "the tasks' own rankings"
    assert ("strengths, step 1" in names) == (algorithm == "BatchElo")
    assert np.sum(steps[names.index("times sampled")].value) == 120
    errors = steps[-1].value
    assert errors[2] == pytest.approx(np.linspace(1, 0, 4) * errors[0] + np.linspace(0, 1, 4) * errors[1])
    assert len(stepper(steps, row_names="abcd").data) == len(steps)


def test_menus_show_one_setting_at_a_time():
    for figure in (
        bump_chart({"near": synthetic(0.1, 0), "far": synthetic(0.9, 0)}),
        error_curves({"near": (FOUND, "curve"), "far": (FOUND, "curve")}, ("steady", "lucky")),
        error_bars({"near": (FOUND, "x"), "far": (FOUND, "y")}, ("steady", "lucky")),
    ):
        near, far = (button.args[0]["visible"] for button in figure.layout.updatemenus[0].buttons)
        assert [trace.visible for trace in figure.data] == near
        assert [a != b for a, b in zip(near, far, strict=True)] == [True] * len(figure.data)
    assert not error_bars({"only": (FOUND, "x")}, ("steady",)).layout.updatemenus


def test_rules_side_by_side_on_the_meeple_votes():
    meeples = votes(["ABC", "ACB", "CAB", "BCA"], [1, 1, 2, 1])
    columns, rows = verdict_table(meeples)
    chains = {row[0]: row[1] for row in rows}
    assert columns[2:] == ["A", "B", "C"]
    assert chains["batch Elo"] == chains["Borda"] == chains["plurality"] == "A = C > B"
    assert chains["Soft Condorcet"] == chains["Copeland"] == "C > A > B"
    assert [len(trace.x) for trace in descent_paths(meeples, (0, 10)).data] == [2, 2, 2]


def test_rules_of_the_microscope_see_the_same_games():
    assert {a.choice for a in rule_names().values()} == {"uniform"}
    assert "BatchElo" in rule_names()
    assert len(rule_names()) < len(ALGORITHMS)
