from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from estimator_inputs import agent_batch, call, select
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import context_groups, gigpo, hgpo, level_advantages, past_groups
from hierlab.trace import Tape


def episodes(rewards: list[float], trajectory: str, state: str) -> dict:
    turn = [trajectory[:i].count(name) for i, name in enumerate(trajectory)]
    return {
        "rewards": torch.tensor(rewards, dtype=torch.float64),
        "task": ["task"] * len(rewards),
        "trajectory": list(trajectory),
        "turn": torch.tensor(turn),
        "state": list(state),
    }


PLACES = ("task", "trajectory", "turn", "state")

# In the hall (h) the key is in the left (l) or the right (r) room; b and d stand in the hall with one memory, c with another.
HALL = episodes([0, 8, 0, 0, 0, 4], "aabbcc", "lhlhrh")


def plain_hgpo(columns: dict, *, history, alpha, gamma, scale, weights, absent, unbiased) -> list[float]:
    """The definition, turn by turn."""
    keys = list(zip(columns["task"], columns["trajectory"], strict=True))
    rows = defaultdict(dict)
    for row, (key, turn) in enumerate(zip(keys, columns["turn"].tolist(), strict=True)):
        rows[key][turn] = row
    rewards, state = columns["rewards"].tolist(), columns["state"]
    paths = {key: [turns[t] for t in sorted(turns)] for key, turns in rows.items()}
    returns, levels = {}, defaultdict(dict)
    groups = defaultdict(list)
    for key, path in paths.items():
        following = 0.0
        for row in reversed(path):
            following = returns[row] = rewards[row] + gamma * following
        for place, row in enumerate(path):
            for k in range(min(history, place) + 1):
                groups[k, key[0], tuple(state[r] for r in path[place - k : place + 1])].append(row)
    for (k, *_), members in groups.items():
        if len(members) == 1:
            continue
        mean = sum(returns[row] for row in members) / len(members)
        variance = sum((returns[row] - mean) ** 2 for row in members) / (len(members) - unbiased)
        for row in members:
            a = returns[row] - mean
            levels[row][k] = a / (variance**0.5 + 1e-6) if scale == "std" else a
    first = 2 if weights == "code" else 1
    result = []
    for row in range(len(rewards)):
        weight = {k: (k + first) ** alpha for k in range(history + 1)}
        used = {k: a for k, a in levels[row].items() if abs(a) > 1e-12}
        total = sum(weight[k] for k in used) + 1e-6 if absent == "drop" else sum(weight.values())
        result.append(sum(weight[k] * a for k, a in used.items()) / total)
    return result


# degenerate sizes


def test_one_row_has_nothing_to_compare():
    one = episodes([10], "a", "h")
    assert hgpo(**one).tolist() == [0]
    assert hgpo(**one, episode_level=True).tolist() == [0]
    assert hgpo(**one, episode_level=True, singleton="raw", scale="none", eps=0.0).tolist() == [10]


def test_equal_returns_teach_exactly_nothing():
    same = HALL | {"rewards": torch.full((6,), 0.1, dtype=torch.float64)}
    assert (hgpo(**same, gamma=0.0) == 0).all()
    assert (hgpo(**same, gamma=0.0, absent="zero") == 0).all()
    assert (hgpo(**same, gamma=0.0, eps=0.0) == 0).all()


def test_without_history_and_repeated_states_there_is_nothing():
    columns = HALL | {"state": list("uvwxyz")}
    assert (hgpo(**columns) == 0).all()


@pytest.mark.parametrize("mean", ["all", "other rows", "other trajectories"])
def test_one_row_has_no_level(mean):
    assert level_advantages(**episodes([10], "a", "h"), mean=mean).tolist() == [[0, 0, 0]]
    assert past_groups(**{name: episodes([10], "a", "h")[name] for name in PLACES}).tolist() == [0]


def test_no_rows_give_no_rows():
    nothing = episodes([], "", "")
    assert hgpo(**nothing).shape == (0,)
    assert level_advantages(**nothing, mean="other trajectories").shape == (0, 3)
    assert past_groups(**{name: nothing[name] for name in PLACES}).shape == (0,)


# closed form


def test_groups_are_nested_and_split_by_memory():
    columns = {name: HALL[name] for name in ("task", "trajectory", "turn", "state")}
    groups = context_groups(**columns, history=2)
    by_level = [{tuple((column == number).nonzero().flatten().tolist()) for number in column.unique()} for column in groups.unbind(1)]
    assert by_level[0] == {(0, 2), (1, 3, 5), (4,)}
    assert by_level[1] == {(0,), (1, 3), (2,), (4,), (5,)}
    assert by_level[2] == {(row,) for row in range(6)}  # nobody has made three turns


def test_by_hand():
    # gamma 1/2; in the hall the returns are 8, 0, 4; with the memory "left" only 8 and 0
    switches = {"gamma": 0.5, "scale": "none", "history": 1, "eps": 0.0}
    shallow, deep = torch.tensor([4, -4, 0.0]), torch.tensor([4, -4, 0.0])
    code = hgpo(**HALL, **switches)[[1, 3, 5]]
    assert code.tolist() == pytest.approx(((2 * shallow + 3 * deep) / 5).tolist())
    paper = hgpo(**HALL, **switches, weights="paper", absent="zero")
    assert paper[[1, 3, 5]].tolist() == pytest.approx(((shallow + 2 * deep) / 3).tolist())
    assert paper[[0, 2, 4]].tolist() == pytest.approx([2 / 3, -2 / 3, 0])  # returns 4 and 0, seen at one of two levels
    assert hgpo(**HALL, **switches)[[0, 2, 4]].tolist() == pytest.approx([2, -2, 0])  # that level takes the full weight


def test_a_return_that_is_the_mean_hands_its_weight_to_the_other_levels():
    # the middle return of three is the shallow mean: the code drops that level, the paper's sum keeps it as a 0
    columns = episodes([0, 8, 0, 4, 0, 0, 0, 0], "aabbccdd", "lhlhrhlx")
    switches = {"gamma": 0.0, "scale": "none", "history": 1, "eps": 0.0}
    assert hgpo(**columns, **switches)[3].item() == pytest.approx(-2)
    assert hgpo(**columns, **switches, absent="zero")[3].item() == pytest.approx(-2 * 3 / 5)


def test_the_episode_is_a_level_of_weight_one():
    switches = {"gamma": 0.5, "scale": "none", "history": 0, "eps": 0.0}
    episode = gigpo(**HALL, step_weight=0.0)
    plain, both = hgpo(**HALL, **switches), hgpo(**HALL, **switches, episode_level=True)
    assert both[1].item() == pytest.approx((1 * episode[1] + 2 * plain[1]).item() / 3)
    assert both[4].item() == pytest.approx(episode[4].item())  # met once, so the episode is all there is
    paper = hgpo(**HALL, **switches, episode_level=True, weights="paper", absent="zero")
    assert paper[1].item() == pytest.approx((episode[1] + plain[1]).item() / 2)


def test_alpha_shifts_the_weight_to_the_deep_levels():
    switches = {"gamma": 0.5, "scale": "none", "history": 1, "weights": "paper", "absent": "zero"}
    columns = HALL | {"rewards": torch.tensor([0.0, 8, 0, 0, 0, 7], dtype=torch.float64)}
    shallow = hgpo(**columns, **switches | {"history": 0})
    for alpha, share in ((0.0, 1 / 2), (1.0, 2 / 3), (2.0, 4 / 5)):
        assert hgpo(**columns, **switches, alpha=alpha)[1].item() == pytest.approx((1 - share) * shallow[1].item() + share * 4)


@given(seed=st.integers(0, 2**31), scale=st.sampled_from(["none", "std"]))
def test_without_memory_it_is_gigpos_step_advantage(seed, scale):
    columns = agent_batch(seed)
    step = call(gigpo, columns, scale=scale, episode_weight=0.0)
    torch.testing.assert_close(call(hgpo, columns, history=0, scale=scale, unbiased=True, absent="zero"), step)


def test_what_is_shown():
    with Tape() as tape:
        hgpo(**HALL, history=1, gamma=0.5, scale="none")
    assert tape["context group"].tolist() == [[0, 0], [1, 1], [0, 2], [1, 1], [2, 3], [1, 4]]
    assert tape["context group size"].tolist() == [[2, 1], [3, 2], [2, 1], [3, 2], [1, 1], [3, 1]]
    assert tape["return to go"].tolist() == [4, 8, 0, 0, 2, 4]
    assert tape["level weight"][1].tolist() == pytest.approx([2 / 5, 3 / 5])
    assert tape["level weight"][4].tolist() == [0, 0]


def test_a_level_by_hand():
    # gamma 1/2, level 0 of the hall: returns 8, 0, 4 in turn 1 of a, b, c
    switches = {"gamma": 0.5, "scale": "none", "history": 1}
    rows = [1, 3, 5]
    assert level_advantages(**HALL, **switches)[rows].tolist() == [[4, 4], [-4, -4], [0, 0]]
    assert level_advantages(**HALL, **switches, mean="other rows")[rows].tolist() == [[6, 8], [-6, -8], [0, 0]]
    assert level_advantages(**HALL, **switches, mean="other trajectories")[rows].tolist() == [[6, 8], [-6, -8], [0, 0]]


def test_a_trajectory_that_comes_back_is_no_company():
    # a is in the hall three times, b once
    columns = episodes([0, 0, 6, 2], "aaab", "hhhh")
    switches = {"gamma": 1.0, "scale": "none", "history": 0}
    assert level_advantages(**columns, **switches)[:, 0].tolist() == [1, 1, 1, -3]
    assert level_advantages(**columns, **switches, mean="other rows")[:, 0].tolist() == pytest.approx([4 / 3] * 3 + [-4])
    assert level_advantages(**columns, **switches, mean="other trajectories")[:, 0].tolist() == [4, 4, 4, -4]
    alone = episodes([0, 0, 6], "aaa", "hhh")
    assert level_advantages(**alone, **switches, mean="other trajectories").tolist() == [[0], [0], [0]]


def test_equal_pasts_agree_from_the_first_turn_on():
    # a and b have seen l, h; c has seen r, h; d begins in the hall
    columns = episodes([0] * 7, "aabbccd", "lhlhrhh")
    groups = past_groups(**{name: columns[name] for name in PLACES})
    assert groups[1] == groups[3]
    assert groups[0] == groups[2]
    assert len({groups[row].item() for row in (0, 1, 4, 5, 6)}) == 5


# loop against vectorised


@given(seed=st.integers(0, 2**31), states=st.integers(1, 3))
def test_equal_pasts_equal_the_plain_version(seed, states):
    columns = agent_batch(seed, states=states)
    order = sorted(range(len(columns["task"])), key=lambda row: columns["turn"][row].item())
    past = {}
    for row in order:
        key = (columns["task"][row], columns["trajectory"][row])
        past[key] = (*past.get(key, ()), columns["state"][row])
        columns.setdefault("past", {})[row] = (key[0], past[key])
    groups = past_groups(**{name: columns[name] for name in PLACES})
    pasts = [columns["past"][row] for row in range(len(order))]
    for row, (mine, number) in enumerate(zip(pasts, groups.tolist(), strict=True)):
        assert [other == mine for other in pasts] == (groups == number).tolist(), row


@given(seed=st.integers(0, 2**31), history=st.integers(0, 3), mean=st.sampled_from(["other rows", "other trajectories"]))
def test_the_mean_of_others_equals_the_plain_version(seed, history, mean):
    columns = agent_batch(seed, states=2)
    levels = call(level_advantages, columns, history=history, mean=mean, scale="none")
    groups = context_groups(**{name: columns[name] for name in PLACES}, history=history)
    with Tape() as tape:
        call(hgpo, columns, history=history)
    returns, rows = tape["return to go"], range(len(columns["task"]))
    own = list(zip(columns["task"], columns["trajectory"], strict=True)) if mean == "other trajectories" else list(rows)
    for row, group in enumerate(groups):
        for k in range(history + 1):
            others = [returns[other].item() for other in rows if groups[other, k] == group[k] and own[other] != own[row]]
            expected = returns[row].item() - sum(others) / len(others) if others else 0.0
            assert levels[row, k].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("absent", ["drop", "zero"])
@pytest.mark.parametrize("weights", ["code", "paper"])
@given(
    seed=st.integers(0, 2**31),
    history=st.integers(0, 4),
    alpha=st.floats(-1, 3),
    gamma=st.floats(0, 1),
    scale=st.sampled_from(["none", "std"]),
    unbiased=st.booleans(),
)
def test_equals_the_plain_version(absent, weights, seed, **switches):
    columns = agent_batch(seed, tasks=2, group=5, turns=6, states=2)
    expected = plain_hgpo(columns, **switches, weights=weights, absent=absent)
    assert call(hgpo, columns, **switches, weights=weights, absent=absent).tolist() == pytest.approx(expected, rel=1e-7, abs=1e-8)


@given(seed=st.integers(0, 2**31), random=st.randoms())
def test_groups_do_not_depend_on_the_order_of_rows(seed, random):
    columns = agent_batch(seed, states=2)
    order = list(range(len(columns["task"])))
    random.shuffle(order)
    names = ("task", "trajectory", "turn", "state")

    def same(columns):
        return context_groups(**{name: columns[name] for name in names}, history=3).unbind(1)

    for level, shuffled in zip(same(columns), same(select(columns, order)), strict=True):
        moved = level[order]
        assert torch.equal(moved[:, None] == moved, shuffled[:, None] == shuffled)


@pytest.mark.parametrize("mean", ["all", "other rows", "other trajectories"])
@given(seed=st.integers(0, 2**31), history=st.integers(0, 3), alpha=st.floats(0, 2))
def test_it_is_the_weighted_mean_of_its_levels(mean, seed, history, alpha):
    columns = agent_batch(seed, states=2)
    levels = call(level_advantages, columns, history=history, mean=mean)
    weight = torch.arange(1, history + 2, dtype=torch.float64) ** alpha
    advantage = call(hgpo, columns, history=history, alpha=alpha, mean=mean, weights="paper", absent="zero")
    torch.testing.assert_close(advantage, levels @ (weight / weight.sum()))


@given(seed=st.integers(0, 2**31), history=st.integers(0, 3))
def test_leaving_oneself_out_only_stretches(seed, history):
    columns = agent_batch(seed, states=2)
    all_, others = (call(level_advantages, columns, history=history, mean=mean) for mean in ("all", "other rows"))
    groups = context_groups(**{name: columns[name] for name in PLACES}, history=history)
    size = (groups[:, None] == groups).sum(1)
    torch.testing.assert_close(others, torch.where(size > 1, all_ * size / (size - 1), 0))


# wrong usage


def test_an_unknown_mean_is_refused():
    with pytest.raises(ValueError, match=r"mean must be one of .*, got 'others'"):
        level_advantages(**HALL, mean="others")


@pytest.mark.parametrize("history", [-1, 1.5, True, None])
def test_history_is_a_number_of_turns(history):
    with pytest.raises(ValueError, match="history must be a number of turns, 0 or more, got"):
        hgpo(**HALL, history=history)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), "deep"])
def test_alpha_is_a_number(alpha):
    with pytest.raises(ValueError, match="alpha must be a number"):
        hgpo(**HALL, alpha=alpha)


@pytest.mark.parametrize("switch", ["weights", "absent", "scale", "episode_statistics", "singleton"])
def test_unknown_switches_are_refused(switch):
    with pytest.raises(ValueError, match=rf"{switch} must be one of .*, got 'sideways'"):
        hgpo(**HALL, episode_level=True, **{switch: "sideways"})


def test_a_turn_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match="rows 0 and 1 are both turn 0"):
        hgpo(**HALL | {"turn": torch.tensor([0, 0, 0, 1, 0, 1])})
