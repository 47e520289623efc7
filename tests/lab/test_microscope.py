import json
import math
from functools import partial

import numpy as np
import pytest
import torch

from hierlab.credit import gigpo, grpo, reinforce_plus_plus, rloo
from hierlab.envs.finite import success_probability
from hierlab.envs.search_house import SearchHouse
from hierlab.lab.microscope import METRICS, Microscope, microscope
from hierlab.lab.testbed import house_testbed
from hierlab.seeds import generator
from hierlab.train.tabular import policy_gradient

SMALL = house_testbed(0.2, house=SearchHouse(rooms=2, horizon=6))
FEW = {"batches": 120, "tasks": 2, "resamples": 200}


def oracle(choice):
    """The estimator that knows."""
    return SMALL.advantage[choice]


def look(estimator, **settings) -> dict:
    return microscope({"it": estimator}, SMALL, **FEW | settings)["it"]


def mean_square() -> float:
    """Of the true advantage, each row counting once."""
    return float((SMALL.frequency * SMALL.advantage**2).sum() / SMALL.frequency.sum())


# --- degenerate sizes ---


def test_two_batches_of_one_trajectory():
    seen = microscope({"GRPO": grpo, "oracle": oracle}, SMALL, batches=2, tasks=1, group_size=1, resamples=100)
    assert seen["GRPO"]["squared_error"].value > 0
    assert seen["GRPO"]["relative_error"] is None
    assert seen["oracle"]["squared_error"].value == 0


# --- estimators whose errors are known ---


def test_the_truth_has_no_error():
    seen = look(oracle, batches=1000)
    for metric in ("squared_bias", "variance", "squared_error", "relative_bias", "relative_variance", "relative_error"):
        assert seen[metric].value == pytest.approx(0, abs=1e-12)
    assert seen["correlation"].value == pytest.approx(1)
    assert seen["sign_agreement"].value == 1
    assert seen["mean_cosine"].value > 0.99
    assert seen["gradient_norm"].low <= 1 <= seen["gradient_norm"].high


def test_another_scale_is_no_relative_error():
    seen = look(lambda choice: 3 * SMALL.advantage[choice])
    assert seen["relative_error"].value == pytest.approx(0, abs=1e-12)
    assert seen["correlation"].value == pytest.approx(1)
    assert seen["squared_bias"].value == pytest.approx(4 * mean_square(), rel=0.2)


def test_an_offset_is_bias_that_does_not_bend_the_gradient():
    seen = look(lambda choice: SMALL.advantage[choice] + 2.0, batches=2000)
    assert seen["squared_bias"].value == pytest.approx(4, rel=0.02)
    assert seen["variance"].value == pytest.approx(0, abs=0.05)
    assert seen["squared_error"].value == pytest.approx(4)
    assert seen["mean_cosine"].value > 0.97


def test_noise_is_variance_and_no_bias():
    def noisy(choice):
        return SMALL.advantage[choice] + 2 * torch.randn(len(choice), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    seen = look(noisy, batches=1000)
    assert seen["variance"].value == pytest.approx(4, rel=0.05)
    assert seen["squared_bias"].low <= 0 <= seen["squared_bias"].high
    assert seen["relative_variance"].value == pytest.approx(4 / mean_square(), rel=0.2)
    assert seen["correlation"].value == pytest.approx(math.sqrt(mean_square() / (mean_square() + 4)), abs=0.03)


def test_guessing_zero_says_nothing():
    seen = look(lambda rewards: torch.zeros_like(rewards))
    assert seen["squared_error"].value == pytest.approx(mean_square(), rel=0.1)
    assert seen["sign_agreement"].value == 0.5
    assert seen["batch_cosine"].value == 0
    for metric in ("relative_error", "correlation", "mean_cosine", "gradient_norm", "gradient_noise"):
        assert seen[metric] is None


def test_the_opposite_points_the_wrong_way():
    seen = look(lambda choice: -SMALL.advantage[choice], batches=1000)
    assert seen["correlation"].value == pytest.approx(-1)
    assert seen["sign_agreement"].value == 0
    assert seen["mean_cosine"].value < -0.99
    assert seen["relative_error"] is None


def test_the_leave_one_out_baseline_is_unbiased_where_the_mean_is_short():
    """RLOO's expected gradient is the exact one; centring on a mean of N that includes the row itself shortens it by (N - 1)/N."""
    arms = {
        "RLOO": partial(rloo, statistics="trajectories"),
        "centred": partial(grpo, scale="none", statistics="trajectories"),
    }
    seen = microscope(arms, SMALL, batches=3000, tasks=2, group_size=4)
    norm = seen["RLOO"]["gradient_norm"]
    assert norm.low <= 1 <= norm.high
    assert norm.high - norm.low < 0.2
    assert seen["centred"]["gradient_norm"].value == pytest.approx(0.75 * norm.value)
    assert seen["RLOO"]["mean_cosine"].value > 0.98


# --- the definitions, computed another way ---


def test_squared_bias_agrees_with_plain_means_by_choice():
    batches = 4000
    testbed = house_testbed(house=SearchHouse(rooms=1, horizon=3))
    found = microscope({"GRPO": grpo}, testbed, batches=batches, tasks=1, resamples=100)["GRPO"]["squared_bias"]
    rollouts = testbed.collect(batches, 8, generator("microscope", 0))
    error = grpo(rollouts.rewards, rollouts.task, rollouts.trajectory) - testbed.advantage[rollouts["choice"]]
    plain = 0.0
    for choice in rollouts["choice"].unique():
        here = error[rollouts["choice"] == choice]
        plain += len(here) / len(error) * (float(here.mean()) ** 2 - float(here.var()) / len(here))
    assert found.value == pytest.approx(plain, rel=0.03)


def test_gradients_are_those_of_each_batch():
    rollouts = SMALL.collect(6, 3, generator(0))
    part = torch.tensor(rollouts.task) // 2
    weight = torch.randn(len(rollouts), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = SMALL.implied_gradients(rollouts, weight, part, 3)
    for batch in range(3):
        rows = part == batch
        alone = policy_gradient(SMALL.logits, rollouts["context"][rows], rollouts.response_ids[rows, 0], weight[rows])
        assert torch.allclose(gradients[batch], alone.flatten())


def test_batch_cosine_and_noise_by_hand():
    batches, tasks, size = 20, 2, 3
    seen = microscope({"GiGPO": gigpo}, SMALL, batches=batches, tasks=tasks, group_size=size, resamples=100)["GiGPO"]
    rollouts = SMALL.collect(batches * tasks, size, generator("microscope", 0))
    columns = (rollouts.rewards, rollouts.task, rollouts.trajectory, rollouts.turn, rollouts.state)
    gradients = SMALL.implied_gradients(rollouts, gigpo(*columns), torch.tensor(rollouts.task) // tasks, batches) / (tasks * size)
    exact = SMALL.gradient.flatten()
    cosines = [float(g @ exact / g.norm() / exact.norm()) if g.norm() > 0 else 0 for g in gradients]
    assert seen["batch_cosine"].value == pytest.approx(np.mean(cosines))
    pairs = [float(gradients[i] @ gradients[j]) for i in range(batches) for j in range(batches) if i != j]
    squares = float(gradients.square().sum(dim=1).mean())
    assert np.mean(pairs) > 0
    assert seen["gradient_norm"].value == pytest.approx(math.sqrt(np.mean(pairs)) / float(exact.norm()))
    assert seen["gradient_noise"].value == pytest.approx(squares / np.mean(pairs) - 1)


def test_frequencies_are_those_of_the_rows():
    rollouts = SMALL.collect(20_000, 1, generator(1))
    count = torch.bincount(rollouts["choice"], minlength=len(SMALL.frequency)) / 20_000
    assert ((count - SMALL.frequency).abs() <= 5 * (SMALL.frequency / 20_000).sqrt() + 1e-9).all()
    assert not count[SMALL.frequency == 0].any()


# --- fairness ---


def test_estimators_see_the_same_rollouts():
    seen = microscope({"one": gigpo, "other": gigpo}, SMALL, **FEW)
    assert seen["one"] == seen["other"]
    assert seen.difference("squared_error", "one", "other") == (0, 0, 0)
    alone = microscope({"other": gigpo}, SMALL, **FEW)
    assert alone["other"] == seen["one"]


def test_seeds_decide():
    one, two, other = (microscope({"it": gigpo}, SMALL, **FEW, seed=seed)["it"] for seed in (0, 0, 1))
    assert one == two
    assert one != other


def test_groups_never_cross_batches():
    """Called once a batch, a group-relative estimator gives what it gives for all batches at once."""
    for estimator in (gigpo, grpo, partial(gigpo, scale="std")):
        together, apart = (microscope({"it": estimator}, SMALL, **FEW, separately=s)["it"] for s in ((), ("it",)))
        for metric in METRICS:
            assert together[metric] == pytest.approx(apart[metric])


def test_estimators_that_whiten_are_called_for_each_batch():
    calls = []

    def counted(token_rewards, response_mask):
        calls.append(len(token_rewards))
        return reinforce_plus_plus(token_rewards, response_mask)

    microscope({"it": counted}, SMALL, **FEW, separately=("it",))
    assert len(calls) == FEW["batches"]


def test_intervals_of_differences_are_narrower_than_those_of_both():
    seen = microscope({"mean": grpo, "leave one out": partial(grpo, scale="none")}, SMALL, **FEW)
    found = seen.difference("correlation", "mean", "leave one out")
    width = found.high - found.low
    assert found.value == pytest.approx(seen["mean"]["correlation"].value - seen["leave one out"]["correlation"].value)
    assert width < seen["mean"]["correlation"].high - seen["mean"]["correlation"].low


# --- what is said and shown ---


def test_says_how_sensible_the_policy_is():
    uniform, half = house_testbed(), house_testbed(0.5)
    assert "uniform" in uniform.description
    assert "probability 0.0278" in uniform.description
    assert "probability 0.5" in half.description
    assert success_probability(half.world, half.probabilities) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def seen() -> Microscope:
    return microscope({"GRPO": grpo, "nothing": lambda rewards: 0 * rewards, "GiGPO": gigpo}, SMALL, **FEW)


def test_tables_are_plain(seen):
    table = seen.table()
    assert table["columns"] == ["estimator", *(metric.label for metric in METRICS.values())]
    assert [row[0] for row in table["rows"]] == ["GRPO", "nothing", "GiGPO"]
    assert "not defined" in table["rows"][1]
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert len(json.dumps(seen.numbers(), allow_nan=False)) > 100
    assert len(seen.numbers()["rows"]) == 3 * len(METRICS)
    assert seen.table(["correlation"])["columns"] == ["estimator", "correlation"]
    assert seen.settings["rows"] > 120 * 2 * 8


def test_the_figure_is_tall_narrow_and_legible(seen):
    figure = seen.plot()
    assert figure.layout.width is None
    assert figure.layout.font.size >= 13
    assert {annotation.font.size for annotation in figure.layout.annotations} == {13}
    assert len(figure.layout.annotations) == 6
    assert {axis.domain for axis in figure.select_xaxes()} == {(0.0, 1.0)}
    points = [(trace.y[0], trace.x[0]) for trace in figure.data]
    assert ("GiGPO", seen["GiGPO"]["correlation"].value) in points
    assert ("nothing", 0.5) in points
    assert len(points) == 2 * 6 + 2  # "nothing" has a sign agreement and a batch cosine, and no more
    assert len(seen.plot(["correlation"]).layout.annotations) == 1


# --- wrong usage ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batches": 1}, "2 batches"),
        ({"tasks": 0}, "tasks"),
        ({"group_size": 0}, "group_size"),
        ({"resamples": 5}, "resamples"),
        ({"separately": ("GRPO",)}, "separately names GRPO"),
    ],
)
def test_refuses_impossible_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        microscope({"it": gigpo}, SMALL, **FEW | wrong)


def test_refuses_what_is_not_there(seen):
    with pytest.raises(ValueError, match="at least one estimator"):
        microscope({}, SMALL)
    with pytest.raises(KeyError, match="no estimator 'RLOO'"):
        seen["RLOO"]
    with pytest.raises(KeyError, match="no estimator 'RLOO'"):
        seen.difference("correlation", "GRPO", "RLOO")
    for use in (lambda: seen.table(["beauty"]), lambda: seen.plot(["beauty"]), lambda: seen.difference("beauty", "GRPO", "GiGPO")):
        with pytest.raises(KeyError, match="no metric 'beauty'"):
            use()
    with pytest.raises(ValueError, match="segment_value"):
        microscope({"SPO": lambda segment_value: segment_value}, SMALL, **FEW)
