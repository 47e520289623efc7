"""Every method with reference vectors reproduces them."""

from __future__ import annotations

import pytest
import torch
from golden_cases import Case, cases, files, largest_error, tolerance
from golden_runners import LATER, RUNNERS, join, runner

ALL = [case for file in files() for case in cases(file)]


def test_there_are_cases():
    assert len(ALL) >= 29


@pytest.mark.parametrize("case", [c for c in ALL if runner(c)], ids=lambda case: f"{case.file}:{case.name}")
def test_reproduces_the_reference(case: Case):
    pairs = runner(case)(case)
    assert pairs
    assert largest_error(pairs) <= tolerance(case), {name: largest_error({name: pair}) for name, pair in pairs.items()}


def test_every_case_has_a_runner_or_is_known_to_come_later():
    assert {(case.file, case.function) for case in ALL} == set(RUNNERS) | LATER
    assert not set(RUNNERS) & LATER


def test_a_second_runner_for_one_function_is_refused():
    with pytest.raises(ValueError, match="two runners"):
        join(RUNNERS, dict([next(iter(RUNNERS.items()))]))


def test_error_sees_a_wrong_number_shape_and_nan():
    assert largest_error({"a": (torch.tensor([1.0, 2.0]), [1.0, 2.5])}) == 0.5
    assert largest_error({"a": (torch.tensor([1.0]), [1.0, 1.0])}) == float("inf")
    assert largest_error({"a": (torch.tensor(float("nan")), 1.0)}) == float("inf")
