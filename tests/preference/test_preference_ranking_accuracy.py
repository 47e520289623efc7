from __future__ import annotations

import math

import pytest
import torch
from estimator_inputs import NoDefaultDevice
from hypothesis import assume, given
from hypothesis import strategies as st

from hierlab.preference import (
    competition_ranks,
    difficulty,
    dpo,
    dpo_threshold,
    four_groups,
    ideal_margin,
    idealised_ranking_accuracy,
    idealised_right,
    ipo,
    ipo_threshold,
    ranked_right,
    ranking_accuracy,
    ranking_changes,
)
from hierlab.preference.ranking_accuracy import SOLVED_LOSS, rater_log_odds, ratio_ranks
from hierlab.trace import Tape
from hierlab.train.tabular_preferences import fit_table, ideal_policy

nats = st.floats(-300, 300)
logps = st.floats(-300, -0.01)
betas = st.sampled_from([0.01, 0.1, 0.5, 1.0, 5.0])


def f64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# degenerate sizes and ties


def test_equal_likelihoods_are_right_in_the_paper_and_wrong_in_the_code():
    assert ranked_right(f64(-3), f64(-3)).tolist() == [True]
    assert ranked_right(f64(-3), f64(-3), variant="official").tolist() == [False]
    for variant, accuracy in {"paper": 1.0, "official": 0.0}.items():
        assert ranking_accuracy(f64([-3.0, -3.0]), torch.tensor([[2, 1]]), variant=variant)[0] == accuracy


def test_raters_may_tie_and_scores_within_the_threshold_agree():
    ranks = torch.tensor([[1, 1], [1, 1], [1, 2]])
    scores = f64([0.5, 0.505], [0.5, 0.52], [0.505, 0.5])
    assert ranking_accuracy(scores, ranks, tie=0.01)[1].tolist() == [1, 0, 0]
    assert ranking_accuracy(scores, ranks)[1].tolist() == [0, 0, 1]


def test_a_row_that_cannot_be_ranked_is_left_out():
    accuracy, values = ranking_accuracy(f64([math.nan, 1.0], [2.0, 1.0]), torch.tensor([[1, 2], [1, 2]]))
    assert accuracy == 1
    assert values.isnan().tolist() == [True, False]
    assert math.isnan(ranking_accuracy(torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int64))[0])


def test_longer_lists_must_match_as_a_whole():
    ranks = torch.tensor([[1, 2, 3, 4]])
    assert ranking_accuracy(f64([4.0, 3.0, 2.0, 1.0]), ranks)[0] == 1
    assert ranking_accuracy(f64([4.0, 3.0, 1.0, 2.0]), ranks)[0] == 0
    assert ranking_accuracy(f64([4.0, 3.0, 2.0, 2.0]), ranks)[0] == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=7))
def test_ranks_are_those_of_a_competition(scores):
    ranks = competition_ranks(f64([float(s) for s in scores]))[0].tolist()
    assert ranks == [1 + sum(other > score for other in scores) for score in scores]


# closed forms


def test_difficulty_has_the_loser_on_top():
    assert difficulty(f64(-12.0), f64(-9.0)).tolist() == [3]


def test_the_perfect_optimum_by_hand():
    margin = ideal_margin(f64(-12), f64(-9), f64(0.8), beta=0.5)  # -3 + 2 log 4
    assert float(margin) == pytest.approx(-3 + 2 * math.log(4))
    unanimous = ideal_margin(f64(-12, -12), f64(-9, -9), f64(1.0, 0.0), beta=0.5)
    assert unanimous.tolist() == pytest.approx([-3 + 2 * math.log(1000), -math.inf])
    per_token = ideal_margin(f64(-12), f64(-9), f64(0.5), f64(6), f64(3), beta=0.5)
    assert float(per_token) == pytest.approx(-2 + 3)


def test_small_betas_do_not_overflow():
    assert float(ideal_margin(f64(-500), f64(-20), f64(1.0), beta=0.001)) == pytest.approx(-480 + 1000 * math.log(1000))


def test_the_released_ratio_points_the_wrong_way():
    wanted, released = (ideal_margin(f64(-20), f64(-40), f64(0.5), beta=1.0, variant=v) for v in ("paper", "official"))
    assert float(wanted) == 20
    assert float(released) == pytest.approx(math.log(0.5))


def test_ratios_near_one_are_ties_in_the_released_code():
    ratios = f64(1.0, 1.049, 0.951, 1.06, 0.94, 1e-300).log()
    assert ratio_ranks(ratios).tolist() == [[1, 1], [1, 1], [1, 1], [1, 2], [2, 1], [2, 1]]
    agreement = f64(0.75, 0.75, 0.5)
    margin = f64(1.01, 1.2, 1.0).log()
    assert idealised_right(margin, agreement).tolist() == [True, True, False]
    assert idealised_right(margin, agreement, variant="official").tolist() == [False, True, True]


# theorems


@given(nats, nats, betas, st.sampled_from([0.5, 1.0, 2.0]))
def test_a_pair_is_ranked_correctly_iff_its_loss_is_small_enough(margin, c, beta, gamma):
    assume(abs(margin) > 1e-6)  # at the boundary the two sides are rounded apart
    assume(beta * max(abs(margin + gamma * c), abs(gamma * c)) < 30)  # both losses are 0 beyond
    loss = dpo(f64(margin), f64(0.0), f64(0.0), f64(c), beta=beta, gamma=gamma)
    assert bool(loss <= dpo_threshold(f64(c), beta=beta, gamma=gamma)) == bool(ranked_right(f64(margin), f64(0.0)))


@given(nats, nats, betas)
def test_a_small_loss_keeps_a_right_ranking(margin, c, beta):
    loss = float(dpo(f64(margin), f64(0.0), f64(0.0), f64(c), beta=beta))
    if c <= 0 and loss <= SOLVED_LOSS:
        assert margin >= 0


@given(nats, nats, betas)
def test_a_small_ipo_loss_is_a_right_ranking(margin, c, beta):
    assume(abs(margin) > 1e-6)
    loss = ipo(f64(margin), f64(0.0), f64(0.0), f64(c), beta=beta, length_average=False)
    if bool(loss < ipo_threshold(f64(c), beta=beta)):
        assert margin > 0
    target = 1 / (2 * beta) - c  # where the loss is 0
    assert bool(ipo_threshold(f64(c), beta=beta) == -math.inf) == (target < 0)


@given(st.floats(0.01, 0.99), st.floats(-50, 50), betas)
def test_a_pair_is_ideally_right_iff_raters_outweigh_the_reference(alpha, c, beta):
    threshold = float(torch.sigmoid(f64(beta * c)))
    assume(abs(alpha - threshold) > 1e-9)
    right = idealised_right(ideal_margin(f64(0.0), f64(c), f64(alpha), beta=beta), f64(alpha))
    assert bool(right) == (alpha > threshold)


@pytest.mark.parametrize("beta", [0.05, 0.5, 2.0])
def test_training_a_table_reaches_the_perfect_optimum(beta):
    draw = torch.Generator().manual_seed(int(100 * beta))
    reference, utility = (torch.randn(20, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    policy = fit_table(3 * reference, utility, beta=beta)
    assert torch.allclose(policy, ideal_policy(3 * reference, utility, beta=beta), atol=1e-6)
    logp = (3 * reference).log_softmax(1)
    alpha = (utility[:, 0] - utility[:, 1]).sigmoid()
    assert torch.allclose(policy[:, 0] - policy[:, 1], ideal_margin(logp[:, 0], logp[:, 1], alpha, beta=beta), atol=1e-6)


# what training did


@given(st.lists(st.tuples(logps, logps, logps, logps), min_size=1, max_size=12))
def test_groups_and_changes_count_the_same_pairs(rows):
    w, loss, rw, rl = torch.tensor(rows, dtype=torch.float64).T
    groups, changes = four_groups(w, loss, rw, rl), ranking_changes(w, loss, rw, rl)
    share = {(g.before, g.now): g.share for g in groups}
    assert sum(share.values()) == pytest.approx(1)
    assert changes.accuracy == pytest.approx(share[True, True] + share[False, True])
    assert changes.reference_accuracy == pytest.approx(share[True, True] + share[True, False])
    if changes.reference_accuracy < 1:
        assert changes.flipped == pytest.approx(share[False, True] / (1 - changes.reference_accuracy))
    if changes.reference_accuracy > 0:
        assert changes.unlearned == pytest.approx(share[True, False] / changes.reference_accuracy)


def test_groups_by_hand():
    groups = four_groups(f64(-1, -5), f64(-2, -3), f64(-4, -4), f64(-3, -3), beta=1.0)  # c = 1: margins 1 + 1 and -2 + 1
    by_name = {(g.before, g.now): g for g in groups}
    assert by_name[False, True].margin == 2
    assert by_name[False, True].loss == pytest.approx(math.log(1 + math.exp(-2)))
    assert by_name[False, False].margin == -1
    assert math.isnan(by_name[True, True].loss)


def test_an_accuracy_tells_its_steps():
    with Tape() as tape:
        idealised_ranking_accuracy(f64(-12), f64(-9), f64(0.8), beta=0.5)
    assert [step.name for step in tape.steps] == ["difficulty", "what the raters add", "ideal margin"]


def test_nothing_is_made_on_a_default_device():
    w, loss, alpha, tokens = f64(-3.0, -9.0), f64(-5.0, -2.0), f64(0.8, 1.0), f64(3.0, 2.0)
    scores, ranks = torch.stack([w, loss], dim=1), torch.tensor([[1, 2], [2, 1]])
    with NoDefaultDevice():
        for variant in ("paper", "official"):
            idealised_ranking_accuracy(w, loss, alpha, beta=0.1, variant=variant)
            ranking_accuracy(scores, ranks, variant=variant)
        idealised_ranking_accuracy(w, loss, alpha, tokens, tokens, beta=0.1)
        four_groups(w, loss, w, loss)
        ranking_changes(w, loss, w, loss)
        ipo_threshold(dpo_threshold(w))


# wrong usage


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="variant must be one of 'paper', 'official'"):
        ranked_right(f64(-1), f64(-1), variant="code")
    with pytest.raises(ValueError, match="one shape"):
        ranking_accuracy(f64([1.0, 2.0]), torch.tensor([[1, 2, 3]]))
    with pytest.raises(ValueError, match="ranks start at 1"):
        ranking_accuracy(f64([1.0, 2.0]), torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match="defined for pairs"):
        competition_ranks(f64([1.0, 2.0, 3.0]), tie=0.1)
    with pytest.raises(ValueError, match=r"agreement is a share of raters, in \[0, 1\], got 0.5 to 2"):
        rater_log_odds(f64(0.5, 2.0))
    with pytest.raises(ValueError, match="both chosen_tokens and rejected_tokens"):
        ideal_margin(f64(-1), f64(-2), f64(0.5), f64(3), beta=1.0)
    with pytest.raises(ValueError, match="which must all be negative"):
        ideal_margin(f64(0.0), f64(-2), f64(0.5), beta=1.0, variant="official")
    with pytest.raises(ValueError, match="at least one pair"):
        idealised_ranking_accuracy(f64(), f64(), f64(), beta=1.0)
    with pytest.raises(ValueError, match="at least one pair"):
        ranking_changes(f64(), f64(), f64(), f64())
    with pytest.raises(ValueError, match="beta must be positive"):
        dpo_threshold(f64(1), beta=0.0)
    with pytest.raises(ValueError, match="needs two answers"):
        fit_table(torch.zeros(2, 1), torch.zeros(2, 1))
