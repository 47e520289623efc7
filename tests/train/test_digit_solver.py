from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from hierlab.credit import grpo
from hierlab.envs.digit_questions import PHRASES, Pupil, written
from hierlab.models import TinySize
from hierlab.rollout import GroupCollector
from hierlab.rollout.marks import MarkedCollector, token_classes
from hierlab.seeds import generator
from hierlab.train.digit_solver import DigitSettings, digit_solver, outcomes, right_answers
from hierlab.train.imitation import ImitationSettings
from hierlab.train.policy import PolicySettings
from hierlab.train.solver import train_solver

QUICK = DigitSettings(
    size=TinySize(hidden=32, layers=1, heads=2, inner=32, context=64), demonstrations=60, imitation=ImitationSettings(steps=3, batch=8)
)


def test_a_solver_has_room_for_every_demonstration():
    solver = digit_solver(QUICK)
    assert len(solver.held_out) == 3 * len(solver.tasks) == 3 * 60
    answers = [QUICK.pupil(task, generator("room", i)) for i, task in enumerate(solver.tasks)]
    longest = max(len(solver.policy.tokenizer.encode(answer, add_special_tokens=False)) for answer in answers)
    assert longest + 1 < solver.params.max_new_tokens
    assert solver.policy.tokenizer.unk_token_id not in solver.policy.tokenizer.encode(" ".join([*answers, *PHRASES]))


def test_a_marked_solver_trains():
    solver = digit_solver(QUICK)
    grams = frozenset(tuple(phrase.split()[:3]) for phrase in PHRASES)
    collector = MarkedCollector(GroupCollector(4, solver.params), grams, entropy_of=solver.policy)
    measure = {"measure": lambda rollouts: token_classes(rollouts, grams)}
    run = train_solver(solver, grpo, PolicySettings(tasks=2), iterations=2, collector=collector, **measure)
    assert {"semantic_entropy", "planning_entropy", "execution_perplexity"} <= run.keys()


def test_the_corpus_is_right_and_repeats_itself():
    answers = right_answers(QUICK, 50)
    assert len(answers) == 50
    assert answers == right_answers(QUICK, 50)
    assert not any("enough" in answer or "no need" in answer for answer in answers)


def test_how_answers_failed():
    solver = digit_solver(QUICK)
    rollouts = GroupCollector(2, solver.params)(solver.engine, solver.tasks[:2], generator("outcomes"))
    first, second = solver.tasks[:2]
    right = written(first.start, 4, "let us add one", "so we go on")
    wrong = written(first.start, 4, "let us add five", "so we go on")
    answers = [right, wrong, written(second.start, 4, "we step up once", "so we go on", (0, 1)), "no"]
    rollouts = rollouts.with_columns(response=answers, success=[True, False, False, False])
    found = outcomes(rollouts, solver.tasks)
    assert found == pytest.approx({"planning_errors": 0.5, "execution_errors": 0.25, "plan_variety": log(2), "solved_groups": 0.5})


def test_a_hopeless_pupil_is_refused():
    with pytest.raises(ValueError, match="this pupil gave only 0 right answers, 9 are wanted"):
        right_answers(replace(QUICK, pupil=Pupil(sense=1.0, skill=0.0)), 9)
    with pytest.raises(ValueError, match="demonstrations must be at least 1"):
        replace(QUICK, demonstrations=0)
