"""The stepper: one figure, one slider, a picture for every kind of quantity."""

import json
import math

import numpy as np
import pytest
import torch

from hierlab.lab.figures import LIMIT_BYTES, figure_json
from hierlab.lab.stepper import MAX_ROWS, stepper
from hierlab.trace import Tape, show


def taped(**values):
    with Tape() as tape:
        for name, value in values.items():
            show(name, value, r"x_{t}")
    return tape


def test_nothing_to_show():
    with pytest.raises(ValueError, match="the tape is empty"):
        stepper(Tape())


@pytest.mark.parametrize(
    "value",
    [
        3.0,
        torch.tensor(2),
        torch.zeros(0),
        torch.zeros(0, 4),
        [1.5],
        torch.tensor([math.nan, math.inf, 1.0]),
        torch.tensor([True, False]),
        [[1, 2], [3, 4]],
    ],
    ids=["number", "scalar tensor", "no rows", "empty matrix", "one row", "not finite", "booleans", "nested lists"],
)
def test_odd_values_are_drawn(value):
    figure = stepper(taped(value=value))
    assert len(figure.data) == 1
    json.loads(figure_json(figure, "odd"))


def test_one_slider_step_a_quantity_and_one_trace_visible_at_a_time():
    figure = stepper(taped(rewards=torch.tensor([1.0, 0.0]), matrix=torch.ones(2, 3), group=torch.tensor([0, 1])))
    steps = figure.layout.sliders[0].steps
    assert [s.label for s in steps] == ["1", "2", "3"]
    for number, step in enumerate(steps):
        visible, layout = step.args
        assert visible["visible"] == tuple(i == number for i in range(3)) or visible["visible"] == [i == number for i in range(3)]
        assert f"<b>{number + 1} of 3" in layout["annotations[0].text"]
        assert "<i>x</i><sub><i>t</i></sub>" in layout["annotations[0].text"]
    assert [t.visible for t in figure.data] == [True, False, False]
    assert [t.type for t in figure.data] == ["bar", "heatmap", "bar"]
    # Bars and matrix have axes of their own; the slider shows the pair that is needed.
    assert steps[1].args[1]["xaxis.visible"] is False
    assert steps[1].args[1]["xaxis2.visible"] is True


def test_rows_are_placed_by_trajectory_and_turn_in_any_order():
    figure = stepper(taped(x=torch.tensor([1.0, 2.0, 3.0])), trajectory=["b", "a", "b"], turn=torch.tensor([1, 0, 0]))
    z = figure.data[0].z
    assert [list(line) for line in z] == [[3.0, 1.0], [2.0, None]]
    assert list(figure.data[0].y) == ["b", "a"]


def test_other_lengths_fall_back_to_rows():
    figure = stepper(taped(x=torch.ones(3), y=torch.ones(2)), trajectory=[0, 0, 1], turn=[0, 1, 0])
    assert [t.type for t in figure.data] == ["heatmap", "bar"]


def test_groups_have_colours_of_their_own_and_counts_have_not():
    figure = stepper(taped(group=torch.tensor([0, 1, 0, 2]), size=torch.tensor([2, 1, 2, 1]), state=["hall", "room", "hall", "hall"]))
    assert len(set(figure.data[0].marker.color)) == 3
    assert isinstance(figure.data[1].marker.color, str)
    assert list(figure.data[2].text) == ["hall", "room", "hall", "hall"]


def test_signed_numbers_are_centred_on_zero():
    figure = stepper(taped(a=torch.tensor([[-1.0, 3.0]]), b=torch.tensor([[1.0, 3.0]])))
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-3, 3)
    assert (figure.data[1].zmin, figure.data[1].zmax) == (0, 3)


def test_large_batches_are_cut_and_say_so():
    figure = stepper(taped(x=torch.randn(8192), y=torch.randn(512, 1024)))
    assert len(figure.data[0].y) == MAX_ROWS
    assert "the first 64 of 8192 rows" in figure.layout.annotations[0].text
    assert len(figure_json(figure, "large")) < LIMIT_BYTES / 4


def test_no_fixed_width_and_no_background():
    figure = stepper(taped(x=torch.ones(2)))
    assert figure.layout.width is None
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trajectory": [0, 1]}, "both trajectory and turn"),
        ({"layout": "grid"}, "both trajectory and turn"),
        ({"trajectory": [0, 1], "turn": [0]}, "one entry a row, got 2 and 1"),
        ({"layout": "circle"}, "layout must be"),
    ],
)
def test_wrong_usage(options, words):
    with pytest.raises(ValueError, match=words):
        stepper(taped(x=torch.ones(2)), **options)


def test_values_that_cannot_be_drawn_are_named():
    with pytest.raises(ValueError, match=r"step 'cube' has shape \(2, 2, 2\)"):
        stepper(taped(cube=np.ones((2, 2, 2))))
    with pytest.raises(ValueError, match="step 'thing' is a object"):
        stepper(taped(thing=object()))
