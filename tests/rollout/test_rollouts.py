"""Rollouts as columns, and `estimate`, which fills an estimator's parameters from them."""

from functools import partial

import pytest
import torch

from hierlab.credit import gigpo
from hierlab.rollout import Rollouts, concatenate, estimate


def rollouts(n=4, prompt=3, response=2, **changes) -> Rollouts:
    columns = {
        "prompt_ids": torch.arange(n * prompt).view(n, prompt),
        "prompt_mask": torch.ones(n, prompt, dtype=torch.bool),
        "response_ids": torch.arange(n * response).view(n, response),
        "response_mask": torch.ones(n, response, dtype=torch.bool),
        "old_logp": torch.zeros(n, response),
        "rewards": torch.arange(n, dtype=torch.float32),
        "task": ["t"] * n,
        "trajectory": [i // 2 for i in range(n)],
        "turn": torch.arange(n) % 2,
        "state": ["hall", "room"] * (n // 2) + ["hall"] * (n % 2),
    }
    return Rollouts(**(columns | changes))


def test_no_rows():
    empty = rollouts().select([])
    assert len(empty) == 0
    assert empty.task == []
    assert empty["token_rewards"].shape == (0, 2)


def test_token_rewards_stand_on_the_last_response_token():
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    batch = rollouts(3, response_mask=mask)
    assert batch["token_rewards"].tolist() == [[0, 0], [1, 0], [0, 0]]
    assert batch["response_length"].tolist() == [2, 1, 0]


def test_select_takes_every_column_in_the_order_asked():
    batch = rollouts().with_columns(role=["a", "b", "c", "d"], values=torch.arange(4.0))
    picked = batch.select([3, 1])
    assert picked.rewards.tolist() == [3, 1]
    assert picked["role"] == ["d", "b"]
    assert picked["values"].tolist() == [3, 1]
    assert picked.state == ["room", "room"]


def test_concatenate_pads_prompts_left_and_responses_right():
    both = concatenate([rollouts(2, prompt=2, response=1), rollouts(2, prompt=3, response=2)], pad_id=9)
    assert both.prompt_ids[0].tolist() == [9, 0, 1]
    assert both.prompt_mask[0].tolist() == [False, True, True]
    assert both.response_ids[0].tolist() == [0, 9]
    assert both.response_mask[0].tolist() == [True, False]
    assert len(both) == 4


def test_selecting_the_parts_undoes_concatenation():
    batch = rollouts()
    again = concatenate([batch.select([0, 1]), batch.select([2, 3])])
    assert torch.equal(again.prompt_ids, batch.prompt_ids)
    assert again.trajectory == batch.trajectory


def test_estimate_fills_parameters_from_columns():
    batch = rollouts()
    expected = gigpo(batch.rewards, batch.task, batch.trajectory, batch.turn, batch.state, gamma=0.5)
    assert torch.equal(estimate(batch, gigpo, gamma=0.5), expected)
    assert torch.equal(estimate(batch, partial(gigpo, gamma=0.5)), expected)


def test_estimate_names_the_missing_column():
    def needs_values(rewards, values):
        return rewards - values

    with pytest.raises(ValueError, match=r"needs_values needs the column 'values'.*they have prompt_ids"):
        estimate(rollouts(), needs_values)
    assert estimate(rollouts().with_columns(values=torch.arange(4.0)), needs_values).tolist() == [0, 0, 0, 0]


def test_estimate_names_the_unknown_hyperparameter():
    with pytest.raises(ValueError, match=r"gigpo has no parameter 'gama'; it takes rewards, task"):
        estimate(rollouts(), gigpo, gama=0.9)


def test_unknown_column_lists_those_there_are():
    with pytest.raises(KeyError, match=r"no column 'value'; there are prompt_ids.*token_rewards"):
        rollouts()["value"]


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one entry per row"):
        rollouts(state=["hall"])
    with pytest.raises(ValueError, match="one entry per row"):
        rollouts().with_columns(values=torch.zeros(3))


def test_optional_columns_may_not_hide_standard_ones():
    with pytest.raises(ValueError, match=r"named like a standard one: \['rewards'\]"):
        rollouts().with_columns(rewards=torch.zeros(4))


def test_shapes_of_responses_must_agree():
    with pytest.raises(ValueError, match=r"one shape \[N, T\]"):
        rollouts(old_logp=torch.zeros(4, 3))


def test_nothing_to_concatenate():
    with pytest.raises(ValueError, match="nothing to concatenate"):
        concatenate([])
    with pytest.raises(ValueError, match="same optional columns"):
        concatenate([rollouts(), rollouts().with_columns(values=torch.zeros(4))])
