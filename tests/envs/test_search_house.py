import pytest
import torch

from hierlab.envs.environment import Environment, EpisodicTask
from hierlab.envs.finite import follow, success_probability
from hierlab.envs.search_house import SearchHouse, SearchTask


def walk(task, *actions):
    environment = task.environment()
    seen = environment.reset()
    return seen, [environment.step(action) for action in actions]


# --- degenerate sizes ---


def test_one_turn_is_an_episode():
    _, (step,) = walk(SearchHouse(rooms=1, horizon=1).tasks()[0], "go to room1")
    assert step.done
    assert not step.success
    assert step.observation.text == "room1|obj"


def test_a_policy_without_history_sees_one_observation():
    world = SearchHouse().world(history=0)
    assert sorted(world.contexts) == sorted(
        (text,) for text in {"hall|empty", "hall|obj"} | {f"room{i}|{x}" for i in range(1, 5) for x in ("empty", "obj")}
    )


# --- the rule, worked by hand ---


def test_is_an_episodic_task():
    task = SearchHouse().tasks()[1]
    assert isinstance(task, EpisodicTask)
    assert isinstance(task.environment(), Environment)
    assert len({task.id for task in SearchHouse().tasks()}) == 4


def test_the_shortest_solution():
    seen, steps = walk(SearchHouse().tasks()[1], "go to room2", "take", "back", "deliver")
    assert seen.text == "hall|empty"
    assert [step.observation.text for step in steps] == ["room2|obj", "room2|obj", "hall|obj", "hall|obj"]
    assert [step.reward for step in steps] == [0, 0, 0, 10]
    assert [step.done for step in steps] == [False, False, False, True]
    assert [step.success for step in steps] == [False, False, False, True]
    assert all(step.valid for step in steps)


def test_the_object_can_be_carried_past_other_rooms():
    _, steps = walk(SearchHouse().tasks()[1], "go to room2", "take", "back", "go to room1", "back", "deliver")
    assert [step.observation.text for step in steps] == ["room2|obj", "room2|obj", "hall|obj", "room1|obj", "hall|obj", "hall|obj"]
    assert steps[-1].success


@pytest.mark.parametrize(
    ("before", "action"),
    [
        ([], "take"),
        ([], "back"),
        ([], "deliver"),
        ([], "dance"),
        ([], ""),
        (["go to room1"], "take"),
        (["go to room1"], "go to room2"),
        (["go to room1"], "go to room1"),
        (["go to room2"], "deliver"),
        (["go to room2", "take"], "take"),
        (["go to room2", "take"], "deliver"),
        (["go to room2", "take", "back"], "take"),
    ],
)
def test_what_cannot_be_done_costs_a_turn_and_a_penalty(before, action):
    _, steps = walk(SearchHouse().tasks()[1], *before, action)
    assert steps[-1].reward == -0.1
    assert not steps[-1].valid
    assert not steps[-1].done
    if before:
        assert steps[-1].observation == steps[-2].observation


def test_spaces_around_a_command_do_not_matter():
    _, steps = walk(SearchHouse().tasks()[0], " go to room1\n")
    assert steps[0].valid


def test_the_horizon_ends_an_episode():
    _, steps = walk(SearchHouse(horizon=3).tasks()[0], "back", "back", "back")
    assert [step.done for step in steps] == [False, False, True]
    assert not steps[-1].success


def test_delivering_at_the_last_turn_counts():
    _, steps = walk(SearchHouse(horizon=4).tasks()[0], "go to room1", "take", "back", "deliver")
    assert steps[-1].done
    assert steps[-1].success


def test_reset_begins_the_same_task_again():
    environment = SearchHouse().tasks()[0].environment()
    for _ in range(2):
        assert environment.reset().text == "hall|empty"
        assert environment.step("go to room1").observation.text == "room1|obj"
        assert environment.step("take").valid


def test_observations_do_not_tell_whether_the_object_is_carried():
    environment = SearchHouse().tasks()[0].environment()
    environment.reset()
    assert environment.step("go to room1").observation == environment.step("take").observation


# --- text environment against tables ---


@pytest.mark.parametrize(("rooms", "horizon", "history"), [(1, 3, 0), (2, 6, 1), (4, 14, 2), (3, 9, 3)])
def test_both_ways_of_playing_agree_turn_by_turn(rooms, horizon, history):
    house = SearchHouse(rooms=rooms, horizon=horizon)
    world = house.world(history)
    episodes = 60
    generator = torch.Generator().manual_seed(rooms)
    task = torch.arange(episodes) % rooms
    actions = torch.randint(len(house.commands), (episodes, horizon), generator=generator)
    solution = torch.tensor([0, rooms, rooms + 1, rooms + 2])[:horizon]
    actions[: episodes // 3, -len(solution) :] = solution  # random actions alone seldom solve a task
    actions[: episodes // 3, : horizon - len(solution)] = torch.where(
        actions[: episodes // 3, : horizon - len(solution)] < rooms, rooms + 1, rooms + 2
    )
    played = follow(world, task, lambda state, t: actions[:, t])
    assert bool(world.won[played.state, played.action].any()) == (horizon >= 4)

    for e in range(episodes):
        environment = house.tasks()[task[e]].environment()
        seen, done = [environment.reset().text], False
        for t in range(horizon):
            assert bool(played.alive[e, t]) == (not done)
            if done:
                continue
            state, action = int(played.state[e, t]), int(played.action[e, t])
            assert world.texts[state] == seen[-1]
            assert world.contexts[world.context[state]] == tuple(seen[-(history + 1) :])
            step = environment.step(house.commands[action])
            assert float(world.reward[state, action]) == pytest.approx(step.reward)
            assert bool(world.valid[state, action]) == step.valid
            assert bool(world.won[state, action]) == step.success
            assert (bool(world.over[state, action]) or t == horizon - 1) == step.done
            seen.append(step.observation.text)
            done = step.done
        assert done


def search_in_turn(world, rooms):
    """The policy that goes through the rooms in order, and brings the object home."""
    policy = torch.zeros(len(world.contexts), len(world.commands), dtype=torch.float64)
    for i, context in enumerate(world.contexts):
        place, sight = context[-1].split("|")
        last = next((int(text[4]) for text in context[-2::-1] if text.startswith("room")), 0)
        if place == "hall":
            command = "deliver" if sight == "obj" else f"go to room{last % rooms + 1}"
        elif sight == "empty" or (len(context) > 1 and context[-2] == context[-1]):
            command = "back"
        else:
            command = "take"
        policy[i, world.commands.index(command)] = 1
    return policy


def test_two_remembered_observations_solve_every_task():
    world = SearchHouse().world(history=2)
    assert success_probability(world, search_in_turn(world, 4)) == 1
    short = SearchHouse(horizon=9).world(history=2)  # the last room takes 6 turns to rule out the others, and 4 more
    assert success_probability(short, search_in_turn(short, 4)) == 0.75


# --- wrong usage ---


@pytest.mark.parametrize(
    "wrong", [{"rooms": 0}, {"rooms": 2.0}, {"rooms": True}, {"horizon": 0}, {"reward": -1.0}, {"penalty": float("nan")}]
)
def test_refuses_impossible_houses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SearchHouse(**wrong)


@pytest.mark.parametrize("history", [-1, 1.5, True])
def test_refuses_impossible_histories(history):
    with pytest.raises(ValueError, match="history"):
        SearchHouse().world(history)


def test_refuses_a_room_that_is_not_there():
    with pytest.raises(ValueError, match="room from 1 to 4, got 5"):
        SearchTask(SearchHouse(), 5)


def test_refuses_to_act_outside_an_episode():
    environment = SearchHouse(horizon=1).tasks()[0].environment()
    with pytest.raises(RuntimeError, match="reset"):
        environment.step("take")
    environment.reset()
    environment.step("take")
    with pytest.raises(RuntimeError, match="reset"):
        environment.step("take")
