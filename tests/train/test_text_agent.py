"""The agent that labs train: made once, trained on equal terms, stopped and gone on with."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from hierlab.credit import gigpo, grpo
from hierlab.envs.environment import Observation, Step
from hierlab.envs.house import GameSettings
from hierlab.models import TinySize, load
from hierlab.rollout import EpisodeCollector, Rollouts, SamplingParams, TransformersEngine
from hierlab.train.imitation import ImitationSettings
from hierlab.train.novice import NoviceSettings
from hierlab.train.policy import PolicySettings
from hierlab.train.text_agent import (
    Agent,
    NoviceAgentSettings,
    TextWorldSettings,
    alfworld_agent,
    anchor_sizes,
    novice_agent,
    textworld_agent,
    train_agent,
)

SMALL = TinySize(hidden=32, layers=1, heads=2, inner=64, context=128)
UPDATE = PolicySettings(learning_rate=4e-3, tasks=2)
SETTINGS = TextWorldSettings(
    games=GameSettings(rooms=1, objects=2, things=1, quest_length=2),
    number=1,
    turns=4,
    size=SMALL,
    demonstrations=4,
    imitation=ImitationSettings(steps=5, batch=8),
)


class Door:
    """Two turns: `left` or `right` is right, by task; anything else is invalid."""

    def __init__(self, right):
        self.id = self.right = right

    def environment(self):
        self.turn = 0
        return _Walk(self.right)


class _Walk:
    def __init__(self, right):
        self.right, self.turn = right, 0

    def reset(self):
        return Observation(f"door {self.right}", ("left", "right"))

    def step(self, action):
        self.turn += 1
        won = action == self.right
        valid = action in ("left", "right")
        return Step(Observation(f"door {self.right}"), 10.0 * won - 0.1 * (not valid), won or self.turn == 2, valid, won)


def agent() -> Agent:
    torch.set_num_threads(1)
    policy = load("tiny", vocabulary=["door", "left", "right"], size=SMALL)
    return Agent(policy, [Door("left"), Door("right")], TransformersEngine(policy), SamplingParams(2), 2)


def rollouts(task, state) -> Rollouts:
    n = len(task)
    ids, mask = torch.zeros(n, 1, dtype=torch.int64), torch.ones(n, 1, dtype=torch.bool)
    return Rollouts(ids, mask, ids, mask, torch.zeros(n, 1), torch.zeros(n), task, list(range(n)), torch.zeros(n, dtype=torch.int64), state)


def test_anchor_groups_are_counted_within_tasks():
    counts = anchor_sizes(rollouts(["a"] * 8 + ["b"], ["x"] * 6 + ["y", "z", "x"]))
    assert counts == {"anchors": 4, "anchors_of_one": 3, "anchors_of_more": 1, "anchors_of_6_to_8": 1}


@pytest.mark.parametrize("estimator", [grpo, partial(gigpo, scale="std")], ids=["grpo", "gigpo"])
def test_it_learns(estimator):
    result = train_agent(agent(), estimator, UPDATE, iterations=40)
    assert result["final"] > result["success"][0]
    assert result["turns"][-1] <= 40 * 2 * 8 * 2
    assert 0 < result["overhead"] < 1
    assert all(len(value) == 40 for value in result.values() if isinstance(value, list))


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    once = train_agent(agent(), grpo, UPDATE, iterations=12)
    train_agent(agent(), grpo, UPDATE, iterations=10, folder=tmp_path)
    again = train_agent(agent(), grpo, UPDATE, iterations=12, folder=tmp_path)
    assert again["success"] == once["success"]
    assert again["final"] == once["final"]


@pytest.mark.filterwarnings("ignore:Game .* is not fully supported")
def test_a_textworld_agent_is_made_once_and_plays(tmp_path, monkeypatch):
    monkeypatch.setenv("HIERLAB_CACHE", str(tmp_path))
    losses = []
    made = textworld_agent(SETTINGS, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 5
    again = textworld_agent(SETTINGS, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 5
    weights = (tuple(a.policy.model.parameters()) for a in (made, again))
    assert all(torch.equal(x, y) for x, y in zip(*weights, strict=True))
    played = EpisodeCollector(2, made.params, made.history)(made.engine, made.tasks, torch.Generator().manual_seed(0))
    assert len(set(played.trajectory)) == 2
    textworld_agent(replace(SETTINGS, detour=0.1), report=lambda step, loss: losses.append(loss))
    assert len(losses) == 10


def novice_settings(**changes) -> NoviceAgentSettings:
    kind, larger = GameSettings(rooms=1, objects=2, things=1, quest_length=2), GameSettings(rooms=2, objects=3, quest_length=3)
    watched = NoviceSettings(games=kind, houses=4, size=SMALL, imitation=ImitationSettings(steps=5, batch=8))
    return replace(NoviceAgentSettings(novice=watched, larger=larger, number=3, held_out=5, turns=4), **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Agent:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIERLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return novice_agent(novice_settings())


def test_a_novice_agent_has_games_of_three_kinds_no_two_alike(made):
    sets = [made.tasks, made.held_out["in_distribution"], made.held_out["out_of_distribution"]]
    assert [len(tasks) for tasks in sets] == [3, 5, 5]
    assert len({task.house for tasks in sets for task in tasks}) == 13
    assert [{len(task.house.rooms) for task in tasks} for tasks in sets] == [{1}, {1}, {2}]


def test_a_novice_agent_reads_what_it_was_taught_to_read(made):
    played = made.collector(2)(made.engine, made.tasks, torch.Generator().manual_seed(0))
    assert made.policy.tokenizer.unk_token_id not in played.prompt_ids
    assert len(set(played.trajectory)) == 6
    assert made.collector(1, temperature=0.5).params.temperature == 0.5
    assert made.collector(1).params == made.params


def test_other_seeds_give_other_games(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HIERLAB_CACHE", str(tmp_path))
    other = novice_agent(novice_settings(), seed=1)
    assert {task.house for task in other.tasks}.isdisjoint(task.house for task in made.tasks)


def test_training_says_how_the_held_out_games_go(made):
    result = train_agent(made, grpo, UPDATE, iterations=2, group_size=2)
    assert 0 <= result["in_distribution"] <= 1
    assert 0 <= result["out_of_distribution"] <= 1
    assert "in_distribution" not in train_agent(agent(), grpo, UPDATE, iterations=1)


@pytest.mark.parametrize("field", ["number", "held_out", "turns"])
def test_a_novice_agent_needs_games_and_turns(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        novice_settings(**{field: 0})


def test_too_few_different_houses_are_said(monkeypatch):
    monkeypatch.setattr("hierlab.train.text_agent.ATTEMPTS", 3)
    with pytest.raises(ValueError, match="too few different houses of GameSettings"):
        novice_agent(novice_settings(number=4))


def test_alfworld_is_missed_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr("hierlab.envs.alfworld.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hierlab\[alfworld\]'"):
        alfworld_agent("no/such-model")
