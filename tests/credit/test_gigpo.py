from __future__ import annotations

import numpy as np
import pytest
import torch
from estimator_inputs import agent_batch, call, select
from hypothesis import given
from hypothesis import strategies as st
from plain_gigpo import plain_gigpo

from hierlab.credit import anchor_groups, gigpo
from hierlab.trace import Tape


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def episodes(*, rewards, trajectory, state, turn=None, task=None) -> dict:
    count: dict = {}
    turn = turn or [count.setdefault(t, []).append(0) or len(count[t]) - 1 for t in trajectory]
    return {
        "rewards": f64(*rewards),
        "task": task or ["task"] * len(rewards),
        "trajectory": trajectory,
        "turn": torch.tensor(turn),
        "state": state,
    }


# degenerate sizes


def test_one_row():
    one = episodes(rewards=[10], trajectory=["a"], state=["hall"])
    assert gigpo(**one).tolist() == [0]
    assert gigpo(**one, singleton="raw").tolist() == [10]
    assert gigpo(**one, singleton="raw", scale="std", eps=1.0).tolist() == [5]


def test_a_lone_trajectory_of_several_turns_is_raw_only_where_trajectories_count():
    alone = episodes(rewards=[0, 10], trajectory=["a", "a"], state=["hall", "room"])
    assert gigpo(**alone, singleton="raw").tolist() == [0, 0]
    assert gigpo(**alone, singleton="raw", episode_statistics="trajectories").tolist() == [10, 10]


def test_all_fail():
    fail = episodes(rewards=[0] * 6, trajectory=list("aabbcc"), state=["hall", "room"] * 3)
    for scale in ("none", "std", "batch"):
        assert (gigpo(**fail, scale=scale) == 0).all()


def test_states_never_repeated_leave_grpo():
    columns = agent_batch(1)
    columns["state"] = list(range(len(columns["task"])))
    assert torch.equal(call(gigpo, columns), call(gigpo, columns, step_weight=0.0))


# closed form

TWO = episodes(rewards=[0, 0, 8, 0, 0], trajectory=list("aaabb"), state=["hall", "room", "hall", "hall", "attic"])


def test_two_trajectories_by_hand():
    # outcomes 8 and 0; returns with gamma 1/2: 2, 4, 8 and 0, 0; the hall was met three times
    by_turn = [8 - 4.8] * 3 + [0 - 4.8] * 2
    step = [2 - 10 / 3, 0, 8 - 10 / 3, 0 - 10 / 3, 0]
    assert gigpo(**TWO, gamma=0.5).tolist() == pytest.approx([e + s for e, s in zip(by_turn, step, strict=True)])
    assert gigpo(**TWO, gamma=0.5, episode_weight=2, step_weight=0).tolist() == pytest.approx([2 * e for e in by_turn])
    once = gigpo(**TWO, gamma=0.5, step_weight=0, episode_statistics="trajectories")
    assert once.tolist() == pytest.approx([4, 4, 4, -4, -4])


def test_trajectories_are_named_within_their_task():
    """Names that start anew for each task are not one trajectory."""
    rewards, state = [1, 3, 5, 9], ["s"] * 4
    by_number = episodes(rewards=rewards, trajectory=[0, 1, 0, 1], task=list("aabb"), turn=[0] * 4, state=state)
    by_name = by_number | {"trajectory": list("wxyz")}
    assert gigpo(**by_number).tolist() == gigpo(**by_name).tolist() == [-2, 2, -4, 4]


def test_an_invalid_action_costs_its_own_row_only():
    plain = gigpo(**TWO, gamma=0.5, episode_statistics="trajectories")
    valid = [True, False, True, True, True]
    fined = gigpo(**TWO, gamma=0.5, episode_statistics="trajectories", valid=valid, invalid_penalty=1.0)
    assert (fined - plain).tolist() == pytest.approx([0, -1, 0, 0, 0])  # its anchor group has one member, so no step advantage
    in_hall = gigpo(**TWO, gamma=0.5, episode_weight=0, valid=[False, *[True] * 4], invalid_penalty=1.0)
    assert in_hall.tolist() == pytest.approx([1 - 3, 0, 8 - 3, 0 - 3, 0])
    assert torch.equal(gigpo(**TWO, gamma=0.5, episode_statistics="trajectories", valid=valid), plain)


def test_similar_texts_are_one_state():
    states = ["You are in the kitchen. You see cup 1.", "You are in the kitchen. You see cup 2.", "A long hall.", "A long hall."]
    tasks = ["x"] * 4
    assert anchor_groups(tasks, states).tolist() == [0, 1, 2, 2]
    assert anchor_groups(tasks, states, similarity=0.9).tolist() == [0, 0, 1, 1]
    assert anchor_groups(tasks, states, similarity=1.0).tolist() == [0, 1, 2, 2]
    assert anchor_groups(tasks, states, similarity=0.0).tolist() == [0, 0, 0, 0]
    assert anchor_groups([0, 1, 0, 1], states, similarity=0.0).tolist() == [0, 1, 0, 1]


def test_a_cluster_is_compared_by_its_first_member():
    states = ["aaaaaaaa", "aaaaaabb", "aaaabbbb"]  # neighbours agree in 3/4 of their letters, the ends in 1/2
    assert anchor_groups(["x"] * 3, states, similarity=0.75).tolist() == [0, 0, 1]
    assert anchor_groups(["x"] * 3, states[1:] + states[:1], similarity=0.75).tolist() == [0, 0, 0]


def test_observations_of_any_kind():
    columns = TWO | {"state": [np.zeros(2), {"at": [1]}, np.zeros(2), np.zeros(2), {"at": [2]}]}
    assert torch.equal(gigpo(**columns), gigpo(**TWO))


def test_what_is_shown():
    with Tape() as tape:
        gigpo(**TWO, gamma=0.5)
    assert tape["anchor state"].tolist() == [0, 1, 0, 0, 2]
    assert tape["anchor group size"].tolist() == [3, 1, 3, 3, 1]
    assert tape["return to go"].tolist() == [2, 4, 8, 0, 0]
    assert tape["episode return"].tolist() == [8, 8, 8, 0, 0]
    assert tape["weight of the trajectory"].tolist() == pytest.approx([0.6] * 3 + [0.4] * 2)
    assert tape["mean return of the anchor group"].tolist() == pytest.approx([10 / 3, 4, 10 / 3, 10 / 3, 0])
    with Tape() as once:
        gigpo(**TWO, episode_statistics="trajectories")
    assert once["weight of the trajectory"].tolist() == [0.5] * 5


# loop against vectorised


@pytest.mark.parametrize("statistics", ["turns", "trajectories"])
@pytest.mark.parametrize("scale", ["none", "std"])
@given(seed=st.integers(0, 2**31), gamma=st.floats(0, 1), weight=st.floats(0, 2))
def test_equals_the_plain_version(scale, statistics, seed, gamma, weight):
    columns = agent_batch(seed)
    switches = {"gamma": gamma, "step_weight": weight, "scale": scale, "episode_statistics": statistics}
    expected = plain_gigpo(
        columns["rewards"].tolist(), columns["task"], columns["trajectory"], columns["turn"].tolist(), columns["state"], **switches
    )
    assert call(gigpo, columns, **switches).tolist() == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("statistics", ["turns", "trajectories"])
def test_penalties_follow_permutations_too(statistics):
    columns = agent_batch(2)
    columns["valid"] = (columns["values"][:, 0] > 0).tolist()
    order = torch.randperm(len(columns["task"]), generator=torch.Generator().manual_seed(0)).tolist()
    switches = {"invalid_penalty": 0.5, "scale": "std", "episode_statistics": statistics}
    torch.testing.assert_close(call(gigpo, select(columns, order), **switches), call(gigpo, columns, **switches)[order])


# wrong usage


def test_bad_columns_are_refused():
    with pytest.raises(ValueError, match="a turn may occur only once in a trajectory, but rows 0 and 1 are both turn 3"):
        gigpo(**TWO | {"turn": torch.tensor([3, 3, 4, 0, 1])})
    with pytest.raises(ValueError, match="rewards: 5, task: 5, trajectory: 5, turn: 5, state: 4"):
        gigpo(**TWO | {"state": TWO["state"][1:]})
    with pytest.raises(ValueError, match="invalid_penalty needs the column `valid`"):
        gigpo(**TWO, invalid_penalty=0.1)
    with pytest.raises(ValueError, match="valid: 2"):
        gigpo(**TWO, valid=[True, False], invalid_penalty=0.1)


def test_similarity_is_for_text():
    with pytest.raises(ValueError, match="similarity compares text, but the state in row 1 is a int"):
        gigpo(**TWO | {"state": ["hall", 3, "hall", "hall", "attic"]}, similarity=0.9)
    with pytest.raises(ValueError, match=r"similarity must be a number in \[0, 1\], got 95"):
        gigpo(**TWO, similarity=95)


@pytest.mark.parametrize("switch", ["episode_weight", "step_weight", "invalid_penalty", "eps"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much"])
def test_weights_must_be_numbers(switch, value):
    with pytest.raises(ValueError, match=f"{switch} must be a number"):
        gigpo(**TWO, **{switch: value})
