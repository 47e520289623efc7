"""Chains and trees of segments all the way through the trainer."""

import math
from functools import partial

import pytest
import torch

from hierlab.credit import cutpoint_starts, spo, spo_tree
from hierlab.rollout import ChainCollector, TreeCollector, summary
from hierlab.seeds import generator
from hierlab.train.imitation import ImitationSettings
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.solver import ChainSumSettings, chain_sum_solver, train_solver

SMALL = ChainSumSettings(terms=3, number=40, held_out=8, imitation=ImitationSettings(steps=60, batch=16, rate=6e-3))


def ways(params):
    return {
        "chain": (partial(spo, whiten=True), ChainCollector(2, params, 2, partial(cutpoint_starts, interval=2))),
        "tree": (spo_tree, TreeCollector((2, 2), 2, params)),
        "paths": (partial(spo_tree, weight="path"), TreeCollector((2, 2), 2, params, threshold=None)),
    }


@pytest.mark.parametrize("way", ["chain", "tree", "paths"])
def test_it_trains_within_its_budget(way):
    solver = chain_sum_solver(SMALL)
    estimator, collector = ways(solver.params)[way]
    before = [weight.clone() for weight in solver.policy.model.parameters()]
    found = train_solver(solver, estimator, PolicySettings(learning_rate=1e-3, tasks=4), iterations=50, collector=collector, tokens=900)
    assert found["generated_tokens"] >= 900
    assert 1 <= found["iterations"] < 50
    assert math.isfinite(found["auc"])
    assert any(not torch.equal(a, b) for a, b in zip(before, solver.policy.model.parameters(), strict=True))


def test_continuations_are_paid_for():
    solver = chain_sum_solver(SMALL)
    estimator, collector = ways(solver.params)["chain"]
    trainer = PolicyTrainer(solver.policy, solver.tasks, collector, estimator, PolicySettings(learning_rate=0.0, tasks=4))
    record = trainer.fit(1)[0]
    tasks = list(trainer._tasks(0))
    rollouts = collector(solver.engine, tasks, generator(0, "rollouts", 0, 0))
    assert record["generated_tokens"] == summary(rollouts)["generated_tokens"] > int(rollouts.response_mask.sum())


def test_the_same_seed_trains_the_same():
    def run():
        solver = chain_sum_solver(SMALL)
        estimator, collector = ways(solver.params)["tree"]
        return train_solver(solver, estimator, PolicySettings(learning_rate=1e-3, tasks=2), iterations=2, collector=collector, seed=3)

    one, same = run(), run()
    assert {k: v for k, v in one.items() if k != "overhead"} == {k: v for k, v in same.items() if k != "overhead"}
