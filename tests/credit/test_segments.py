from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit.segments import Segments, check_segments, segments_between, spread, value_steps


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[letter != "." for letter in row] for row in rows])


def segments(*ranges: tuple[int, int, int]) -> Segments:
    return Segments(*torch.tensor(ranges, dtype=torch.int64).reshape(-1, 3).unbind(1))


@st.composite
def cut_rows(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Starts and a mask that may have holes."""
    rows, length = draw(st.integers(0, 4)), draw(st.integers(1, 7))
    counted = torch.tensor(draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length)), dtype=torch.bool)
    opened = torch.tensor(draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length)), dtype=torch.bool)
    return (counted & opened).reshape(rows, length), counted.reshape(rows, length)


# degenerate sizes


def test_nothing_to_cut():
    for shape in ((0, 4), (3, 0), (2, 3)):
        nothing = torch.zeros(shape, dtype=torch.bool)
        found = segments_between(nothing, nothing)
        assert all(column.shape == (0,) for column in found)
        assert torch.equal(spread(f64(), found, nothing), torch.zeros(shape, dtype=torch.float64))
        assert value_steps(f64(), torch.ones(shape[0], dtype=torch.float64), found).shape == (0,)


# closed form


def test_segments_run_to_the_next_or_to_the_end():
    found = segments_between(mask(".x..x...", "........", "x......x"), mask("xxxxxx..", "xxxxxxxx", "xxxxxxxx"))
    assert list(zip(*(column.tolist() for column in found), strict=True)) == [(0, 1, 4), (0, 4, 6), (2, 0, 7), (2, 7, 8)]


def test_a_number_is_laid_on_its_tokens():
    counted = mask("xxxx.", "xxx..")
    laid = spread(f64(1, 2, 3), segments((1, 0, 5), (0, 3, 4), (0, 1, 2)), counted)
    assert laid.tolist() == [[0, 3, 0, 2, 0], [1, 1, 1, 0, 0]]
    assert laid.dtype == torch.float64


def test_steps_of_value():
    found = segments((0, 3, 5), (1, 0, 2), (0, 0, 3))
    assert value_steps(f64(0.25, 0.5, 0.75), f64(1, 0), found).tolist() == [0.75, -0.5, -0.5]


# loop against vectorised


@given(cut=cut_rows(), data=st.data())
def test_spread_equals_a_loop(cut, data):
    starts, counted = cut
    found = segments_between(starts, counted)
    order = torch.tensor(data.draw(st.permutations(range(len(found.row)))), dtype=torch.int64)
    shuffled, x = Segments(*(column[order] for column in found)), torch.arange(1.0, len(order) + 1)
    expected = torch.zeros(counted.shape)
    for value, row, start, stop in zip(x, *shuffled, strict=True):
        expected[row, start:stop] = value
    assert torch.equal(spread(x, shuffled, counted), expected * counted)


@given(cut=cut_rows(), seed=st.integers(0, 2**31))
def test_steps_add_up_to_the_outcome_minus_the_first_value(cut, seed):
    found = segments_between(*cut)
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(len(found.row), generator=generator, dtype=torch.float64)
    outcome = torch.rand(len(cut[0]), generator=generator, dtype=torch.float64)
    total = torch.zeros_like(outcome).index_add_(0, found.row, value_steps(value, outcome, found))
    for row in found.row.unique().tolist():
        first = value[found.row == row][0]
        assert total[row].item() == pytest.approx((outcome[row] - first).item())


# wrong usage


@pytest.mark.parametrize(
    ("ranges", "complaint"),
    [
        ([(0, 0, 3), (1, 0, 2), (1, 1, 3)], r"must not overlap, but in row 1 \[0, 2\) and \[1, 3\) do"),
        ([(0, 2, 4), (0, 0, 3)], r"must not overlap, but in row 0 \[0, 3\) and \[2, 4\) do"),
        ([(0, 1, 2), (0, 1, 2)], r"must not overlap, but in row 0"),
        ([(0, 0, 2), (1, 3, 3)], r"at least one token, but segment 1 is \[3, 3\) of row 1"),
        ([(0, 0, 6)], r"inside 2 rows of 5 positions, but segment 0 is \[0, 6\) of row 0"),
        ([(2, 0, 1)], r"inside 2 rows of 5 positions, but segment 0 is \[0, 1\) of row 2"),
        ([(0, -1, 1)], r"inside 2 rows of 5 positions"),
    ],
)
def test_bad_segments_are_refused(ranges, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_segments(segments(*ranges), mask("xxxxx", "xxxxx"))
    with pytest.raises(ValueError, match=complaint):
        spread(torch.ones(len(ranges)), segments(*ranges), mask("xxxxx", "xxxxx"))


def test_a_start_outside_the_response_is_refused():
    with pytest.raises(ValueError, match="in row 1 one starts at token 2, which is masked"):
        segments_between(mask("x...", "..x."), mask("xx..", "xx.."))
    with pytest.raises(ValueError, match="segment_start must have shape"):
        segments_between(mask("x..."), mask("xx..", "xx.."))


def test_there_must_be_as_many_numbers_as_segments():
    with pytest.raises(ValueError, match="x: 1, segments: 2"):
        spread(f64(1), segments((0, 0, 1), (0, 1, 2)), mask("xx"))
    with pytest.raises(ValueError, match="value: 1, segments: 2"):
        value_steps(f64(1), f64(1), segments((0, 0, 1), (0, 1, 2)))
