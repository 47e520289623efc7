from __future__ import annotations

import pytest
import torch

from hierlab.lab.figures import figure_json
from hierlab.lab.results import Measured
from hierlab.seeds import generator
from hierlab.studies.theory import strategy_figures as figures
from hierlab.studies.theory.icl_strategies import (
    ABLATIONS,
    PUBLISHED,
    check_device,
    gather_evidence,
    grid_of,
    measure,
    nested_tasks,
    setting_of,
    strategies_on_new_tasks,
    weights_of,
)
from hierlab.theory import BallsAndUrns

TASKS = (2, 3, 4, 6, 8)


class SmallSettings:
    learnt, dims, length, hidden, layers, device = "balls and urns", 4, 6, 8, 1, "cpu"
    steps, checkpoints, batch, rate, warmup, sequences, loss_sequences, threshold = 12, 5, 4, 1e-2, 2, 8, 20, 0.2


@pytest.fixture(scope="module")
def measured() -> Measured:
    units = tuple(measure(BallsAndUrns(4, 6), grid_of(SmallSettings, TASKS, 2.0, seed=seed)) for seed in (0, 1))
    return Measured("small", (0, 1), (None, None), units)


@pytest.fixture(scope="module")
def evidence():
    return gather_evidence(BallsAndUrns(4, 8), (2, 4, 8), 50, 0)


def test_one_context_shows_every_draw():
    setting = BallsAndUrns(3, 5)
    tasks = nested_tasks(setting, 2, 0)
    draws = setting.draw(tasks, 1, generator("draws")).draws
    figure = figures.one_context(tasks, draws)
    assert len(figure.layout.sliders[0].steps) == 6
    assert [sum(step.args[0]["visible"]) for step in figure.layout.sliders[0].steps] == [4] * 6
    assert sum(trace.visible for trace in figure.data) == 4


def test_figures_of_training_hold_every_cell(measured):
    maps = figures.weight_maps(measured, TASKS)
    kept = min(len(steps) for steps in measured.kept_steps)
    assert all(len(trace.z) == len(TASKS) and len(trace.z[0]) == kept for trace in maps.data)
    assert len(figures.collapse(measured, TASKS).data) == 2 * len(TASKS)
    bars = figures.next_ball(measured).data
    assert [bar.name for bar in bars] == ["M", "G", "network", "account"]
    for bar in bars:
        assert sum(bar.y) == pytest.approx(1, abs=1e-3)


def test_figures_of_evidence(evidence):
    found = [
        figures.losses_and_bits(evidence),
        figures.odds(evidence, (2, 8)),
        figures.transitions(evidence, (0.1, 0.2)),
        figures.slope_map([evidence], (0.0, 0.6), (0.1, 0.2)),
        figures.compression((2, 4), (64, 128), (64, 120)),
        figures.three_settings(strategies_on_new_tasks({"urns": BallsAndUrns(4, 6)}, (2, 4), 20, 0)),
    ]
    assert all(len(figure_json(figure, "small")) < 40_000 for figure in found)
    slider = found[2].layout.sliders[0]
    assert slider.active == 1
    assert f"{evidence.slope(**PUBLISHED):.2f}" in slider.steps[1].args[1]["annotations[0].text"]
    assert float(found[3].data[0].z[1][1]) == pytest.approx(evidence.slope(**PUBLISHED), abs=0.01)


def test_the_slope_is_the_sum_of_its_parts(evidence):
    """With complexity that does not grow the slope is that of M's shrinking advantage alone."""
    flat = type(evidence)(evidence.tasks, evidence.losses, evidence.bits * 0 + [[5000.0, 4000.0]])
    assert flat.slope(**PUBLISHED) == pytest.approx(evidence.evidence_slope(PUBLISHED["alpha"]))


def test_narrow_networks_are_measured_by_their_weights():
    values = weights_of(grid_of(SmallSettings, (2, 4), 0.5, seed=0))
    assert values["mean_weight"] == pytest.approx(sum(values["weight_2"] + values["weight_4"]) / (2 * len(values["steps"])))


@pytest.mark.parametrize("name", ["linear regression", "classification"])
def test_the_other_settings_can_be_trained_and_accounted_for(name):
    class Other(SmallSettings):
        learnt = name

    values = measure(setting_of(name, 4, 6), grid_of(Other, TASKS, 2.0, seed=0))
    flat = [v for value in values.values() for v in (value if isinstance(value, list) else [value])]
    assert torch.tensor(flat, dtype=torch.float64).isfinite().all()
    assert len(values["kl_held_out"]) == 6 + len(ABLATIONS)


def test_wrong_settings_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="setting must be one of balls and urns, linear regression, classification, got 'chess'"):
        setting_of("chess", 4, 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=cuda needs a GPU"):
        check_device("cuda")
    check_device("cpu")
