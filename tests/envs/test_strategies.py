from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs.finite import solve, success_probability
from hierlab.envs.strategies import Strategies

shapes = st.builds(
    lambda kinds, alike, valid, steps, spare: Strategies(kinds * alike, alike, max(2, 1 + alike * (valid - 1) + spare), valid, steps),
    kinds=st.integers(1, 3),
    alike=st.integers(1, 3),
    valid=st.integers(1, 3),
    steps=st.integers(1, 4),
    spare=st.integers(0, 3),
)

# degenerate sizes


def test_one_class_one_step():
    smallest = Strategies(classes=1, alike=1, strategies=2, valid=1, steps=1)
    world = smallest.world()
    assert success_probability(world, world.uniform()) == 0.25
    assert smallest.measure(world.uniform().log()) == pytest.approx(
        {"planned": 0.5, "executed": 0.5, "planning_entropy": 0.6931, "execution_entropy": 0.6931}, abs=1e-4
    )


# closed form


def test_the_default_world():
    world, skill = Strategies().world(), 0.9
    logits = Strategies().logits(skill)
    assert world.uniform().shape == (4 + 4, 12)
    assert success_probability(world, logits.softmax(dim=1)) == pytest.approx(2 / 12 * skill**4)
    assert Strategies().measure(logits)["executed"] == pytest.approx(skill**4)
    assert Strategies().planning.sum(dim=1).tolist() == [12] * 4 + [0] * 4


def test_a_policy_with_sense():
    measured = Strategies().measure(Strategies().logits(0.9, 0.5))
    assert measured["planned"] == pytest.approx(0.5 + 0.5 / 11)
    assert measured["executed"] == pytest.approx(0.9**4)
    assert torch.allclose(Strategies().logits(0.9), Strategies().logits(0.9, 1 / 12))


def test_a_kind_has_one_strategy_that_serves_all_its_classes():
    valid = Strategies().valid_for
    assert (valid.sum(dim=1) == 2).all()
    by_kind = valid.view(4, 2, 12)
    assert (by_kind.all(dim=1).sum(dim=1) == 1).all()
    assert (by_kind.any(dim=1).sum(dim=1) == 3).all()


@given(shape=shapes, seed=st.integers(0, 2**31))
def test_success_is_planning_times_execution(shape, seed):
    logits = torch.randn(shape.kinds + shape.steps, shape.strategies, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    measured = shape.measure(logits)
    assert success_probability(shape.world(), logits.softmax(dim=1)) == pytest.approx(measured["planned"] * measured["executed"])


@given(shape=shapes)
def test_valid_strategies_are_better_and_nothing_matters_once_all_is_lost(shape):
    truth = solve(shape.world(), shape.logits(0.8).softmax(dim=1))
    lost = torch.arange(len(shape.world().context)) >= shape.classes
    lost &= (torch.arange(len(lost)) - shape.classes) % 2 == 0
    assert (truth.advantage[:, lost] == 0).all()
    choice = truth.advantage[0, : shape.classes]
    assert (choice[shape.valid_for] >= 0).all()
    assert (choice[~shape.valid_for] < 0).all()


# wrong usage


def test_numbers_that_make_no_world_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Strategies(steps=0)
    with pytest.raises(ValueError, match="classes must be a multiple of alike, got 8 and 3"):
        Strategies(alike=3)
    with pytest.raises(ValueError, match="have 7 valid strategies in all, more than the 6 there are"):
        Strategies(strategies=6, valid=4)
    for skill in (0, 1, 1.5):
        with pytest.raises(ValueError, match="skill and sense must"):
            Strategies().logits(skill)
