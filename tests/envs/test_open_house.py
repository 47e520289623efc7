"""A house that hides nothing: the observation is the state, and needs no memory to be solved."""

import torch

from hierlab.credit import gigpo
from hierlab.envs.open_house import OpenHouse
from hierlab.envs.search_house import SearchHouse
from hierlab.train.tabular import ascend, train_tabular


def test_every_state_looks_different():
    world = OpenHouse(rooms=3).world(history=0)
    by_task = {}
    for state, context in enumerate(world.context.tolist()):
        by_task.setdefault(context, []).append(state)
    hidden = {text: len(states) for text, states in zip(world.texts, map(by_task.get, world.context.tolist()), strict=True)}
    assert all(count == 1 for text, count in hidden.items() if "carried" not in text)
    assert {text for text, count in hidden.items() if count > 1} <= {"hall|carried", "room1|carried", "room2|carried", "room3|carried"}


def test_it_is_not_the_house_it_is_made_of():
    assert OpenHouse() != SearchHouse()
    assert OpenHouse().world(0).texts != SearchHouse().world(0).texts


def test_it_is_solved_without_memory_where_the_dark_house_is_not():
    assert train_tabular(OpenHouse().world(0), gigpo, rate=1.2, iterations=40).success[-1] > 0.95
    policy = ascend(OpenHouse().world(0), 0.99)
    assert policy.isfinite().all()


def test_the_rule_of_the_house_is_the_same():
    dark, lit = SearchHouse(rooms=1).world(0), OpenHouse(rooms=1).world(0)
    assert torch.equal(dark.reward.sum(), lit.reward.sum())
    assert lit.horizon == dark.horizon
