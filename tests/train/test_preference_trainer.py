from __future__ import annotations

from functools import partial

import pytest
import torch

from hierlab.models import LoRA, TinySize, load
from hierlab.preference import aot_unpaired, cpo, dpo, ipo, kto_pair, orpo, plackett_luce, sft, simpo
from hierlab.train.pairs import Pair, score_pairs
from hierlab.train.preference import PreferenceSettings, PreferenceTrainer, pair_columns, pair_losses

SIZE = TinySize(hidden=16, layers=1, heads=2, inner=16, context=32)
QUICK = PreferenceSettings(learning_rate=1e-2, batch=4, micro_batch=4, warmup=0)
DPO = partial(dpo, beta=0.5)


def tiny(**options):
    return load("tiny", vocabulary=["a b c d e f g h"], size=SIZE, seed=1, **options)


def some_pairs(number: int = 10) -> list[Pair]:
    draw = torch.Generator().manual_seed(0)

    def answer() -> tuple[int, ...]:
        return (*torch.randint(5, 12, (int(torch.randint(1, 5, (1,), generator=draw)),), generator=draw).tolist(), 2)

    return [Pair((1, 5 + i % 2), answer(), answer()) for i in range(number)]


def weights(policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.model.parameters()])


def train(loss, steps=6, settings=QUICK, policy=None, **options):
    policy = policy or tiny()
    trainer = PreferenceTrainer(policy, some_pairs(), loss, settings, **options)
    return trainer.fit(steps), policy


def test_one_pair_is_learnt():
    policy, pair = tiny(), some_pairs(1)
    before = score_pairs(policy.model, pair)
    PreferenceTrainer(policy, pair, DPO, PreferenceSettings(learning_rate=1e-2, batch=1, warmup=0)).fit(10)
    after = score_pairs(policy.model, pair)
    assert float(after[0] - after[1]) > float(before[0] - before[1]) + 1


def test_no_steps_change_nothing():
    policy = tiny()
    before = weights(policy)
    assert PreferenceTrainer(policy, some_pairs(), DPO, QUICK).fit(0) == []
    assert torch.equal(weights(policy), before)


def test_dpo_starts_at_log_two_and_its_margin_grows():
    history, _ = train(DPO, steps=12)
    assert history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert history[0]["log_ratio_margin"] == pytest.approx(0, abs=1e-4)
    assert history[-1]["log_ratio_margin"] > 1


@pytest.mark.parametrize("loss", [DPO, ipo, sft, simpo, orpo, cpo, kto_pair, aot_unpaired], ids=lambda f: getattr(f, "__name__", "dpo"))
def test_the_micro_batch_changes_no_result_whatever_the_loss(loss):
    whole = train(loss, steps=2)
    halves = train(loss, steps=2, settings=PreferenceSettings(learning_rate=1e-2, batch=4, micro_batch=3, warmup=0))
    assert halves[0][-1]["loss"] == pytest.approx(whole[0][-1]["loss"], abs=1e-4)
    assert halves[0][0]["gradient_norm"] == pytest.approx(whole[0][0]["gradient_norm"], rel=1e-3)


def test_the_gradient_is_that_of_the_mean_loss():
    policy, pairs = tiny(), some_pairs(4)
    trainer = PreferenceTrainer(policy, pairs, DPO, PreferenceSettings(learning_rate=0.0, batch=4, micro_batch=2, warmup=0))
    trainer._backward(torch.arange(4))
    from hierlab.train.pairs import collate, sequence_logp

    other = tiny()
    chosen, rejected = sequence_logp(other.model, collate(pairs))
    pair_losses(DPO, chosen, rejected, pair_columns(pairs, trainer.reference)).mean().backward()
    for ours, theirs in zip(policy.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw"])
def test_a_killed_run_goes_on_to_the_bit(tmp_path, optimizer):
    settings = PreferenceSettings(learning_rate=1e-2, batch=4, micro_batch=4, warmup=3, optimizer=optimizer)
    straight, policy = train(DPO, steps=7, settings=settings)
    train(DPO, steps=4, settings=settings, folder=tmp_path)
    resumed, again = train(DPO, steps=7, settings=settings, folder=tmp_path)
    assert torch.equal(weights(policy), weights(again))
    clock = "seconds"
    assert [{k: v for k, v in r.items() if k != clock} for r in straight] == [{k: v for k, v in r.items() if k != clock} for r in resumed]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(DPO, steps=1, folder=tmp_path)
    for other in ({"loss": partial(dpo, beta=0.1)}, {"loss": DPO, "seed": 1}):
        with pytest.raises(ValueError, match="other settings"):
            train(**other, steps=2, folder=tmp_path)


def test_adapters_train_alone_and_the_reference_is_what_they_adapt():
    policy = tiny(lora=LoRA(rank=2))
    frozen = [p.detach().clone() for p in policy.model.parameters() if not p.requires_grad]
    history, _ = train(DPO, steps=40, policy=policy)
    assert history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert history[-1]["log_ratio_margin"] > 0.1
    still = [p for p in policy.model.parameters() if not p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(frozen, still, strict=True))


def test_every_epoch_reads_every_pair_once():
    trainer = PreferenceTrainer(tiny(), some_pairs(10), DPO, QUICK)
    rows = torch.cat([trainer._rows(step) for step in range(5)])
    assert sorted(rows.tolist()) == sorted(2 * list(range(10)))
    assert sorted(rows[:10].tolist()) == list(range(10))
    assert trainer.steps(1) == 3
    assert trainer.steps(2) == 5


def test_further_columns_reach_the_loss():
    smoothing = torch.full((10,), 0.5)
    history, _ = train(DPO, steps=8, columns={"label_smoothing": smoothing})
    assert history[-1]["log_ratio_margin"] == pytest.approx(0, abs=0.2)  # labels that mean nothing teach nothing


def test_evaluations_come_first_in_between_and_last():
    history, _ = train(DPO, steps=5, evaluate=lambda model: {"seen": 1.0}, evaluate_every=2)
    assert [r["step"] for r in history if "seen" in r] == [0, 2, 4, 5]


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        PreferenceTrainer(tiny(), [], DPO)
    with pytest.raises(ValueError, match="needs the column 'scores', 'relevance'"):
        train(plackett_luce)
    with pytest.raises(ValueError, match="label_smoothing must have one entry for each of 10 pairs"):
        train(DPO, columns={"label_smoothing": torch.zeros(3)})
    with pytest.raises(ValueError, match="optimizer must be 'rmsprop' or 'adamw'"):
        PreferenceSettings(optimizer="sgd")
    with pytest.raises(ValueError, match="weight_decay is AdamW's"):
        PreferenceSettings(weight_decay=0.1)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        PreferenceSettings(batch=0)


def test_a_rate_that_explodes_is_reported():
    with pytest.raises((FloatingPointError, ValueError), match=r"lower the learning rate|finite"):
        train(DPO, steps=5, settings=PreferenceSettings(learning_rate=1e30, batch=4, warmup=0, max_grad_norm=None))
