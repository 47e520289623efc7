from __future__ import annotations

import pytest
import torch

from hierlab.seeds import generator
from hierlab.studies.theory.icl_strategies import (
    ACCOUNTS,
    AGREEMENT,
    gather_evidence,
    log_slope,
    logistic_r2,
    measure,
    measured_transition,
    train_grid,
)
from hierlab.theory import BallsAndUrns, Classification, LinearRegression
from hierlab.theory.rational_account import START
from hierlab.train.icl_transformer import NetworkSize, SequenceNetwork, TrainingPlan, checkpoint_steps, train_icl

SETTINGS = [BallsAndUrns(4, 6), LinearRegression(3, 5), Classification(4, 5)]
SIZE = NetworkSize(hidden=8, mlp_factor=2.0)
PLAN = TrainingPlan(steps=12, checkpoints=4, first_checkpoint=2, batch=4, learning_rate=1e-2, warmup=2, sequences=8, fresh_tasks=5)


def test_checkpoints_are_even_in_the_root():
    assert checkpoint_steps(100, 4, 1) == [1, 16, 49, 100]
    assert checkpoint_steps(5, 1, 2) == [5]
    assert checkpoint_steps(3, 10, 1) == [1, 2, 3]
    assert checkpoint_steps(100_000, 100)[:3] == [20, 58, 115]
    assert len(checkpoint_steps(100_000, 100)) == 100
    with pytest.raises(ValueError, match="the first checkpoint, 20, lies behind the last step, 10"):
        checkpoint_steps(10, 3)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_network_predicts_what_the_strategies_predict(setting):
    run = train_icl(setting, 3, SIZE, PLAN, seed=1)
    strategies = setting.memorising(run.tasks, run.trained), setting.generalising(run.trained)
    assert run.on_trained.shape == run.on_fresh.shape == (4, *strategies[0].shape)
    assert strategies[0].shape == strategies[1].shape == setting.constant(run.trained).shape
    if setting.distance == "kl":
        torch.testing.assert_close(run.on_trained.sum(-1), torch.ones_like(run.on_trained[..., 0]))


@pytest.mark.parametrize("setting", SETTINGS[:2], ids=lambda s: s.name)
def test_a_network_does_not_see_the_future(setting):
    network = SequenceNetwork(setting, NetworkSize(hidden=8, layers=2), 0)
    drawn = setting.draw(setting.draw_tasks(2, generator("t")), 3, generator("s"))
    before = network.predict(drawn)
    column = drawn.draws if setting.name == "balls and urns" else drawn.ys
    last = column[:, 4:].clone()
    column[:, 4:] = 0
    after = network.predict(drawn)
    assert (last != 0).any()
    torch.testing.assert_close(after[:, :4], before[:, :4])


def test_training_lowers_the_loss():
    setting = BallsAndUrns(4, 8)
    plan = TrainingPlan(steps=60, checkpoints=2, first_checkpoint=1, batch=8, learning_rate=1e-2, warmup=1, sequences=32, fresh_tasks=2)
    run = train_icl(setting, 1, SIZE, plan, seed=0)
    first, last = (setting.losses(out.double(), run.tasks, run.trained).mean() for out in run.on_trained)
    assert last < 0.5 * first


def test_one_seed_gives_one_run_and_nested_tasks():
    runs = [train_icl(SETTINGS[0], tasks, SIZE, PLAN, seed=3) for tasks in (2, 2, 4)]
    assert torch.equal(runs[0].on_trained, runs[1].on_trained)
    assert torch.equal(runs[2].tasks[:2], runs[0].tasks)
    assert not torch.equal(runs[2].on_trained, runs[0].on_trained)


@pytest.mark.parametrize("killed_at", [0, 1, 3])
def test_a_killed_run_goes_on_to_the_bit(tmp_path, killed_at):
    whole = train_icl(SETTINGS[0], 3, SIZE, PLAN, seed=5)

    class KilledError(Exception):
        pass

    marks = []

    def die(done, total):
        marks.append(done)
        if len(marks) > killed_at:
            raise KilledError

    with pytest.raises(KilledError):
        train_icl(SETTINGS[0], 3, SIZE, PLAN, seed=5, folder=tmp_path, report=die)
    resumed = []
    again = train_icl(SETTINGS[0], 3, SIZE, PLAN, seed=5, folder=tmp_path, report=lambda done, total: resumed.append(done))
    assert marks + resumed == checkpoint_steps(12, 4, 2)
    assert torch.equal(again.on_trained, whole.on_trained)
    assert torch.equal(again.on_fresh, whole.on_fresh)


def test_a_folder_of_another_run_is_refused(tmp_path):
    train_icl(SETTINGS[0], 2, SIZE, PLAN, seed=5, folder=tmp_path)
    with pytest.raises(ValueError, match="was made with other settings"):
        train_icl(SETTINGS[0], 2, SIZE, PLAN, seed=6, folder=tmp_path)


def test_sizes_and_plans_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="hidden must be 8 times a multiple of heads, got 12"):
        NetworkSize(hidden=12)
    with pytest.raises(ValueError, match="layers must be a whole number of at least 1, got 0"):
        NetworkSize(layers=0)
    with pytest.raises(ValueError, match="mlp_factor must be a number in"):
        NetworkSize(mlp_factor=0.0)
    with pytest.raises(ValueError, match="lies behind the last step"):
        TrainingPlan(steps=5)
    with pytest.raises(ValueError, match="tasks must be a whole number of at least 1"):
        train_icl(SETTINGS[0], 0, SIZE, PLAN, seed=0)


class TestExperiment:
    def test_every_account_is_measured(self):
        grid = train_grid(BallsAndUrns(4, 6), (2, 3, 4, 6, 8), SIZE, PLAN, seed=0, loss_sequences=20)
        values = measure(BallsAndUrns(4, 6), grid)
        assert all(len(values[name]) == len(ACCOUNTS) for name in AGREEMENT)
        kl = dict(zip(ACCOUNTS, values["kl_all"], strict=True))
        assert min(kl.values()) == kl["best mixture of each cell"]
        flat = [v for value in values.values() for v in (value if isinstance(value, list) else [value])]
        assert torch.tensor(flat, dtype=torch.float64).isfinite().all()
        assert len(values["weight_8"]) == len(values["steps"]) == 4

    def test_nothing_may_be_left_to_hold_out(self):
        grid = train_grid(BallsAndUrns(4, 6), (2, 3), SIZE, PLAN, seed=0, loss_sequences=20)
        with pytest.raises(ValueError, match="nothing would be held out"):
            type(grid)([t.at([0]) for t in grid.trained], grid.fresh, grid.whole).split()

    def test_the_predicted_timescale_is_super_linear_with_the_papers_constants(self):
        evidence = gather_evidence(BallsAndUrns(8, 64), (4, 16, 64), 200, 0)
        assert evidence.slope(**START["balls and urns"]) > 1
        vanishing = evidence.slope(**(dict(START["balls and urns"]) | {"beta": 1e-4}))
        assert vanishing < evidence.slope(**START["balls and urns"])
        assert (evidence.losses[:, 1] > evidence.losses[:, 0]).all()

    def test_the_measured_transition(self):
        assert measured_transition([1, 9, 25], [0.0, 0.25, 0.75]) == pytest.approx(16)
        assert measured_transition([4, 9], [0.6, 0.9]) == 4
        assert measured_transition([4, 9], [0.1, 0.2]) == 9

    def test_slopes(self):
        assert log_slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
        with pytest.raises(ValueError, match="a slope needs two positive numbers, got 1 of 2"):
            log_slope([1, 2], [float("nan"), 1])

    def test_a_logistic_curve_is_recognised_on_its_own_axis(self):
        from test_rational_account import TRUE, trajectory

        grid = [trajectory(tasks, steps=12) for tasks in (4, 16)]
        assert logistic_r2(grid, TRUE["alpha"]) > logistic_r2(grid, 0.0)
        assert logistic_r2(grid, TRUE["alpha"]) > 0.95
