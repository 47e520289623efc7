import math
from functools import partial

import pytest
import torch

from hierlab.credit import a_grae, dr_grpo, grpo, w_reinforce
from hierlab.envs.behaviours import Behaviours, draw_behaviours, entropy
from hierlab.seeds import generator
from hierlab.train.behaviours import KS, BehaviourRun, attempts, train_behaviours

WORLD = draw_behaviours(generator("test"), prompts=6, behaviours=8, most_correct=2, features=3)


def without_features(world=WORLD):
    return Behaviours(world.correct, torch.zeros_like(world.features), world.own, world.shared)


def train(estimator=grpo, world=WORLD, **options):
    return train_behaviours(world, estimator, **{"rate": 0.5, "iterations": 10, "prompts": 4} | options)


# --- degenerate sizes ---


def test_one_attempt_at_one_prompt_is_a_batch():
    run = train(iterations=1, prompts=1, group_size=1)
    assert len(run.pass_at) == 2
    assert torch.equal(run.own, WORLD.own)  # a lone attempt teaches nothing


def test_rate_zero_changes_nothing():
    run = train(rate=0.0)
    assert len(set(run.pass_at)) == 1
    assert min(run.gradient_norm) > 0


def test_more_points_than_updates():
    assert train(iterations=2).values()["updates"] == [0, 1, 2]


# --- closed form ---


def test_attempts_are_what_the_policy_does():
    logits = WORLD.logits(WORLD.own, WORLD.shared)
    rollouts = attempts(WORLD, logits, torch.tensor([4, 1]), 20_000, generator("attempts"))
    assert rollouts.task[:3].tolist() + rollouts.task[-2:].tolist() == [4, 4, 4, 1, 1]
    behaviour = rollouts.response_ids[:, 0]
    assert torch.equal(rollouts.rewards, WORLD.correct[rollouts.task, behaviour].double())
    assert torch.equal(rollouts.old_logp[:, 0], logits.log_softmax(dim=1)[rollouts.task, behaviour])
    seen = torch.bincount(behaviour[:20_000], minlength=8) / 20_000
    torch.testing.assert_close(seen.double(), logits[4].softmax(dim=0), atol=0.015, rtol=0)


def test_an_update_is_the_gradient_of_the_objective():
    """One step of the trainer against automatic differentiation of the advantage-weighted log-likelihood plus entropy."""
    asked = torch.randperm(6, generator=(draw := generator("behaviours", 0, 0)))[:4]
    rollouts = attempts(WORLD, WORLD.logits(WORLD.own, WORLD.shared), asked, 8, draw)
    own, shared = WORLD.own.clone().requires_grad_(), WORLD.shared.clone().requires_grad_()
    logp = WORLD.logits(own, shared).log_softmax(dim=1)
    objective = (logp[rollouts.task, rollouts.response_ids[:, 0]] * grpo(rollouts.rewards, rollouts.task)).sum() / 8
    objective = objective + 0.3 * entropy(logp.exp())[asked].sum()
    expected = torch.autograd.grad(objective, (own, shared))
    run = train(iterations=1, entropy_weight=0.3)
    torch.testing.assert_close(run.own, WORLD.own + 0.5 * expected[0])
    torch.testing.assert_close(run.shared, WORLD.shared + 0.5 * expected[1])


def test_a_zero_sum_leaves_logits_alone_that_nobody_sampled_unless_prompts_share_features():
    for world, moves in ((without_features(), False), (WORLD, True)):
        run = train(world=world, iterations=1)
        asked = torch.randperm(6, generator=(draw := generator("behaviours", 0, 0)))[:4]
        rollouts = attempts(world, world.logits(world.own, world.shared), asked, 8, draw)
        sampled = torch.zeros_like(world.correct)
        sampled[rollouts.task, rollouts.response_ids[:, 0]] = True
        moved = (world.logits(run.own, run.shared) - world.logits(world.own, world.shared))[~sampled].abs().max()
        assert (moved > 1e-6) == moves


def test_the_control_has_the_length_of_the_other_update():
    plain, long = (train(iterations=1, length_of=other) for other in (None, partial(a_grae, positive_weight=10.0)))
    other = train(partial(a_grae, positive_weight=10.0), iterations=1)
    assert long.gradient_norm[0] == pytest.approx(other.gradient_norm[0])
    one, two = plain.own - WORLD.own, long.own - WORLD.own
    torch.testing.assert_close(one / one.norm(), two / two.norm())


def test_a_control_of_no_advantage_stays_where_it_is():
    run = train(lambda rewards, task: torch.zeros_like(rewards), length_of=grpo)
    assert torch.equal(run.own, WORLD.own)


# --- what it is for ---


@pytest.mark.parametrize("estimator", [grpo, a_grae, dr_grpo, w_reinforce, partial(a_grae, variant="code")])
def test_every_estimator_learns(estimator):
    first, *_, last = train(estimator, iterations=150, rate=0.2).curve(1)
    assert last > first + 0.1


def test_an_entropy_bonus_keeps_entropy():
    assert train(entropy_weight=0.3, iterations=60).entropy[-1] > train(iterations=60).entropy[-1] + 0.2


def test_pass_at_k_grows_with_k():
    for row in train().pass_at:
        assert list(row) == sorted(row)


def test_same_seed_same_run():
    one, two, other = train(seed=3), train(seed=3), train(seed=4)
    assert one.pass_at == two.pass_at
    assert one.pass_at != other.pass_at


# --- what is read off a run ---


def run_of(pass_1, pass_256=None, entropy=None):
    looks = len(pass_1)
    rows = tuple((p, *[0.9] * (len(KS) - 2), q) for p, q in zip(pass_1, pass_256 or [0.95] * looks, strict=True))
    tables = torch.zeros(1, 2), torch.zeros(1)
    return BehaviourRun(rows, tuple(entropy or [1.0] * looks), (1.0,) * looks, (1.0,) * (looks - 1), *tables)


def test_the_state_at_a_level_lies_on_a_line_between_two_looks():
    run = run_of([0.2, 0.4, 0.8], pass_256=[1.0, 0.9, 0.7], entropy=[3.0, 2.0, 1.0])
    assert run.at_level(0.5) == pytest.approx({"pass_16": 0.9, "pass_256": 0.85, "entropy": 1.75, "updates": 1.25, "reached": 1})
    assert run.at_level(0.1) == pytest.approx({"pass_16": 0.9, "pass_256": 1.0, "entropy": 3.0, "updates": 0, "reached": 1})


def test_a_level_that_is_never_reached_is_taken_at_the_best_look():
    run = run_of([0.2, 0.6, 0.5], pass_256=[1.0, 0.8, 0.7])
    assert run.at_level(0.9) == pytest.approx({"pass_16": 0.9, "pass_256": 0.8, "entropy": 1, "updates": 1, "reached": 0})


def test_collapse_is_the_loss_of_half_of_what_there_was():
    assert run_of([0.2, 0.6, 0.29]).collapsed
    assert not run_of([0.2, 0.6, 0.31]).collapsed
    assert not run_of([0.6, 0.6]).collapsed


def test_values_are_finite_numbers_and_curves_of_equal_length():
    values = train().values(levels=(0.5, 0.9))
    assert {"auc", "early", "pass_1", "pass_256", "collapsed", "pass_256_at_0.5", "reached_at_0.9"} <= set(values)
    for value in values.values():
        assert all(math.isfinite(v) for v in (value if isinstance(value, list) else [value]))
    assert {len(values[name]) for name in ("updates", "pass_1_curve", "pass_256_curve", "entropy")} == {11}
    assert train(iterations=40).values(points=5)["updates"] == [0, 10, 20, 30, 40]
    assert len(values["ks"]) == len(values["pass_at_end"]) == len(KS)
    assert values["auc"] == pytest.approx(sum(values["pass_1_curve"][1:]) / 10, abs=1e-4)


# --- wrong usage ---


@pytest.mark.parametrize(
    ("name", "value"), [("rate", -1.0), ("prompts", 7), ("prompts", 0), ("entropy_weight", -0.1), ("iterations", 0), ("group_size", 0)]
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        train(**{name: value})


def test_an_estimator_that_returns_something_else_is_refused():
    with pytest.raises(ValueError, match="one number for each of the 32 rows"):
        train(lambda rewards, task: rewards[:3])
