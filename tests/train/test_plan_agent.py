"""The agent that plans: its games, who it learnt from, and that it trains with a critic and without."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import gigpo, hiper, turn_gae
from hierlab.credit.plan_execute import read_plan
from hierlab.envs.house import GameSettings, draw_house
from hierlab.envs.house_graph import predict
from hierlab.envs.text_games import Rules
from hierlab.models import TinySize
from hierlab.rollout.plan_execute import PlanExecuteCollector
from hierlab.train.critic import CriticSettings
from hierlab.train.imitation import ImitationSettings
from hierlab.train.plan_agent import (
    HouseAgentSettings,
    alfworld_plan_agent,
    house_agent,
    landmark,
    planned_walk,
    train_plan_agent,
    ways_ahead,
)
from hierlab.train.policy import PolicySettings
from hierlab.train.readouts import PlanValues, TurnValues

GAMES = GameSettings(rooms=2, objects=3, things=2, quest_length=3)
SETTINGS = HouseAgentSettings(
    games=GameSettings(rooms=1, objects=2, things=1, quest_length=2),
    number=1,
    rules=Rules(success=1.0, invalid=-0.01, turns=3),
    size=TinySize(hidden=32, layers=2, heads=2, inner=64, context=160),
    detour=0.4,
    demonstrations=30,
    imitation=ImitationSettings(steps=120, batch=16, rate=1e-2),
)
QUICK = replace(SETTINGS, imitation=ImitationSettings(steps=3))
UPDATE = PolicySettings(learning_rate=1e-3, tasks=2)
LEARN = CriticSettings(learning_rate=3e-3, epochs=2)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIERLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def graph_of(errands: int, seed: int = 0):
    return predict(draw_house(replace(GAMES, things=3, errands=errands), seed))


# the demonstrated player


@pytest.mark.parametrize("errands", [1, 2, 3])
def test_a_player_who_is_never_led_astray_takes_a_shortest_way(errands):
    for seed in range(5):
        graph = graph_of(errands, seed)
        plans = planned_walk(graph, 0.0, 0.0, np.random.default_rng(0), turns=60)
        assert len(plans) == graph.distance[0]
        assert plans[0].switch
        assert sum(plan.switch for plan in plans) >= 2 * errands  # each thing is taken, and put somewhere
        assert all(b.switch == (landmark(a.action) == a.subgoal) for a, b in pairwise(plans))
        assert all(a.subgoal == b.subgoal for a, b in pairwise(plans) if not b.switch)


@given(st.integers(0, 20), st.floats(0, 0.9), st.floats(0, 0.9))
def test_walks_are_played_by_the_rules(seed, astray, detour):
    graph = graph_of(2, seed)
    plans = planned_walk(graph, astray, detour, np.random.default_rng(seed), turns=30)
    state = 0
    for plan in plans:
        assert plan.subgoal in ways_ahead(graph, state)
        state = graph.moves[state][plan.action]
    assert state in graph.won or len(plans) == 30


def test_ways_ahead_lead_to_their_subgoals_and_pass_no_other():
    graph = graph_of(1)
    for state in range(0, len(graph), 7):
        for subgoal in ways_ahead(graph, state):
            here = state
            for _ in range(20):
                command = ways_ahead(graph, here)[subgoal]
                if landmark(command) == subgoal:
                    break
                assert not landmark(command)
                here = graph.moves[here][command]
            else:
                raise AssertionError(f"{subgoal} is not reached")


def test_noise_makes_walks_longer():
    graph = graph_of(2)

    def mean_length(astray, detour):
        rng = np.random.default_rng(0)
        return np.mean([len(planned_walk(graph, astray, detour, rng, turns=100)) for _ in range(40)])

    assert mean_length(0.0, 0.0) < mean_length(0.4, 0.0)
    assert mean_length(0.0, 0.0) < mean_length(0.0, 0.4)


# the agent


def test_an_agent_is_made_once_and_writes_plans():
    losses = []
    made = house_agent(SETTINGS, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 120
    again = house_agent(SETTINGS, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 120
    weights = (tuple(a.policy.model.parameters()) for a in (made, again))
    assert all(torch.equal(x, y) for x, y in zip(*weights, strict=True))
    played = replace(made.collector, group_size=8)(made.engine, made.tasks, torch.Generator().manual_seed(0))
    plans = [read_plan(response) for response in played["response"]]
    assert np.mean([bool(plan.subgoal) for plan in plans]) > 0.8
    assert np.mean([float(valid) for valid in played["valid"]]) > 0.5
    house_agent(replace(QUICK, astray=0.1), report=lambda step, loss: losses.append(loss))
    assert len(losses) == 123


def test_games_differ_and_have_as_many_errands_as_asked_for():
    agent = house_agent(replace(QUICK, games=replace(GAMES, errands=2), number=3))
    assert len({task.id for task in agent.tasks}) == 3
    assert all(len(task.house.errands) == 2 for task in agent.tasks)


@pytest.mark.parametrize(
    ("estimator", "readout", "planning"),
    [(partial(hiper, gamma=0.95), PlanValues(gamma=0.95), True), (turn_gae, TurnValues(), True), (turn_gae, TurnValues(), False)],
    ids=["hiper", "flat with plans", "flat"],
)
def test_it_learns(estimator, readout, planning):
    agent = house_agent(replace(SETTINGS, planning=planning))
    assert isinstance(agent.collector, PlanExecuteCollector) == planning
    if readout.heads == ("values",) and planning:
        agent = replace(agent, collector=replace(agent.collector, decisions_only=False))
    result = train_plan_agent(agent, estimator, UPDATE, readout=readout, critic=LEARN, iterations=15, group_size=8)
    assert np.mean(result["success"][-5:]) > np.mean(result["success"][:5])
    assert ("switch_share" in result) == planning
    assert all(f"{head}_explained" in result for head in readout.heads)
    assert all(len(value) == 15 for value in result.values() if isinstance(value, list))
    assert 0 < result["overhead"] < 1


def test_estimators_without_a_critic_train_too():
    result = train_plan_agent(house_agent(QUICK), gigpo, UPDATE, iterations=2)
    assert not any("values" in name for name in result)


def test_a_budget_of_tokens_stops_a_run():
    result = train_plan_agent(house_agent(QUICK), gigpo, UPDATE, iterations=50, tokens=200)
    assert result["tokens"][-1] >= 200
    assert len(result["tokens"]) < 50


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    train = partial(
        train_plan_agent, estimator=hiper, settings=UPDATE, readout=PlanValues(), critic=replace(LEARN, head_start=2), group_size=2
    )
    once = train(house_agent(QUICK), iterations=4)
    train(house_agent(QUICK), iterations=1, folder=tmp_path)
    again = train(house_agent(QUICK), iterations=4, folder=tmp_path)
    assert {k: v for k, v in once.items() if k != "overhead"} == {k: v for k, v in again.items() if k != "overhead"}
    assert once["gradient_norm"][:2] == [0.0, 0.0]


# wrong usage


def test_too_many_games_are_refused():
    with pytest.raises(ValueError, match="different houses of"):
        house_agent(replace(QUICK, number=100_000))


@pytest.mark.parametrize("wrong", [{"number": 0}, {"astray": 1.0}, {"detour": -0.1}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SETTINGS, **wrong)


def test_alfworld_is_missed_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr("hierlab.envs.alfworld.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hierlab\[alfworld\]'"):
        alfworld_plan_agent("no/such-model")
