"""The baselines as recipes: each sets the switches it is named for, and all of them train."""

from itertools import pairwise

import pytest
import torch
from test_solver import SMALL, Echo

from hierlab.credit import grpo
from hierlab.lab.ratios import sequence_log_ratios, straying_ratios
from hierlab.models import load
from hierlab.rollout import GroupCollector, SamplingParams, TransformersEngine
from hierlab.train.baselines import BASELINES, Recipe, train_recipe, wrong_length
from hierlab.train.policy import PolicySettings
from hierlab.train.solver import Solver, train_solver

UPDATE = PolicySettings(learning_rate=3e-3, tasks=2, mini_batches=2)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def solver() -> Solver:
    policy = load("tiny", vocabulary=[*"abcdefgh", "say"], size=SMALL)
    problems = [Echo(letter) for letter in "abcdefgh"]
    return Solver(policy, TransformersEngine(policy), problems, problems[:3], SamplingParams(2))


@pytest.mark.parametrize("name", BASELINES)
def test_every_recipe_trains(name):
    result = train_recipe(solver(), BASELINES[name], UPDATE, iterations=3, group_size=8, most=40)
    assert result["iterations"] == 3
    assert max(result["gradient_norm"]) > 0
    assert result["wrong_length"][0] > 0


def test_the_ladder_adds_one_change_a_rung():
    rungs = [BASELINES[name] for name in ("GRPO", "+ clip-higher", "+ token-level loss", "+ dynamic sampling", "DAPO")]
    for below, above in pairwise(rungs):
        parts = [below.switches.get(s) != above.switches.get(s) for s in ("clip_high", "aggregation")]
        assert sum([*parts, below.dynamic != above.dynamic, below.overlong != above.overlong]) == 1


def test_a_plain_recipe_is_the_trainer_with_its_estimator():
    plain = train_solver(solver(), grpo, UPDATE, iterations=2, group_size=4)
    recipe = train_recipe(solver(), Recipe(grpo), UPDATE, iterations=2, group_size=4)
    assert recipe["final"] == plain["final"]
    assert recipe["gradient_norm"] == plain["gradient_norm"]


def test_dynamic_sampling_pays_for_what_it_drops():
    kept, paid = (train_recipe(solver(), BASELINES[name], UPDATE, iterations=2, most=40) for name in ("GRPO", "+ dynamic sampling"))
    assert paid["live_share"][0] == 1.0
    assert paid["generated_tokens"] > kept["generated_tokens"]


def test_length_of_wrong_answers():
    one = solver()
    rollouts = GroupCollector(8, one.params)(one.engine, one.tasks, torch.Generator().manual_seed(0))
    lengths = rollouts["response_length"][~torch.tensor(rollouts["success"])]
    assert wrong_length(rollouts) == {"wrong_length": pytest.approx(float(lengths.float().mean()))}
    assert wrong_length(rollouts.with_columns(success=[True] * len(rollouts))) == {}


def test_sequence_ratios_are_means_over_tokens():
    ratio = torch.tensor([[1.0, 3.0, 9.0], [2.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    assert sequence_log_ratios(ratio, mask).tolist() == [2.0, 2.0, 0.0]


def test_ratios_stray_with_the_steps_taken():
    near, far = (straying_ratios(solver(), PolicySettings(learning_rate=rate, tasks=8, mini_batches=4)) for rate in (1e-5, 1e-2))
    assert near["token_deviation"] < far["token_deviation"]
    assert far["sequence_deviation"] < far["token_deviation"]
    assert sum(far["tokens"]) == pytest.approx(1)
    assert len(far["tokens"]) == len(far["sequences"]) == len(far["bins"])
