"""HGPO's levels against the truth: matrices of errors that are right where the answer is known, and an oracle without bias."""

import math

import pytest
import torch

from hierlab.envs.open_house import OpenHouse
from hierlab.envs.search_house import SearchHouse
from hierlab.lab.context_levels import Statement, context_levels, errors, proposition
from hierlab.lab.testbed import house_testbed
from hierlab.seeds import generator


def made_up(groups: int, offset: torch.Tensor, mixing: torch.Tensor, *, rows: int = 3):
    """Estimates with known bias `offset` [C, L] and covariance `mixing @ mixing.T`; the rows of a group share their noise."""
    choices, levels = offset.shape
    g = generator("made up", groups)
    noise = torch.randn(groups, levels, generator=g, dtype=torch.float64) @ mixing.T
    group = torch.arange(groups).repeat_interleave(rows)
    choice = torch.randint(choices, (groups,), generator=g).repeat_interleave(rows)
    truth = torch.arange(choices, dtype=torch.float64)[choice]
    return truth[:, None] + offset[choice] + noise[group], truth, choice, group


# degenerate sizes


def test_a_choice_that_one_group_made_tells_nothing():
    with pytest.raises(ValueError, match="no choice was made in two groups, among 2 rows: play more groups"):
        errors(torch.zeros(2, 1), torch.zeros(2), torch.tensor([0, 0]), torch.tensor([0, 0]))


def test_such_a_choice_is_left_out():
    found = errors(torch.tensor([[1.0], [1.0], [99.0]]), torch.zeros(3), torch.tensor([4, 4, 7]), torch.tensor([0, 1, 1]))
    assert (found.rows, found.squared_bias.tolist(), found.variance.tolist()) == (2, [1], [0])


# closed form


def test_two_groups_by_hand():
    # one choice: errors 3 and 1 in one group, 2 in another; pairs across groups: 3 * 2 and 1 * 2
    found = errors(torch.tensor([[3.0], [1.0], [2.0]]), torch.zeros(3), torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1]))
    assert found.squared_bias.item() == pytest.approx((3 * 2 + 1 * 2) / 2)
    assert found.squared_error.item() == pytest.approx(14 / 3)


def test_known_bias_and_covariance_are_found():
    offset = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    mixing = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 2]], dtype=torch.float64)
    found = errors(*made_up(20_000, offset, mixing))
    torch.testing.assert_close(found.bias, offset.T @ offset / 2, atol=0.06, rtol=0)
    torch.testing.assert_close(found.covariance, mixing @ mixing.T, atol=0.1, rtol=0)
    assert found.correlation[0, 1].item() == pytest.approx(math.sqrt(0.5), abs=0.02)
    weight = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    bias, variance = found.of_mean(weight)
    mean = errors(*[x @ weight[:, None] if x.dim() == 2 else x for x in made_up(20_000, offset, mixing)])
    assert (bias, variance) == pytest.approx((mean.squared_bias.item(), mean.variance.item()))


def test_noise_is_not_taken_for_bias():
    biases = [errors(*made_up(60, torch.zeros(10, 1).double(), torch.eye(1).double(), rows=k)).squared_bias.item() for k in range(1, 9)]
    assert abs(sum(biases) / 8) < 0.1  # plugging in the means would give about 10 / 60


# the house


@pytest.fixture(scope="module")
def found():
    return context_levels(house_testbed(0.5), history=2, groups=600)


def test_curves_have_one_entry_a_level(found):
    assert found["depth"] == [0, 1, 2]
    for name in ("coverage", "mixed", "all_squared_bias", "other_rows_variance", "other_trajectories_squared_error"):
        assert len(found[name]) == 3, name
    for name in ("alpha", "all_mean_squared_bias", "other_trajectories_mean_bound"):
        assert len(found[name]) == 3, name
    assert all(math.isfinite(x) for value in found.values() for x in (value if isinstance(value, list) else [value]))


def test_deeper_groups_are_smaller_and_purer(found):
    assert found["coverage"] == sorted(found["coverage"], reverse=True)
    assert found["mixed"] == sorted(found["mixed"], reverse=True)
    assert 0 < found["support"] < found["coverage"][2]


def test_the_oracle_is_unbiased_if_nothing_of_its_own_is_in_the_mean(found):
    """Its groups share the true state, so the mean of other trajectories is an unbiased baseline: the sharpest test of it all."""
    assert abs(found["oracle_squared_bias"]) < 0.1
    assert found["shallow_squared_bias"] > 0.5


def test_company_with_itself_shrinks_the_advantage(found):
    for level in range(3):
        assert found["all_squared_error"][level] < found["other_rows_squared_error"][level]


def test_depth_costs_variance_once_the_own_share_is_out(found):
    assert found["other_trajectories_variance"] == sorted(found["other_trajectories_variance"])


def test_equal_seeds_give_equal_numbers():
    testbed = house_testbed(0.5, house=SearchHouse(rooms=2))
    once, again = (context_levels(testbed, history=1, groups=40, seed=3) for _ in range(2))
    assert once == again
    assert once != context_levels(testbed, history=1, groups=40, seed=4)


def test_without_history_there_is_one_level():
    found = context_levels(house_testbed(0.5, house=OpenHouse(rooms=2), history=0), history=0, groups=60)
    assert found["all_mean_squared_bias"] == pytest.approx(found["all_squared_bias"] * 3)
    assert found["all_least_correlation"] == pytest.approx(1)


# Proposition 4.1


def said(bias, variance, *, of_mean=(0.0, 0.0), bound=0.0, correlation=0.0) -> dict:
    names = {"squared_bias": [bias], "variance": [variance], "least_correlation": [correlation]}
    means = {"mean_squared_bias": [[9, of_mean[0]]], "mean_variance": [[9, of_mean[1]]], "mean_bound": [[9, bound]]}
    return {f"all_{name}": value for name, value in (names | means).items()}


def test_where_it_holds_every_gap_is_positive():
    found = proposition(said([4, 2, 1], [1, 2, 3], of_mean=(2, 1), bound=1.5), "all")
    assert {words: statement.gap for words, statement in found.items()} == {
        "premise: bias falls with depth": [1],
        "premise: variance rises with depth": [1],
        "premise: levels are uncorrelated": [0.05],
        "conclusion: bias between that of the levels": [1],
        "conclusion: variance within the bound": [0.5],
    }


def test_each_part_can_fail():
    found = proposition(said([4, 5, 1], [1, 3, 2], of_mean=(5, 2), bound=1.5, correlation=0.8), "all")
    assert [statement.gap[0] for statement in found.values()] == pytest.approx([-1, -1, -0.75, -1, -0.5])


def test_a_bar_may_differ_from_seed_to_seed():
    assert Statement([1.0, 2.0], [3.0, 1.0], "less").gap == [2.0, -1.0]
