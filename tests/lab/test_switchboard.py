"""The five switches: each setting is the estimator and the loss that it names."""

from functools import partial

import pytest
import torch

from hierlab.credit import dr_grpo, grpo, rloo
from hierlab.lab.stepper import stepper
from hierlab.lab.switchboard import (
    AGGREGATIONS,
    Switches,
    aggregation_weights,
    clip_curves,
    difficulty_curves,
    example_answers,
    problem_weights,
    weight_maps,
)
from hierlab.train.surrogate import aggregate, policy_loss

ANSWERS = example_answers()
MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)


@pytest.mark.parametrize(
    ("switches", "estimator"),
    [
        (Switches(), grpo),
        (Switches(scale="1"), dr_grpo),
        (Switches("mean of the others", "1"), rloo),
        (Switches(scale="batch deviation"), partial(grpo, scale="batch")),
        (Switches("none", "1"), lambda rewards, task: rewards),
    ],
    ids=["grpo", "dr_grpo", "rloo", "trl batch", "reinforce"],
)
def test_settings_are_the_librarys_estimators(switches, estimator):
    advantage = switches.advantage(ANSWERS.rewards, ANSWERS.task)
    torch.testing.assert_close(advantage, estimator(ANSWERS.rewards, ANSWERS.task))


def test_a_group_without_spread_is_not_divided():
    alone = Switches("none").advantage(torch.ones(4, dtype=torch.float64), ("a",) * 4)
    assert alone.tolist() == [1.0] * 4


@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_pull_is_weight_times_advantage_times_ratio_where_nothing_is_clipped(ratio, aggregation):
    tape = Switches(ratio=ratio, aggregation=aggregation, clip_low=1.0, clip_high=9.0).run(ANSWERS)
    weight = tape["weight of a token's loss, in equal shares"]
    torch.testing.assert_close(weight[ANSWERS.mask], (aggregation_weights(ANSWERS.mask, aggregation) * ANSWERS.mask.sum())[ANSWERS.mask])
    expected = weight * tape["advantage"][:, None] * tape["importance ratio"]
    torch.testing.assert_close(tape["pull on a token"], expected, equal_nan=True)
    assert torch.equal(tape["pull on a token"].isnan(), ~ANSWERS.mask)


def test_clipped_tokens_do_not_pull():
    tape = Switches(clip_low=0.0, clip_high=0.0).run(ANSWERS)
    good = (tape["advantage"][:, None] > 0) & (tape["importance ratio"] > 1) & ANSWERS.mask
    assert good.any()
    assert (tape["pull on a token"][good] == 0).all()


def test_weights_of_the_aggregations():
    expected = {
        "token-mean": (1 / 6, 1 / 6),
        "seq-mean-token-mean": (1 / 4, 1 / 8),
        "seq-mean-token-sum": (1 / 2, 1 / 2),
        "seq-mean-token-sum-norm": (1 / 4, 1 / 4),
        "row-mean-token-sum-norm": (1 / 12, 1 / 12),
    }
    assert set(expected) == set(AGGREGATIONS)
    for aggregation, (short, long) in expected.items():
        weights = aggregation_weights(MASK, aggregation)
        torch.testing.assert_close(weights, torch.tensor([short, long, 0])[:, None].double() * MASK, atol=1e-7, rtol=0)
        loss = torch.randn(MASK.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        torch.testing.assert_close((weights * loss).sum(), aggregate(loss, MASK, aggregation=aggregation))


def test_weights_of_problems():
    success = [0.0, 0.1, 0.5, 0.9, 1.0]
    divided, plain = (problem_weights(Switches(scale=scale), 8, success) for scale in ("group deviation", "1"))
    for weights in (divided, plain):
        assert weights[0] == weights[-1] == pytest.approx(0, abs=1e-9)
        assert weights[2] == pytest.approx(1)
        assert weights[1] == pytest.approx(weights[3])
    assert divided[1] > plain[1]


def test_problem_weights_are_expectations():
    draw = torch.Generator().manual_seed(0)
    groups = {p: (torch.rand(20_000, 4, generator=draw) < p).double() for p in (0.2, 0.5)}
    size = {p: grpo(g.flatten(), torch.arange(len(g)).repeat_interleave(4)).abs().sum() / len(g) for p, g in groups.items()}
    assert problem_weights(Switches(), 4, [0.2])[0] == pytest.approx(float(size[0.2] / size[0.5]), rel=0.03)


def test_pictures():
    figure = stepper(Switches().run(ANSWERS), row_names=[str(i) for i in range(12)])
    assert len(figure.data) == len(Switches().run(ANSWERS).steps)
    assert len(weight_maps(ANSWERS.mask).data) == len(AGGREGATIONS)
    curves = clip_curves({"plain": {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": None}})
    above = dict(zip(curves.data[0].x, curves.data[0].y, strict=True))
    assert min(above.values()) == pytest.approx(-1.28)
    assert len(difficulty_curves(8).data) == 2


def test_the_example_is_what_training_would_see():
    rows = ANSWERS.mask.sum(1)
    assert rows[ANSWERS.rewards == 0].double().mean() > rows[ANSWERS.rewards == 1].double().mean()
    loss, _ = policy_loss(ANSWERS.logp, ANSWERS.old_logp, ANSWERS.rewards, ANSWERS.mask)
    assert torch.isfinite(loss)
