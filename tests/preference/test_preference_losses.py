from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from estimator_inputs import NoDefaultDevice
from hypothesis import given
from hypothesis import strategies as st

from hierlab.preference import (
    aot,
    aot_unpaired,
    apo_down,
    apo_zero,
    cpo,
    discopop,
    dpo,
    exo_pair,
    hinge,
    implicit_rewards,
    ipo,
    kto,
    kto_pair,
    log_ratios,
    nca_pair,
    orpo,
    plackett_luce,
    sft,
    simpo,
    slic,
    sppo_hard,
    winner,
)
from hierlab.preference.dpo import divergence_score, preference_loss
from hierlab.preference.orpo import LEAST_NATS, log_odds
from hierlab.trace import Tape

logps = st.floats(-200, -0.01, allow_subnormal=False)
quadruples = st.lists(st.tuples(logps, logps, logps, logps), min_size=1, max_size=6)
ipo_sum = partial(ipo, length_average=False)
PAIR_LOSSES = {
    "dpo": dpo,
    "cdpo": partial(dpo, label_smoothing=0.1),
    "robust": partial(dpo, label_smoothing=0.1, noise="robust"),
    "js": partial(dpo, divergence="js"),
    "ipo": ipo_sum,
    "hinge": hinge,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "sppo_hard": sppo_hard,
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "kto_pair": kto_pair,
}


def f64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def columns(rows) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(rows, dtype=torch.float64).T)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


# degenerate sizes


@pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES)
def test_no_pairs_have_no_losses(loss):
    assert loss(*(f64() for _ in range(4))).shape == (0,)


@pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES)
def test_extreme_margins_stay_finite_with_their_gradients(loss):
    policy = [f64(-1, -501, -1).requires_grad_(), f64(-501, -1, -1).requires_grad_()]
    losses = loss(*policy, f64(-1, -1, -1), f64(-1, -1, -1), beta=1.0)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(x.grad.isfinite().all() for x in policy)


# closed forms


def test_a_policy_that_is_its_reference_has_the_known_losses():
    same = (f64(-3, -40), f64(-9, -2), f64(-3, -40), f64(-9, -2))
    for name in ("dpo", "cdpo", "robust"):
        assert torch.allclose(PAIR_LOSSES[name](*same), f64(math.log(2), math.log(2)))
    assert torch.allclose(ipo_sum(*same, beta=0.2), f64(1 / (4 * 0.04), 1 / (4 * 0.04)))
    assert hinge(*same).tolist() == [1, 1]
    assert kto(*same).tolist() == [0.5] * 4


def test_dpo_by_hand():
    loss = dpo(f64(-10), f64(-12), f64(-11), f64(-11), beta=0.5)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)))
    attenuated = dpo(f64(-10), f64(-12), f64(-12), f64(-11), beta=0.5, gamma=0.5)  # h = 2 - 0.5 * (-1) = 2.5
    assert float(attenuated) == pytest.approx(math.log(1 + math.exp(-1.25)))


def test_conservative_dpo_is_least_at_the_log_odds_of_its_labels():
    margin = f64(math.log(0.9 / 0.1)).requires_grad_()
    preference_loss(margin, 0.1).sum().backward()
    assert float(margin.grad) == pytest.approx(0, abs=1e-12)


@given(st.floats(-20, 20), st.floats(0, 0.45))
def test_robust_dpo_is_unbiased_under_random_flips(margin, eps):
    u = f64(margin)
    kept, flipped = (preference_loss(sign * u, eps, "robust") for sign in (1, -1))
    assert float((1 - eps) * kept + eps * flipped) == pytest.approx(float(preference_loss(u)), rel=1e-9, abs=1e-9)


def test_divergences_are_derivatives_of_their_generators():
    ratio = f64(-2.0, 0.3, 1.5)
    assert torch.allclose(divergence_score(ratio, "forward_kl"), -(-ratio).exp())
    assert torch.allclose(divergence_score(ratio, "js"), torch.nn.functional.logsigmoid(ratio))
    nearly = divergence_score(ratio, "alpha", 1 - 1e-6) - divergence_score(f64(0.0), "alpha", 1 - 1e-6)
    assert torch.allclose(nearly, ratio, atol=1e-5)  # the limit is the reverse KL


def test_ipo_averages_over_tokens():
    assert float(ipo(f64(-10), f64(-12), f64(-20), f64(-12), f64(5), f64(4), beta=0.25)) == pytest.approx((10 / 5 - 2) ** 2)


def test_orpo_by_hand():
    w, loss = -0.5, -1.5
    odds = [a - math.log(1 - math.exp(a)) for a in (w, loss)]
    assert float(orpo(f64(w), f64(loss), beta=0.3)) == pytest.approx(0.5 - 0.3 * math.log(sigmoid(odds[0] - odds[1])))
    assert float(orpo(f64(w), f64(loss), f64(7.0), beta=0)) == 7


def test_log_odds_are_exact_at_both_ends():
    assert float(log_odds(f64(-50.0))) == pytest.approx(-50 + math.exp(-50), rel=1e-15)
    assert float(log_odds(f64(-1e-5))) == pytest.approx(-1e-5 - math.log(-math.expm1(-1e-5)), rel=1e-12)
    assert float(log_odds(f64(0.0))) == float(log_odds(f64(-LEAST_NATS)))
    x = f64(-1e-3, -40.0).requires_grad_()
    log_odds(x).sum().backward()
    assert x.grad.isfinite().all()


def test_simpo_agrees_with_trl_where_gamma_is_ratio_times_beta():
    w, loss = f64(-1.0, -2.0), f64(-1.5, -1.0)
    margin = 2.5 * (w - loss) - 1.0
    assert torch.allclose(simpo(w, loss, beta=2.5, margin_ratio=0.4), -torch.nn.functional.logsigmoid(margin))
    assert torch.allclose(simpo(w, loss, beta=2.5, margin_ratio=0.4, form="hinge"), (1 - margin).relu())


def test_sft_has_the_mean_over_tokens():
    assert float(sft(f64(-10, -2), f64(4, 2)).mean()) == pytest.approx(12 / 6)
    plain, held = (cpo(f64(-10, -2), f64(-3, -3), f64(4, 2), sft_weight=w) for w in (0.0, 0.5))
    assert float((held - plain).mean()) == pytest.approx(1.0)


def test_slic_by_hand():
    assert slic(f64(-1, -5), f64(-4, -5), delta=1, weight=0.1).tolist() == pytest.approx([0.1, 1.5])


def test_kto_without_one_of_its_sides():
    nothing = f64()
    assert kto(f64(-1), nothing, f64(-2), nothing, beta=1).tolist() == pytest.approx([sigmoid(-1)])
    assert kto(nothing, f64(-1), nothing, f64(-2), beta=1, undesirable_weight=2).tolist() == pytest.approx([2 * sigmoid(1)])


def test_kto_measures_against_how_far_the_policy_moved():
    far = kto(f64(-1), f64(), f64(-3), f64(), f64(-5, -5), f64(-6, -8), beta=1)  # rho 2, z = (1 + 3) / 2
    assert far.tolist() == pytest.approx([0.5])
    near = kto(f64(-1), f64(), f64(-3), f64(), f64(-9), f64(-6), beta=1)  # a negative estimate counts as 0
    assert near.tolist() == pytest.approx([sigmoid(-2)])


def test_kto_without_a_reference_point_is_apo_zero_term_by_term():
    policy = (f64(-3, -6), f64(-8, -2), f64(-4, -4), f64(-4, -4))
    terms = kto(*policy, beta=0.3)
    assert torch.allclose(terms[:2] + terms[2:], apo_zero(*policy, beta=0.3))


def test_optimal_transport_compares_rank_by_rank():
    policy = (f64(-1, -9), f64(-2, -3), f64(-1, -1), f64(-1, -1))
    swapped = (f64(-1, -9), f64(-3, -2), f64(-1, -1), f64(-1, -1))
    assert torch.allclose(aot_unpaired(*policy).sort().values, aot_unpaired(*swapped).sort().values)


# Plackett-Luce


def test_lists_of_one_and_of_none_are_certain():
    assert plackett_luce(f64([3.0]), f64([1.0])).tolist() == [0]
    assert plackett_luce(f64([3.0, 1.0]), f64([1.0, 2.0]), torch.zeros(1, 2)).tolist() == [0]
    assert plackett_luce(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_two_items_are_bradley_terry(a, b):
    loss = float(plackett_luce(f64([a, b]), f64([1.0, 0.0])))
    assert loss == pytest.approx(float(-torch.nn.functional.logsigmoid(f64(a - b))), rel=1e-9, abs=1e-9)


def test_the_probabilities_of_all_orders_sum_to_one():
    from itertools import permutations

    scores = f64([0.3, -1.0, 2.0, 0.7])
    total = sum(math.exp(-float(plackett_luce(scores, f64([4.0 - order.index(i) for i in range(4)])))) for order in permutations(range(4)))
    assert total == pytest.approx(1, abs=1e-12)


def plain_plackett_luce(scores, relevance, top) -> float:
    left = sorted(range(len(scores)), key=lambda i: -relevance[i])
    loss = 0.0
    for place in range(min(top, len(scores))):
        total = sum(math.exp(scores[i]) for i in left[place:])
        loss += math.log(total) - scores[left[place]]
    return loss


@given(st.lists(st.tuples(st.floats(-20, 20), st.integers(0, 99)), min_size=1, max_size=7, unique_by=lambda x: x[1]), st.integers(1, 8))
def test_plackett_luce_is_the_loop(items, top):
    scores, relevance = zip(*items, strict=True)
    ours = float(plackett_luce(f64(list(scores)), f64([float(r) for r in relevance]), top=top))
    assert ours == pytest.approx(plain_plackett_luce(scores, relevance, top), rel=1e-9, abs=1e-9)


def test_padding_changes_nothing():
    bare = plackett_luce(f64([1.0, 2.0, 0.5]), f64([0.0, 2.0, 1.0]))
    padded = plackett_luce(f64([9.0, 1.0, 2.0, 0.5]), f64([7.0, 0.0, 2.0, 1.0]), torch.tensor([[0, 1, 1, 1]]))
    assert torch.allclose(bare, padded)


def test_the_winner_is_the_first_place():
    scores = f64([0.3, -1.0, 2.0])
    assert float(winner(scores, torch.tensor([2]))) == pytest.approx(float(plackett_luce(scores, f64([0.0, 0.0, 1.0]), top=1)))
    assert float(winner(f64([700.0, -700.0]), torch.tensor([1]))) == pytest.approx(1400)
    assert float(winner(f64([1.0, 5.0]), torch.tensor([0]), torch.tensor([[1, 0]]))) == 0


# properties


@given(quadruples, st.floats(-20, 20))
def test_a_constant_on_both_answers_changes_only_what_looks_at_each(rows, shift):
    w, loss, rw, rl = columns(rows)
    for name in ("dpo", "cdpo", "ipo", "hinge", "exo_pair", "aot"):
        a, b = PAIR_LOSSES[name](w, loss, rw, rl), PAIR_LOSSES[name](w + shift, loss + shift, rw, rl)
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-7), name


def test_a_constant_does_change_what_looks_at_each():
    rows = columns([(-3.0, -6.0, -4.0, -5.0)])
    moved = (rows[0] + 2, rows[1] + 2, *rows[2:])
    for name in ("nca_pair", "sppo_hard", "apo_zero", "apo_down", "kto_pair"):
        assert not torch.allclose(PAIR_LOSSES[name](*rows), PAIR_LOSSES[name](*moved)), name


@given(quadruples)
def test_no_noise_is_plain_dpo(rows):
    data = columns(rows)
    for noise in ("conservative", "robust"):
        assert torch.equal(dpo(*data, label_smoothing=0.0, noise=noise), dpo(*data))
    assert torch.equal(dpo(*data, label_smoothing=torch.zeros_like(data[0])), dpo(*data))


@given(quadruples)
def test_dpo_pulls_both_answers_with_equal_force(rows):
    w, loss, rw, rl = columns(rows)
    w, loss = w.clone().requires_grad_(), loss.clone().requires_grad_()
    dpo(w, loss, rw, rl, beta=0.3).sum().backward()
    assert torch.allclose(w.grad, -loss.grad)
    rewards = implicit_rewards(w, loss, rw, rl, beta=0.3)
    assert torch.allclose(w.grad, -0.3 * (rewards[1] - rewards[0]).sigmoid())
    assert not rewards[0].requires_grad


@given(quadruples)
def test_losses_of_pairs_do_not_depend_on_their_order(rows):
    data = columns(rows)
    back = tuple(x.flip(0) for x in data)
    for name in ("dpo", "robust", "ipo", "hinge", "exo_pair", "nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop", "kto_pair"):
        assert torch.allclose(PAIR_LOSSES[name](*data).flip(0), PAIR_LOSSES[name](*back), rtol=1e-12), name


def test_single_precision_stays_single():
    data = tuple(x.float() for x in columns([(-3.0, -6.0, -4.0, -5.0)]))
    assert all(loss(*data).dtype == torch.float32 for loss in PAIR_LOSSES.values())


def test_nothing_is_made_on_a_default_device():
    data, lengths = columns([(-3.0, -6.0, -4.0, -5.0)]), f64(4)
    scores, relevance = f64([1.0, 2.0]), f64([1.0, 0.0])
    with NoDefaultDevice():
        for loss in PAIR_LOSSES.values():
            loss(*data)
        ipo(*data, lengths, lengths)
        kto(*data, data[0], data[2])
        cpo(data[0], data[1], lengths)
        orpo(data[0], data[1])
        simpo(data[0], data[1])
        slic(data[0], data[1])
        plackett_luce(scores, relevance, eps=1e-10)


def test_dpo_tells_its_steps():
    with Tape() as tape:
        dpo(*columns([(-3.0, -6.0, -4.0, -5.0)]))
    assert [step.name for step in tape.steps] == ["score of the preferred answer", "score of the other answer", "margin", "loss"]


# wrong usage


def test_wrong_usage_is_refused():
    good = columns([(-3.0, -6.0, -4.0, -5.0)])
    with pytest.raises(ValueError, match=r"chosen must be finite, got nan in row 0"):
        dpo(f64(math.nan), *good[1:])
    with pytest.raises(ValueError, match=r"tensors must have one shape"):
        dpo(f64(-1, -2), *good[1:])
    with pytest.raises(ValueError, match="chosen must be a floating-point tensor"):
        dpo(torch.tensor([1]), *good[1:])
    with pytest.raises(ValueError, match="beta must be positive"):
        dpo(*good, beta=0.0)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 0.5\) with noise='robust', got 0.5"):
        dpo(*good, label_smoothing=0.5, noise="robust")
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]"):
        dpo(*good, label_smoothing=f64(1.5))
    with pytest.raises(ValueError, match="noise must be one of"):
        dpo(*good, noise="loud")
    with pytest.raises(ValueError, match="divergence must be one of"):
        dpo(*good, divergence="kl")
    with pytest.raises(ValueError, match="divergence_alpha=1 is the reverse KL"):
        dpo(*good, divergence="alpha", divergence_alpha=1)
    with pytest.raises(ValueError, match="length_average=True needs the column chosen_tokens and rejected_tokens"):
        ipo(*good)
    with pytest.raises(ValueError, match="one length of at least 1"):
        ipo(*good, f64(0), f64(3))
    with pytest.raises(ValueError, match="inside"):
        exo_pair(*good, label_smoothing=0.0)
    with pytest.raises(ValueError, match="must not be positive"):
        orpo(f64(0.1), f64(-1))
    with pytest.raises(ValueError, match="sft_weight above 0 needs the column chosen_tokens"):
        cpo(*good[:2])
    with pytest.raises(ValueError, match="at least one mismatched pair"):
        kto(*good, f64(), f64())
    with pytest.raises(ValueError, match="gamma must be a number in"):
        log_ratios(*good, gamma=-1)
    with pytest.raises(ValueError, match="top must be a whole number"):
        plackett_luce(f64([1.0, 2.0]), f64([1.0, 2.0]), top=0)
    with pytest.raises(ValueError, match="relevance must have the shape of scores"):
        plackett_luce(f64([1.0, 2.0]), f64([1.0]))
    with pytest.raises(ValueError, match="a column from 0 to 1"):
        winner(f64([1.0, 2.0]), torch.tensor([2]))
    with pytest.raises(ValueError, match="one of the items that are there"):
        winner(f64([1.0, 2.0]), torch.tensor([1]), torch.tensor([[1, 0]]))
