import pytest

from hierlab.lab.segment_figures import stacked, staircase

WORDS, SURE = ["7", "6", "#", "6", "$"], [0.95, 0.5, 0.9, 0.3, 1.0]


def test_a_staircase_ends_in_the_reward():
    figure = staircase(WORDS, SURE, [False, True, False, True, False], [0, 0.5, 0, 0.25, 0], 1.0, continuations=4)
    steps = figure.data[-1]
    assert list(steps.x) == [0.5, 2.5, 4.5]
    assert list(steps.y) == [0.5, 0.25, 1.0]
    assert list(steps.error_y.array) == pytest.approx([0.25, 0.2165, 0])
    bars = {bar.name: list(bar.x) for bar in figure.data[:-1]}
    assert bars == {"cutpoint, starts a segment": [1, 3], "cutpoint": [], "confident": [0, 2, 4]}
    assert list(figure.layout.xaxis.ticktext) == WORDS


def test_without_segments_there_is_only_the_reward():
    figure = staircase(["7"], [0.99], [False], [0.0], 0.0, continuations=1)
    assert list(figure.data[-1].y) == [0.0]


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="as long as the response, got 5, 5, 1 and 0"):
        staircase(WORDS, SURE, [True], [], 1.0, continuations=4)
    with pytest.raises(ValueError, match="as long as the response"):
        staircase([], [], [], [], 1.0, continuations=4)


def test_stacked_bars_start_with_the_first_name():
    figure = stacked(["a", "b"], {"one": [1.0, 2.0], "other": [0.5, -0.1]}, "error")
    assert [list(bar.x) for bar in figure.data] == [[1.0, 2.0], [0.5, 0.0]]
    assert list(figure.layout.yaxis.categoryarray) == ["b", "a"]
