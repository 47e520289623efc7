"""Pictures of nested groups: what they draw is what the estimator computed."""

import pytest
import torch

from hierlab.credit import hgpo
from hierlab.lab.context_figures import (
    KEPT,
    MEANS,
    PANELS,
    by_level,
    level_errors,
    level_weights,
    lost_levels,
    most_telling,
    nested_groups,
)
from hierlab.lab.figures import figure_json
from hierlab.lab.results import Measured
from hierlab.lab.testbed import house_testbed
from hierlab.rollout import Rollouts, estimate
from hierlab.seeds import generator
from hierlab.trace import Tape


def rollouts(trajectory: str, state: str, rewards: list[float]) -> Rollouts:
    n = len(state)
    ids, mask = torch.zeros(n, 1, dtype=torch.int64), torch.ones(n, 1, dtype=torch.bool)
    turn = torch.tensor([trajectory[:i].count(name) for i, name in enumerate(trajectory)])
    return Rollouts(
        ids, mask, ids, mask, torch.zeros(n, 1), torch.tensor(rewards, dtype=torch.float64), ["t"] * n, list(trajectory), turn, list(state)
    )


# a and b stand in the hall (h) after the left room, c after the right one; d begins there
HALL = rollouts("aabbccd", "lhlhrhh", [0, 8, 0, 0, 0, 4, 1])


@pytest.fixture(scope="module")
def played() -> Rollouts:
    return house_testbed(0.5).collect(10, 8, generator("figures"))


def test_no_company_is_said():
    with pytest.raises(ValueError, match="no two turns that share their last 3 observations differ in return"):
        most_telling(HALL, 2)
    with pytest.raises(ValueError, match="no turn is compared at all 3 levels"):
        level_weights(HALL, history=2)


def test_the_turn_farthest_from_the_mean_is_chosen():
    assert most_telling(HALL, 0) == 1  # returns 8, 0, 4 and 1 in the hall
    assert most_telling(HALL, 1) == 1  # 8 and 0 after the left room


def test_nested_groups_shrink_around_the_turn():
    figure = nested_groups(HALL, 1, history=1, gamma=1.0)
    dots = [sorted(trace.x) for trace in figure.data if trace.mode == "markers"]
    means = [trace.x[0] for trace in figure.data if trace.mode == "lines"]
    assert dots == [[0, 1, 4], [0]]
    assert means == pytest.approx([13 / 4, 4])
    assert list(figure.layout.yaxis.ticktext) == ["k = 0<br>n = 4", "k = 1<br>n = 2"]


def test_one_step_a_level():
    with Tape() as tape:
        estimate(HALL, hgpo, history=1)
    steps = by_level(tape)
    names = [step.name for step in steps]
    assert names.count("level advantage, k = 0") == names.count("level advantage, k = 1") == 1
    assert all(step.value.shape == (7,) for step in steps)


def test_weights_are_the_papers_and_the_codes(played):
    figure = level_weights(played, history=2)
    shown = [list(trace.y) for trace in figure.data if trace.visible]
    assert shown == [pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=1e-3), pytest.approx([2 / 9, 3 / 9, 4 / 9], abs=1e-3)]
    assert len(figure.layout.sliders[0].steps) * 2 == len(figure.data)


def test_every_turn_has_one_fate_a_level():
    figure = lost_levels(HALL, history=1)
    share = {trace.name: [value * 7 for value in trace.x] for trace in figure.data}
    assert list(share) == list(KEPT)
    assert [sum(column) for column in zip(*share.values(), strict=True)] == pytest.approx([7, 7], abs=0.01)
    assert share["too short a history"] == pytest.approx([0, 4], abs=0.01)
    assert share["alone"] == pytest.approx([1, 1], abs=0.01)


def test_figures_fit_a_page(played):
    for figure in (nested_groups(played, most_telling(played, 2), history=2), level_weights(played, history=2)):
        assert len(figure_json(figure, "figure")) < 200_000


def house(seeds: int) -> Measured:
    names = [f"{mean}_{part}" for mean in MEANS for part in PANELS]
    units = tuple({"depth": [0, 1]} | {name: [1.0 + seed, 2.0] for name in names} for seed in range(seeds))
    return Measured("house", tuple(range(seeds)), (None,) * seeds, units)


@pytest.mark.parametrize("count", [1, 3])
def test_errors_have_one_line_a_mean_and_panel(count):
    figure = level_errors(house(count))
    assert len(figure.data) == 9
    assert list(figure.data[0].y) == pytest.approx([1 + (count - 1) / 2, 2])
    assert (figure.data[0].error_y.array is None) == (count == 1)
