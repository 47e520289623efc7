from __future__ import annotations

from itertools import pairwise
from math import log

import pytest
import torch
from estimator_inputs import agent_batch, call
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import best_of_gain, cutpoint_starts, equal_starts, probability_mask, spo, spo_tree
from hierlab.trace import Tape


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logs(*rows: str) -> torch.Tensor:
    """`?` for an unsure token (probability 1/2), `.` for a confident one, `9` for exactly 9/10."""
    return torch.tensor([[log({"?": 0.5, ".": 0.99, "9": 0.9}[letter]) for letter in row] for row in rows], dtype=torch.float64)


def marks(starts: torch.Tensor) -> list[str]:
    return ["".join("|" if start else " " for start in row) for row in starts.tolist()]


def everywhere(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape, dtype=torch.bool)


def plain_spo(probabilities, mask, starts, values, outcome, threshold) -> list[float]:
    """The released filler: values at the last token before a boundary, their differences, filled from behind."""
    length = max((t + 1 for t, counts in enumerate(mask) if counts), default=0)
    points = {t: values[t] for t in range(length) if starts[t]} | {length: outcome}
    advantage, at = [0.0] * len(mask), sorted(points)
    for start, stop in pairwise(at):
        for t in range(start, stop):
            advantage[t] = (points[stop] - points[start]) * mask[t] * (probabilities[t] <= threshold)
    return advantage


# degenerate sizes


def test_a_response_of_one_token():
    one = torch.ones(1, 1, dtype=torch.bool)
    assert spo(f64(1), one, one, f64(0.25)[None]).tolist() == [[0.75]]
    assert spo(f64(1), one, ~one, f64(0.25)[None]).tolist() == [[0]]


def test_without_boundaries_there_is_no_advantage():
    columns = agent_batch()
    columns["segment_start"] = torch.zeros_like(columns["segment_start"])
    assert (call(spo, columns) == 0).all()
    assert torch.isfinite(call(spo, columns, whiten=True)).all()


def test_one_child_has_nothing_to_compare():
    for scale in ("none", "std"):
        assert spo_tree(f64(1), ["t"], ["a"], [None], scale=scale).tolist() == [0]


# closed form


def test_a_chain_by_hand():
    old_logp = logs("..?.?.?..")
    starts = cutpoint_starts(old_logp, everywhere(old_logp), interval=2)
    assert marks(starts) == ["  |   |  "]
    value = torch.full(starts.shape, torch.nan, dtype=torch.float64)
    value[starts] = f64(0.5, 0.25)
    advantage = spo(f64(1), everywhere(starts), starts, value)
    assert advantage.tolist() == [[0, 0, -0.25, -0.25, -0.25, -0.25, 0.75, 0.75, 0.75]]
    masked = spo(f64(1), everywhere(starts), starts, value, old_logp)
    assert masked.tolist() == [[0, 0, -0.25, 0, -0.25, 0, 0.75, 0, 0]]
    assert torch.equal(spo(f64(1), everywhere(starts), starts, value, old_logp, threshold=None), advantage)


def test_a_probability_of_exactly_the_threshold():
    old_logp = logs("?9.")
    assert probability_mask(old_logp, everywhere(old_logp)).tolist() == [[True, False, False]]
    assert marks(cutpoint_starts(old_logp, everywhere(old_logp), interval=1)) == ["|  "]
    starts = torch.tensor([[True, False, False]])
    assert spo(f64(1), everywhere(starts), starts, torch.zeros(1, 3, dtype=torch.float64), old_logp).tolist() == [[1, 1, 0]]


def test_whitening_is_over_the_loss_mask():
    old_logp = logs("?.?", "?..")
    starts = torch.tensor([[True, False, True], [True, False, False]])
    value = f64(0, 0, 1, 1, 0, 0).reshape(2, 3)
    whitened = spo(f64(1, 0), everywhere(starts), starts, value, old_logp, whiten=True)
    chosen = whitened[old_logp < -0.1]
    assert chosen.mean().item() == pytest.approx(0, abs=1e-7)
    assert chosen.std().item() == pytest.approx(1, abs=1e-6)
    assert (whitened[old_logp > -0.1] == 0).all()
    confident = spo(f64(1, 0), everywhere(starts), starts, value, torch.zeros_like(old_logp), whiten=True)
    assert torch.isfinite(confident).all()


def test_cuts():
    old_logp = logs("?.??.?.??", ".........", "?????....")
    mask = everywhere(old_logp)
    assert marks(cutpoint_starts(old_logp, mask, interval=1)) == ["| || | ||", " " * 9, "|||||    "]
    assert marks(cutpoint_starts(old_logp, mask, interval=4)) == ["|      | ", " " * 9, "|   |    "]
    assert marks(cutpoint_starts(old_logp, mask, num_segments=4)) == ["|  |   ||", " " * 9, "| |||    "]
    assert marks(cutpoint_starts(old_logp, mask, num_segments=99)) == ["| || | ||", " " * 9, "|||||    "]
    mask[2, 2:] = False
    assert marks(cutpoint_starts(old_logp, mask, interval=1))[2] == "||       "


def test_equal_cuts():
    mask = torch.arange(13) < torch.tensor([[13], [8], [3], [0]])
    assert marks(equal_starts(mask, 4)) == ["|   |  |  |  ", "| | | |      ", "|||          ", " " * 13]
    assert marks(equal_starts(mask, 4, from_prompt=False)) == ["    |  |  |  ", "  | | |      ", " ||          ", " " * 13]
    assert marks(equal_starts(mask, 1))[0] == "|" + " " * 12


def test_the_example_tree_of_the_paper():
    # children worth 2/3, 1 and 0 make a prompt worth 5/9
    rewards = f64(0, 1, 0, 1, 0, 1, 0, 0, 0)
    node, parent = list("abcdefghi"), [None, None, None, "a", "a", "a", "c", "c", "c"]
    assert spo_tree(rewards, ["t"] * 9, node, parent).tolist() == pytest.approx(
        [2 / 3 - 5 / 9, 4 / 9, -5 / 9, 1 / 3, -2 / 3, 1 / 3, 0, 0, 0]
    )
    gain = best_of_gain(rewards, ["t"] * 9, node, parent, k=1)
    torch.testing.assert_close(gain, spo_tree(rewards, ["t"] * 9, node, parent))


def test_paths_weigh_early_segments_by_the_leaves_behind_them():
    node = ["a", "b", *(f"{up}{i}" for up in "ab" for i in range(3))]
    columns = ["t"] * 8, node, [None, None, *"aaabbb"]
    rewards = f64(0, 0, 1, 0, 0, 1, 1, 0)
    plain, weighted = spo_tree(rewards, *columns), spo_tree(rewards, *columns, weight="path")
    torch.testing.assert_close(weighted, plain * f64(3, 3, *[1] * 6), check_dtype=False)
    # beside a tree of two leaves, the mean is four leaves
    joined = spo_tree(torch.cat([rewards, f64(1, 0)]), ["t"] * 8 + ["u"] * 2, [*node, "a", "b"], [*columns[2], None, None], weight="path")
    torch.testing.assert_close(joined, torch.cat([weighted * 4 / 6, f64(0.5, -0.5) * 4 / 2]), check_dtype=False)
    with pytest.raises(ValueError, match="weight must be one of 'segment', 'path', got 'leaf'"):
        spo_tree(rewards, *columns, weight="leaf")


def test_what_is_shown():
    starts = torch.tensor([[False, True, False, True]])
    value = f64(9, 0.5, 9, 0.25)[None]
    with Tape() as tape:
        spo(f64(1), everywhere(starts), starts, value)
    assert tape["value before the segment"].tolist() == [[0, 0.5, 0.5, 0.25]]
    assert tape["value behind the segment"].tolist() == [[0, 0.25, 0.25, 1]]
    with Tape() as tape:
        spo_tree(f64(1, 0, 0.5), ["t"] * 3, list("abc"), [None] * 3)
    assert tape["value of the parent"].tolist() == [0.5] * 3


# loop against vectorised, properties


@given(seed=st.integers(0, 2**31), threshold=st.floats(0.3, 1))
def test_equals_the_released_filler(seed, threshold):
    columns = agent_batch(seed, tokens=9)
    ours = call(spo, columns, threshold=threshold).tolist()
    names = ("response_mask", "segment_start", "segment_value", "rewards")
    for row, (mask, starts, values, outcome) in enumerate(zip(*(columns[name].tolist() for name in names), strict=True)):
        probabilities = columns["old_logp"][row].exp().tolist()
        assert ours[row] == pytest.approx(plain_spo(probabilities, mask, starts, values, outcome, threshold))


@given(seed=st.integers(0, 2**31), interval=st.integers(1, 7))
def test_each_segment_holds_as_many_cutpoints(seed, interval):
    columns = agent_batch(seed, tokens=12)
    unsure = probability_mask(columns["old_logp"], columns["response_mask"])
    starts = cutpoint_starts(columns["old_logp"], columns["response_mask"], interval=interval)
    assert not (starts & ~unsure).any()
    for row_starts, row_unsure in zip(starts, unsure, strict=True):
        at = [*row_starts.nonzero().flatten().tolist(), len(row_starts)]
        counts = [int(row_unsure[start:stop].sum()) for start, stop in pairwise(at)]
        assert sum(counts) == row_unsure.sum()
        assert all(count == interval for count in counts[:-1])


@given(seed=st.integers(0, 2**31), shares=st.integers(1, 7))
def test_cutpoints_are_shared_out_evenly(seed, shares):
    columns = agent_batch(seed, tokens=12)
    unsure = probability_mask(columns["old_logp"], columns["response_mask"])
    starts = cutpoint_starts(columns["old_logp"], columns["response_mask"], num_segments=shares)
    for row_starts, row_unsure in zip(starts, unsure, strict=True):
        at = [*row_starts.nonzero().flatten().tolist(), len(row_starts)]
        counts = [int(row_unsure[start:stop].sum()) for start, stop in pairwise(at)]
        assert len(counts) == min(shares, int(row_unsure.sum()))
        assert counts == sorted(counts, reverse=True)
        assert max(counts, default=0) - min(counts, default=0) <= 1


@given(rewards=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=8))
def test_siblings_add_up_to_nothing(rewards):
    columns = ["t"] * len(rewards), range(len(rewards)), [None] * len(rewards)
    assert spo_tree(f64(*rewards), *columns).sum().item() == pytest.approx(0, abs=1e-12)
    if len(set(rewards)) == 1:
        assert (spo_tree(f64(*rewards), *columns, scale="std") == 0).all()
        assert (best_of_gain(f64(*rewards), *columns) == 0).all()


# wrong usage


def test_bad_columns_are_refused():
    columns = {name: agent_batch()[name] for name in ("rewards", "response_mask", "segment_start", "segment_value", "old_logp")}
    starts = torch.zeros_like(columns["segment_start"])
    starts[3, 0] = True
    value = torch.full_like(columns["segment_value"], torch.nan)
    with pytest.raises(ValueError, match="segment_value must be finite, got nan in row 3, token 0"):
        spo(**columns | {"segment_start": starts, "segment_value": value})
    outside = starts.clone()
    outside[0] = True
    mask = columns["response_mask"].clone()
    mask[0, 2:] = False
    with pytest.raises(ValueError, match="in row 0 one starts at token 2, which is masked"):
        spo(**columns | {"segment_start": outside, "response_mask": mask})
    with pytest.raises(ValueError, match=r"segment_start must have shape \(\d+, 5\), got \(\d+, 6\)"):
        spo(**columns | {"segment_value": columns["segment_value"][:, :5]})
    with pytest.raises(ValueError, match=r"response_mask must have shape"):
        spo(**columns | {"old_logp": columns["old_logp"][:, :5]})
    logp = columns["old_logp"].clone()
    logp[2, 0] = torch.nan
    with pytest.raises(ValueError, match="old_logp must be finite, got nan in row 2, token 0"):
        spo(**columns | {"old_logp": logp})
    with pytest.raises(ValueError, match=r"threshold must be a number in \[0, 1\], got 90"):
        spo(**columns, threshold=90)


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_numbers_of_segments_are_whole(number):
    old_logp = logs("??")
    with pytest.raises(ValueError, match="interval must be a whole number, 1 or more"):
        cutpoint_starts(old_logp, everywhere(old_logp), interval=number)
    with pytest.raises(ValueError, match="num_segments must be a whole number, 1 or more"):
        cutpoint_starts(old_logp, everywhere(old_logp), num_segments=number)
    with pytest.raises(ValueError, match="num_segments must be a whole number, 1 or more"):
        equal_starts(everywhere(old_logp), number)


def test_a_broken_tree_is_refused():
    with pytest.raises(ValueError, match="row 1 of task 't' names 'z' as its parent, but there is no such node"):
        spo_tree(f64(1, 0), ["t", "t"], ["a", "b"], [None, "z"])
