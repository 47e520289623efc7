from functools import partial

import pytest
import torch

from hierlab.credit import grpo
from hierlab.envs.search_house import SearchHouse
from hierlab.lab.low_variance import LEVELS, METRICS, low_variance
from hierlab.lab.testbed import house_testbed
from hierlab.seeds import generator

HOUSE = SearchHouse(rooms=2, horizon=6)
LOW, HIGH = house_testbed(0.05, house=HOUSE), house_testbed(0.9, house=HOUSE)
ARMS = {"none": partial(grpo, scale="none"), "std": grpo}
FEW = {"groups": 300, "resamples": 100}


@pytest.fixture(scope="module")
def found():
    return low_variance(ARMS, [HIGH, LOW], **FEW)


# --- degenerate sizes ---


def test_groups_of_one_are_all_flat():
    only = low_variance(ARMS, [LOW], group_size=1, **FEW).measured["none"][0]
    assert only["flat_groups"] == (1, 1, 1)
    assert only["flat_length"] is None
    assert only["flat_share"] is None  # their advantages are all 0


# --- closed form and definition ---


def test_the_share_of_flat_groups_is_binomial():
    """All of 4 fail or all succeed; success differs between tasks, so the probability is averaged over them."""
    found = low_variance(ARMS, [LOW], group_size=4, groups=3000, resamples=100).measured["none"][0]["flat_groups"]
    successes = [_success_from(LOW.world, LOW.probabilities, start) for start in LOW.world.start.tolist()]
    assert sum(successes) / len(successes) == pytest.approx(LOW.truth.success)
    assert found.value == pytest.approx(sum(p**4 + (1 - p) ** 4 for p in successes) / len(successes), abs=0.03)


def _success_from(world, pi, start):
    place = torch.zeros(len(world.context), dtype=torch.float64)
    place[start] = 1
    success = 0.0
    for _ in range(world.horizon):
        flow = place[:, None] * pi[world.context]
        success += float(flow[world.won].sum())
        place = torch.zeros_like(place).index_add(0, world.move.flatten(), (flow * ~world.over).flatten())
    return success


def test_lengths_and_shares_by_hand(found):
    rollouts = LOW.collect(300, 8, generator("low variance", 0))
    group = torch.tensor(rollouts.task)
    advantage = grpo(rollouts.rewards, rollouts.task, rollouts.trajectory)
    squares = LOW.implied_gradients(rollouts, advantage, group, 300).square().sum(dim=1)
    flat = torch.tensor([len(set(rollouts["success"][group == g].tolist())) == 1 for g in range(300)])
    low = found.measured["std"][0]
    assert low["flat_groups"].value == pytest.approx(float(flat.double().mean()))
    assert low["flat_share"].value == pytest.approx(float(squares[flat].sum() / squares.sum()))
    assert low["flat_length"].value == pytest.approx(float((squares[flat].mean() / squares[~flat].mean()).sqrt()))


# --- what the deviation does ---


def test_the_deviation_inflates_flat_groups(found):
    for level in (0, 1):
        none, std = (found.measured[name][level]["flat_length"] for name in ("none", "std"))
        assert none.high < 0.2
        assert std.low > 0.4


def test_policies_are_ordered_and_estimators_see_the_same_rollouts(found):
    assert found.success == pytest.approx((0.05, 0.9))
    for level in (0, 1):
        assert found.measured["none"][level]["flat_groups"] == found.measured["std"][level]["flat_groups"]


def test_seeds_decide(found):
    again, other = (low_variance(ARMS, [HIGH, LOW], seed=seed, **FEW) for seed in (0, 1))
    assert again == found
    assert other != found


def test_the_path_leads_from_hopeless_to_nearly_perfect():
    assert LEVELS[0] < 0.05
    assert LEVELS[-1] > 0.95
    assert list(LEVELS) == sorted(LEVELS)


# --- what is shown ---


def test_the_table_has_a_row_for_each_policy_and_estimator(found):
    table = found.table()
    assert table["columns"] == ["success", "estimator", *(metric.label for metric in METRICS.values())]
    assert [row[:2] for row in table["rows"]] == [[0.05, "none"], [0.05, "std"], [0.9, "none"], [0.9, "std"]]


def test_the_figure_has_a_line_for_each_estimator_and_panel(found):
    figure = found.plot()
    assert len(figure.data) == 2 * 3
    assert figure.layout.width is None
    assert [trace.name for trace in figure.data if trace.showlegend] == ["none", "std"]
    assert figure.data[0].x == pytest.approx((0.05, 0.9))
    assert figure.layout.font.size >= 13


# --- wrong usage ---


@pytest.mark.parametrize(
    ("arms", "testbeds", "wrong", "message"),
    [
        ({}, [LOW], {}, "at least one estimator"),
        (ARMS, [], {}, "at least one testbed"),
        (ARMS, [LOW], {"groups": 1}, "2 batches"),
        (ARMS, [LOW], {"group_size": 0}, "group_size"),
        ({"short": lambda rewards: rewards[1:]}, [LOW], {}, "one number for each"),
    ],
)
def test_refuses_impossible_settings(arms, testbeds, wrong, message):
    with pytest.raises(ValueError, match=message):
        low_variance(arms, testbeds, **FEW | wrong)


def test_refuses_unknown_metrics(found):
    for use in (found.table, found.plot):
        with pytest.raises(KeyError, match="no metric 'beauty'"):
            use(["beauty"])
