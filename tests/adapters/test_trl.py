"""Short real trainings inside TRL's `GRPOTrainer`, whose advantages must be those of `estimate` on the same rows."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import pad

from hierlab.adapters import grpo_trainer
from hierlab.credit import gae, gigpo, grpo, hicra, reinforce_plus_plus, rloo, spo
from hierlab.models import load
from hierlab.rollout import estimate, token_logp

trl = pytest.importorskip("trl")

PROMPTS = ["a b", "c d", "b", "a"]
SIZE, TOKENS = 4, 5


def lengths(completions, **others):
    """A reward that differs inside a group."""
    return [float(len(text) % 3) for text in completions]


def trained(tmp_path, estimator, columns=None, *, rewards=lengths, base=None, steps=1, **settings):
    """The trainer after `steps` steps, its recorded batches in `seen`."""
    from datasets import Dataset

    policy = load("tiny", vocabulary=["a b c d"])
    options = {
        "per_device_train_batch_size": 8,
        "num_generations": SIZE,
        "max_completion_length": TOKENS,
        "max_steps": steps,
        "learning_rate": 1e-3,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "shuffle_dataset": False,
    } | settings
    seen = []

    class Watched(grpo_trainer(estimator, columns=columns, base=base)):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            seen.append(batch | {"rewards": (self._rewards_per_function * self.reward_weights).nansum(1)})
            return batch

    trainer = Watched(
        model=policy.model,
        processing_class=policy.tokenizer,
        args=trl.GRPOConfig(str(tmp_path), **options),
        reward_funcs=rewards,
        train_dataset=Dataset.from_dict({"prompt": PROMPTS, "mark": list("wxyz")}),
    )
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    trainer.train()
    trainer.seen = seen
    trainer.moved = any(not torch.equal(before[name], weight) for name, weight in policy.model.named_parameters())
    return trainer


def expected_columns(batch):
    rewards, mask = batch["rewards"], batch["completion_mask"].bool()
    last = mask.sum(1) - 1
    token_rewards = torch.zeros(mask.shape)
    token_rewards[torch.arange(len(mask)), last] = rewards
    return {"rewards": rewards, "task": [i // SIZE for i in range(len(rewards))], "response_mask": mask, "token_rewards": token_rewards}


@pytest.mark.parametrize("estimator", [rloo, partial(grpo, scale="none"), reinforce_plus_plus], ids=["rloo", "partial", "r++"])
def test_one_number_a_row(tmp_path, estimator):
    trainer = trained(tmp_path, estimator)
    (batch,) = trainer.seen
    expected = estimate(expected_columns(batch), estimator)
    torch.testing.assert_close(batch["advantages"], expected)
    assert batch["advantages"].abs().sum() > 0
    assert trainer.moved


def marks(examples, batch):
    """Columns that only the caller can know: every other token plans, and a value for each token."""
    width = batch["completion_ids"].shape[1]
    every_other = batch["completion_mask"].bool() & (torch.arange(width) % 2 == 0)
    values = torch.full(batch["completion_ids"].shape, 0.25)
    return {"planning_mask": every_other, "values": values, "letter": [example["mark"] for example in examples]}


@pytest.mark.parametrize("estimator", [hicra, gae], ids=["hicra", "gae"])
def test_one_number_a_token_with_columns_of_the_caller(tmp_path, estimator):
    trainer = trained(tmp_path, estimator, marks)
    (batch,) = trainer.seen
    assert batch["advantages"].shape == batch["completion_ids"].shape
    expected = estimate(expected_columns(batch) | marks([{"mark": ""}] * 8, batch), estimator)
    torch.testing.assert_close(batch["advantages"], expected)
    assert (batch["advantages"][~batch["completion_mask"].bool()] == 0).all()
    assert trainer.moved


def test_columns_of_the_data_set_reach_the_estimator(tmp_path):
    seen = {}

    def by_letter(rewards, letter):
        seen["letter"] = letter
        return rewards - rewards.mean()

    trained(tmp_path, by_letter, marks)
    assert len(seen["letter"]) == 8
    assert all(len(set(seen["letter"][i : i + SIZE])) == 1 for i in (0, SIZE))


@pytest.mark.parametrize("updates", [1, 2])
def test_old_log_probabilities_are_there_whether_trl_keeps_them_or_not(tmp_path, updates):
    seen = {}

    def watch(rewards, old_logp, response_mask):
        seen.setdefault("old_logp", old_logp)
        return rewards - rewards.mean()

    policy = {}

    class Base(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            if not policy:
                ids = (batch[k] for k in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"))
                a, b, c, d = ids
                with torch.no_grad():
                    policy["logp"] = token_logp(self.model, a, b.bool(), c, d.bool(), temperature=self.temperature)
                policy["kept"] = "old_per_token_logps" in batch
            return batch

    trained(tmp_path, watch, base=Base, steps=2, num_iterations=updates)
    torch.testing.assert_close(seen["old_logp"], policy["logp"], atol=1e-5, rtol=1e-5)
    assert policy["kept"] == (updates > 1)


def test_agent_estimators_see_a_turn_each(tmp_path):
    (batch,) = trained(tmp_path, gigpo).seen
    rows = range(8)
    columns = expected_columns(batch) | {"trajectory": list(rows), "turn": torch.zeros(8, dtype=torch.int64)}
    columns |= {"state": columns["task"]}
    torch.testing.assert_close(batch["advantages"], estimate(columns, gigpo))


def test_the_completions_table_shows_these_advantages(tmp_path):
    trainer = trained(tmp_path, rloo)
    torch.testing.assert_close(torch.tensor(list(trainer._logs["advantages"])), trainer.seen[0]["advantages"])


def test_gradient_accumulation_changes_nothing(tmp_path):
    whole = trained(tmp_path / "a", rloo).seen[0]
    parts = trained(tmp_path / "b", rloo, per_device_train_batch_size=4, gradient_accumulation_steps=2).seen[0]
    torch.testing.assert_close(whole["advantages"], parts["advantages"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rloo", "gae"])
def test_two_processes_see_whole_groups_and_take_their_share(tmp_path, kind):
    """Six rows a process and groups of four: the second group lies in both."""
    script = Path(__file__).with_name("train_in_two.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([*command, kind, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1)]
    assert torch.equal(ranks[0]["rewards"], ranks[1]["rewards"])
    rewards = ranks[0]["rewards"]
    if kind == "rloo":
        expected = rloo(rewards, torch.arange(12) // SIZE)
        torch.testing.assert_close(torch.cat([rank["advantages"] for rank in ranks]), expected)
        return
    width = max(rank["completion_ids"].shape[1] for rank in ranks)  # each process pads to its own longest completion
    ids, mask, advantages = (
        torch.cat([pad(rank[name], (0, width - rank[name].shape[1])) for rank in ranks])
        for name in ("completion_ids", "completion_mask", "advantages")
    )
    expected = estimate(expected_columns({"rewards": rewards, "completion_mask": mask}) | {"values": ids / 10}, gae)
    torch.testing.assert_close(advantages, expected, atol=1e-5, rtol=1e-5)


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(ValueError, match="spo needs the column 'segment_start', 'segment_value'"):
        trained(tmp_path, spo)


def test_a_reward_that_is_none_is_refused_by_row(tmp_path):
    def sometimes(completions, **others):
        return [None if i == 3 else 1.0 for i in range(len(completions))]

    with pytest.raises(ValueError, match="rewards must be finite, got nan in row 3"):
        trained(tmp_path, rloo, rewards=sometimes)


def test_advantages_of_another_shape_are_refused(tmp_path):
    def short(rewards):
        return rewards[:3]

    with pytest.raises(ValueError, match=r"short returned advantages of shape \(3,\); wanted one a row, \(8,\), or one a token"):
        trained(tmp_path, short)


def test_a_column_of_another_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the column 'values' has 2 entries, but this process has 8 rows"):
        trained(tmp_path, gae, lambda examples, batch: {"values": torch.zeros(2, 5)})


def test_a_missing_trl_is_named_with_its_command(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "trl":
            raise ModuleNotFoundError("No module named 'trl'", name="trl")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install 'trl"):
        grpo_trainer(rloo)
