"""Win matrices, ratings and the errors of a ranking."""

from __future__ import annotations

from itertools import combinations, permutations

import choix
import evalica
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hierlab.ranking import (
    BradleyTerry,
    batch_elo,
    compare_scores,
    connected,
    count_games,
    error_over_places,
    error_over_time,
    expected_distance,
    expected_score,
    identification_error,
    kendall_tau_distance,
    mallows_log_probability,
    mm_strengths,
    newton_strengths,
    online_elo,
    points,
    positions,
    random_order_error,
    ranking_error,
    sample_mallows,
    spearman,
    win_rates,
    wrong_pairs,
)


def random_wins(seed: int, players: int, most: int = 8) -> np.ndarray:
    """Everyone won and lost against everyone."""
    wins = np.random.default_rng(seed).integers(1, most, (players, players)).astype(float)
    np.fill_diagonal(wins, 0)
    return wins


rankings = st.integers(1, 8).flatmap(lambda m: st.tuples(st.permutations(range(m)), st.permutations(range(m))))


# win matrices


def test_games_are_counted_once_for_each_side():
    wins, draws = count_games([0, 1, 0, 2], [1, 0, 2, 0], [1, 0, 0.5, 1])
    assert wins.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert draws.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert points(wins, draws, 0.01)[0, 2] == pytest.approx(0.51)
    assert win_rates(wins, draws)[0, 2] == pytest.approx(1 / 4)
    assert np.isnan(win_rates(wins, draws)[1, 2])


def test_no_games_are_no_wins():
    wins, draws = count_games([], [], [], players=3)
    assert wins.sum() == draws.sum() == 0


def test_scores_of_a_task_are_games_of_all_pairs():
    wins, draws = compare_scores([[3.0, 1.0, 1.0], [0.0, np.nan, 2.0]])
    assert wins.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert draws[1, 2] == draws[2, 1] == 1
    assert draws.sum() == 2


@pytest.mark.parametrize(
    ("games", "words"),
    [
        (([0], [1, 2], [1]), "one entry a column"),
        (([0], [0], [1]), "nobody plays against themselves"),
        (([0], [5], [1]), "second must hold players from 0 to 2, got 5 in game 0"),
        (([0], [1], [0.7]), "score must be 1, 0.5 or 0, got 0.7 in game 0"),
        (([0.5], [1], [1]), "first must be a column of whole numbers"),
    ],
)
def test_impossible_games_are_refused(games, words):
    with pytest.raises(ValueError, match=words):
        count_games(*games, players=3)


@pytest.mark.parametrize(
    ("wins", "draws", "words"),
    [
        ([[0, 1]], None, "wins must be a square matrix"),
        ([[0, -1], [0, 0]], None, "got -1 in row 0, column 1"),
        ([[0, float("nan")], [0, 0]], None, "got nan"),
        ([[2, 1], [0, 0]], None, "on its diagonal"),
        ([[0, 1], [0, 0]], [[0, 1], [2, 0]], "draws must be symmetric, got 1 in row 0, column 1 and 2"),
        ([[0, 1], [0, 0]], [[0]], "must have one shape"),
    ],
)
def test_matrices_that_count_no_games_are_refused(wins, draws, words):
    with pytest.raises(ValueError, match=words):
        batch_elo(wins, draws)


# Bradley-Terry and Elo


def test_one_player_has_the_minimum():
    assert batch_elo([[0]]).tolist() == [0]
    assert batch_elo([[0]], method="newton", minimum=7.0).tolist() == [7]


def test_two_players_by_hand():
    """Three wins to one: strengths 3 to 1, so 400 log10 3."""
    model = BradleyTerry().fit([[0, 3], [1, 0]])
    assert model.ratings_.tolist() == pytest.approx([400 * np.log10(3), 0])
    assert model.predict_proba(0, 1) == pytest.approx(0.75)
    assert model.ranking().tolist() == [0, 1]
    assert expected_score(400, 0) == pytest.approx(10 / 11)


def test_a_player_without_games_ends_in_the_middle():
    ratings = batch_elo([[0, 9, 0], [1, 0, 0], [0, 0, 0]])
    assert ratings[1] < ratings[2] < ratings[0]


def test_draws_are_half_a_win_for_both():
    assert batch_elo([[0, 0], [0, 0]], [[0, 4], [4, 0]]).tolist() == pytest.approx([0, 0])
    assert batch_elo([[0, 2], [0, 0]], [[0, 2], [2, 0]]) == pytest.approx(batch_elo([[0, 3], [1, 0]]))


@pytest.mark.parametrize("seed", range(5))
def test_ratings_agree_with_evalica_and_choix(seed):
    players = 3 + seed
    wins = random_wins(seed, players)
    ours = BradleyTerry().fit(wins).strengths_
    games = [(i, j) for i, j in permutations(range(players), 2) for _ in range(int(wins[i, j]))]
    theirs = np.exp(choix.ilsr_pairwise(players, games, alpha=0.0, tol=1e-12))
    assert ours == pytest.approx(theirs / theirs.sum(), rel=1e-6)
    first, second = zip(*games, strict=True)
    scores = evalica.bradley_terry(first, second, [evalica.Winner.X] * len(games), tolerance=1e-12, limit=10000).scores
    scores = np.array([scores[i] for i in range(players)])
    assert ours == pytest.approx(scores / scores.sum(), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_online_elo_agrees_with_evalica(seed):
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 4, 60)
    second = (first + generator.integers(1, 4, 60)) % 4
    score = generator.choice([0, 0.5, 1], 60)
    names = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
    theirs = evalica.elo(first.tolist(), second.tolist(), [names[s] for s in score], initial=1000, k=32, scale=400, base=10).scores
    assert online_elo(first, second, score, 4)[-1] == pytest.approx([theirs[i] for i in range(4)])


@given(st.integers(2, 7), st.integers(0, 1000), st.sampled_from([0.01, 1.0]))
def test_newton_is_the_limit_of_minorisation(players, seed, smoothing):
    taken = points(random_wins(seed, players), smoothing=smoothing)
    slow, _ = mm_strengths(taken, max_iterations=20000, tolerance=1e-15)
    fast, steps = newton_strengths(taken)
    assert fast == pytest.approx(slow, rel=1e-6)
    assert steps < 30


@given(st.integers(2, 6), st.integers(0, 1000))
def test_at_the_maximum_everyone_has_the_points_expected(players, seed):
    taken = points(random_wins(seed, players, 30))
    strengths, _ = newton_strengths(taken)
    chance = strengths[:, None] / (strengths[:, None] + strengths[None, :])
    assert (taken.sum(axis=1)) == pytest.approx(((taken + taken.T) * chance).sum(axis=1))


@given(st.integers(2, 6), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_renaming_players_renames_ratings(players, seed, shuffled):
    wins, order = random_wins(seed, players), list(range(players))
    shuffled.shuffle(order)
    assert batch_elo(wins[np.ix_(order, order)]) == pytest.approx(batch_elo(wins)[order], abs=1e-5)


def test_extreme_results_do_not_break_newton():
    wins = np.triu(np.full((6, 6), 1e6), 1)
    ratings = batch_elo(wins, method="newton")
    assert np.isfinite(ratings).all()
    assert (np.diff(ratings) < 0).all()


def test_ratings_that_do_not_exist_are_refused():
    unbeaten = [[0, 3, 2], [0, 0, 1], [0, 2, 0]]
    assert not connected(points(unbeaten))
    for fit in (lambda: BradleyTerry().fit(unbeaten), lambda: batch_elo(unbeaten, smoothing=0, method="newton")):
        with pytest.raises(ValueError, match="no ratings fit"):
            fit()
    assert BradleyTerry(smoothing=0.1).fit(unbeaten).ranking()[0] == 0
    with pytest.raises(ValueError, match="player 2 took part in no game"):
        batch_elo([[0, 1, 0], [1, 0, 0], [0, 0, 0]], smoothing=0)
    with pytest.raises(ValueError, match="method must be one of"):
        batch_elo([[0, 1], [1, 0]], method="guess")
    with pytest.raises(ValueError, match="smoothing must be"):
        batch_elo([[0, 1], [1, 0]], smoothing=-1)


def test_online_elo_moves_what_was_not_expected():
    ratings = online_elo([0, 0], [1, 1], [1, 0.5], k=32)
    assert ratings[1].tolist() == [1016, 984]
    assert ratings.sum(axis=1).tolist() == pytest.approx([2000] * 3)
    assert ratings[2, 0] < ratings[1, 0]
    for games, words in ((([0], [0], [1]), "against themselves"), (([0], [1], [2]), "score must be in"), (([0, 1], [1], [1]), "one entry")):
        with pytest.raises(ValueError, match=words):
            online_elo(*games)
    with pytest.raises(ValueError, match="must be positive"):
        online_elo([0], [1], [1], k=0)


# errors of a ranking


def test_the_example_of_the_card():
    truth, ranking = [0, 1, 2, 3], [0, 2, 1, 3]
    assert [identification_error(ranking, truth, k) for k in (1, 2, 3)] == [0, 0.5, 0]
    assert [ranking_error(ranking, truth, k) for k in (1, 2, 3, 4)] == pytest.approx([0, 1 / 3, 2 / 9, 1 / 6])
    assert error_over_places(ranking, truth) == pytest.approx((1 / 3 + 2 / 9 + 1 / 6) / 4)
    assert wrong_pairs(ranking, truth).nonzero() == (1, 2)


def test_one_item_is_never_wrong():
    for measure in (kendall_tau_distance, lambda a, b: ranking_error(a, b, 1), lambda a, b: identification_error(a, b, 1)):
        assert measure([0], [0]) == 0
    assert spearman([0], [0]) == 1


def test_over_time_is_the_mean():
    assert error_over_time([[0, 1, 2], [2, 1, 0]], [0, 1, 2], k=3) == 0.5


@given(rankings)
def test_errors_agree_with_counting_by_hand(pair):
    ranking, truth = pair
    m = len(truth)
    at = {item: place for place, item in enumerate(ranking)}
    discordant = sum(at[a] > at[b] for a, b in combinations(truth, 2))
    assert kendall_tau_distance(ranking, truth) == discordant == kendall_tau_distance(truth, ranking)
    for k in range(1, m + 1):
        missing = 1 - len(set(ranking[:k]) & set(truth[:k])) / k
        pairs = list(combinations(truth[:k], 2))
        wrong = sum(at[a] > at[b] for a, b in pairs) / len(pairs) if pairs else 0
        weight = (m - k) / (m - 1) if m > 1 else 1
        assert ranking_error(ranking, truth, k) == pytest.approx(weight * missing + (1 - weight) * wrong)


@given(rankings)
def test_metrics_do_not_depend_on_names(pair):
    ranking, truth = (np.array(r) for r in pair)
    rename = np.random.default_rng(0).permutation(len(truth))
    for k in range(1, len(truth) + 1):
        assert ranking_error(rename[ranking], rename[truth], k) == pytest.approx(ranking_error(ranking, truth, k))
    assert spearman(rename[ranking], rename[truth]) == pytest.approx(spearman(ranking, truth))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_random_order_has_its_closed_form(k):
    every = np.array(list(permutations(range(5))))
    assert ranking_error(every, np.arange(5), k).mean() == pytest.approx(random_order_error(5, k))


def test_random_order_of_eight():
    assert random_order_error(8, 3) == pytest.approx(5 / 7 * 5 / 8 + 2 / 7 / 2)


def test_what_is_no_ranking_is_refused():
    with pytest.raises(ValueError, match="ranking must hold each of 0 to 2 once"):
        ranking_error([0, 0, 2], [0, 1, 2], 1)
    with pytest.raises(ValueError, match="truth must hold each of 0 to 2 once"):
        ranking_error([0, 1, 2], [0, 1, 3], 1)
    with pytest.raises(ValueError, match="truth must be one ranking of 3 items"):
        ranking_error([0, 1, 2], [0, 1], 1)
    for k in (0, 4, 1.5, True):
        with pytest.raises(ValueError, match="k must be a whole number from 1 to 3"):
            ranking_error([0, 1, 2], [0, 1, 2], k)
    with pytest.raises(ValueError, match="at least one item"):
        positions([])


# Mallows


def test_without_dispersion_every_ranking_is_the_centre():
    drawn = sample_mallows(np.array([2, 0, 1]), 0.0, 20, np.random.default_rng(0))
    assert (drawn == [2, 0, 1]).all()


@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_samples_have_mallows_probabilities(phi):
    drawn = sample_mallows(3, phi, 60000, np.random.default_rng(1))
    for ranking in permutations(range(3)):
        share = (drawn == ranking).all(axis=1).mean()
        expected = np.exp(mallows_log_probability(kendall_tau_distance(ranking, [0, 1, 2]), 3, phi))
        assert share == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_mean_distance_is_the_closed_form(phi):
    drawn = sample_mallows(6, phi, 20000, np.random.default_rng(2))
    assert kendall_tau_distance(drawn, np.arange(6)).mean() == pytest.approx(expected_distance(6, phi), abs=0.06)


def test_probabilities_add_up():
    total = sum(np.exp(mallows_log_probability(kendall_tau_distance(r, range(4)), 4, 0.6)) for r in permutations(range(4)))
    assert total == pytest.approx(1)


def test_impossible_dispersion_is_refused():
    with pytest.raises(ValueError, match=r"phi must be a number in \[0, 1\]"):
        sample_mallows(3, 1.1, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one item"):
        sample_mallows(np.array([]), 0.5, 1, np.random.default_rng(0))


@given(arrays(float, (4, 3), elements=st.integers(0, 3).map(float)))
def test_every_task_gives_each_pair_one_game(scores):
    wins, draws = compare_scores(scores)
    assert (wins + wins.T + draws + 4 * np.eye(3) == 4).all()
