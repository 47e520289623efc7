import pytest
import torch

from hierlab.envs.finite import follow, success_probability
from hierlab.envs.key_corridor import COMMANDS, SUBGOALS, KeyCorridor
from hierlab.envs.plans import plan_success

LEFT, RIGHT = range(2)


def walk(corridor: KeyCorridor, actions: list[int]):
    return follow(corridor.world(), torch.tensor([0]), lambda state, t: torch.full_like(state, actions[min(t, len(actions) - 1)]))


# --- degenerate sizes ---


def test_the_smallest_corridor_is_left_by_one_step():
    corridor = KeyCorridor(1, cells=3, horizon=1)
    world = corridor.world()
    assert corridor.shortest == 1
    assert world.won[1].tolist() == [True, False]
    assert success_probability(world, world.uniform()) == pytest.approx(0.5)


# --- closed form ---


@pytest.mark.parametrize("subtasks", [1, 2, 3, 5])
def test_the_errands_lie_at_alternating_ends_and_only_the_last_is_paid(subtasks):
    corridor = KeyCorridor(subtasks, horizon=40)
    legs = [corridor.start, *[corridor.cells - 1] * (subtasks - 1)]
    actions = [(LEFT, RIGHT)[i % 2] for i, leg in enumerate(legs) for _ in range(leg)]
    episode = walk(corridor, actions)
    turns = int(episode.alive.sum())
    rewards = corridor.world().reward[episode.state, episode.action][0, :turns]
    assert turns == corridor.shortest == len(actions)
    assert rewards.tolist() == [0.0] * (turns - 1) + [10.0]


def test_the_goal_is_worth_nothing_without_the_key():
    corridor = KeyCorridor(2, cells=3, horizon=4)
    episode = walk(corridor, [RIGHT, RIGHT, RIGHT, RIGHT])
    assert episode.alive.all()
    assert corridor.world().reward[episode.state, episode.action].sum() == 0


def test_what_is_seen_tells_the_cell_and_the_errand():
    corridor = KeyCorridor(3)
    assert corridor.errands == ("key", "door", "goal")
    assert corridor.world().texts[corridor.start] == "cell 3, after the key"
    assert len(set(corridor.world().texts)) == len(corridor.world().context) == 21


def test_walls_are_not_valid():
    # going left from cell 0 before the key is had would fetch it: no episode stands there
    world = KeyCorridor(2, cells=3).world()
    assert world.valid.tolist() == [[True, True], [True, True], [True, False], [False, True], [True, True], [True, True]]


def test_the_novice_obeys_but_does_not_know_which_plan_is_good():
    corridor = KeyCorridor(2)
    policy = corridor.novice(0.8, switching=0.3).probabilities()
    left, right, around = range(len(SUBGOALS))
    assert policy.action[5, left].tolist() == pytest.approx([0.8, 0.2])
    assert policy.action[5, right].tolist() == pytest.approx([0.2, 0.8])
    assert policy.action[5, around].tolist() == pytest.approx([0.5, 0.5])
    assert policy.switch[0, 1].tolist() == pytest.approx([0.7, 0.3])
    assert policy.subgoal.unique().tolist() == pytest.approx([1 / 3])
    assert COMMANDS == ("left", "right")


def test_an_obedient_novice_with_one_way_to_go_is_a_random_walk():
    corridor = KeyCorridor(1, cells=3, horizon=1)
    assert plan_success(corridor.world(), corridor.novice(0.8)) == pytest.approx((0.8 + 0.2 + 0.5) / 3)


# --- wrong usage ---


@pytest.mark.parametrize("wrong", [{"subtasks": 0}, {"subtasks": True}, {"cells": 2}, {"horizon": 0}, {"horizon": 1.5}])
def test_sizes_that_make_no_corridor_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be an integer of at least"):
        KeyCorridor(**wrong)


def test_other_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="reward"):
        KeyCorridor(reward=-1.0)
    with pytest.raises(ValueError, match="obedience"):
        KeyCorridor().novice(1.0)
    with pytest.raises(ValueError, match="switching"):
        KeyCorridor().novice(0.7, switching=0.0)
