from __future__ import annotations

import pytest
import torch
from estimator_inputs import agent_batch, call
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import decision_masks, hae, hiper, shaped_rewards
from hierlab.trace import Tape


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[letter != "." for letter in row] for row in rows])


LINE = {"task": [0] * 3, "trajectory": [0] * 3, "turn": torch.arange(3), "switch": [False, False, True]}
KEY = LINE | {
    "rewards": f64(0, 1, 8),
    "value_low": f64(2, 3, 5),
    "value_high": f64(1, 7, 4),
    "value_switch": f64(1, 1, 1),
    "response_mask": mask("xxxxx", "xxxxx", "xxxx."),
    "switch_mask": mask("x....", "x....", "x...."),
    "subgoal_mask": mask(".xx..", ".xx..", ".xx.."),
    "action_mask": mask("...xx", "...xx", "...xx"),
}


# degenerate sizes


def test_one_turn_has_nothing_to_be_standardised_against():
    one = {name: column[:1] for name, column in KEY.items()}
    assert (hiper(**one) == 0).all()
    assert hiper(**one, normalise=False)[0].tolist() == [-1, -1, -1, -2, -2]


# closed form


def test_each_advantage_lands_where_the_decision_was_written():
    estimate = hae(**{name: KEY[name] for name in (*LINE, "rewards", "value_low", "value_high", "value_switch")})
    q, o, a = estimate.switch.tolist(), estimate.subgoal.tolist(), estimate.action.tolist()
    assert hiper(**KEY, normalise=False).tolist() == [
        [q[0], o[0], o[0], a[0], a[0]],
        [q[1], 0, 0, a[1], a[1]],  # the subgoal is only repeated
        [q[2], o[2], o[2], a[2], 0],
    ]


def test_the_subgoals_advantage_can_land_elsewhere():
    plain = hiper(**KEY, normalise=False)
    on_switch = hiper(**KEY, normalise=False, plan_tokens="switch")
    assert on_switch[0, 0] == plain[0, 0] + plain[0, 1]
    assert on_switch[0, 1] == 0
    both = hiper(**KEY, normalise=False, plan_tokens="both")
    assert (both[0, 0], both[0, 1]) == (on_switch[0, 0], plain[0, 1])
    assert (hiper(**KEY, normalise=False, plan_tokens="none")[:, 1:3] == 0).all()


def test_a_decision_without_a_head_gets_no_advantage():
    for without in (KEY | {"value_switch": None}, KEY | {"switch_advantage": "none"}):
        assert (hiper(**without)[:, 0] == 0).all()
    asked = KEY | {"switch_probability": f64(0.5, 0.5, 0.5), "value_kept": f64(0, 5, 1)}
    paper = hiper(**asked, switch_advantage="paper", normalise=False)
    assert paper[:, 0].tolist() == [0, -0.5 * 2, 0.5 * 3]


def test_without_masks_all_is_action():
    columns = {name: column for name, column in KEY.items() if name[-5:] != "_mask" or name == "response_mask"}
    advantage = hiper(**columns, normalise=False)
    assert torch.equal(
        advantage[:2], hae(**{name: KEY[name] for name in (*LINE, "rewards", "value_low", "value_high")}).action[:2, None].expand(2, 5)
    )
    assert advantage[2, 4] == 0


def test_each_of_the_three_is_standardised_over_the_turns_that_have_it():
    with Tape() as tape:
        hiper(**KEY)
    for name, turns in {"action": [0, 1, 2], "subgoal": [0, 2], "switch": [0, 1, 2]}.items():
        landed = tape[f"{name} advantage on its tokens"]
        values = landed[turns].gather(1, (landed[turns] != 0).int().argmax(1, keepdim=True)).squeeze(1)
        assert values.mean().item() == pytest.approx(0, abs=1e-12)
        assert values.std(unbiased=False).item() == pytest.approx(1)


@given(seed=st.integers(0, 2**31), normalise=st.booleans())
def test_what_is_outside_the_three_masks_has_no_advantage(seed, normalise):
    columns = agent_batch(seed)
    columns["subgoal_mask"][:, -1] = True  # outside the response, for short ones
    estimate = hae(**{name: columns[name] for name in (*LINE, "rewards", "value_low", "value_high", "value_switch")})
    masks = decision_masks(estimate.boundary, *(columns[f"{name}_mask"] for name in ("response", "action", "subgoal", "switch")))
    advantage = call(hiper, columns, normalise=normalise)
    assert (advantage[~(masks.action | masks.subgoal | masks.switch)] == 0).all()
    assert not (masks.subgoal & ~columns["response_mask"]).any()


# reward shaping


def test_keeping_costs():
    reward = {"rewards": f64(0, 1, 8)} | LINE
    assert shaped_rewards(**reward).tolist() == [0, 1, 8]
    assert shaped_rewards(**reward, keep_penalty=0.5).tolist() == [-0.5, 0.5, 8]
    assert shaped_rewards(**reward, keep_penalty=3.0, keep_mode="normalised").tolist() == [-1, 0, 8]
    alone = {name: column[:1] for name, column in reward.items()}
    assert shaped_rewards(**alone, keep_penalty=3.0, keep_mode="normalised").tolist() == [0]
    assert shaped_rewards(**alone, keep_penalty=3.0).tolist() == [-3]
    assert reward["rewards"].tolist() == [0, 1, 8]  # the caller's rewards are left alone


def test_invalid_actions_cost():
    assert shaped_rewards(f64(0, 1, 8), **LINE, valid=[1, 0, 1], invalid_penalty=0.5).tolist() == [0, 0.5, 8]


def test_a_kept_subgoal_that_is_worded_otherwise_costs():
    columns = {
        "task": [0] * 6,
        "trajectory": list("abaaba"),
        "turn": torch.tensor([3, 0, 0, 1, 1, 2]),
        "switch": [False, True, True, False, False, False],
        "response_ids": torch.tensor([[7, 5, 6, 7], [1, 2, 3, 4], [5, 6, 7, 8], [9, 5, 6, 9], [1, 2, 3, 4], [5, 7, 6, 9]]),
        "subgoal_mask": mask(".xx.", "x...", "xx..", ".xx.", "....", "xxx."),
    }
    rewards = torch.zeros(6, dtype=torch.float64)
    # a: 5 6, the same at other places, 5 7 6, 5 6; b: 1, then nothing
    strict = shaped_rewards(rewards, **columns, inconsistency_penalty=1.0)
    assert strict.tolist() == [-1, 0, 0, 0, 0, -1]
    lenient = shaped_rewards(rewards, **columns, inconsistency_penalty=1.0, both_needed=False)
    assert lenient.tolist() == [-1, 0, 0, 0, -1, -1]
    first = shaped_rewards(rewards, **columns | {"switch": [False] * 6}, inconsistency_penalty=1.0)
    assert first.tolist() == strict.tolist()  # a first turn keeps nothing


# wrong usage


@pytest.mark.parametrize("name", ["response_mask", "action_mask", "subgoal_mask", "switch_mask"])
def test_masks_must_fit(name):
    with pytest.raises(ValueError, match=r"_mask must have shape \(3, [45]\), got \(3, [45]\)"):
        hiper(**KEY | {name: KEY[name][:, :4]})
    with pytest.raises(ValueError, match=f"{name} must hold only 0 and 1"):
        hiper(**KEY | {name: KEY[name].long() * 2})


def test_penalties_need_their_columns():
    reward = {"rewards": f64(0, 1, 8)} | LINE
    with pytest.raises(ValueError, match="invalid_penalty needs the column valid"):
        shaped_rewards(**reward, invalid_penalty=0.1)
    with pytest.raises(ValueError, match="inconsistency_penalty needs the column response_ids and subgoal_mask"):
        shaped_rewards(**reward, inconsistency_penalty=0.1)
    with pytest.raises(ValueError, match="keep_mode must be one of 'fixed', 'normalised', got 'normalized'"):
        shaped_rewards(**reward, keep_penalty=1.0, keep_mode="normalized")
    with pytest.raises(ValueError, match="keep_penalty must be a number"):
        shaped_rewards(**reward, keep_penalty=float("nan"))
    with pytest.raises(ValueError, match="rewards must be finite, got nan in row 1"):
        shaped_rewards(**reward | {"rewards": f64(0, float("nan"), 8)})
