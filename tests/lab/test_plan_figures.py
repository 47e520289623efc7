import pytest
import torch

from hierlab.credit import hae, parse_plans, value_masks
from hierlab.lab.plan_figures import dots_figure, response_figure, timeline_figure, variance_figure
from hierlab.lab.plan_testbed import corridor_testbed
from hierlab.rollout.rollouts import estimate
from hierlab.seeds import generator

PIECES = ["<switch>", "SWITCH", "</switch>", "<subgoal>", "find the key", "</subgoal>", "<action>", "left", "</action>"]


def trajectory():
    rollouts = corridor_testbed(1, horizon=6).collect(1, 5, generator("plan figures"))
    return rollouts.select([row for row, name in enumerate(rollouts.trajectory) if name == 0])


def test_a_response_shows_whose_decision_each_token_is():
    mask = torch.ones(1, 9, dtype=torch.bool)
    plans = parse_plans([PIECES], mask, include_tags=False)
    figure = response_figure(PIECES, plans, value_masks(plans.plan_end, torch.tensor([True]), mask))
    cells = dict(zip(figure.data[0].x, zip(*figure.data[0].z, strict=True), strict=True))
    marked = {name: [t for t, cell in enumerate(column) if cell is not None] for name, column in cells.items()}
    assert marked == {"switch": [1], "subgoal": [4], "action": [7], "V switch": [0], "V high": [0], "V low": [6]}
    assert figure.data[0].y[0] == "0 &lt;switch&gt;"


def test_a_time_line_shows_every_turn_and_every_segment():
    one = trajectory()
    credit = estimate(one, hae)
    figure = timeline_figure(one, credit, ("left", "right", "around"), one["world_state"], credit.switch)
    bars = {trace.name: trace for trace in figure.data}
    assert len(bars["A low"].x) == len(one)
    assert list(bars["a segment starts"].x) == one["switch"].nonzero().flatten().tolist()
    assert len(bars["A high, one step a segment"].x) == int(credit.boundary.sum()) + 1
    assert {"A switch, code", "A switch, paper"} <= set(bars)


def test_a_time_line_of_several_trajectories_is_refused():
    rollouts = corridor_testbed(1, horizon=6).collect(1, 2, generator("plan figures"))
    with pytest.raises(ValueError, match="one trajectory"):
        timeline_figure(rollouts, estimate(rollouts, hae), ("a", "b", "c"), rollouts["world_state"])


def test_shares_of_the_reference_add_up_to_1():
    figure = variance_figure({"flat": (2.0, 1.0, 1.0), "HAE": (0.5, 0.5, 0.0)}, "flat")
    assert sum(bar.x[0] for bar in figure.data) == pytest.approx(1)
    assert sum(bar.x[1] for bar in figure.data) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="one of flat"):
        variance_figure({"flat": (1.0, 1.0, 1.0)}, "round")


def test_dots_have_intervals_where_there_are_several_seeds():
    several = dots_figure({"HAE": {"one": [1.0, 2.0], "two": [2.0, 4.0]}}, "subtasks", "auc")
    assert list(several.data[0].y) == [1.5, 3.0]
    assert several.data[0].error_y.array[0] > 0
    assert dots_figure({"HAE": {"one": [1.0]}}, "subtasks", "auc").data[0].error_y.array is None


def test_a_response_too_long_to_be_read_is_refused():
    with pytest.raises(ValueError, match="49 tokens"):
        response_figure(["a"] * 49, None, None)
