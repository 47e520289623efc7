"""The policy trainer: it learns, equal configurations agree, and a killed run ends as an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from hierlab.credit import grpo, reinforce_plus_plus
from hierlab.models import LoRA, TinySize, load
from hierlab.rollout import GroupCollector, SamplingParams
from hierlab.train.policy import PolicySettings, PolicyTrainer

WORDS = [*"abcdefgh", "say"]
SIZE = TinySize(hidden=32, layers=2, heads=2, inner=64, context=32)
SETTINGS = PolicySettings(learning_rate=1e-2, tasks=4)


@dataclass(frozen=True)
class Say:
    """Reward for every occurrence of one letter."""

    letter: str

    @property
    def id(self):
        return self.letter

    @property
    def prompt(self):
        return f"say {self.letter}" if self.letter in "abcd" else f"say say {self.letter}"

    def verify(self, response):
        return response.split().count(self.letter) / 4


TASKS = [Say(letter) for letter in "abcdefgh"]
COLLECT = GroupCollector(4, SamplingParams(4))


def policy(**options):
    return load("tiny", vocabulary=WORDS, size=SIZE, **options)


def trainer(settings=SETTINGS, *, model=None, estimator=grpo, tasks=TASKS, collector=COLLECT, **options) -> PolicyTrainer:
    torch.set_num_threads(1)
    return PolicyTrainer(model or policy(), tasks, collector, estimator, settings, **options)


def weights(t: PolicyTrainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in t.policy.model.parameters()]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_one_task_one_iteration():
    t = trainer(replace(SETTINGS, tasks=1, micro_batch=1), tasks=TASKS[:1])
    (record,) = t.fit(1)
    assert record["iteration"] == 1
    assert record["rows"] == 4


def test_no_signal_moves_nothing():
    t = trainer(tasks=[Say("nowhere")])
    before = weights(t)
    t.fit(1)
    assert t.history[0]["gradient_norm"] == 0
    assert same(before, weights(t))


def test_it_learns():
    history = trainer(tasks=TASKS[:1]).fit(40)
    early, late = (sum(r["return"] for r in part) / 5 for part in (history[:5], history[-5:]))
    assert late > early + 0.5


def test_token_advantages_are_trained_on():
    t = trainer(estimator=partial(reinforce_plus_plus, gamma=0.9))
    before = weights(t)
    t.fit(1)
    assert not same(before, weights(t))


def test_a_loss_mask_trains_as_if_the_policy_had_chosen_those_tokens_only():
    def half(rollouts):
        return rollouts.response_mask & (torch.arange(rollouts.response_mask.shape[1]) % 2 == 0)

    def masked(*call):
        rollouts = COLLECT(*call)
        return rollouts.with_columns(loss_mask=half(rollouts))

    def cut(*call):
        rollouts = COLLECT(*call)
        return replace(rollouts, response_mask=half(rollouts))

    settings = replace(SETTINGS, epochs=2, mini_batches=2, kl_weight=0.1)
    one, other, whole = (trainer(settings, collector=c) for c in (masked, cut, COLLECT))
    assert same(_after(one, 2), _after(other, 2))
    assert not same(weights(one), _after(whole, 2))
    assert one.history[0]["generated_tokens"] == whole.history[0]["generated_tokens"]  # the cost is that of all tokens


def test_the_estimator_sees_past_the_loss_mask():
    seen = []

    def estimator(rewards, response_mask):
        seen.append(int(response_mask.sum()))
        return rewards

    def first_only(*call):
        rollouts = COLLECT(*call)
        return rollouts.with_columns(loss_mask=rollouts.response_mask & (torch.arange(rollouts.response_mask.shape[1]) == 0))

    t = trainer(estimator=estimator, collector=first_only)
    t.fit(1)
    assert seen == [t.history[0]["generated_tokens"]]


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean", "row-mean-token-sum-norm"])
def test_rows_without_trained_tokens_change_nothing_whatever_the_micro_batch(aggregation):
    def only_row_five(*call):
        rollouts = COLLECT(*call)
        return rollouts.with_columns(loss_mask=rollouts.response_mask & (torch.arange(len(rollouts)) == 5)[:, None])

    settings = replace(SETTINGS, aggregation=aggregation, mini_batches=4)  # three mini-batches without any token to train on
    whole, parts = (trainer(replace(settings, micro_batch=m), collector=only_row_five) for m in (64, 1))
    assert same(_after(whole, 1), _after(parts, 1))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lambda m: m | ~m, r"loss_mask must lie inside response_mask, but has token \d of row \d"),
        (torch.zeros_like, "loss_mask is empty in every row"),
        (lambda m: m[:, :1], "loss_mask"),
    ],
)
def test_wrong_loss_masks_are_refused(mask, message):
    def collector(*call):
        rollouts = COLLECT(*call)
        short = rollouts.response_mask.clone()
        short[0, -1] = False
        rollouts = replace(rollouts, response_mask=short)
        return rollouts.with_columns(loss_mask=mask(rollouts.response_mask))

    with pytest.raises(ValueError, match=message):
        trainer(collector=collector).fit(1)


def test_every_task_comes_once_an_epoch_in_another_order():
    t = trainer()
    epochs = [[task.id for i in (2 * e, 2 * e + 1) for task in t._tasks(i)] for e in range(3)]
    assert all(sorted(epoch) == list("abcdefgh") for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"])
def test_micro_batches_change_nothing(aggregation):
    settings = replace(SETTINGS, aggregation=aggregation, mini_batches=2, epochs=2)
    whole, parts = trainer(settings), trainer(replace(settings, micro_batch=3))
    whole.fit(1)
    parts.fit(1)
    assert whole.history[0]["loss"] == pytest.approx(parts.history[0]["loss"], abs=1e-5)
    for a, b in zip(weights(whole), weights(parts), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)  # Adam divides by the gradient's own size, so noise grows a little


def test_same_seed_same_numbers():
    assert same(_after(trainer(seed=3), 2), _after(trainer(seed=3), 2))
    assert not same(_after(trainer(seed=3), 2), _after(trainer(seed=4), 2))


def _after(t, iterations):
    t.fit(iterations)
    return weights(t)


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)], ids=["full", "lora"])
def test_resume_is_exact(tmp_path, lora):
    settings = replace(SETTINGS, kl_weight=0.1 if lora is None else 0.0)
    once = trainer(settings, model=policy(lora=lora))
    once.fit(4)
    trainer(settings, model=policy(lora=lora), folder=tmp_path).fit(2)
    again = trainer(settings, model=policy(lora=lora), folder=tmp_path)
    again.fit(4)
    assert same(weights(once), weights(again))
    numbers = [[{k: v for k, v in r.items() if not k.startswith("seconds")} for r in t.history] for t in (once, again)]
    assert numbers[0] == numbers[1]


def test_finished_run_is_only_read(tmp_path):
    trainer(folder=tmp_path).fit(2)
    records = []
    assert len(trainer(folder=tmp_path, report=records.append).fit(2)) == 2
    assert records == []


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_policy import *
trainer(folder={folder!r}, checkpoint_every=1, report=lambda r: print("step", flush=True)).fit(6)
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_killed_run_ends_with_the_same_numbers(tmp_path, steps):
    code = KILLED.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in range(steps):
        assert process.stdout.readline() == "step\n"
    time.sleep(0.013 * steps)  # somewhere in the next step, or while the checkpoint is written
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert same(_after(trainer(folder=tmp_path, checkpoint_every=1), 6), _after(trainer(), 6))


def test_a_budget_of_tokens_ends_a_run(tmp_path):
    whole = trainer(evaluate=lambda engine, generator: {"held_out": 0.5}).fit(4)
    spent = whole[1]["generated_tokens"] + whole[2]["generated_tokens"]
    for tokens, iterations in [(0, 0), (1, 1), (spent, 2), (spent + 1, 3)]:
        cut = trainer(evaluate=lambda engine, generator: {"held_out": 0.5}).fit(4, tokens=tokens)
        assert [r["iteration"] for r in cut] == list(range(iterations + 1))
        assert "held_out" in cut[-1]
    trainer(folder=tmp_path).fit(4, tokens=1)
    assert len(trainer(folder=tmp_path).fit(4, tokens=spent)) == 2


def test_evaluation_does_not_disturb_training():
    calls = []

    def evaluate(engine, generator):
        calls.append(torch.rand(1, generator=generator).item())
        return {"held_out": 0.5}

    watched = trainer(evaluate=evaluate, evaluate_every=2)
    history = watched.fit(3)
    assert [r["iteration"] for r in history if "held_out" in r] == [0, 2, 3]
    assert len(set(calls)) == 3
    assert same(weights(watched), _after(trainer(), 3))


def test_reference_is_the_initial_policy():
    free, held = (trainer(replace(SETTINGS, kl_weight=w)) for w in (1e-9, 10.0))
    free.fit(6)
    held.fit(6)
    assert free.history[0]["kl_reference"] == pytest.approx(0, abs=1e-6)
    assert held.history[-1]["kl_reference"] < free.history[-1]["kl_reference"]


def test_warmup_raises_the_rate_linearly():
    t = trainer(replace(SETTINGS, warmup=4))
    t.fit(2)
    assert t.optimizer.param_groups[0]["lr"] == pytest.approx(SETTINGS.learning_rate / 2)


def test_other_settings_are_refused(tmp_path):
    trainer(folder=tmp_path).fit(1)
    with pytest.raises(ValueError, match="made with other settings; use another folder"):
        trainer(replace(SETTINGS, tasks=2), folder=tmp_path).fit(2)
    with pytest.raises(ValueError, match="other settings"):
        trainer(seed=1, folder=tmp_path).fit(2)


def test_another_model_is_refused(tmp_path):
    trainer(folder=tmp_path).fit(1)
    other = load("tiny", vocabulary=[*WORDS, "more"], size=SIZE)
    with pytest.raises(ValueError, match="made from another model"):
        trainer(model=other, folder=tmp_path).fit(2)


def test_truncated_checkpoint_is_refused(tmp_path):
    trainer(folder=tmp_path).fit(1)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint .* is truncated or no checkpoint .* delete it to start again"):
        trainer(folder=tmp_path).fit(2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("tasks", 0, "tasks must be at least 1, got 0"), ("learning_rate", -1.0, "learning_rate must not be negative, got -1.0")],
)
def test_settings_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **{field: value})


def test_no_tasks():
    with pytest.raises(ValueError, match="no tasks to train on"):
        trainer(tasks=[])
