from __future__ import annotations

import numpy as np
import pytest

from hierlab.lab.figures import figure_json
from hierlab.lab.results import Results
from hierlab.studies.preference.ranking_figures import arm_dots, curves_of, difficulty_plane, group_areas, turning_losses
from hierlab.studies.preference.ranking_theorems import exceptions, optimum_error

C, ALPHA = [-3.0, 0.5, 20.0, 1.0], [0.9, 0.8, 0.99, 0.2]


def results() -> Results:
    units = {
        (arm, None, seed): {"steps": [0.0, 5.0], "accuracy": [0.4, 0.5 + 0.1 * seed], "flipped": 0.1 * seed + place}
        for place, arm in enumerate(("DPO", "SFT"))
        for seed in (0, 1)
    }
    return Results("topics", ("DPO", "SFT"), (None,), (0, 1), None, False, None, units=units)


def visible(figure, number: int) -> list:
    """The traces that the slider's step of this number shows."""
    shown = figure.layout.sliders[0].steps[number].args[0]["visible"]
    return [trace for trace, on in zip(figure.data, shown, strict=True) if on]


def test_the_plane_colours_pairs_by_the_optimum():
    figure = difficulty_plane(C, ALPHA, (0.1, 10.0))
    right, wrong, line = visible(figure, 0)
    assert (right.name, list(right.x)) == ("ideally right", [-3.0, 0.5, 20.0])
    assert list(wrong.x) == [1.0]
    assert np.interp(0, line.x, line.y) == pytest.approx(0.5)
    assert list(visible(figure, 1)[0].x) == [-3.0]
    assert "75%" in figure.layout.annotations[0].text


def test_pairs_below_the_turning_loss_are_the_right_ones():
    figure = turning_losses(C, {"before": [3.0, -0.5, -20.0, -1.0], "after": [5.0, 1.0, -15.0, -0.5]}, beta=0.1)
    for number in (0, 1):
        right, wrong, line = visible(figure, number)
        assert all(y <= np.interp(x, line.x, line.y) + 1e-2 for x, y in zip(right.x, right.y, strict=True))
        assert all(y >= np.interp(x, line.x, line.y) - 1e-2 for x, y in zip(wrong.x, wrong.y, strict=True))
    assert not turning_losses(C, {"after": [1.0] * 4}, beta=0.1).layout.sliders


def test_few_pairs_are_drawn_of_many():
    figure = turning_losses([1.0, -1.0] * 300, {"after": [1.0] * 600}, beta=0.1, most=50)
    assert sum(len(trace.x) for trace in figure.data if trace.mode == "markers") == 50


def test_areas_curves_and_dots_hold_their_numbers():
    areas = group_areas([0, 1], {"right": [0.5, 0.6], "wrong": [0.5, 0.4]})
    assert [list(trace.y) for trace in areas.data] == [[0.5, 0.6], [0.5, 0.4]]
    line = curves_of(results(), "DPO", "steps", {"accuracy": "ranking accuracy"}, title="steps").data[-1]
    assert list(line.y) == pytest.approx([0.4, 0.55])
    dots = arm_dots(results(), {"flipped": "flipped"}, title="share").data[0]
    assert list(dots.x) == pytest.approx([0.05, 1.05])


def test_figures_are_small():
    assert len(figure_json(difficulty_plane(C * 50, ALPHA * 50, (0.01, 0.1, 1, 5, 10)), "plane")) < 60_000


def test_the_theorems_have_no_exceptions():
    found = exceptions(500, 0)
    assert all(pairs > 20 and wrong == 0 for pairs, wrong in found.values())
    assert optimum_error(3, beta=0.1, seed=0) < 1e-6
