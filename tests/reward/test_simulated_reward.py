from __future__ import annotations

import math

import numpy as np
import pytest

from hierlab.reward import best_of_n_accuracy, best_of_n_value
from hierlab.reward.simulated import AnswerWorld, SimulatedReward, exact_accuracy, largest_of


def drawn(world, answers, prompts=40_000):
    return world.draw(prompts, answers, np.random.default_rng(0))


def test_the_largest_of_one_two_and_three():
    assert largest_of(1) == pytest.approx(0, abs=1e-12)
    assert largest_of(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-8)
    assert largest_of(3) == pytest.approx(1.5 / math.sqrt(math.pi), abs=1e-8)


@pytest.mark.parametrize("answers", [1, 2, 3, 4, 8])
def test_no_and_perfect_correlation(answers):
    assert exact_accuracy(0.0, answers) == pytest.approx(1 / answers, abs=2e-4)
    assert exact_accuracy(1.0, answers) == 1.0
    assert exact_accuracy(-1.0, answers) == (1.0 if answers == 1 else 0.0)


@pytest.mark.parametrize(("correlation", "answers"), [(0.3, 4), (0.6, 4), (0.9, 4), (0.5, 3), (0.97, 8)])
def test_accuracy_is_what_is_measured(correlation, answers):
    model = SimulatedReward(correlation)
    scores = model.score(*drawn(AnswerWorld(), answers), np.random.default_rng(1))
    assert exact_accuracy(correlation, answers) == pytest.approx(best_of_n_accuracy(scores), abs=0.01)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("world", [AnswerWorld(), AnswerWorld(0.5), AnswerWorld(-0.8, 2.0)])
def test_gain_is_what_is_measured(world, bias):
    model = SimulatedReward(0.6, bias)
    utility, length = drawn(world, 16)
    gain = best_of_n_value(model.score(utility, length, np.random.default_rng(1)), utility).mean()
    assert model.best_of_n_gain(world, 16) == pytest.approx(gain, abs=0.02)


def test_a_length_bias_helps_or_hurts_by_the_world_alone():
    plain, biased = SimulatedReward(0.3), SimulatedReward(0.3, 1.0)
    assert biased.correlation(AnswerWorld(0.8)) > plain.correlation(AnswerWorld(0.8))
    assert biased.correlation(AnswerWorld(-0.8)) < 0 < plain.correlation(AnswerWorld(-0.8))


def test_the_best_answer_stands_first_and_clear():
    utility, length = AnswerWorld(0.5, 2.0).draw(5000, 4, np.random.default_rng(0), margin=0.5)
    assert utility.shape == length.shape == (5000, 4)
    assert ((utility[:, :1] - utility[:, 1:]) >= 0.5).all()
    plain, longs = AnswerWorld(0.5, 2.0).draw(40_000, 1, np.random.default_rng(0))
    assert np.corrcoef(plain[:, 0], longs[:, 0])[0, 1] == pytest.approx(0.5, abs=0.02)
    assert longs.std() == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SimulatedReward(1.2), r"quality must be a number in \[0, 1\]"),
        (lambda: SimulatedReward(0.5, -1.0), "length_bias must be"),
        (lambda: AnswerWorld(2.0), "length_correlation must be"),
        (lambda: AnswerWorld().draw(0, 4, np.random.default_rng(0)), "at least one prompt and one answer"),
        (lambda: AnswerWorld().draw(5, 4, np.random.default_rng(0), margin=9.0), "margin must be"),
        (lambda: largest_of(0), "at least one number"),
        (lambda: exact_accuracy(0.5, 0), "at least one answer"),
        (lambda: exact_accuracy(1.5, 4), "correlation must be"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
