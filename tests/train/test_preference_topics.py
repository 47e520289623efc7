from __future__ import annotations

import json
import math
from functools import partial

import pytest
import torch

from hierlab.preference import difficulty, dpo, sft
from hierlab.train.chat_preferences import answer_utility, by_request, file_task, read_comparisons, train_on_chat
from hierlab.train.topic_preferences import (
    GROUPS,
    Observer,
    TopicSettings,
    area_under_curve,
    hard_pairs,
    near_and_far,
    solved_but_wrong,
    token_scores,
    topic_task,
    topic_values,
    train_on_topics,
)

SMALL = TopicSettings(pairs=32, held_out=24, hidden=16, imitation_steps=3, texts=3, batch=8)
DPO = partial(dpo, beta=0.1)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIERLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_reference_is_its_own_equal():
    task = topic_task(SMALL, 0)
    seen = Observer(task, DPO)(task.policy.model)
    assert seen["held_out_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert seen["distance"] == 0
    assert seen["flipped"] == seen["unlearned"] == 0
    assert seen["right_right_share"] + seen["wrong_wrong_share"] == pytest.approx(1)
    reversed_too = Observer(task, DPO)
    assert reversed_too.win_rate() == pytest.approx(0.5, abs=1e-6)  # the same texts: every pair stands there both ways round


def test_training_one_arm_leaves_the_next_its_reference():
    first = train_on_topics(topic_task(SMALL, 0), DPO, rate=1e-2, epochs=1, evaluations=2)
    fresh = topic_task(SMALL, 0)
    assert first.seen[-1]["distance"] > 0
    assert Observer(fresh, DPO)(fresh.policy.model)["held_out_loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_run_is_repeatable_and_gives_finite_numbers():
    values = [topic_values(train_on_topics(topic_task(SMALL, 1), DPO, rate=1e-3, epochs=1, evaluations=2)) for _ in range(2)]
    assert values[0] == values[1]
    flat = [x for v in values[0].values() for x in (v if isinstance(v, list) else [v])]
    assert all(math.isfinite(x) for x in flat)
    assert values[0]["solved_but_wrong"] == 0


def test_the_checkpoint_that_counts_has_the_lowest_held_out_loss():
    run = train_on_topics(topic_task(SMALL, 0), sft, rate=1e-2, epochs=2, evaluations=4)
    losses = [record["held_out_loss"] for record in run.seen]
    assert losses[run.best] == min(losses)
    assert len(run.margins) == len(run.seen)
    assert all(sum(record[f"{name}_share"] for name in GROUPS) == pytest.approx(1) for record in run.seen)


def test_a_killed_run_goes_on(tmp_path):
    straight = train_on_topics(topic_task(SMALL, 0), DPO, rate=1e-3, epochs=1, evaluations=1)
    train_on_topics(topic_task(SMALL, 0), DPO, rate=1e-3, epochs=0.5, evaluations=1, folder=tmp_path)
    resumed = train_on_topics(topic_task(SMALL, 0), DPO, rate=1e-3, epochs=1, evaluations=1, folder=tmp_path)
    assert resumed.seen[-1]["held_out_loss"] == straight.seen[-1]["held_out_loss"]


def test_tokens_add_up_to_answers():
    task = topic_task(SMALL, 0)
    chosen, rejected = token_scores(task.policy.model, task.held_out_pairs[:5])
    assert torch.allclose(chosen.nansum(1), task.reference[0][:5], atol=1e-4)
    assert (~rejected.isnan()).sum(1).tolist() == task.tokens[1][:5].tolist()


def test_hard_pairs_are_the_hardest_quarter():
    task = topic_task(SMALL, 0)
    c = difficulty(*task.reference)
    length = torch.tensor([len(a) + len(b) for a, b in zip(task.held_out.chosen, task.held_out.rejected, strict=True)]).double()
    hardest = c.argsort(descending=True)[:6]
    assert hard_pairs(task)["length"][0] == pytest.approx(float(length[hardest].mean()))


def test_area_under_curve():
    score, positive = torch.tensor([3.0, 2.0, 1.0, 1.0]), torch.tensor([True, False, True, False])
    assert area_under_curve(score, positive) == pytest.approx((2 + 0 + 0.5) / 4)
    assert area_under_curve(score, torch.ones(4, dtype=torch.bool)) == 0.5


def test_what_goes_together_near_and_apart_far():
    seen = [{"distance": d, "ranking_accuracy": r, "win_rate": w} for d, r, w in ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 1), (4, 4, 0))]
    assert near_and_far(seen) == pytest.approx({"together_near": 1.0, "together_far": -1.0})
    still = [{"distance": d, "ranking_accuracy": 0.5, "win_rate": d} for d in range(5)]
    assert near_and_far(still) == {"together_near": 0.0, "together_far": 0.0}


def test_exceptions_to_the_proposition_are_counted():
    assert solved_but_wrong(torch.tensor([-1.0, 5.0]), torch.tensor([-9.0, -9.0]), beta=1.0) == 0
    assert solved_but_wrong(torch.tensor([-1.0]), torch.tensor([9.0]), beta=1.0, loss=1.0) == 0  # not what it is about
    assert solved_but_wrong(torch.tensor([-1.0]), torch.tensor([0.0]), beta=1.0, loss=2.0) == 1  # beyond log 2 it does not hold


# a real model's answers, and comparisons from a file


def test_the_utility_of_an_answer_by_hand():
    assert answer_utility("rain", "") == 0
    assert answer_utility("rain", "Rain, rain, rain.") == pytest.approx(1 + 2 / 3 + 1 + 1)
    assert answer_utility("the moon", "The moon has 2 faces") == pytest.approx(1 + 2 - 1)


def test_requests_keep_their_order():
    assert by_request([7, 7, 2], torch.tensor([True, False, True])) == [0.5, 1.0]


def write(path, *rows) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_comparisons_from_a_file_are_trained_on(tmp_path):
    from hierlab.models import TinySize, load
    from hierlab.models.store import save

    model = load("tiny", vocabulary=["a b c d"], size=TinySize(hidden=16, layers=1, heads=2, inner=16, context=32))
    save(model, tmp_path / "model")
    rows = [{"prompt": "a b", "chosen": "c d", "rejected": "d", "agreement": 1.0}, {"prompt": "a", "chosen": "b", "rejected": "c c c c"}]
    task = file_task(str(tmp_path / "model"), write(tmp_path / "pairs.jsonl", *rows, ""), max_length=6)
    assert task.prompt == [0]  # the second is too long
    assert task.agreement.tolist() == [1.0]
    values = train_on_chat(task, DPO, rate=1e-3, epochs=3, batch=1)
    assert values["last_loss"] < values["first_loss"]
    assert len(values["difficulty"]) == len(values["margin"]) == 1
    untouched = train_on_chat(file_task(str(tmp_path / "model"), tmp_path / "pairs.jsonl"), DPO, epochs=0)
    assert untouched["last_loss"] == pytest.approx(math.log(2))
    assert untouched["agreement"] == [1.0, 0.75]


def test_a_broken_file_is_refused_by_line(tmp_path):
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    with pytest.raises(ValueError, match=r"line 2 of .* is not JSON"):
        read_comparisons(write(tmp_path / "x", good, "{"))
    with pytest.raises(ValueError, match=r"line 1 of .* must have the texts"):
        read_comparisons(write(tmp_path / "x", {"prompt": "a", "chosen": "b"}))
    with pytest.raises(ValueError, match="agreement is a share"):
        read_comparisons(write(tmp_path / "x", good | {"agreement": 2}))
    with pytest.raises(ValueError, match="holds no comparisons"):
        read_comparisons(write(tmp_path / "x", ""))
    with pytest.raises(FileNotFoundError):
        read_comparisons(tmp_path / "nowhere")


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="held_out must be at least 1"):
        TopicSettings(held_out=0)
    with pytest.raises(ValueError, match="evaluations must be at least 1"):
        train_on_topics(topic_task(SMALL, 0), DPO, rate=1e-3, evaluations=0)
