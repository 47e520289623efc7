from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from estimator_inputs import agent_batch, select
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import HAE, boundaries, hae, turn_gae
from hierlab.trace import Tape

PLANS = ("task", "trajectory", "turn", "switch", "value_low", "value_high", "value_switch", "done", "switch_probability", "value_kept")


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def columns_of(columns: dict) -> dict:
    return {name: columns[name] for name in ("rewards", *PLANS)}


def episode(rewards, switch, low, high, **others) -> dict:
    """One trajectory."""
    n = len(rewards)
    line = {"task": [0] * n, "trajectory": [0] * n, "turn": torch.arange(n), "switch": switch}
    return line | {"rewards": f64(*rewards), "value_low": f64(*low), "value_high": f64(*high)} | others


# Two turns with one subgoal, then one with another.
KEY = episode([0, 1, 8], [False, False, True], low=[2, 3, 5], high=[1, 7, 4])


def plain_hae(c: dict, *, gamma, lam_turn, lam_seg, bootstrap_truncated, switch_advantage, targets) -> dict[str, list[float]]:
    """The definition, segment by segment, from behind."""
    r, low, high, head, beta, kept = (c[k].tolist() for k in ("rewards", *PLANS[4:7], *PLANS[8:]))
    paths = defaultdict(dict)
    for row, key in enumerate(zip(c["task"], c["trajectory"], strict=True)):
        paths[key][int(c["turn"][row])] = row
    out = {name: [0.0] * len(r) for name in HAE._fields}
    for turns in paths.values():
        path = [turns[t] for t in sorted(turns)]
        starts = [i for i, row in enumerate(path) if i == 0 or c["switch"][row]]
        later = 0.0  # the next segment's advantage
        for start, stop in reversed(list(zip(starts, [*starts[1:], len(path)], strict=True))):
            segment, first = path[start:stop], path[start]
            truncated = stop == len(path) and bootstrap_truncated and not c["done"][path[-1]]
            led_to = high[path[stop]] if stop < len(path) else None
            out["boundary"][first] = True
            following, advantage = led_to if led_to is not None else low[segment[-1]] if truncated else 0.0, 0.0
            for row in reversed(segment):
                delta = r[row] + gamma * following - low[row]
                advantage = out["action"][row] = delta + gamma * lam_turn * advantage
                out["action_target"][row] = advantage + low[row] if targets == "code" else r[row] + gamma * following
                following = low[row]
            value = led_to if led_to is not None else high[first] if truncated else 0.0
            for row in reversed(segment):
                value = out["switch_target"][row] = r[row] + gamma * value
            fade = gamma ** len(segment) * lam_seg * (stop < len(path))
            later = out["subgoal"][first] = value - high[first] + fade * later
            out["subgoal_target"][first] = later + high[first] if targets == "code" else value
        for i, row in enumerate(path):
            if switch_advantage == "code":
                out["switch"][row] = out["switch_target"][row] - head[row]
            elif i > 0:
                out["switch"][row] = (int(c["switch"][row]) - beta[row]) * (high[row] - kept[row])
    return out


# degenerate sizes


def test_one_turn():
    one = episode([5], [False], low=[2], high=[1])
    estimate = hae(**one)
    assert (estimate.boundary.tolist(), estimate.action.tolist(), estimate.subgoal.tolist()) == ([True], [3], [4])
    assert estimate.switch.tolist() == [0]
    assert hae(**one, value_switch=f64(7)).switch.tolist() == [-2]


def test_no_rows():
    empty = {name: c[:0] for name, c in KEY.items()}
    assert all(column.shape == (0,) for column in hae(**empty))


# closed form


def test_two_segments_by_hand():
    estimate = hae(**KEY, gamma=0.5, lam_turn=0.5, lam_seg=0.25)
    assert estimate.boundary.tolist() == [True, False, True]
    # the second turn leads to the next segment, which is worth 4 before a subgoal is chosen
    last = 1 + 0.5 * 4 - 3
    assert estimate.action.tolist() == pytest.approx([0 + 0.5 * 3 - 2 + 0.25 * last, last, 8 - 5])
    assert estimate.subgoal.tolist() == pytest.approx([0.5 * 1 + 0.25 * 4 - 1 + 0.25 * 0.25 * 4, 0, 8 - 4])
    assert estimate.switch_target.tolist() == pytest.approx([0.5 * 3, 3, 8])
    assert estimate.action_target.tolist() == pytest.approx((estimate.action + KEY["value_low"]).tolist())
    paper = hae(**KEY, gamma=0.5, lam_turn=0.5, lam_seg=0.25, targets="paper")
    assert paper.action_target.tolist() == pytest.approx([1.5, 3, 8])
    assert paper.subgoal_target.tolist() == pytest.approx([1.5, 0, 8])
    assert torch.equal(paper.action, estimate.action)


def test_a_trajectory_cut_off_is_worth_nothing_or_its_own_last_value():
    cut = {"done": [False] * 3, "gamma": 0.5}
    assert torch.equal(hae(**KEY, **cut).action, hae(**KEY, gamma=0.5).action)
    bootstrapped = hae(**KEY, **cut, bootstrap_truncated=True)
    assert bootstrapped.action[2].item() == 8 + 0.5 * 5 - 5
    assert bootstrapped.subgoal[2].item() == 8 + 0.5 * 4 - 4
    assert bootstrapped.switch_target[2].item() == 8 + 0.5 * 4
    finished = hae(**KEY, gamma=0.5, done=[False, False, True], bootstrap_truncated=True)
    assert all(torch.equal(a, b) for a, b in zip(finished, hae(**KEY, gamma=0.5), strict=True))


def test_without_the_boundary_bootstrap_an_action_knows_its_own_segment_only():
    with_it, without = (hae(**KEY, gamma=0.5, boundary_bootstrap=asked) for asked in (True, False))
    last = 1 + 0 - 3  # what the second turn leads to is worth 4, but not to this one
    assert without.action.tolist() == pytest.approx([0 + 0.5 * 3 - 2 + 0.5 * last, last, 8 - 5])
    assert without.action_target[1].item() == 1
    assert torch.equal(without.subgoal, with_it.subgoal)
    assert torch.equal(without.switch_target, with_it.switch_target)


def test_the_papers_switch_advantage():
    asked = KEY | {"switch_probability": f64(float("nan"), 0.25, 0.25), "value_kept": f64(float("nan"), 5, 1)}
    estimate = hae(**asked, switch_advantage="paper")
    assert estimate.switch.tolist() == [0, (0 - 0.25) * (7 - 5), (1 - 0.25) * (4 - 1)]
    assert hae(**KEY, value_switch=f64(1, 1, 1), switch_advantage="none").switch.tolist() == [0, 0, 0]


def test_a_critic_with_one_head():
    alone = KEY | {"value_high": None}
    assert all(torch.equal(a, b) for a, b in zip(hae(**alone), hae(**KEY | {"value_high": KEY["value_low"]}), strict=True))


def test_a_new_subgoal_each_turn_makes_segments_of_one_turn():
    columns = columns_of(agent_batch(3)) | {"switch": torch.ones_like(agent_batch(3)["switch"])}
    estimate = hae(**columns, gamma=0.9, lam_seg=0.8)
    names = ("rewards", "task", "trajectory", "turn")
    flat = turn_gae(**{name: columns[name] for name in names}, values=columns["value_high"], gamma=0.9, lam=0.8, whiten=False)
    torch.testing.assert_close(estimate.subgoal, flat)


def test_one_subgoal_throughout_is_flat_gae_of_the_actions():
    columns = columns_of(agent_batch(4)) | {"switch": torch.zeros_like(agent_batch(4)["switch"])}
    estimate = hae(**columns, gamma=0.9, lam_turn=0.8)
    names = ("rewards", "task", "trajectory", "turn")
    flat = turn_gae(**{name: columns[name] for name in names}, values=columns["value_low"], gamma=0.9, lam=0.8, whiten=False)
    torch.testing.assert_close(estimate.action, flat)


def test_what_is_shown():
    with Tape() as tape:
        estimate = hae(**KEY)
    assert torch.equal(tape["segment starts"], estimate.boundary)
    assert torch.equal(tape["action advantage"], estimate.action)
    assert torch.equal(tape["subgoal advantage"], estimate.subgoal)
    assert all(step.formula for step in tape.steps)


# loop against vectorised


@pytest.mark.parametrize("targets", ["code", "paper"])
@pytest.mark.parametrize("switch_advantage", ["code", "paper"])
@given(
    seed=st.integers(0, 2**31),
    gamma=st.floats(0, 1),
    lam_turn=st.floats(0, 1),
    lam_seg=st.floats(0, 1),
    bootstrap_truncated=st.booleans(),
)
def test_equals_the_plain_version(targets, switch_advantage, seed, **switches):
    columns = columns_of(agent_batch(seed, turns=7))
    estimate = hae(**columns, **switches, targets=targets, switch_advantage=switch_advantage)
    expected = plain_hae(columns, **switches, targets=targets, switch_advantage=switch_advantage)
    for name, ours in estimate._asdict().items():
        assert ours.tolist() == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name


@given(seed=st.integers(0, 2**31), random=st.randoms())
def test_rows_may_stand_in_any_order(seed, random):
    columns = columns_of(agent_batch(seed))
    order = list(range(len(columns["task"])))
    random.shuffle(order)
    for ours, shuffled in zip(hae(**columns), hae(**select(columns, order)), strict=True):
        torch.testing.assert_close(shuffled, ours[order])


def test_boundaries_are_those_of_the_estimate():
    columns = columns_of(agent_batch(1))
    assert torch.equal(boundaries(*(columns[name] for name in PLANS[:4])), hae(**columns).boundary)


# wrong usage


def test_a_trajectory_that_goes_on_after_it_is_done_is_refused():
    with pytest.raises(ValueError, match="row 1 is done, but its trajectory goes on in row 2"):
        hae(**KEY, done=[False, True, True])


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="bootstrap_truncated needs the column done"):
        hae(**KEY, bootstrap_truncated=True)
    with pytest.raises(ValueError, match='switch_advantage="paper" needs the column switch_probability and value_kept'):
        hae(**KEY, switch_advantage="paper")


@pytest.mark.parametrize("name", ["rewards", "value_low", "value_high", "value_switch"])
def test_a_number_that_is_not_finite_is_refused_by_row(name):
    columns = columns_of(agent_batch(0))
    columns["switch"][:] = True
    columns[name][4] = float("nan")
    with pytest.raises(ValueError, match=f"{name} must be finite, got nan in row 4"):
        hae(**columns)


def test_a_planners_value_counts_only_where_a_segment_starts():
    columns = KEY | {"value_high": f64(1, float("nan"), 4)}
    assert all(torch.equal(a, b) for a, b in zip(hae(**columns), hae(**KEY), strict=True))
    asked = columns | {"switch_probability": f64(0, 0, 0), "value_kept": f64(0, 0, 0)}
    with pytest.raises(ValueError, match="value_high must be finite, got nan in row 1"):
        hae(**asked, switch_advantage="paper")


def test_probabilities_are_checked():
    asked = KEY | {"switch_probability": f64(0.5, 0.5, 1.5), "value_kept": f64(0, 0, 0)}
    with pytest.raises(ValueError, match=r"switch_probability must be in \[0, 1\], got 1.5 in row 2"):
        hae(**asked, switch_advantage="paper")


def test_decisions_are_yes_or_no():
    with pytest.raises(ValueError, match="switch must hold only 0 and 1"):
        hae(**KEY | {"switch": [0, 2, 1]})
    with pytest.raises(ValueError, match="switch: 2"):
        hae(**KEY | {"switch": [False, True]})


@pytest.mark.parametrize("switch", ["switch_advantage", "targets"])
def test_unknown_switches_are_refused(switch):
    with pytest.raises(ValueError, match=rf"{switch} must be one of .*, got 'sideways'"):
        hae(**KEY, **{switch: "sideways"})


@pytest.mark.parametrize("name", ["gamma", "lam_turn", "lam_seg"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_discounts_lie_in_the_unit_interval(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a number in \[0, 1\]"):
        hae(**KEY, **{name: value})
