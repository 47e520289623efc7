"""The online loop: what is chosen, what is remembered, how agents are ranked by it, and the lab's arms."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hierlab.ranking import (
    ActiveEvaluator,
    Observations,
    ScoreTable,
    atari_table,
    batch_elo,
    copeland,
    copeland_scores,
    endless,
    evaluate,
    kemeny,
    mallows_table,
    ranking_error,
    real_table,
    votes_from_scores,
)
from hierlab.ranking.choices import Balanced, Representative, Uniform, UpperConfidence, among_first, upper_confidence
from hierlab.ranking.rules import BatchElo, FenchelYoungRating, Known, MeanScore, NashAveraging, SoftCondorcetRating, TaskVotes
from hierlab.studies.ranking.active_evaluation import (
    ALGORITHMS,
    RIVALS,
    Algorithm,
    curve_points,
    endless_error,
    make_evaluator,
    measure,
    run,
    synthetic,
)


def chance(*parts: int) -> np.random.Generator:
    return np.random.default_rng(parts)


EASY = ScoreTable(np.tile([0.5, 1.0, 0.0], (4, 1)), np.array([1, 0, 2]), 0.05, tuple("abc"), tuple("wxyz"))


def watched(choice, rounds: int = 400, table: ScoreTable = EASY) -> np.ndarray:
    """How often each agent was sampled on each task."""
    return evaluate(ActiveEvaluator(choice, MeanScore(), *table.shape, chance(0)), table, rounds, chance(1)).counts


# tables


def test_a_synthetic_table_without_dispersion_is_the_truth_on_every_task():
    table = mallows_table(5, 7, 0.0, chance(0))
    assert (np.argsort(-table.scores, axis=1) == table.truth).all()
    assert table.scores.min() == 0
    assert table.scores.max() == 1
    assert table.shape == (7, 5)


def test_the_atari_table_is_scaled_and_its_truth_is_copelands_and_kemenys():
    table = atari_table()
    assert table.shape == (57, 8)
    assert table.scores.min(axis=1).tolist() == [0] * 57
    assert table.scores.max(axis=1).tolist() == [1] * 57
    names = ["r2d2(bandit)", "muzero", "r2d2", "agent57", "r2d2(retrace)", "ngu", "human", "random"]
    assert [table.agents[i] for i in table.truth] == names
    profile = votes_from_scores(table.scores)
    assert copeland(profile).ranking == kemeny(profile).ranking == tuple(table.truth)


def test_a_table_from_a_file(tmp_path):
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"agents": ["a", "b"], "scores": {"x": [1, 2], "y": [3, 5], "z": [2, 1]}}))
    assert atari_table(path=file).truth.tolist() == [1, 0]
    for content, words in (
        ({"agents": ["a"]}, "a score table is a JSON object"),
        ({"agents": ["a", "b"], "scores": {"x": [1]}}, "2 agents, but task 'x' has 1 scores"),
        ({"agents": ["a", "b"], "scores": {"x": [1, 1]}}, "all agents score the same on 'x'"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words):
            atari_table(path=file)


def test_impossible_tables_are_refused():
    with pytest.raises(ValueError, match="truth must hold each of 0 to 1 once"):
        ScoreTable(np.zeros((1, 2)), np.array([0, 0]), 0.1, ("a", "b"), ("x",))
    with pytest.raises(ValueError, match="scores must be a finite table"):
        real_table([[1.0, np.nan]], ["a", "b"], ["x"])
    with pytest.raises(ValueError, match=r"agents must be a number in \[2"):
        mallows_table(1, 3, 0.5, chance(0))


def test_win_probabilities_are_the_share_of_games_won():
    table = mallows_table(3, 4, 0.8, chance(3))
    generator, wins = chance(4), np.zeros((3, 3))
    for task in range(4):
        drawn = table.scores[task] + table.noise * generator.standard_normal((20000, 2, 3))
        wins += (drawn[:, 0, :, None] > drawn[:, 1, None, :]).mean(axis=0) / 4
    off = ~np.eye(3, dtype=bool)
    assert table.win_probabilities()[off] == pytest.approx(wins[off], abs=0.01)
    exact = ScoreTable(np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([1, 0]), 0.0, ("a", "b"), ("x", "y"))
    assert exact.win_probabilities()[1, 0] == 0.75


# what is remembered


def test_observations_are_running_sums():
    seen = Observations(2, 3)
    assert seen.agent_means.tolist() == [0, 0, 0]
    assert np.isnan(seen.cell_means).all()
    seen.add(0, 0, 1, 1.0, 0.0)
    seen.add(1, 1, 0, 0.5, 0.5)
    seen.add(0, 0, 1, 0.0, 1.0)
    assert seen.wins.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert seen.draws[0, 1] == seen.draws[1, 0] == 1
    assert seen.games == [(0, 1), (1, 0)]
    assert seen.agent_means.tolist() == pytest.approx([0.5, 0.5, 0.5])  # over task means where all are known, else all samples'
    assert seen.filled_means[1, 2] == 0.5
    seen.add(1, 2, 0, 2.0, 0.5)
    assert seen.agent_means[2] == 2.0
    assert seen.task_preferences.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0]]


def test_means_of_tasks_weigh_alike_once_all_are_seen():
    seen = Observations(2, 2)
    for _ in range(9):
        seen.add(0, 0, 1, 1.0, 0.0)
    assert seen.agent_means.tolist() == [1, 0]
    seen.add(1, 0, 1, 0.0, 1.0)
    assert seen.agent_means.tolist() == [0.5, 0.5]


# what is chosen


def test_uniform_choice_is_uniform():
    counts = watched(Uniform(4, 3, chance(5)), 12000)
    assert counts.sum() == 24000
    assert counts == pytest.approx(np.full((4, 3), 2000), rel=0.08)


def test_balanced_choice_gives_every_task_its_turn():
    counts = watched(Balanced(4, 3, chance(5)), 400).sum(axis=1)
    assert counts.tolist() == [200] * 4


def test_the_confidence_bound_looks_at_everyone_and_then_at_the_best():
    counts = watched(UpperConfidence(4, 3, chance(5), width=0.2), 2000).sum(axis=0)
    assert counts.min() > 0
    assert counts[2] < counts[0]
    assert counts[2] < counts[1]
    seen = Observations(1, 3)
    assert np.isinf(upper_confidence(seen)).all()
    seen.add(0, 0, 1, 1.0, 0.0)
    assert upper_confidence(seen).tolist()[:2] == [1, 0]
    assert np.isinf(upper_confidence(seen)[2])


def test_representative_tasks_are_a_fair_picture():
    """Three tasks rank one way and one another: the share of its samples tends to a quarter, and closer than by chance."""
    scores = np.array([[1.0, 0.5, 0.0]] * 3 + [[0.0, 0.5, 1.0]])
    table = ScoreTable(scores, np.array([0, 1, 2]), 0.01, tuple("abc"), tuple("wxyz"))
    share = watched(Representative(4, 3, chance(6), refresh=10), 800, table)[3].sum() / 1600
    assert share == pytest.approx(0.25, abs=0.02)
    assert among_first(scores)[3].tolist() == [[False, False], [False, True], [True, True]]


def test_evaluators_that_choose_alike_see_the_same_games():
    table = synthetic(0.3, 0, agents=4, tasks=5)
    one, other = (run(Algorithm(rule=rule), table, 200, 7, "x") for rule in ("mean", "elo"))
    assert (one.counts == other.counts).all()
    assert (run(Algorithm(rule="elo"), table, 200, 8, "x").counts != one.counts).any()


# how agents are ranked


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "random order"])
def test_every_algorithm_finds_an_easy_order(name):
    found = run(ALGORITHMS[name], EASY, 600, 0, "easy")
    if name == "Nash averaging":  # it tells the best from the rest, no more
        assert found.rankings[-1][0] == 1
    else:
        assert found.rankings[-1].tolist() == [1, 0, 2]


def test_before_the_first_sample_the_ranking_is_a_random_one():
    firsts = [make_evaluator(ALGORITHMS["BatchElo"], EASY, seed, "start").ranking().tolist() for seed in range(60)]
    assert all(sorted(ranking) == [0, 1, 2] for ranking in firsts)
    assert len({tuple(r) for r in firsts}) == 6


def test_equal_ratings_keep_the_first_order():
    evaluator = ActiveEvaluator(Uniform(1, 3, chance(0)), Known([1, 1, 1]), 1, 3, chance(9))
    before = evaluator.ranking().tolist()
    evaluator.update(0, 0, 1, 1.0, 0.0)
    assert evaluator.ranking().tolist() == before


def test_rules_are_the_librarys_functions():
    seen = endless(synthetic(0.6, 1, agents=5, tasks=9))
    assert BatchElo(0.01).rate(seen) == pytest.approx(batch_elo(seen.wins, smoothing=0.01, max_iterations=20000), abs=0.01)
    assert TaskVotes().rate(seen).tolist() == copeland_scores(seen.task_preferences).tolist()
    empty = Observations(3, 4)
    for rule in (BatchElo(), SoftCondorcetRating(), FenchelYoungRating(chance(0)), NashAveraging(), TaskVotes(), MeanScore()):
        assert len(set(rule.rate(empty).tolist())) == 1


def test_soft_condorcet_descends_from_where_it_was():
    seen = endless(EASY)
    rule = SoftCondorcetRating(0.3, steps=1, step_size=2.0)
    first, second = rule.rate(seen).copy(), rule.rate(seen)
    assert (np.argsort(-first) == [1, 0, 2]).all()
    assert np.ptp(second) > np.ptp(first)
    many = SoftCondorcetRating(0.3, steps=2, step_size=2.0)
    assert many.rate(seen) == pytest.approx(second)


# the loop


def test_the_loop_is_the_plain_one():
    table = mallows_table(4, 6, 0.5, chance(2))
    plain, rankings = ActiveEvaluator(Uniform(6, 4, chance(3)), BatchElo(), 6, 4, chance(4)), []
    noise = table.noise * chance(5).standard_normal((60, 2))
    for t in range(60):
        task, a, b = plain.choose()
        plain.update(task, a, b, table.scores[task, a] + noise[t, 0], table.scores[task, b] + noise[t, 1])
        if (t + 1) % 20 == 0:
            rankings.append(plain.ranking())
    found = evaluate(ActiveEvaluator(Uniform(6, 4, chance(3)), BatchElo(), 6, 4, chance(4)), table, 60, chance(5), every=20)
    assert (found.rankings == rankings).all()
    assert found.rounds.tolist() == [20, 40, 60]
    assert (found.counts == plain.seen.counts).all()


def test_impossible_loops_are_refused():
    evaluator = make_evaluator(ALGORITHMS["UniformAveraging"], EASY, 0, "wrong")
    with pytest.raises(ValueError, match="rounds must be a multiple of every, got 30 and 20"):
        evaluate(evaluator, EASY, 30, chance(0), every=20)
    evaluator.choose = lambda: (0, 1, 1)
    with pytest.raises(ValueError, match="round 1: a game is a task below 4 and two agents below 3, got 0, 1 and 1"):
        evaluate(evaluator, EASY, 20, chance(0), every=20)
    for make, words in (
        (lambda: Uniform(3, 1, chance(0)), r"agents must be a number in \[2"),
        (lambda: SoftCondorcetRating(0.0), "temperature must be a number"),
        (lambda: SoftCondorcetRating(votes="all"), "votes must be 'games' or 'tasks'"),
        (lambda: BatchElo(-1), "smoothing must be a number"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


# the lab's measurements


def test_what_a_ledger_holds_of_a_run():
    found = run(ALGORITHMS["oracle, true means"], EASY, 3000, 0, "m")
    values = measure(found, EASY, "easy", k=2, early=1000, deadline=2000)
    assert {name: value for name, value in values.items() if not isinstance(value, list)} == dict.fromkeys(
        ("agre_easy", "early_easy", "missing_easy", "places_easy"), 0.0
    )
    assert len(values["gre_easy"]) == len(values["rounds"]) == 20
    assert values["rounds"][-1] == 3000
    assert curve_points(3).tolist() == [0, 1, 2]


def test_a_rule_that_is_wrong_without_chance_is_found_out():
    """On Atari the mean of scaled scores is not the majority's order, and endless samples do not help."""
    table = atari_table()
    assert endless_error(ALGORITHMS["VasE, Copeland"], table, 3) == 0
    by_means = np.argsort(-table.scores.mean(axis=0))
    assert endless_error(ALGORITHMS["UniformAveraging"], table, 3) == float(ranking_error(by_means, table.truth, 3)) > 0


def test_rivals_are_algorithms_of_the_paper():
    assert set(RIVALS) < set(ALGORITHMS)
    assert "oracle, true means" not in RIVALS
