from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs.digit_questions import COURSES, METHODS, OPENINGS, PHRASES, DigitQuestion, Pupil, digit_questions, plan_of, written
from hierlab.envs.environment import Problem

rows = st.lists(st.integers(0, 9), min_size=2, max_size=6).map(tuple)
questions = st.builds(DigitQuestion, st.sampled_from(tuple(METHODS)), rows)
MIRRORED = DigitQuestion("mirrored", (3, 7, 2, 9))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# degenerate sizes


def test_two_digits():
    assert written((1, 2), "let us copy all", "so we go on") == "let us copy all 1 so we go on 2"
    assert DigitQuestion("repeated", (1, 2)).verify("1 2") == 1


@pytest.mark.parametrize("response", ["", " ", "let us", "we subtract from nine", "7 0", "six two seven zero"])
def test_no_answer_is_no_success(response):
    assert MIRRORED.verify(response) == 0
    assert MIRRORED.outcome(response) == "planning"


def test_no_questions():
    assert digit_questions(0, digits=3, generator=draw()) == []


# closed form


def test_one_question():
    assert isinstance(MIRRORED, Problem)
    assert (MIRRORED.id, MIRRORED.prompt, MIRRORED.results) == ("mirrored 3729", "mirrored 3 7 2 9 ?", (6, 2, 7, 0))
    answer = written(MIRRORED.digits, "we subtract from nine", "better check that first", (1,))
    assert answer == "we subtract from nine 7 2 better check that first 6 2 7 0"  # the slip comes before the second start
    assert MIRRORED.outcome(answer) == "right"
    assert plan_of(answer) == ("mirrored", "again")


def test_how_answers_fail():
    for plan, slips, outcome in (
        (("let us mirror all", "then comes the rest"), (0, 0, 0, 4), "execution"),
        (("let us copy all", "then comes the rest"), (), "planning"),
        (("let us mirror all", "no need for more"), (), "planning"),
    ):
        assert MIRRORED.outcome(written(MIRRORED.digits, *plan, slips)) == outcome


def test_only_the_last_digits_count_and_nothing_may_follow():
    assert MIRRORED.verify("9 9 9 6 2 7 0") == MIRRORED.verify("6 so 2 7\n0") == 1
    assert MIRRORED.verify("6 2 7 0 so") == MIRRORED.verify("627 0") == MIRRORED.verify("6 2 7 0 1") == 0


def test_phrases_are_of_one_length_and_no_phrase_begins_another():
    assert {len(phrase.split()) for phrase in PHRASES} == {4}
    assert len(set(PHRASES)) == len(PHRASES) == 18


# properties


@given(question=questions, course=st.sampled_from(["on", "again"]), which=st.integers(0, 1), other=st.integers(0, 1))
def test_the_right_method_carried_through_is_right(question, course, which, other):
    answer = written(question.digits, OPENINGS[question.kind][which], COURSES[course][other])
    assert question.outcome(answer) == "right"
    assert plan_of(answer) == (question.kind, course)


@given(method=st.sampled_from(tuple(METHODS)), shift=st.integers(1, 9))
def test_every_digit_comes_out_once_but_for_slips(method, shift):
    opening = OPENINGS[method][0]
    assert sorted(METHODS[method](digit) for digit in range(10)) == list(range(10))
    plain, slipped = (written((5, 5), opening, "so we go on", slips).split() for slips in ((), (0, shift)))
    assert plain[:-1] == slipped[:-1]
    assert (int(slipped[-1]) - int(plain[-1])) % 10 == shift


def test_a_pupil_is_as_right_as_its_sense_and_skill_say():
    drawn = digit_questions(4000, digits=4, generator=draw())
    pupil, chance = Pupil(sense=0.4, skill=0.9), draw(1)
    outcome = Counter(question.outcome(pupil(question, chance)) for question in drawn)
    share = {name: count / len(drawn) for name, count in outcome.items()}
    planned = 0.4 * 2 / 3
    assert share["right"] == pytest.approx(planned * 0.9**4, abs=0.02)
    assert share["execution"] == pytest.approx(planned * (1 - 0.9**4), abs=0.02)


@pytest.mark.parametrize("sense", [0.0, 1.0])
def test_without_slips_only_plans_fail(sense):
    drawn, pupil = digit_questions(300, digits=4, generator=draw()), Pupil(sense, 1.0)
    outcome = Counter(question.outcome(pupil(question, draw(i))) for i, question in enumerate(drawn))
    assert outcome["execution"] == 0
    assert outcome["right"] / 300 == pytest.approx(2 / 3 * sense, abs=0.08)  # rows of 0 and 5 look alike to some methods


def test_questions_are_different_and_repeat_with_the_seed():
    drawn = digit_questions(590, digits=2, generator=draw())
    assert len(set(drawn)) == 590
    assert drawn == digit_questions(590, digits=2, generator=draw())


# wrong usage


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="a question is one of following"):
        DigitQuestion("largest", (1, 2))
    for digits in ((1,), (1, 10), (1, True), (1, 2.0)):
        with pytest.raises(ValueError, match="at least two digits, each an integer from 0 to 9"):
            DigitQuestion("mirrored", digits)
    with pytest.raises(ValueError, match="number=601"):
        digit_questions(601, digits=2, generator=draw())
    with pytest.raises(ValueError, match="begins with a phrase of OPENINGS"):
        written((1, 2), "let us guess", "so we go on")
    with pytest.raises(ValueError, match=r"sense must be a number in \[0, 1\]"):
        Pupil(sense=1.5)
