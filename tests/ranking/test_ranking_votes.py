"""Profiles, voting rules, Soft Condorcet Optimization and Nash averaging."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierlab.ranking import (
    RULES,
    FenchelYoung,
    SoftCondorcet,
    approval,
    batch_elo,
    borda,
    condorcet_winners,
    copeland,
    fenchel_young_gradient,
    kemeny,
    kemeny_order,
    kendall_tau_distance,
    nash_average,
    nash_average_agents,
    nash_averaging,
    pair_counts,
    plurality,
    ranked_pairs,
    schulze,
    sigmoid_gradient,
    sigmoid_loss,
    single_transferable_vote,
    votes,
    votes_from_scores,
)
from hierlab.trace import Tape

MEEPLES = votes(["ABC", "ACB", "CAB", "BCA"], [1, 1, 2, 1])
CYCLE = votes(["ABC", "BCA", "CAB"])
profiles = st.integers(1, 5).flatmap(
    lambda m: st.lists(st.tuples(st.permutations(range(m)), st.integers(1, 3)), min_size=1, max_size=6).map(
        lambda cast: votes([r for r, _ in cast], [w for _, w in cast], range(m))
    )
)


# profiles


def test_preferences_count_voters_who_rank_both():
    profile = votes([["a", "b"], ["c"]], [2, 5], "abc")
    assert profile.preferences.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    assert profile.size == 7
    assert len(profile.expanded()) == 7


@given(profiles)
def test_preferences_agree_with_counting(profile):
    m = len(profile.alternatives)
    for a, b in permutations(range(m), 2):
        count = sum(w for row, w in zip(profile.positions, profile.weights, strict=True) if row[a] < row[b])
        assert profile.preferences[a, b] == count
    assert (pair_counts(profile.expanded()) == profile.preferences).all()


def test_scores_are_votes():
    profile = votes_from_scores([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0], [np.nan, 1.0, 2.0]], "abc")
    assert profile.positions.tolist() == [[2, 0, 1], [-1, 1, 0]]
    assert votes_from_scores([[1.0, 2.0, 2.0]]).positions.tolist() == [[2, 0, 1]]
    with pytest.raises(ValueError, match="no task tells two agents apart"):
        votes_from_scores([[1.0, 1.0]])
    with pytest.raises(ValueError, match="2 names for 3 agents"):
        votes_from_scores([[1.0, 2.0, 3.0]], "ab")


@pytest.mark.parametrize(
    ("cast", "words"),
    [
        (([],), "needs votes"),
        (([["a"]], [0]), "weights must be whole numbers of at least 1, got 0"),
        (([["a"]], [1.5]), "weights must be whole"),
        (([["a", "a"]],), "vote 0 must rank at least one alternative, and each once"),
        (([[]],), "vote 0 must rank"),
        (([["z"]], None, "ab"), "vote 0 ranks 'z'"),
        (([["a"]], None, "aa"), "named twice"),
    ],
)
def test_broken_votes_are_refused(cast, words):
    with pytest.raises(ValueError, match=words):
        votes(*cast)


# rules


def test_the_meeple_pentathlon():
    """C beats both others, and only the rules that look at pairs, and Soft Condorcet, say so."""
    assert condorcet_winners(MEEPLES) == ("C",)
    for rule in (copeland, kemeny, ranked_pairs, schulze):
        assert rule(MEEPLES).ranking == ("C", "A", "B")
    for rule in (plurality, borda, lambda p: approval(p, 2)):
        scores = rule(MEEPLES).scores
        assert scores["A"] == scores["C"] > scores["B"]
    ratings = batch_elo(MEEPLES.preferences)
    assert ratings[0] == pytest.approx(ratings[2], abs=1e-9)
    fitted = SoftCondorcet().fit(MEEPLES)
    assert fitted.ranking_ == ("C", "A", "B")
    assert fitted.ratings_ == pytest.approx([500.561, 498.603, 500.836], abs=1e-3)


def test_a_circle_has_no_winner():
    assert condorcet_winners(CYCLE) == condorcet_winners(CYCLE, strong=False) == ()
    assert set(copeland(CYCLE).scores.values()) == {1.0}
    assert batch_elo(CYCLE.preferences) == pytest.approx([0, 0, 0], abs=1e-9)


@pytest.mark.parametrize("name", RULES)
def test_a_single_voter_decides(name):
    rule = RULES[name]
    assert rule(votes(["B"])).ranking == ("B",)
    assert rule(votes(["BAC"], alternatives="ABC")).ranking[0] == "B"


@given(profiles)
def test_kemeny_is_brute_force(profile):
    m, wins = len(profile.alternatives), profile.preferences

    def agreeing(order):
        return sum(wins[a, b] for a, b in combinations(order, 2))

    order, scores = kemeny_order(wins)
    best = max(map(agreeing, permutations(range(m))))
    assert agreeing(order) == best == sum(scores)
    assert order == list(min(o for o in permutations(range(m)) if agreeing(o) == best))


@given(profiles)
def test_a_condorcet_winner_wins_under_pairwise_rules(profile):
    for winner in condorcet_winners(profile):
        for rule in (copeland, kemeny, ranked_pairs, schulze):
            assert rule(profile).ranking[0] == winner


@given(profiles)
def test_rules_rank_everyone_once_and_count_votes_not_ballots(profile):
    copies = votes([[a for _, a in sorted((p, a) for a, p in enumerate(row))] for row in profile.expanded()], None, profile.alternatives)
    for rule in RULES.values():
        outcome = rule(profile)
        assert sorted(outcome.ranking) == sorted(profile.alternatives)
        assert rule(copies) == outcome


def test_impossible_elections_are_refused():
    with pytest.raises(ValueError, match="k must be a number in"):
        approval(MEEPLES, 0)
    with pytest.raises(ValueError, match="at most 16 alternatives, got 17"):
        kemeny(votes([range(17)]))
    with pytest.raises(ValueError, match="winners must be a whole number from 0 to 2"):
        single_transferable_vote(MEEPLES, 3)


# Soft Condorcet Optimization


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.sampled_from([0.3, 1.0, 5.0]))
def test_the_gradient_is_the_slope_of_the_loss(ratings, temperature):
    theta, wins, step = np.array(ratings), MEEPLES.preferences, 1e-6
    gradient = sigmoid_gradient(theta, wins, temperature)
    for i in range(3):
        up, down = theta.copy(), theta.copy()
        up[i], down[i] = up[i] + step, down[i] - step
        slope = (sigmoid_loss(up, wins, temperature) - sigmoid_loss(down, wins, temperature)) / (2 * step)
        assert gradient[i] == pytest.approx(slope, abs=1e-5)
    assert gradient.sum() == pytest.approx(0, abs=1e-12)


@given(profiles)
def test_a_cold_loss_counts_wrong_pairs(profile):
    order = np.random.default_rng(0).permutation(len(profile.alternatives))
    ratings = -np.argsort(order).astype(float)
    counted = sum(kendall_tau_distance(order, np.argsort(row)) for row in profile.expanded())
    assert sigmoid_loss(ratings, profile.preferences, 0.01) == pytest.approx(counted, abs=1e-6)


def test_batches_repeat_with_their_seed_and_stay_inside():
    switches = {"batch_size": 2, "iterations": 300, "learning_rate": 5.0, "lower": -1.0, "upper": 1.0, "initial_noise": 0.1}
    first, again = (SoftCondorcet(random_state=3, **switches).fit(MEEPLES).ratings_ for _ in range(2))
    assert (first == again).all()
    assert (np.abs(first) <= 1).all()
    assert (SoftCondorcet(random_state=4, **switches).fit(MEEPLES).ratings_ != first).any()
    assert SoftCondorcet(iterations=0, lower=2.0, upper=4.0).fit(MEEPLES).ratings_.tolist() == [3, 3, 3]


def test_fenchel_young_without_noise_compares_ranks():
    places = np.array([[0, 1, 2], [1, 0, -1]])
    gradient = fenchel_young_gradient([3.0, 1.0, 2.0], places, 0.0, np.random.default_rng(0))
    assert gradient.tolist() == pytest.approx([(0 - 0 + 1 - 0) / 2, (1 - 2 + 0 - 1) / 2, (2 - 1) / 2])


def test_fenchel_young_of_pairs_is_bradley_terry_on_average():
    """The difference of two Gumbel numbers is logistic, so the expected gradient is that of Bradley-Terry's likelihood."""
    places = np.tile([[0, 1]], (200000, 1))
    gradient = fenchel_young_gradient([0.5, 0.0], places, 1.0, np.random.default_rng(0))
    assert gradient == pytest.approx([-1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(0.5))], abs=0.005)


def test_equal_ratings_are_ranked_by_chance():
    places = np.tile([[0, 1]], (4000, 1))
    assert fenchel_young_gradient([1.0, 1.0], places, 0.0, np.random.default_rng(0))[0] == pytest.approx(-0.5, abs=0.03)


def test_fenchel_young_finds_a_unanimous_order():
    assert FenchelYoung(sigma=1.0, learning_rate=0.1, iterations=200).fit(votes(["BAC"] * 5)).ranking_ == ("B", "A", "C")


def test_a_tape_sees_the_descent():
    with Tape() as tape:
        SoftCondorcet(iterations=10).fit(MEEPLES)
    assert [step.name for step in tape.steps] == ["ratings, step 1", "ratings, step 10"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SoftCondorcet(temperature=0), "temperature must be a positive number"),
        (SoftCondorcet(lower=1.0, upper=1.0), "upper must be above lower"),
        (SoftCondorcet(iterations=-1), "iterations must be a number in"),
        (FenchelYoung(sigma=-1.0), "sigma must be a number in"),
    ],
)
def test_impossible_descents_are_refused(model, words):
    with pytest.raises(ValueError, match=words):
        model.fit(MEEPLES)


# Nash averaging


def test_rock_paper_scissors_is_played_evenly():
    played, gains = nash_average_agents([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    assert played == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert gains == pytest.approx([0] * 3, abs=1e-4)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_nobody_gains_by_deviating(seed):
    table = np.random.default_rng(seed).random((4, 6))
    found = nash_average(table)
    value = float(found.agents @ found.agent_values)
    assert found.agent_values.max() == pytest.approx(value, abs=1e-5)
    assert found.task_values.max() == pytest.approx(-value, abs=1e-5)
    assert found.agents.sum() == pytest.approx(1)
    assert found.tasks.sum() == pytest.approx(1)


def test_noisy_tables_have_an_exact_equilibrium():
    """Their equilibrium is a single point, at which the convex program alone sometimes fails."""
    for seed in range(60):
        generator = np.random.default_rng(seed)
        table = np.clip(generator.normal(np.linspace(0.3, 0.7, 8)[:, None], 0.2, (8, 50)), 0, 1)
        found = nash_average(table)
        value = float(found.agents @ found.agent_values)
        assert max(found.agent_values.max() - value, found.task_values.max() + value) < 1e-9


def test_the_only_equilibrium_is_the_most_even_one():
    table = np.random.default_rng(4).random((3, 4))
    scaled = (table - table.min(axis=0)) / np.ptp(table, axis=0)
    program = nash_averaging._free_program(3, 4)
    program.matrix.value, program.least.value = scaled, 0
    assert nash_averaging._solve(program.problem) == "optimal"
    found = nash_average(table)
    assert found.agents == pytest.approx(program.strategies[0].value, abs=1e-5)
    assert found.tasks == pytest.approx(program.strategies[1].value, abs=1e-5)


def test_of_several_equilibria_the_most_even_is_taken():
    found = nash_average([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # the first two tasks are copies: any split of their half will do
    assert found.tasks == pytest.approx([0.25, 0.25, 0.5], abs=1e-5)
    assert found.agents == pytest.approx([0.5, 0.5], abs=1e-5)


def test_copies_of_a_task_share_its_weight():
    table = np.random.default_rng(1).random((3, 3))
    plain, copied = nash_average(table), nash_average(table[:, [0, 0, 0, 1, 2]])
    assert copied.agent_values == pytest.approx(plain.agent_values, abs=1e-4)


def test_constant_tasks_are_dropped_or_refused():
    table = np.array([[1.0, 5.0], [2.0, 5.0]])
    found = nash_average(table)
    assert found.tasks.tolist() == pytest.approx([1, 0])
    assert found.agent_values.tolist() == pytest.approx([0, 1], abs=1e-6)
    with pytest.raises(ValueError, match="all agents score 5 on task 1"):
        nash_average(table, constant="refuse")
    with pytest.raises(ValueError, match="no task tells two agents apart"):
        nash_average(np.ones((2, 2)))


def test_impossible_games_are_refused():
    with pytest.raises(ValueError, match="finite table"):
        nash_average([[np.nan]])
    with pytest.raises(ValueError, match="constant must be"):
        nash_average([[1.0], [2.0]], constant="maybe")
    with pytest.raises(ValueError, match="antisymmetric"):
        nash_average_agents([[0, 1], [1, 0]])
    with pytest.raises(RuntimeError, match="no equilibrium found"):
        nash_average([[1.0, 1.0], [0.0, 0.0]], eps=0.3)
