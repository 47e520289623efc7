"""The experiments and pictures of the lab of RewardBench 2."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hierlab.envs.reward_bench import check_readable, reward_bench_2
from hierlab.envs.reward_questions import benchmark, questions
from hierlab.models import TinySize, load
from hierlab.reward import ConstantReward, ties_score
from hierlab.reward.harness import JudgeReport
from hierlab.rollout.text_judge import TextJudge
from hierlab.studies.reward import reward_figures
from hierlab.studies.reward.reward_judge import judge_items, judge_small_items, read_score
from hierlab.studies.reward.reward_study import bootstrap_correlation, kendall_tau, pearson, ranking_quality, simulate, tied_rows
from hierlab.studies.reward.reward_training import Recipe, measure, train_reward_model


def test_a_population_is_reproducible_and_half_of_it_likes_length():
    one, other = (simulate(3, models=8, prompts=50, shifts=(0.5, -0.5)) for _ in range(2))
    assert np.array_equal(one.fours, other.fours)
    assert one.biased.tolist() == [False] * 4 + [True] * 4
    assert one.gains.shape == (2, 8)


def test_measured_gains_are_the_exact_ones():
    found = simulate(0, models=12, prompts=4000, shifts=(0.5, -0.5))
    for row, shift in enumerate(found.shifts):
        assert np.abs(found.gains[row] - found.exact_gains(shift)).max() < 0.06


def test_the_correlation_holds_in_kind_and_breaks_for_models_that_like_length():
    found = [simulate(seed) for seed in range(3)]
    assert min(s.correlation(0.5) for s in found) > 0.9
    assert max(s.correlation(-0.75) for s in found) < 0.8
    assert min(s.correlation(-0.75, ~s.biased) for s in found) > 0.9


def test_four_answers_are_harder_than_two():
    found = simulate(0)
    assert (found.pairs - found.fours)[found.pairs < 0.95].min() > 0
    assert 0 < found.drop() < 0.3
    with pytest.raises(ValueError, match="no model is right on 80%"):
        replace(found, pairs=np.zeros(40)).drop()


def test_kendall_is_scipys():
    from scipy.stats import kendalltau

    draw = np.random.default_rng(0)
    for _ in range(5):
        x, y = draw.integers(0, 6, 20), draw.standard_normal(20)
        assert kendall_tau(x, y) == pytest.approx(kendalltau(x, y).statistic)


def test_what_is_constant_predicts_nothing():
    assert pearson([1.0, 2.0, 3.0], [0.25] * 3) == 0.0
    assert pearson([1.0, 2.0, 3.0], [5.0, 3.0, 1.0]) == pytest.approx(-1)


def test_more_prompts_rank_better():
    found = [ranking_quality(seed, sizes=(20, 400)) for seed in range(3)]
    for name in found[0]:
        assert sum(f[name][1] for f in found) > sum(f[name][0] for f in found)


def test_bootstrap_interval_holds_r():
    draw = np.random.default_rng(0)
    x = draw.standard_normal(60)
    r, low, high = bootstrap_correlation(x, x + draw.standard_normal(60), seed=0)
    assert low < r < high
    assert 0.5 < r < 0.85


def test_spread_is_all_that_differs_between_tied_models():
    found = [ties_score(tied_rows(spread)) for spread in (0.0, 0.75, 1.5)]
    for score in found[1:]:
        assert np.allclose(score.tied_gap, found[0].tied_gap)
        assert score.shares["tied accuracy"] == found[0].shares["tied accuracy"]
    for term in ("preferred", "preferred, hard"):
        shares = [score.shares[term] for score in found]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > shares[-1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate(0, models=3), "at least four, got 3"),
        (lambda: ranking_quality(0, models=2), "at least four, got 2"),
        (lambda: bootstrap_correlation(np.ones(3), np.ones(3), seed=0), "at least four numbers"),
        (lambda: judge_items(0), "at least one item"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_reward_model_is_trained_and_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("HIERLAB_CACHE", str(tmp_path))
    torch.set_num_threads(1)
    sizes = {"rate": 1e-3, "seed": 0, "base_steps": 1, "pairs": 24, "flips": 0.1, "prompts": 2, "used": 1}
    seen = []
    values = train_reward_model(Recipe(2), **sizes, report=lambda done, total, **_: seen.append((done, total)))
    assert values["epochs"] == [0.0, 1.0, 2.0]
    assert len(values["score_curve"]) == 3
    assert values["score_curve"][-1] == pytest.approx(values["score"])
    assert seen[-1] == (4, 4)
    again = train_reward_model(Recipe(2), **sizes)
    assert again == values
    untrained = train_reward_model(Recipe(0), **sizes)
    assert untrained["epochs"] == [0.0]
    assert untrained["fit"] == 0.5
    assert untrained.keys() == values.keys()


def test_a_constant_model_chooses_as_well_as_chance():
    values = measure(ConstantReward(), benchmark(3), seed=0, used=10)
    assert values["four_accuracy"] == 0.25
    assert values["pairs_accuracy"] == 0
    assert values["best_of_16"] == pytest.approx(0.25, abs=0.06)


def test_the_first_answer_as_a_judge():
    values = judge_small_items("first answer", 12)
    assert values["chose"] == [12, 0, 0, 0, 0]
    assert sum(values["held"]) == 12
    assert values["score"] == values["held"][0] / 12
    assert values["errors"] == 0


def test_what_cannot_be_read_does_not_count_as_read():
    report = JudgeReport({}, {}, {}, None, places=(0, 1, 2), verdicts=("A", "error", "A"))
    assert read_score(report) == 0.5
    assert read_score(JudgeReport({}, {}, {}, None, places=(0,), verdicts=("error",))) == 0.25


def test_a_language_model_judges_in_any_order_of_prompts():
    torch.set_num_threads(1)
    words = ["A B C D yes no question"]
    judge = TextJudge(load("tiny", vocabulary=words, size=TinySize(hidden=16, layers=1, heads=2, inner=32, context=64)), tokens=4, batch=2)
    prompts = ["question A", "B", "yes no question C D"]
    replies = judge.reply(prompts)
    assert len(replies) == 3
    assert judge.reply(prompts[::-1]) == replies[::-1]
    assert judge.reply([]) == []
    with pytest.raises(ValueError, match="needs a language model, or an engine"):
        TextJudge()


def test_pictures_are_small_enough_for_a_page():
    populations = [simulate(seed, models=8, prompts=40) for seed in range(2)]
    rows = {name: tied_rows(spread, prompts=3) for name, spread in {"close": 0.0, "apart": 1.0}.items()}
    tau = [ranking_quality(seed, models=6, sizes=(20, 40)) for seed in range(2)]
    domains = dict.fromkeys(("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"), 0.5)
    figures = [
        reward_figures.against_truth(models=4, prompts=50),
        reward_figures.score_against_use(populations[0]),
        reward_figures.correlation_by_shift(populations),
        reward_figures.ranking_lines((20, 40), tau),
        reward_figures.tied_pair(rows),
        reward_figures.ties_terms(rows),
        reward_figures.tie_break_curve(),
        reward_figures.domain_bars({"one": domains, "two": domains}),
    ]
    for figure in figures:
        assert len(figure.to_json()) < 150_000


# the real benchmark


def test_the_data_is_read_from_a_folder(tmp_path):
    rows = [
        {"id": "7", "prompt": "why ?", "chosen": ["so"], "rejected": ["a", "b", "c"], "subset": "Math"},
        {"id": "tied:0", "prompt": "any ?", "chosen": ["x", "y"], "rejected": ["z"], "subset": "Ties"},
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = reward_bench_2(str(tmp_path))
    assert items[0].responses == ("so", "a", "b", "c")
    assert (items[1].id, items[1].num_correct) == ("tied:0", 2)
    (tmp_path / "data.jsonl").write_text(json.dumps({"id": 1, "prompt": "?"}))
    with pytest.raises(ValueError, match="row 0 has no column 'chosen'; there are id, prompt"):
        reward_bench_2(str(tmp_path))


def test_data_that_cannot_be_read_is_refused_early(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"neither \*\.parquet nor \*\.jsonl; get the data with: hf download"):
        check_readable(str(tmp_path))
    monkeypatch.setattr("hierlab.envs.reward_bench.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        check_readable("allenai/reward-bench-2")


def test_judge_items_have_checkable_answers():
    every = {q.prompt: q for domain in ("Math", "Factuality") for q in questions(domain)}
    for item in judge_items(10):
        assert every[item.prompt].verify(item.responses[0])
        assert not any(every[item.prompt].verify(wrong) for wrong in item.responses[1:])
