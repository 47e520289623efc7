"""The reward model and its trainer: it learns, equal configurations agree, and a killed run ends as an uninterrupted one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hierlab.models import LoRA, TinySize, load
from hierlab.models.value_heads import value_model
from hierlab.reward import ReadableRewardModel
from hierlab.rollout.hub_reward import load_classifier
from hierlab.rollout.reward_model import TextRewardModel, last_scores, reward_model
from hierlab.train.pairs import tokenise
from hierlab.train.reward import RewardSettings, RewardTrainer

WORDS = ["good", "bad", "ask", "so", "very"]
SIZE = TinySize(hidden=16, layers=1, heads=2, inner=32, context=16)
SETTINGS = RewardSettings(epochs=2, learning_rate=1e-2, batch=4, micro_batch=4)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def model(**options) -> TextRewardModel:
    return reward_model(load("tiny", vocabulary=WORDS, size=SIZE, **options))


def pairs(reward, number=10):
    return tokenise(reward.tokenizer, ["ask"] * number, ["so " * (i % 3) + "good" for i in range(number)], ["very bad"] * number)


def trainer(settings=SETTINGS, *, reward=None, number=10, **options) -> RewardTrainer:
    reward = reward or model()
    return RewardTrainer(reward, pairs(reward, number), settings, **options)


def weights(reward: TextRewardModel) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in reward.model.parameters()]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# the model


def test_no_text_no_score():
    assert model().score([], []).shape == (0,)
    assert model().last_hidden([], []).shape == (0, SIZE.hidden)


def test_a_score_does_not_depend_on_its_neighbours_or_the_batch():
    reward = model()
    prompts, responses = ["ask", "ask so", "ask"], ["good", "very very very bad", "so"]
    together = reward.score(prompts, responses)
    alone = torch.cat([reward.score([p], [r]) for p, r in zip(prompts, responses, strict=True)])
    assert torch.allclose(together, alone, atol=1e-6)
    reward.batch = 2
    assert torch.allclose(together, reward.score(prompts, responses), atol=1e-6)


def test_the_score_is_the_head_of_the_last_hidden_state():
    reward = model()
    prompts, responses = ["ask", "ask"], ["good", "very bad"]
    hidden = reward.last_hidden(prompts, responses)
    assert hidden.shape == (2, SIZE.hidden)
    assert torch.allclose(reward.model.output(hidden)[:, 0], reward.score(prompts, responses), atol=1e-6)
    assert isinstance(reward, ReadableRewardModel)


def test_padding_on_either_side_is_not_read():
    reward = model()
    (ids,) = reward.encode(["ask"], ["good"])
    n = len(ids)
    rows = torch.tensor([[*ids, 0, 0], [0, 0, *ids], [0, *ids, 0]])
    mask = torch.tensor([[1] * n + [0] * 2, [0] * 2 + [1] * n, [0] + [1] * n + [0]]).bool()
    with torch.no_grad():
        scores = last_scores(reward.model, rows, mask)
    assert torch.allclose(scores, scores[:1].expand(3), atol=1e-6)


def test_what_a_reward_model_refuses():
    reward = model()
    with pytest.raises(ValueError, match="prompt and response of row 1 have 22 tokens; the model reads 16 at most"):
        reward.score(["ask"] * 2, ["good", "so " * 19])
    with pytest.raises(ValueError, match="one entry per row"):
        reward.score(["ask"], [])
    with pytest.raises(ValueError, match="row 1 holds no token"):
        last_scores(reward.model, torch.zeros(2, 3, dtype=torch.int64), torch.tensor([[1, 1, 0], [0, 0, 0]]).bool())
    base = load("tiny", vocabulary=WORDS, size=SIZE)
    with pytest.raises(ValueError, match="one head 'reward', got values"):
        TextRewardModel(value_model(base), base.tokenizer)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        reward_model(base, batch=0)


# the trainer


def test_one_pair_one_epoch():
    (record,) = trainer(replace(SETTINGS, epochs=1), number=1).fit()
    assert record["step"] == 1
    assert record["epoch"] == 1.0


def test_it_learns_and_leaves_the_language_model_alone():
    base = load("tiny", vocabulary=WORDS, size=SIZE)
    before = [weight.detach().clone() for weight in base.model.parameters()]
    reward = reward_model(base)
    history = trainer(replace(SETTINGS, epochs=12), reward=reward).fit()
    good, bad = reward.score(["ask"] * 2, ["good", "very bad"]).tolist()
    assert good > bad + 0.5
    assert history[-1]["loss"] < history[0]["loss"]
    assert same(before, base.model.parameters())


def test_epochs_are_counted_and_every_pair_is_read_once_in_each():
    seen: list[list[tuple]] = []
    run = trainer()
    loss = run._loss

    def watched(rows):
        seen.append(rows.tolist())
        return loss(rows)

    run._loss = watched
    history = run.fit()
    assert run.steps_an_epoch == 3
    assert run.total_steps == 6
    assert [record["epoch"] for record in history] == pytest.approx([0.4, 0.8, 1.0, 1.4, 1.8, 2.0])
    for epoch in (seen[:3], seen[3:]):
        assert sorted(row for rows in epoch for row in rows) == list(range(10))
    assert seen[:3] != seen[3:]


def test_evaluation_follows_each_epoch():
    history = trainer(evaluate=lambda reward: {"good": float(reward.score(["ask"], ["good"]))}).fit()
    assert ["good" in record for record in history] == [False, False, True] * 2


def test_the_micro_batch_changes_nothing():
    whole, parts = (trainer(replace(SETTINGS, micro_batch=m)) for m in (4, 1))
    one, other = whole.fit(), parts.fit()
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_the_schedule_rises_and_falls():
    run = trainer(replace(SETTINGS, epochs=4, warmup=0.25))  # 12 steps, 3 of them rising
    assert [run.schedule(step) for step in (0, 1, 2, 3, 11)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1 / 9])
    flat = trainer(replace(SETTINGS, warmup=0.0, decay=False))
    assert {flat.schedule(step) for step in range(6)} == {1.0}


def test_margins_and_soft_labels_are_learnt_from():
    plain = trainer(replace(SETTINGS, epochs=1)).fit()
    with_margin = trainer(replace(SETTINGS, epochs=1), margin=[1.0] * 10).fit()
    certain = trainer(replace(SETTINGS, epochs=1), preference=[1.0] * 10).fit()
    assert with_margin[0]["loss"] > plain[0]["loss"]
    assert certain[0]["loss"] == pytest.approx(plain[0]["loss"], abs=1e-6)


def test_adapters_train_alone():
    reward = model(lora=LoRA(rank=2))
    frozen = [w.detach().clone() for w in reward.model.parameters() if not w.requires_grad]
    trainer(reward=reward).fit()
    assert same(frozen, [w for w in reward.model.parameters() if not w.requires_grad])


def test_one_seed_one_result():
    one, other, third = trainer(seed=1), trainer(seed=1), trainer(seed=2)
    assert one.fit() == other.fit()
    assert same(weights(one.reward), weights(other.reward))
    assert one.history != third.fit()


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_run_resumed_anywhere_ends_to_the_bit_as_an_uninterrupted_one(tmp_path, stop):
    whole = trainer()
    whole.fit()
    first = trainer(folder=tmp_path)
    first.fit(stop)
    second = trainer(folder=tmp_path)
    assert second.fit() == whole.history
    assert same(weights(second.reward), weights(whole.reward))
    assert len(trainer(folder=tmp_path).fit()) == 6  # finished: nothing is done again


def test_steps_since_the_last_checkpoint_are_done_again(tmp_path):
    whole = trainer()
    whole.fit()

    class KilledError(Exception):
        pass

    def kill(record):
        if record["step"] == 5:  # the last checkpoint was written after step 3, the epoch's end
            raise KilledError

    with pytest.raises(KilledError):
        trainer(folder=tmp_path, report=kill).fit()
    resumed = trainer(folder=tmp_path)
    assert resumed.fit() == whole.history
    assert same(weights(resumed.reward), weights(whole.reward))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    trainer(folder=tmp_path).fit(1)
    for other in (trainer(replace(SETTINGS, epochs=3), folder=tmp_path), trainer(number=9, folder=tmp_path)):
        with pytest.raises(ValueError, match="made with other settings"):
            other.fit()


def test_scores_that_blow_up_are_said_so():
    run = trainer()
    with torch.no_grad():
        run.reward.model.output.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="scores are no longer finite in step 1; lower the learning rate"):
        run.fit()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RewardTrainer(model(), []), "give at least one"),
        (lambda: trainer(margin=[1.0]), r"margin must be one number a pair, \[10\], got shape \(1,\)"),
        (lambda: trainer(margin=[1.0] * 10, preference=[1.0] * 10).fit(), "give one of them"),
        (lambda: RewardSettings(epochs=0), "epochs must be at least 1"),
        (lambda: RewardSettings(learning_rate=-1.0), "learning_rate must not be negative"),
        (lambda: RewardSettings(warmup=2.0), "between 0 and 1, got 2.0"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pairs_that_do_not_fit_are_refused():
    reward = model()
    long = tokenise(reward.tokenizer, ["ask"], ["so " * 20], ["bad"])
    with pytest.raises(ValueError, match="have 23 tokens; the model reads 16 at most"):
        RewardTrainer(reward, long)


# published reward models


def classifier(folder, labels=1, template="{% for m in messages %}{{ m['content'] }} {% endfor %}"):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = load("tiny", vocabulary=WORDS, size=SIZE).tokenizer
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=labels,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_published_model_scores_alone_as_in_a_batch(tmp_path):
    reward = load_classifier(classifier(tmp_path), dtype=torch.float32, batch=2)
    prompts, responses = ["ask"] * 3, ["good", "very very bad", "so"]
    together = reward.score(prompts, responses)
    assert torch.allclose(together, torch.cat([reward.score(["ask"], [r]) for r in responses]), atol=1e-6)
    assert reward.last_hidden(prompts, responses).shape == (3, 16)
    head = reward.model.score(reward.last_hidden(prompts, responses))[:, 0].detach()
    assert torch.allclose(head, together, atol=1e-5)
    assert reward.score([], []).shape == (0,)


def test_unfit_classifiers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has one output, this classifier has 2"):
        load_classifier(classifier(tmp_path / "two", labels=2))
    with pytest.raises(ValueError, match="no chat template"):
        load_classifier(classifier(tmp_path / "bare", template=None))
    with pytest.raises(FileNotFoundError, match="holds no reward model that needs no code of its own"):
        load_classifier(tmp_path / "nothing")
