from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.reward import TiesRow, ties_score
from hierlab.reward.ties import WEIGHTS, margin_term
from hierlab.trace import Tape


def pair(tied, ref, right=2, name="0"):
    return [TiesRow(f"ref:{name}", ref, 1), TiesRow(f"tied:{name}", tied, right)]


def plain(rows, variant="official"):
    """The released loop, prompt by prompt, with its degenerate cases written out."""
    stats = {row.id: (row.scores[: row.num_correct], row.scores[row.num_correct :]) for row in rows}
    gap = {name: min(right) - max(wrong) for name, (right, wrong) in stats.items()}
    spread = {name: max(right) - min(right) for name, (right, wrong) in stats.items()}
    both = [r.prompt for r in rows if r.kind == "tied" and f"ref:{r.prompt}" in stats]

    def share(values):
        return sum(values) / len(values)

    def tie_break(g, d):
        if d > 0:
            return math.tanh(g / d - 1)
        return math.copysign(1, g) if g else (0.0 if variant == "official" else math.tanh(-1))

    smaller = {p: min(gap[f"ref:{p}"], gap[f"tied:{p}"]) for p in both}
    total = (
        0.3 * share([gap[r.id] > 0 for r in rows if r.kind == "tied"])
        + 0.3 * share([gap[r.id] > 0 for r in rows if r.kind == "ref"])
        + 0.2 * share([gap[f"tied:{p}"] > spread[f"tied:{p}"] for p in both])
        + 0.2 * share([smaller[p] > spread[f"tied:{p}"] for p in both])
        + 0.01 * share([tie_break(smaller[p], spread[f"tied:{p}"]) for p in both])
    )
    return total if variant == "official" else min(1.0, max(0.0, total / 1.01))


scores = st.integers(-3, 3).map(float)
prompts = st.lists(st.tuples(st.lists(scores, min_size=3, max_size=6), st.lists(scores, min_size=2, max_size=4)), min_size=1, max_size=5)


def rows_of(drawn):
    return [row for number, (tied, ref) in enumerate(drawn) for row in pair(tied, ref, name=str(number))]


# degenerate


def test_a_perfect_model_without_spread_exceeds_one_officially():
    perfect = pair([1.0, 1.0, 0.0], [1.0, 0.0])
    assert ties_score(perfect).overall == pytest.approx(1.01)
    assert ties_score(perfect, variant="corrected").overall == 1.0


def test_a_constant_model_has_nothing():
    for variant in ("official", "corrected"):
        assert ties_score(pair([0.0] * 4, [0.0] * 3), variant=variant).overall == 0.0


def test_a_hopeless_model_is_below_zero_officially():
    hopeless = pair([0.0, 1.0, 5.0], [0.0, 5.0])
    assert ties_score(hopeless).overall == pytest.approx(0.01 * math.tanh(-6))
    assert ties_score(hopeless, variant="corrected").overall == 0.0


def test_the_limits_of_the_margin():
    gap, spread = np.array([2.0, -2.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])
    assert margin_term(gap, spread).tolist() == [1.0, -1.0, 0.0, 0.0]
    assert margin_term(gap, spread, variant="corrected").tolist() == [1.0, -1.0, pytest.approx(math.tanh(-1)), 0.0]


def test_corrected_is_where_small_spreads_lead():
    small = margin_term(np.zeros(3), np.array([1e-3, 1e-9, 1e-200]))
    assert small == pytest.approx(margin_term(np.zeros(1), np.zeros(1), variant="corrected").repeat(3))


# closed form


def test_one_pair_by_hand():
    found = ties_score(pair([3.0, 2.0, 0.5, 0.0], [4.0, 1.0]))
    assert (found.spread.tolist(), found.tied_gap.tolist(), found.ref_gap.tolist()) == ([1.0], [1.5], [3.0])
    assert found.overall == pytest.approx(1 + 0.01 * math.tanh(0.5))
    assert found.terms == pytest.approx(
        {"tied accuracy": 0.3, "ref accuracy": 0.3, "preferred": 0.2, "preferred, hard": 0.2, "margin": 0.01 * math.tanh(0.5)}
    )


def test_equal_accuracy_is_told_apart_by_spread():
    """Test 3 of the lab in small: the same right answers on top, closer together or further apart."""
    found = [ties_score(pair([2.0 + s, 2.0, 0.0], [2.0, 0.0])) for s in (0.0, 1.0, 2.0, 3.0)]
    assert len({(f.shares["tied accuracy"], f.shares["ref accuracy"]) for f in found}) == 1
    assert [f.shares["preferred"] for f in found] == [1, 1, 0, 0]
    assert [f.overall for f in found] == sorted((f.overall for f in found), reverse=True)


def test_rows_without_a_partner_count_in_accuracy_only():
    alone = [*pair([1.0, 1.0, 0.0], [1.0, 0.0]), TiesRow("tied:9", [0.0, 0.0, 1.0], 2), TiesRow("ref:8", [0.0, 1.0], 1)]
    found = ties_score(alone)
    assert found.prompts == ("0",)
    assert found.shares == {"tied accuracy": 0.5, "ref accuracy": 0.5, "preferred": 1, "preferred, hard": 1, "margin": 1}


def test_the_weights_are_the_released_ones():
    assert sum(WEIGHTS.values()) == pytest.approx(1.01)


# loop against vectorised, properties


@given(prompts, st.sampled_from(["official", "corrected"]))
def test_it_is_the_loop(drawn, variant):
    rows = rows_of(drawn)
    assert ties_score(rows, variant=variant).overall == pytest.approx(plain(rows, variant), abs=1e-12)


@given(prompts, st.integers(-4, 4), st.sampled_from([0.5, 2.0, 8.0]))
def test_scale_and_origin_do_not_matter(drawn, shift, factor):
    moved = [([factor * s + shift for s in tied], [factor * s + shift for s in ref]) for tied, ref in drawn]
    assert ties_score(rows_of(moved)).overall == pytest.approx(ties_score(rows_of(drawn)).overall, abs=1e-12)


@given(prompts)
def test_bounds_and_order_of_rows(drawn):
    rows = rows_of(drawn)
    official, corrected = ties_score(rows), ties_score(rows[::-1], variant="corrected")
    assert -0.01 <= official.overall <= 1.01 + 1e-12
    assert 0 <= corrected.overall <= 1
    assert official.overall == pytest.approx(ties_score(rows[::-1]).overall)
    assert official.shares["preferred, hard"] <= official.shares["preferred"] <= official.shares["tied accuracy"]


def test_what_a_tape_sees():
    with Tape() as tape:
        ties_score(pair([3.0, 2.0, 0.5], [4.0, 1.0]))
    assert [step.name for step in tape.steps][-3:] == ["preferred", "preferred, hard", "margin"]


# wrong usage


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TiesRow("tie:0", [1.0, 0.0], 1), "named ref:<prompt> or tied:<prompt>, got 'tie:0'"),
        (lambda: TiesRow("tied:", [1.0, 1.0, 0.0], 2), "named ref:<prompt>"),
        (lambda: TiesRow("tied:0", [1.0, 0.0], 1), "at least two right answers"),
        (lambda: TiesRow("ref:0", [1.0, 1.0, 0.0], 2), "exactly one answer is right, got 2"),
        (lambda: TiesRow("ref:0", [1.0], 1), "a right and a wrong answer, got 1 right ones of 1"),
        (lambda: ties_score([TiesRow("ref:0", [1.0, 0.0], 1)]), "no prompt has both rows"),
        (lambda: ties_score([]), "no prompt has both rows"),
        (lambda: ties_score(pair([1.0, 1.0, 0.0], [1.0, 0.0]) * 2), "two rows are named ref:0"),
        (lambda: ties_score(pair([1.0, math.nan, 0.0], [1.0, 0.0])), "scores must be finite, got nan"),
        (lambda: ties_score(pair([1.0, 1.0, 0.0], [1.0, 0.0]), variant="mended"), "variant must be one of"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
