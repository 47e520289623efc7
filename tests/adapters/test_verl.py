"""Estimators as verl calls them: with the arguments of its `compute_advantage`, and, where verl is installed, by that very function.

`make test-verl` runs this file in an environment that has verl; elsewhere those tests are skipped.
"""

from __future__ import annotations

import builtins
import sys
import types
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from hierlab.adapters import register_all, verl_estimator
from hierlab.credit import ESTIMATORS, gae, gigpo, grpo, hicra, rloo, spo
from hierlab.rollout import estimate

INDEX = np.array(["p", "q", "p", "q", "p", "q"], dtype=object)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]])
ENDS = MASK.sum(1) - 1


def rewards():
    values = torch.tensor([1.0, 0.0, 0.0, 0.5, 1.0, 0.25])
    token_level = torch.zeros(MASK.shape)
    token_level[torch.arange(6), ENDS] = values
    return token_level


def arguments(**more):
    return {"token_level_rewards": rewards(), "response_mask": MASK, "index": INDEX, "config": None} | more


def ours():
    return {"rewards": rewards().sum(1), "task": list(INDEX), "response_mask": MASK.bool(), "token_rewards": rewards()}


@pytest.mark.parametrize("estimator", [rloo, grpo, partial(grpo, scale="none")], ids=["rloo", "grpo", "partial"])
def test_one_number_a_row_is_spread_over_its_tokens(estimator):
    advantage, returns = verl_estimator(estimator)(**arguments())
    torch.testing.assert_close(advantage, estimate(ours(), estimator)[:, None] * MASK)
    assert torch.equal(advantage, returns)


def test_one_number_a_token_stays_that():
    values = torch.full(MASK.shape, 0.25)
    advantage, _ = verl_estimator(gae, columns=lambda passed: {"values": values})(**arguments())
    torch.testing.assert_close(advantage, estimate(ours() | {"values": values}, gae))


def test_the_hook_sees_what_verl_passed():
    seen = {}

    def columns(passed):
        seen.update(passed)
        return {"planning_mask": MASK.bool()}

    verl_estimator(hicra, columns=columns)(**arguments(reward_baselines=torch.ones(6)))
    assert set(seen) == {"token_level_rewards", "response_mask", "index", "config", "reward_baselines"}


def test_batches_that_verl_passes_are_columns_but_do_not_replace_ours():
    batch = {"values": torch.full(MASK.shape, 0.25), "response_mask": torch.zeros_like(MASK)}
    advantage, _ = verl_estimator(gae)(**arguments(batch=batch, non_tensor_batch={"uid": INDEX}))
    torch.testing.assert_close(advantage, estimate(ours() | {"values": batch["values"]}, gae))


def test_old_log_probabilities_are_passed_on():
    seen = {}

    def watch(rewards, old_logp):
        seen["old_logp"] = old_logp
        return rewards

    given = -torch.rand(MASK.shape)
    verl_estimator(watch)(**arguments(old_log_probs=given))
    assert seen["old_logp"] is given


def test_agent_estimators_see_a_turn_each():
    advantage, _ = verl_estimator(gigpo)(**arguments())
    turns = {"trajectory": list(range(6)), "turn": torch.zeros(6, dtype=torch.int64), "state": list(INDEX)}
    torch.testing.assert_close(advantage, estimate(ours() | turns, gigpo)[:, None] * MASK)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="spo needs the column"):
        verl_estimator(spo)(**arguments())


def test_groups_are_not_guessed_where_verl_gives_no_index():
    with pytest.raises(ValueError, match="rloo needs the column 'task'"):
        verl_estimator(rloo)(**arguments(index=None))


def test_rewards_that_are_not_finite_are_refused_by_row():
    broken = rewards()
    broken[2, 0] = torch.nan
    with pytest.raises(ValueError, match="rewards must be finite, got nan in row 2"):
        verl_estimator(rloo)(**arguments(token_level_rewards=broken))


@pytest.fixture
def registry(monkeypatch):
    """A stand-in for verl's, with its rule: one name, one function."""
    table = {}

    def register_adv_est(name):
        def decorate(function):
            if table.get(name, function) is not function:
                raise ValueError(f"Adv estimator {name} has already been registered")
            table[name] = function
            return function

        return decorate

    for name in ("verl", "verl.trainer", "verl.trainer.ppo", "verl.trainer.ppo.core_algos"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["verl.trainer.ppo.core_algos"].register_adv_est = register_adv_est
    return table


def test_every_estimator_is_registered_under_its_name(registry):
    names = register_all()
    assert names == [f"hierlab_{name}" for name in ESTIMATORS] == list(registry)
    assert all(registry[name].__name__ == name for name in names)
    advantage, _ = registry["hierlab_rloo"](**arguments())
    torch.testing.assert_close(advantage, rloo(rewards().sum(1), list(INDEX))[:, None] * MASK)


def test_one_name_one_function(registry):
    register_all({"mine": rloo})
    with pytest.raises(ValueError, match="hierlab_mine has already been registered"):
        register_all({"mine": grpo})


def test_a_missing_verl_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("verl"):
            raise ModuleNotFoundError("No module named 'verl'", name="verl")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="register_all needs verl"):
        register_all()


# --- inside verl -----------------------------------------------------------------------------------------------------------------

inside_verl = pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed: make test-verl")


@pytest.fixture(scope="module")
def verl_names():
    return register_all()


def computed_by_verl(name):
    """What verl's own trainer writes into its batch."""
    from verl import DataProto
    from verl.trainer.ppo.ray_trainer import compute_advantage

    tensors = {"token_level_rewards": rewards(), "response_mask": MASK}
    data = DataProto.from_dict(tensors, non_tensors={"uid": INDEX})
    return compute_advantage(data, adv_estimator=name, config=None).batch["advantages"]


@inside_verl
@pytest.mark.parametrize("estimator", [rloo, grpo, gigpo])
def test_verl_computes_our_advantages(verl_names, estimator):
    assert f"hierlab_{estimator.__name__}" in verl_names
    turns = {"trajectory": list(range(6)), "turn": torch.zeros(6, dtype=torch.int64), "state": list(INDEX)}
    expected = estimate(ours() | turns, estimator)[:, None] * MASK
    torch.testing.assert_close(computed_by_verl(f"hierlab_{estimator.__name__}"), expected)


@inside_verl
def test_verls_own_rloo_agrees_with_ours(verl_names):
    torch.testing.assert_close(computed_by_verl("hierlab_rloo"), computed_by_verl("rloo"))


@inside_verl
def test_verl_keeps_its_own_names(verl_names):
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    assert get_adv_estimator_fn("hierlab_gae").__module__ == "hierlab.adapters.verl"
    assert get_adv_estimator_fn("gae").__module__ == "verl.trainer.ppo.core_algos"
