from functools import partial

import pytest

from hierlab.credit import grpo, rloo
from hierlab.envs.search_house import SearchHouse
from hierlab.lab.sweep import over_group_sizes, over_horizons
from hierlab.lab.testbed import house_testbed
from hierlab.lab.token_testbed import tree_testbed

ARMS = {"RLOO": rloo, "centred": partial(grpo, scale="none")}
BED = tree_testbed(0.4, bits=3, spare=1)


@pytest.fixture(scope="module")
def sizes():
    return over_group_sizes(ARMS, BED, sizes=(2, 4, 8), trajectories=6000, resamples=200)


def test_the_groups_mean_shortens_the_gradient_by_one_nth_at_every_size(sizes):
    for size, one, other in zip(sizes.levels, sizes["centred"], sizes["RLOO"], strict=True):
        assert one["gradient_norm"].value == pytest.approx((1 - 1 / size) * other["gradient_norm"].value)


def test_larger_groups_have_better_baselines(sizes):
    variance = [found["variance"].value for found in sizes["RLOO"]]
    assert variance == sorted(variance, reverse=True)


def test_every_size_sees_as_many_trajectories(sizes):
    assert {seen.settings["rows"] for seen in sizes.seen} == {6000}


def test_horizons_are_the_testbeds_in_the_order_given():
    found = over_horizons(ARMS, {bits: tree_testbed(0.4, bits=bits, spare=1) for bits in (2, 4)}, along="bits", batches=50, resamples=100)
    assert found.levels == (2, 4)
    assert "tree" in found.seen[0].description
    longer = [found["RLOO"][i]["correlation"].value for i in (0, 1)]
    assert longer[1] < longer[0]


def test_turns_are_swept_as_well():
    beds = {turns: house_testbed(0.2, house=SearchHouse(rooms=2, horizon=turns)) for turns in (6, 10)}
    assert over_horizons({"GRPO": grpo}, beds, batches=20, resamples=100)["GRPO"][1]["variance"].value > 0


def test_tables_and_plots_hold_every_level_and_estimator(sizes):
    table = sizes.table(["variance"])
    assert [row[:2] for row in table["rows"]] == [[size, name] for size in (2, 4, 8) for name in ARMS]
    figure = sizes.plot(["variance", "correlation"])
    assert len(figure.data) == 4
    assert list(figure.data[0].x) == [2, 4, 8]
    assert figure.layout.xaxis2.type == "log"


def test_refuses_what_cannot_be_swept(sizes):
    with pytest.raises(ValueError, match="give sizes"):
        over_group_sizes(ARMS, BED, sizes=())
    with pytest.raises(ValueError, match="at least 2 batches of 1 x 16, got 20"):
        over_group_sizes(ARMS, BED, sizes=(4, 16), trajectories=20)
    with pytest.raises(ValueError, match="at least one testbed"):
        over_horizons(ARMS, {})
    with pytest.raises(KeyError, match="no metric 'beauty'"):
        sizes.plot(["beauty"])
    with pytest.raises(KeyError, match="no estimator 'GiGPO'"):
        sizes["GiGPO"]
