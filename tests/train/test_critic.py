"""The critic: what it says, what it learns, and that a killed run ends as an uninterrupted one."""

import copy
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from estimator_inputs import agent_batch

from hierlab.credit import gae, grpo, hae, hiper, lambda_returns, turn_gae
from hierlab.credit.hae import boundaries
from hierlab.credit.plan_execute import value_masks
from hierlab.envs.digit_sum import CHARACTERS, digit_sums
from hierlab.models import LoRA, TinySize, load
from hierlab.models.value_heads import value_model
from hierlab.rollout import GroupCollector, Rollouts, SamplingParams, estimate
from hierlab.rollout.logp import response_outputs
from hierlab.train.critic import Critic, CriticSettings
from hierlab.train.imitation import ImitationSettings, imitate
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.readouts import PlanValues, TokenValues, TurnValues
from hierlab.train.surrogate import value_loss

SIZE = TinySize(hidden=32, layers=2, heads=2, inner=64, context=32)
SETTINGS = PolicySettings(learning_rate=2e-3, tasks=4)
LEARN = CriticSettings(learning_rate=3e-3, epochs=2)


@dataclass(frozen=True)
class Repeat:
    """Reward for every occurrence of one digit: a beginner gets some."""

    id: str

    @property
    def prompt(self):
        return f"{self.id} ="

    def verify(self, response):
        return response.split().count(self.id) / 5


TASKS = [Repeat(digit) for digit in "01234567"]
COLLECT = GroupCollector(4, SamplingParams(5))
PPO = partial(gae, lam=0.95)


def policy(**options):
    torch.set_num_threads(1)
    return load("tiny", vocabulary=CHARACTERS, size=SIZE, **options)


def critic(model, readout=None, settings=LEARN, **options) -> Critic:
    readout = readout or TokenValues()
    return Critic(value_model(model, readout.heads, **options), readout, settings)


def trainer(
    settings=SETTINGS, *, model=None, learn=LEARN, share=False, estimator=PPO, readout=None, tasks=TASKS, collector=COLLECT, **options
) -> PolicyTrainer:
    model = model or policy()
    return PolicyTrainer(model, tasks, collector, estimator, settings, critic=critic(model, readout, learn, share=share), **options)


def alone(readout, *, settings=LEARN, std=0.0, **options) -> Critic:
    """A critic without a trainer."""
    made = critic(policy(**options), readout, settings, std=std)
    made.prepare(Accelerator(cpu=True))
    return made


def batch(seed: int = 0, **sizes) -> Rollouts:
    """Random rollouts with the columns of a plan-execute agent."""
    columns = agent_batch(seed, dtype=torch.float32, **sizes)
    mask = columns["response_mask"]
    below = torch.Generator().manual_seed(seed)
    prompts = torch.randint(1, 10, (len(mask), 5), generator=below)
    names = ("task", "trajectory", "turn", "state", "rewards")
    further = ("switch", "switch_mask", "subgoal_mask", "action_mask", "done")
    ends = torch.minimum(torch.randint(0, 4, (len(mask),), generator=below), mask.sum(1) - 1)
    return Rollouts(
        prompt_ids=prompts,
        prompt_mask=torch.ones_like(prompts, dtype=torch.bool),
        response_ids=torch.randint(1, 10, mask.shape, generator=below),
        response_mask=mask,
        old_logp=torch.zeros(mask.shape),
        columns={name: columns[name] for name in further} | {"plan_end": ends},
        **{name: columns[name] for name in names},
    )


def weights(*models) -> list[torch.Tensor]:
    return [weight.detach().clone() for model in models for weight in model.parameters()]


def all_weights(t: PolicyTrainer) -> list[torch.Tensor]:
    return weights(t.policy.model, t.critic.model)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def shuffle() -> torch.Generator:
    return torch.Generator().manual_seed(0)


READOUTS = [TokenValues(), TurnValues(), PlanValues(), PlanValues(switch_head=False)]
NAMES = ["token", "turn", "plan", "plan of two"]


# degenerate sizes


@pytest.mark.parametrize("readout", READOUTS, ids=NAMES)
def test_one_turn_of_one_token(readout):
    rollouts = batch(tasks=1, group=1, turns=1, tokens=1)
    made = alone(readout)
    values = made.values(rollouts)
    assert set(values) == set(readout.heads)
    assert not any(value.any() for value in values.values())
    record = made.update(rollouts.with_columns(**values), shuffle())
    for head in readout.heads:
        assert record[f"{head}_error"] == pytest.approx(float(rollouts.rewards) ** 2)
        assert record[f"{head}_explained"] == 0
    assert any(value.any() for value in made.values(rollouts).values())


def test_without_anything_to_learn_the_weights_stay():
    @dataclass(frozen=True)
    class Nothing(TokenValues):
        def targets(self, rollouts):
            return {head: (returns, torch.zeros_like(mask)) for head, (returns, mask) in super().targets(rollouts).items()}

    made, rollouts = alone(Nothing(), std=0.5), batch()
    made.optimizer.param_groups[0]["weight_decay"] = 0.1
    before = weights(made.model)
    record = made.update(rollouts.with_columns(**made.values(rollouts)), shuffle())
    assert same(before, weights(made.model))
    assert record["values_error"] == 0


# what is read


def test_token_values_are_the_heads_at_each_token():
    made, rollouts = alone(TokenValues(), std=0.5), batch()
    said = response_outputs(made.model, rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask).squeeze(
        -1
    )
    values = made.values(rollouts)["values"]
    torch.testing.assert_close(values, torch.where(rollouts.response_mask, said, 0.0))
    small = alone(TokenValues(), settings=replace(LEARN, micro_batch=3), std=0.5)
    torch.testing.assert_close(small.values(rollouts)["values"], values)
    turns = alone(TurnValues(), std=0.5).values(rollouts)["values"]
    torch.testing.assert_close(turns, values[:, 0])


def test_plan_values_are_read_behind_the_plan_and_at_the_first_token():
    made, rollouts = alone(PlanValues(), std=0.5), batch()
    said = response_outputs(made.model, rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask)
    values = made.values(rollouts)
    row = torch.arange(len(rollouts))
    torch.testing.assert_close(values["value_low"], said[row, rollouts["plan_end"], 0])
    torch.testing.assert_close(values["value_high"], said[row, 0, 1])
    torch.testing.assert_close(values["value_switch"], said[row, 0, 2])


# what is learnt


def test_targets_are_those_of_the_library():
    rollouts = batch()
    n, t = rollouts.response_mask.shape
    values = {name: torch.randn(n, generator=shuffle()) for name in ("value_low", "value_high", "value_switch")}
    with_values = rollouts.with_columns(**values)

    token = rollouts.with_columns(values=torch.randn(n, t, generator=shuffle()))
    expected = estimate(token, partial(lambda_returns, gamma=0.9, lam=0.8))
    assert torch.equal(TokenValues(gamma=0.9, lam=0.8).targets(token)["values"][0], expected)

    turn = rollouts.with_columns(values=values["value_low"])
    advantage = estimate(turn, partial(turn_gae, gamma=0.9, lam=0.0, whiten=False))
    returns, mask = TurnValues(gamma=0.9, lam=0.0).targets(turn)["values"]
    torch.testing.assert_close(returns, advantage + values["value_low"])
    assert torch.equal(mask, value_masks(rollouts["plan_end"], rollouts["switch"], rollouts.response_mask).switch)

    for kind in ("code", "paper"):
        found = estimate(with_values, partial(hae, gamma=0.9, lam_turn=0.8, lam_seg=0.7, targets=kind, bootstrap_truncated=True))
        readout = PlanValues(gamma=0.9, lam_turn=0.8, lam_seg=0.7, targets_of=kind, bootstrap_truncated=True)
        masks = value_masks(rollouts["plan_end"], estimate(rollouts, boundaries), rollouts.response_mask)
        targets = readout.targets(with_values)
        for head, returns, mask in zip(targets, found[4:], masks, strict=True):
            assert torch.equal(targets[head][0], returns), head
            assert torch.equal(targets[head][1], mask), head


@pytest.mark.parametrize("readout", READOUTS, ids=NAMES)
def test_an_update_descends_the_sum_of_the_heads_clipped_losses(readout):
    rollouts = batch()
    settings = replace(LEARN, epochs=1, factor=0.7, clip=0.1, max_grad_norm=None)
    made = alone(readout, settings=settings, std=0.5)
    other = copy.deepcopy(made.model)
    rollouts = rollouts.with_columns(**made.values(rollouts))
    record = made.update(rollouts, shuffle())

    said = response_outputs(other, rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask)
    total = 0.0
    for i, (head, (returns, mask)) in enumerate(readout.targets(rollouts).items()):
        wide = [x if x.dim() == 2 else x[:, None].expand(mask.shape) for x in (rollouts[head], returns)]
        total = total + value_loss(said[..., i], *wide, mask, clip=0.1, factor=0.7)[0]
    total.backward()
    torch.optim.AdamW(other.parameters(), lr=settings.learning_rate, weight_decay=0.0).step()
    assert record["critic_loss"] == pytest.approx(total.item(), rel=1e-5)
    for a, b in zip(made.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("readout", READOUTS, ids=NAMES)
def test_micro_batches_change_nothing(readout):
    rollouts = batch()
    settings = replace(LEARN, mini_batches=3)
    whole, parts = (alone(readout, settings=replace(settings, micro_batch=size), std=0.5) for size in (64, 1))
    records = [made.update(rollouts.with_columns(**made.values(rollouts)), shuffle()) for made in (whole, parts)]
    assert records[0] == pytest.approx(records[1], abs=1e-4)
    for a, b in zip(weights(whole.model), weights(parts.model), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)  # Adam divides by the gradient's own size, so noise grows a little


def test_a_constant_is_learnt():
    rollouts = replace(batch(), rewards=torch.full((len(batch()),), 0.7))
    made = alone(TurnValues(gamma=0.0), settings=replace(LEARN, epochs=50, learning_rate=1e-2))
    for _ in range(3):
        made.update(rollouts.with_columns(**made.values(rollouts)), shuffle())
    torch.testing.assert_close(made.values(rollouts)["values"], rollouts.rewards, atol=0.02, rtol=0)


def test_values_move_no_further_than_they_are_trusted():
    """Behind the clip range the gradient is 0, so that many steps on one batch end near its edge."""
    rollouts = replace(batch(), rewards=torch.full((len(batch()),), 5.0))
    made = alone(TurnValues(gamma=0.0), settings=replace(LEARN, epochs=200, clip=0.5))
    made.update(rollouts.with_columns(**made.values(rollouts)), shuffle())
    assert float(made.values(rollouts)["values"].mean()) < 1.5


# training


def test_ppo_learns_digit_sums_and_its_critic_learns_what_they_are_worth():
    model = policy()
    problems = digit_sums(3, 8, generator=torch.Generator().manual_seed(0))
    shown = [COLLECT.demonstrate(model.tokenizer, problem, problem.answer) for problem in problems]
    imitate(model, shown, ImitationSettings(steps=50, batch=8, rate=1e-2))
    collector, learn = replace(COLLECT, group_size=8), CriticSettings(learning_rate=1e-3, epochs=8)
    start = partial(trainer, tasks=problems, learn=learn, collector=collector)

    still = start(replace(SETTINGS, learning_rate=0.0, tasks=8), model=copy_of(model)).fit(14)  # nothing but the critic changes
    assert mean(still[-3:], "values_error") < 0.8 * still[0]["values_error"]
    assert mean(still[-3:], "values_explained") > 0.1

    history = start(replace(SETTINGS, learning_rate=3e-3, tasks=8, epochs=2), model=model).fit(16)
    assert mean(history[-5:], "return") > mean(history[:5], "return") + 0.2
    assert mean(history[-5:], "values_explained") > mean(history[:5], "values_explained") + 0.1


def mean(records, name: str) -> float:
    return sum(record[name] for record in records) / len(records)


def copy_of(model):
    return replace(model, model=copy.deepcopy(model.model))


@pytest.mark.parametrize("share", [False, True])
def test_policy_and_critic_do_not_disturb_each_other(share):
    """The critic's learning rate changes values, hence advantages, but with an estimator that ignores them not the policy."""
    quick, still = (trainer(estimator=grpo, learn=replace(LEARN, learning_rate=rate), share=share) for rate in (1e-2, 0.0))
    quick.fit(2)
    still.fit(2)
    assert same(weights(quick.policy.model), weights(still.policy.model))
    assert not same(weights(quick.critic.model), weights(still.critic.model))


def test_the_critic_has_a_head_start():
    t = trainer(learn=replace(LEARN, head_start=2))
    before = all_weights(t)
    t.fit(2)
    assert same(before[: len(weights(t.policy.model))], weights(t.policy.model))
    assert not same(before, all_weights(t))
    t.fit(3)
    assert not same(before[: len(weights(t.policy.model))], weights(t.policy.model))


# stopped and gone on with


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize(("lora", "share"), [(None, False), (None, True), (LoRA(rank=2), False)], ids=["full", "shared", "lora"])
def test_resume_is_exact(tmp_path, lora, share, stop):
    make = partial(trainer, replace(SETTINGS, epochs=2), learn=replace(LEARN, head_start=1), share=share)
    once = make(model=policy(lora=lora))
    once.fit(4)
    make(model=policy(lora=lora), folder=tmp_path).fit(stop)
    again = make(model=policy(lora=lora), folder=tmp_path)
    again.fit(4)
    assert same(all_weights(once), all_weights(again))
    numbers = [[{k: v for k, v in r.items() if not k.startswith("seconds")} for r in t.history] for t in (once, again)]
    assert numbers[0] == numbers[1]


KILLED = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
from test_critic import *
trainer(folder={folder!r}, checkpoint_every=1, report=lambda r: print("step", flush=True)).fit(6)
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_killed_run_ends_with_the_same_numbers(tmp_path, steps):
    here = os.path.dirname(__file__)
    code = KILLED.format(here=here, tests=os.path.dirname(here), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in range(steps):
        assert process.stdout.readline() == "step\n"
    time.sleep(0.013 * steps)  # somewhere in the next step, or while the checkpoint is written
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed, once = trainer(folder=tmp_path, checkpoint_every=1), trainer()
    resumed.fit(6)
    once.fit(6)
    assert same(all_weights(resumed), all_weights(once))


# wrong usage


def test_other_heads_are_refused():
    model = policy()
    with pytest.raises(ValueError, match="the read-out wants the heads value_low, value_high, value_switch, the model has values"):
        Critic(value_model(model), PlanValues())


def test_another_critic_is_refused(tmp_path):
    trainer(folder=tmp_path).fit(1)
    for change in ({"learn": replace(LEARN, clip=0.2)}, {"readout": TokenValues(lam=0.9)}):
        with pytest.raises(ValueError, match="made with other settings"):
            trainer(folder=tmp_path, **change).fit(2)
    with pytest.raises(ValueError, match=r"made from another model: .* more parameters of the critic differ"):
        trainer(folder=tmp_path, share=True).fit(2)
    with pytest.raises(ValueError, match="made with other settings"):
        PolicyTrainer(policy(), TASKS, COLLECT, grpo, SETTINGS, folder=tmp_path).fit(2)


def test_values_are_missed_by_name():
    with pytest.raises(ValueError, match="gae needs the column 'values'"):
        PolicyTrainer(policy(), TASKS, COLLECT, gae, SETTINGS).fit(1)
    with pytest.raises(ValueError, match="hiper needs the column 'switch'"):
        trainer(estimator=hiper).fit(1)


def test_targets_of_another_shape_are_refused():
    @dataclass(frozen=True)
    class Short(TokenValues):
        def targets(self, rollouts):
            return {head: (returns, mask[:, :1]) for head, (returns, mask) in super().targets(rollouts).items()}

    made, rollouts = alone(Short()), batch()
    with pytest.raises(ValueError, match="a target's mask must have the shape"):
        made.update(rollouts.with_columns(**made.values(rollouts)), shuffle())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("learning_rate", -1.0, "learning_rate must not be negative, got -1.0"),
        ("factor", float("nan"), "factor must not be negative, got nan"),
        ("head_start", -1, "head_start must not be negative, got -1"),
    ],
)
def test_settings_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        CriticSettings(**{field: value})
