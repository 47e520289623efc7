from __future__ import annotations

from functools import partial

import pytest
import torch

from hierlab.credit import grpo, hicra
from hierlab.envs.finite import solve
from hierlab.envs.strategies import Strategies
from hierlab.seeds import generator
from hierlab.train.tabular import policy_gradient
from hierlab.train.token_table import collect_responses, token_advantage, train_token_table

SMALL = Strategies(classes=4, strategies=6, steps=2)
WORLD, LOGITS = SMALL.world(), SMALL.logits(0.8)
DRAWN = {"groups": 6, "group_size": 4, "planning": SMALL.planning}


def batch(**switches):
    return collect_responses(WORLD, LOGITS, generator=generator("test"), **{**DRAWN, **switches})


def nothing(rewards):
    return torch.zeros_like(rewards)


# degenerate sizes


def test_one_response():
    rollouts = batch(groups=1, group_size=1)
    assert rollouts.response_ids.shape == (1, 3)
    assert (token_advantage(rollouts, grpo) == 0).all()


def test_a_policy_that_is_taught_nothing_stays():
    run = train_token_table(WORLD, nothing, rate=1.0, iterations=2, logits=LOGITS, tasks=2)
    assert torch.equal(run.policies[0], run.policies[2])
    assert run.success[0] == run.success[2] == run.auc == pytest.approx(0.8**2 / 3)


# what is collected


def test_rows_are_responses_and_columns_agree():
    rollouts = batch()
    assert rollouts.rewards.tolist() == [float(s) for s in rollouts["success"]]
    assert torch.equal(rollouts["token_rewards"].sum(dim=1), rollouts.rewards)
    assert rollouts["planning_mask"].tolist() == [[True, False, False]] * 24
    assert rollouts.task == [i // 4 for i in range(24)]
    logp = LOGITS.log_softmax(dim=1)
    torch.testing.assert_close(rollouts.old_logp, logp[rollouts["context"], rollouts.response_ids])
    torch.testing.assert_close(rollouts["entropy"], -(logp.exp() * logp).sum(dim=1)[rollouts["context"]])
    assert [rollouts.state[i] for i in range(0, 24, 4)] == [f"kind {int(k) // 2}" for k in rollouts["world_task"][::4]]


def test_planning_may_be_a_matter_of_the_token():
    only = torch.zeros(6, dtype=torch.bool)
    only[0] = True
    rollouts = batch(planning=only)
    assert torch.equal(rollouts["planning_mask"], rollouts.response_ids == 0)
    assert not batch(planning=None)["planning_mask"].any()


def test_a_forbidden_token_has_no_entropy_and_is_never_sampled():
    logits = LOGITS.clone()
    logits[:, 1:] = -torch.inf
    rollouts = collect_responses(WORLD, logits, generator=generator("test"), **DRAWN)
    assert (rollouts.response_ids == 0).all()
    assert (rollouts["entropy"] == 0).all()


# training


def test_the_expected_update_is_the_policy_gradient():
    def reward(rewards):  # without a baseline: unbiased
        return rewards

    rollouts = batch(groups=20_000)
    flat = (x[rollouts.response_mask] for x in (rollouts["context"], rollouts.response_ids, token_advantage(rollouts, reward)))
    estimate = policy_gradient(LOGITS, *flat) / len(rollouts)
    torch.testing.assert_close(estimate, solve(WORLD, LOGITS.softmax(dim=1)).gradient, atol=3e-3, rtol=0)


def test_training_learns_and_repeats_itself():
    settings = {"rate": 8.0, "iterations": 40, "tasks": 4, "logits": LOGITS, "planning": SMALL.planning}
    run, again = (train_token_table(WORLD, hicra, **settings) for _ in range(2))
    assert run.success[-1] > 0.8 > 0.5 > run.success[0]
    assert torch.equal(run.policies, again.policies)
    assert run.success == again.success


@pytest.mark.parametrize("average", ["trajectory", "context"])
def test_a_row_estimator_is_its_token_estimator(average):
    settings = {"rate": 1.0, "iterations": 3, "tasks": 2, "logits": LOGITS, "planning": SMALL.planning, "average": average}
    rows, tokens = train_token_table(WORLD, grpo, **settings), train_token_table(WORLD, partial(hicra, alpha=0.0), **settings)
    torch.testing.assert_close(rows.policies, tokens.policies)


def test_a_borrowed_length():
    settings = {"rate": 1.0, "iterations": 3, "tasks": 4, "logits": LOGITS}
    plain, own = train_token_table(WORLD, grpo, **settings), train_token_table(WORLD, grpo, length_of=grpo, **settings)
    torch.testing.assert_close(plain.policies, own.policies)
    double = train_token_table(WORLD, grpo, length_of=lambda rewards, task: 2 * grpo(rewards, task), **settings)
    assert double.update_norm[0] == pytest.approx(2 * plain.update_norm[0])
    assert double.gradient_norm[0] == pytest.approx(plain.gradient_norm[0])


def test_values_are_thinned_to_their_ends():
    run = train_token_table(WORLD, grpo, rate=1.0, iterations=30, tasks=2, logits=LOGITS)
    values = run.values(SMALL.measure, points=4)
    assert values["updates"] == [0, 10, 20, 30]
    assert values["tokens"] == [0, 10 * 48, 20 * 48, 30 * 48]
    assert values["success"] == pytest.approx([p * e for p, e in zip(values["planned"], values["executed"], strict=True)])
    assert values["final_success"] == values["success"][-1]
    assert "planned" not in run.values()


# wrong usage


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="groups must be at least 1, got 0"):
        batch(groups=0)
    with pytest.raises(ValueError, match=r"planning must have shape \(6,\)"):
        batch(planning=torch.zeros(5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"must return \[24\] or \[24, 3\] numbers, got \[2\]"):
        token_advantage(batch(), lambda rewards: rewards[:2])
    with pytest.raises(ValueError, match="finite numbers, got nan in row 0"):
        token_advantage(batch(), lambda rewards: rewards * torch.nan)
    with pytest.raises(ValueError, match="average must be one of"):
        train_token_table(WORLD, grpo, rate=1.0, average="mean")
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        train_token_table(WORLD, grpo, rate=1.0, iterations=0)
