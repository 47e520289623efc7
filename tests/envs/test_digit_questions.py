from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs.digit_questions import COURSES, METHODS, OPENINGS, PHRASES, DigitQuestion, Pupil, digit_questions, plan_of, written
from hierlab.envs.environment import Problem

questions = st.builds(DigitQuestion, st.sampled_from(tuple(METHODS)), st.integers(0, 9), st.integers(2, 6))
TRIPLED = DigitQuestion("tripled", 4)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# degenerate sizes


def test_two_digits():
    assert written(1, 2, "let us add one", "so we go on") == "let us add one 2 so we go on 3"
    assert DigitQuestion("following", 1, 2).verify("2 3") == 1


@pytest.mark.parametrize("response", ["", " ", "let us", "we multiply by three", "8 4", "two six eight four"])
def test_no_answer_is_no_success(response):
    assert TRIPLED.verify(response) == 0
    assert TRIPLED.outcome(response) == "planning"


# closed form


def test_one_question():
    assert isinstance(TRIPLED, Problem)
    assert (TRIPLED.id, TRIPLED.prompt, TRIPLED.results) == ("tripled 4", "tripled 4 ?", (2, 6, 8, 4))
    answer = written(4, 4, "we multiply by three", "better check that first", (1,))
    assert answer == "we multiply by three 3 9 better check that first 2 6 8 4"  # the slip comes before the second start
    assert TRIPLED.outcome(answer) == "right"
    assert plan_of(answer) == ("tripled", "again")


def test_how_answers_fail():
    for plan, slips, outcome in (
        (("let us triple all", "then comes the rest"), (0, 1), "execution"),
        (("let us copy all", "then comes the rest"), (), "planning"),
        (("let us triple all", "no need for more"), (), "planning"),
    ):
        assert TRIPLED.outcome(written(4, 4, *plan, slips)) == outcome


def test_only_the_last_digits_count_and_nothing_may_follow():
    assert TRIPLED.verify("9 9 9 2 6 8 4") == TRIPLED.verify("2 so 6 8\n4") == 1
    assert TRIPLED.verify("2 6 8 4 so") == TRIPLED.verify("268 4") == TRIPLED.verify("2 6 8 4 1") == 0


def test_phrases_are_of_one_length_and_no_phrase_begins_another():
    assert {len(phrase.split()) for phrase in PHRASES} == {4}
    assert len(set(PHRASES)) == len(PHRASES) == 18


# properties


@given(question=questions, course=st.sampled_from(["on", "again"]), which=st.integers(0, 1), other=st.integers(0, 1))
def test_the_right_method_carried_through_is_right(question, course, which, other):
    answer = written(question.start, question.steps, OPENINGS[question.kind][which], COURSES[course][other])
    assert question.outcome(answer) == "right"
    assert plan_of(answer) == (question.kind, course)


@given(method=st.sampled_from(tuple(METHODS)), start=st.integers(0, 9), shift=st.integers(1, 9))
def test_every_digit_comes_out_once_and_a_slip_carries_on(method, start, shift):
    assert sorted(METHODS[method](digit) for digit in range(10)) == list(range(10))
    *_, first, _, _, _, _, second = written(start, 2, OPENINGS[method][0], "so we go on", (shift,)).split()
    assert int(first) == (METHODS[method](start) + shift) % 10
    assert int(second) == METHODS[method](int(first))


def test_a_pupil_is_as_right_as_its_sense_and_skill_say():
    drawn = digit_questions() * 100
    pupil, chance = Pupil(sense=0.4, skill=0.9), draw(1)
    outcome = Counter(question.outcome(pupil(question, chance)) for question in drawn)
    share = {name: count / len(drawn) for name, count in outcome.items()}
    planned = 0.4 * 2 / 3
    assert share["right"] == pytest.approx(planned * 0.9**4, abs=0.03)  # and a little luck
    assert share["execution"] == pytest.approx(planned * (1 - 0.9**4), abs=0.02)


@pytest.mark.parametrize("sense", [0.0, 1.0])
def test_without_slips_only_plans_fail(sense):
    drawn, pupil = digit_questions() * 5, Pupil(sense, 1.0)
    outcome = Counter(question.outcome(pupil(question, draw(i))) for i, question in enumerate(drawn))
    assert outcome["execution"] == 0
    assert outcome["right"] / 300 == pytest.approx(2 / 3 * sense, abs=0.08)  # to 0 and 5, some methods do the same


def test_all_questions():
    assert len(set(digit_questions())) == len({question.id for question in digit_questions()}) == 60


# wrong usage


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="a question is one of following"):
        DigitQuestion("largest", (1, 2))
    for start in (-1, 10, True, 2.0):
        with pytest.raises(ValueError, match="a question starts with a digit from 0 to 9"):
            DigitQuestion("tripled", start)
    with pytest.raises(ValueError, match="at least two digits, got 1"):
        digit_questions(1)
    with pytest.raises(ValueError, match="begins with a phrase of OPENINGS"):
        written(1, 2, "let us guess", "so we go on")
    with pytest.raises(ValueError, match=r"sense must be a number in \[0, 1\]"):
        Pupil(sense=1.5)
