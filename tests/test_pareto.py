from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hierlab.pareto import dominates, front, hypervolume, mean_distance, weighted_choice


# few distinct values, so that ties and duplicates are common
def matrices(objectives: int):
    shape = st.tuples(st.integers(0, 12), st.just(objectives))
    return arrays.arrays(float, shape, elements=st.integers(-2, 3))


points_of = st.integers(1, 4).flatmap(matrices)


def plain_front(points: np.ndarray, maximise=True, duplicates="first") -> list[int]:
    """The definition, pair by pair."""
    kept = []
    for i, a in enumerate(points):
        beaten = any(dominates(b, a, maximise=maximise) for b in points)
        copied = duplicates == "first" and any((points[j] == a).all() for j in range(i))
        if not beaten and not copied:
            kept.append(i)
    return kept


def plain_volume(points: np.ndarray, low: int, high: int) -> float:
    """Unit cells between integers that some point dominates, counted one by one."""
    cells = np.stack(np.meshgrid(*[np.arange(low, high)] * points.shape[1], indexing="ij"), -1).reshape(-1, points.shape[1])
    return float(sum((points >= cell + 1).all(1).any() for cell in cells)) if len(points) else 0.0


# degenerate sizes


def test_nothing_has_no_front_and_no_volume():
    for objectives in (1, 2, 4):
        nothing = np.zeros((0, objectives))
        assert front(nothing).tolist() == []
        assert hypervolume(nothing, 0) == 0


def test_one_objective_keeps_its_best_value():
    points = [[1.0], [3.0], [2.0], [3.0]]
    assert front(points).tolist() == [1]
    assert front(points, duplicates="all").tolist() == [1, 3]
    assert front(points, maximise=False).tolist() == [0]
    assert hypervolume(points, 1.0) == 2.0


def test_one_point_is_its_own_front():
    assert front([[0.5, 0.5, 0.5]]).tolist() == [0]
    assert hypervolume([[0.5, 0.5, 0.5]], 0) == pytest.approx(0.125)


# closed form


def test_dominance_needs_one_strict_gain():
    assert dominates([1, 2], [1, 1])
    assert not dominates([1, 2], [1, 2])
    assert not dominates([2, 0], [1, 1])
    assert dominates([2, 0], [1, 1], maximise=(True, False))


def test_duplicates_follow_the_rule():
    points = [[0, 1], [1, 0], [0, 1], [0, 0]]
    assert front(points).tolist() == [0, 1]
    assert front(points, duplicates="all").tolist() == [0, 1, 2]


def test_volume_of_a_staircase():
    assert hypervolume([[1, 3], [2, 2], [3, 1]], 0) == pytest.approx(6.0)
    assert hypervolume([[1, 3], [2, 2], [3, 1]], 4, maximise=False) == pytest.approx(6.0)
    assert hypervolume([[0.8, 2.0], [0.9, 3.0]], (0.0, 4.0), maximise=(True, False)) == pytest.approx(0.8 * 2 + 0.1 * 1)


def test_a_point_on_the_reference_adds_nothing():
    assert hypervolume([[1.0, 0.0], [0.0, 1.0]], 0) == 0
    assert hypervolume([[1.0, 0.0], [0.5, 0.5]], 0) == pytest.approx(0.25)


def test_volume_of_a_quarter_disc_tends_to_its_area():
    angle = np.linspace(0, np.pi / 2, 4001)
    assert hypervolume(np.c_[np.cos(angle), np.sin(angle)], 0) == pytest.approx(np.pi / 4, abs=1e-3)


def test_choice_goes_with_the_preference_and_takes_the_first_on_ties():
    points = [[0.9, 0.2], [0.7, 0.7], [0.3, 0.95]]
    assert weighted_choice(points, [1, 0]) == 0
    assert weighted_choice(points, [1, 1]) == 1
    assert weighted_choice(points, [0.25, 0.75]) == 2
    assert weighted_choice([[1, 0], [0, 1]], [1, 1]) == 0
    assert weighted_choice([[0.9, 5.0], [0.8, 1.0]], [1, 0.1], maximise=(True, False)) == 1


def test_distance_is_zero_on_the_front_and_not_symmetric():
    line = np.c_[np.linspace(0, 1, 11), 1 - np.linspace(0, 1, 11)]
    assert mean_distance(line[:3], line) == 0
    assert mean_distance(line, line[:3]) > 0.3
    assert mean_distance([[0, 0]], [[3, 4], [6, 8]]) == pytest.approx(5)


# loop against vectorised


@given(points_of, st.booleans(), st.sampled_from(["first", "all"]))
def test_front_is_what_the_definition_says(points, maximise, duplicates):
    assert front(points, maximise=maximise, duplicates=duplicates).tolist() == plain_front(points, maximise, duplicates)


@given(points_of, st.data())
def test_front_of_mixed_directions(points, data):
    maximise = data.draw(st.tuples(*[st.booleans()] * points.shape[1]))
    assert front(points, maximise=maximise).tolist() == plain_front(points, maximise)


@given(points_of)
def test_volume_is_that_of_the_cells_below(points):
    assert hypervolume(points, -2) == pytest.approx(plain_volume(points, -2, 3))


@given(points_of, st.randoms(use_true_random=False))
def test_order_of_rows_changes_no_volume_and_no_set(points, random):
    order = random.sample(range(len(points)), len(points))
    assert hypervolume(points[order], -2) == pytest.approx(hypervolume(points, -2))
    assert {tuple(p) for p in points[order][front(points[order])]} == {tuple(p) for p in points[front(points)]}


@given(points_of)
def test_dominated_points_change_no_volume(points):
    assert hypervolume(points[front(points)], -2) == pytest.approx(hypervolume(points, -2))


# wrong usage


def test_wrong_points_are_refused():
    with pytest.raises(ValueError, match="points must be a matrix"):
        front([1.0, 2.0])
    with pytest.raises(ValueError, match="got nan in row 1, objective 0"):
        front([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="one truth value for each of 2"):
        front([[0.0, 1.0]], maximise=(True,))
    with pytest.raises(ValueError, match="duplicates must be one of 'first', 'all'"):
        front([[0.0, 1.0]], duplicates="none")
    with pytest.raises(ValueError, match="same objectives, got 1 and 2"):
        dominates([1], [1, 2])


def test_wrong_reference_and_preference_are_refused():
    with pytest.raises(ValueError, match="one for each of 2 objectives"):
        hypervolume([[0.0, 1.0]], [0, 0, 0])
    for preference in ([0, 0], [1, -1], [1], [np.nan, 1]):
        with pytest.raises(ValueError, match="preference must be 2 numbers"):
            weighted_choice([[0.0, 1.0]], preference)
    with pytest.raises(ValueError, match="nothing to choose from"):
        weighted_choice(np.zeros((0, 2)), [1, 1])
    with pytest.raises(ValueError, match="must have rows"):
        mean_distance(np.zeros((0, 2)), [[1, 1]])
