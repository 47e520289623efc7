from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.ops import (
    group_first,
    group_ids,
    group_mean,
    group_relative,
    group_size,
    group_std,
    group_sum,
    hashable,
    leave_one_out,
    linear_recurrence,
    masked_mean,
    masked_sum,
    masked_var,
    returns_to_go,
    token_returns,
    trajectory_order,
    whiten,
)

NAN, INF = float("nan"), float("inf")


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


# degenerate sizes


def test_empty_batches_give_empty_results():
    x, group = f64(), ids()
    assert group_ids([]).shape == (0,)
    assert group_ids([], []).dtype == torch.int64
    for result in (
        group_sum(x, group),
        group_mean(x, group),
        group_std(x, group),
        group_relative(x, group, scale="std"),
        leave_one_out(x, group),
        returns_to_go(x, group, group, 0.9),
    ):
        assert result.shape == (0,)
        assert result.dtype == torch.float64
    assert group_first(group).shape == (0,)
    assert token_returns(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool), 0.9).shape == (0, 4)
    assert token_returns(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.bool), 0.9).shape == (3, 0)


def test_nothing_masked_in_is_zero_not_nan():
    x, nothing = f64(1, NAN, INF), torch.zeros(3, dtype=torch.bool)
    assert masked_sum(x, nothing) == 0
    assert masked_mean(x, nothing) == 0
    assert masked_var(x, nothing) == 0
    assert (whiten(x, nothing) == 0).all()


def test_one_masked_in_has_no_spread():
    one = torch.tensor([False, True, False])
    assert masked_var(f64(1, 5, 2), one) == 0
    assert (whiten(f64(1, 5, 2), one) == 0).all()


# closed form


def test_group_ids_number_in_order_of_appearance():
    assert group_ids(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert group_ids(["b", "a", "b", "c"], ids(1, 1, 2, 1)).tolist() == [0, 1, 2, 3]
    assert group_ids(["a", "a"], [1, 1], [None, None]).tolist() == [0, 0]


def test_group_ids_compare_by_content():
    assert group_ids([[1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2])]).tolist() == [0, 0, 0, 0]
    assert group_ids([{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1}]).tolist() == [0, 0, 1]
    assert group_ids([torch.tensor(1.0), torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [0, 0, 1]
    assert group_ids(np.array([[1, 2], [3, 4], [1, 2]])).tolist() == [0, 1, 0]
    assert group_ids(torch.tensor([[1, 2], [3, 4], [1, 2]])).tolist() == [0, 1, 0]
    assert group_ids(np.array(["x", "y", "x"])).tolist() == [0, 1, 0]
    assert group_ids([np.float32(1), np.float32(1), np.str_("a")]).tolist() == [0, 0, 1]


def test_hashable_flattens_arrays_and_sorts_mappings():
    assert hashable(np.array([[1, 2], [3, 4]])) == (1, 2, 3, 4)
    assert hashable({"b": np.array([1]), "a": {"c": [1, (2,)]}}) == (("a", (("c", (1, (2,))),)), ("b", (1,)))


def test_group_reductions():
    x, group = f64(1, 2, 4, 10), ids(0, 1, 0, 1)
    assert group_sum(x, group).tolist() == [5, 12, 5, 12]
    assert group_size(group).tolist() == [2, 2, 2, 2]
    assert group_mean(x, group).tolist() == [2.5, 6, 2.5, 6]
    assert group_std(x, group)[0].item() == pytest.approx(4.5**0.5)
    assert group_std(x, group, unbiased=False)[0].item() == pytest.approx(1.5)


def test_only_counted_rows_enter_statistics():
    x, group, counted = f64(1, 2, 100), ids(0, 0, 0), torch.tensor([True, True, False])
    assert group_sum(x, group, counted).tolist() == [3, 3, 3]
    assert group_size(group, counted).tolist() == [2, 2, 2]
    assert group_mean(x, group, counted).tolist() == [1.5, 1.5, 1.5]
    assert group_std(x, group, counted)[2].item() == pytest.approx(0.5**0.5)


def test_group_first_by_row_and_by_place():
    assert group_first(ids(0, 1, 0, 1)).tolist() == [True, True, False, False]
    assert group_first(ids(0, 1, 0, 1), ids(5, 1, 2, 7)).tolist() == [False, True, True, False]


def test_group_relative_switches():
    x, group = f64(1, 3, 7), ids(0, 0, 1)
    assert group_relative(x, group, scale="none").tolist() == [-1, 1, 0]
    assert group_relative(x, group, scale="none", singleton="raw").tolist() == [-1, 1, 7]
    std = 2**0.5
    assert group_relative(x, group, scale="std", eps=0.5, singleton="raw").tolist() == pytest.approx(
        [-1 / (std + 0.5), 1 / (std + 0.5), 7 / 1.5]
    )
    assert group_relative(x, group, scale="std", eps=0, unbiased=False).tolist() == pytest.approx([-1, 1, 0])
    batch = x.std().item()
    assert group_relative(x, group, scale="batch", eps=0.1).tolist() == pytest.approx([-1 / (batch + 0.1), 1 / (batch + 0.1), 0])


def test_equal_values_give_exactly_zero_even_without_epsilon():
    x = torch.full((7,), 0.1, dtype=torch.float32)  # 7 * 0.1 / 7 is not 0.1 in floating point
    group = ids(0, 0, 0, 0, 0, 0, 0)
    for scale in ("none", "std", "batch"):
        assert (group_relative(x, group, scale=scale, eps=0) == 0).all()


def test_half_precision_counts_further_than_it_can_add():
    ones, group = torch.ones(1000, dtype=torch.bfloat16), torch.zeros(1000, dtype=torch.int64)
    assert group_mean(ones, group).dtype == torch.bfloat16
    assert group_sum(ones, group)[0] == 1000  # adding in bfloat16 stops at 256


def test_leave_one_out():
    assert leave_one_out(f64(1, 2, 6, 5), ids(0, 0, 0, 1)).tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5, 0])
    assert leave_one_out(f64(5), ids(0), singleton="raw").tolist() == [5]


def test_masked_moments():
    x, mask = f64(1, 3, NAN), torch.tensor([True, True, False])
    assert masked_mean(x, mask).item() == pytest.approx(2)
    assert masked_var(x, mask).item() == pytest.approx(2)
    assert masked_var(x, mask, unbiased=False).item() == pytest.approx(1)
    assert masked_mean(torch.stack([x, x]), torch.stack([mask, mask]), dim=1).tolist() == pytest.approx([2, 2])
    assert whiten(x, mask).tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5, 0])


def test_a_count_as_mask_is_an_entry_repeated():
    x, times = f64(1, 4, 9), ids(2, 0, 3)
    repeated = x.repeat_interleave(times)
    everything = torch.ones(5, dtype=torch.bool)
    assert masked_mean(x, times).item() == pytest.approx(repeated.mean().item())
    assert masked_var(x, times).item() == pytest.approx(repeated.var().item())
    assert whiten(x, times)[[0, 2]].tolist() == pytest.approx(whiten(repeated, everything)[[0, 4]].tolist())
    assert whiten(x, times)[1] == 0


def test_what_is_masked_has_no_gradient():
    x = f64(1, NAN, 3).requires_grad_()
    masked_mean(x, torch.tensor([True, False, True])).backward()
    assert x.grad.tolist() == pytest.approx([0.5, 0, 0.5])


def test_returns_to_go():
    rewards, trajectory, turn = f64(8, 1, 4, 2), ids(0, 1, 0, 0), ids(30, 0, 10, 20)  # trajectory 0 is 4, 2, 8
    assert returns_to_go(rewards, trajectory, turn, 0.5).tolist() == [8, 1, 7, 6]
    assert returns_to_go(rewards, trajectory, turn, 1.0).tolist() == [8, 1, 14, 10]
    assert returns_to_go(rewards, trajectory, turn, 0.0).tolist() == rewards.tolist()


def test_token_returns_start_anew_behind_a_masked_token():
    mask = torch.tensor([[True, True, False, True]])
    assert token_returns(f64(1, 2, NAN, 4)[None], mask, 0.5).tolist() == [[2, 2, 0, 4]]


def test_trajectory_order():
    order, goes_on = trajectory_order(ids(1, 0, 1, 0), ids(3, 2, 1, 5))
    assert order.tolist() == [1, 3, 2, 0]
    assert goes_on.tolist() == [True, False, True, False]


# loop against vectorised


@given(st.integers(0, 70), st.integers(0, 3), st.integers(0, 2**31))
def test_linear_recurrence_equals_the_loop(length, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    x, decay = torch.randn(2, rows, length, generator=generator, dtype=torch.float64)
    expected = x.clone()
    for t in reversed(range(length - 1)):
        expected[:, t] += decay[:, t] * expected[:, t + 1]
    assert torch.allclose(
        linear_recurrence(x, decay), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()) if expected.numel() else 0
    )


def test_linear_recurrence_changes_neither_argument():
    x, decay = f64(1, 2, 3, 4, 5), f64(0.5, 0.5, 0.5, 0.5, 0.5)
    linear_recurrence(x, decay)
    assert x.tolist() == [1, 2, 3, 4, 5]
    assert decay.tolist() == [0.5] * 5


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.booleans()), max_size=30))
def test_group_ids_equal_a_dictionary(rows):
    number: dict = {}
    expected = [number.setdefault(row, len(number)) for row in rows]
    columns = list(zip(*rows, strict=True)) or [[], [], []]
    assert group_ids(*columns).tolist() == expected


# properties


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-100, 100)), min_size=1, max_size=30), st.floats(-1e3, 1e3), st.randoms())
def test_group_relative_ignores_shifts_and_follows_permutations(rows, shift, random):
    group = group_ids([g for g, _ in rows])
    x = f64(*(v for _, v in rows))
    relative = group_relative(x, group, scale="none")
    assert torch.allclose(group_relative(x + shift * (group + 1), group, scale="none"), relative, atol=1e-9)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert torch.allclose(group_relative(x[order], group[order], scale="none"), relative[order], atol=1e-9)
    assert torch.allclose(group_sum(relative, group), torch.zeros_like(x), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtype_is_kept(dtype):
    x, group, mask = torch.arange(4).to(dtype), ids(0, 0, 1, 1), torch.ones(4, dtype=torch.bool)
    results = (
        *(
            group_sum(x, group),
            group_mean(x, group),
            group_std(x, group),
            leave_one_out(x, group),
            returns_to_go(x, group, ids(0, 1, 0, 1), 0.9),
        ),
        *(group_relative(x, group, scale=scale) for scale in ("none", "std", "batch")),
        *(masked_sum(x, mask), masked_mean(x, mask), masked_var(x, mask), whiten(x, mask), token_returns(x[None], mask[None], 0.9)),
    )
    assert {result.dtype for result in results} == {dtype}


def test_float64_is_not_rounded_through_float32():
    x = f64(1, 2, 4) / 3
    assert leave_one_out(x, ids(0, 0, 0)).tolist() == pytest.approx([(1 - 3) / 3, (2 - 2.5) / 3, (4 - 1.5) / 3], abs=1e-15)


# wrong usage


def test_group_ids_refuse():
    with pytest.raises(ValueError, match="at least one column"):
        group_ids()
    with pytest.raises(ValueError, match="column 0: 2, column 1: 3"):
        group_ids([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="cannot group by a set"):
        group_ids([{1}, {2}])
    with pytest.raises(ValueError, match="cannot group by a dict"):
        group_ids([{1: 0, "a": 0}])


def test_bad_switches_are_refused():
    x, group = f64(1, 2), ids(0, 0)
    with pytest.raises(ValueError, match="scale must be one of 'none', 'std', 'batch', got 'variance'"):
        group_relative(x, group, scale="variance")
    with pytest.raises(ValueError, match="singleton must be one of 'zero', 'raw'"):
        group_relative(x, group, scale="none", singleton="one")
    with pytest.raises(ValueError, match="eps must be a number"):
        group_relative(x, group, scale="std", eps=-1.0)
    with pytest.raises(ValueError, match=r"gamma must be a number in \[0, 1\], got 1.5"):
        returns_to_go(x, group, ids(0, 1), 1.5)
    with pytest.raises(ValueError, match="gamma"):
        token_returns(x[None], torch.ones(1, 2, dtype=torch.bool), NAN)


def test_a_turn_twice_is_refused_by_row():
    with pytest.raises(ValueError, match="rows 1 and 3 are both turn 7"):
        returns_to_go(f64(1, 2, 3, 4), ids(0, 1, 0, 1), ids(0, 7, 1, 7), 0.9)
