"""The pictures of A-GRAE show what the functions say."""

import pytest
import torch

from hierlab.credit import a_grae, grpo
from hierlab.credit.a_grae import task_weight
from hierlab.envs.behaviours import draw_behaviours
from hierlab.lab.asymmetry import STATES, logit_bars, paths, total_weights, weight_map
from hierlab.lab.results import Results
from hierlab.lab.symmetry import logit_steps
from hierlab.seeds import generator


def test_the_map_has_both_variants_and_a_menu_that_swaps_them():
    figure = weight_map(points=5)
    assert [trace.visible for trace in figure.data] == [True, False]
    menu = figure.layout.updatemenus[0]
    assert [button.args[0]["visible"] for button in menu.buttons] == [[True, False], [False, True]]
    for trace, variant in zip(figure.data, ("paper", "code"), strict=True):
        rate, state = (torch.tensor(axis, dtype=torch.float64) for axis in (trace.x, trace.y))
        assert trace.z[4][1] == pytest.approx(float(task_weight(rate[1], state[4], variant=variant)), rel=0.01)


def test_the_total_weight_of_grpo_is_theorem_2_at_every_state():
    figure = total_weights(group_size=10, points=3)
    assert len(figure.data) == 3 * len(STATES)
    for trace in figure.data[::3]:
        assert trace.name == "GRPO"
        assert trace.y[1] == pytest.approx(10)  # 2 G sqrt(1/4)
    steps = figure.layout.sliders[0].steps
    assert [sum(step.args[0]["visible"]) for step in steps] == [3] * len(STATES)
    assert [trace.visible for trace in figure.data] == steps[2].args[0]["visible"]


def test_the_halves_of_a_grae_lean_to_either_side():
    figure = total_weights(group_size=8, points=3)
    easy, hard = figure.data[1].y, figure.data[-2].y
    assert easy[0] < easy[-1]
    assert hard[0] > hard[-1]


def test_bars_are_the_means_of_each_kind():
    world = draw_behaviours(generator("bars"))
    seen = {name: logit_steps(world, f, generator("answers")) for name, f in {"GRPO": grpo, "A-GRAE": a_grae}.items()}
    figure = logit_bars(seen)
    assert [a.text for a in figure.layout.annotations] == ["sampled, right", "sampled, wrong", "not sampled"]
    assert figure.data[2].x[0] == 0  # GRPO leaves alone what nobody sampled
    assert figure.data[0].x[1] == pytest.approx(seen["A-GRAE"].means()["sampled, right"], rel=0.01)


def test_paths_join_the_means_over_seeds():
    units = {("GRPO", None, seed): {"auc": 0.5, "pass_1_curve": [0.2, 0.6 + 0.2 * seed], "pass_256_curve": [1.0, 0.8]} for seed in (0, 1)}
    results = Results("behaviours", ("GRPO",), (None,), (0, 1), "auc", False, None, units)
    (line,) = paths(results, ["GRPO"], 256).data
    assert (list(line.x), list(line.y)) == (pytest.approx([0.2, 0.7]), pytest.approx([1.0, 0.8]))
