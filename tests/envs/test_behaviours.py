import math

import pytest
import torch

from hierlab.envs.behaviours import Behaviours, draw_behaviours, entropy, exact_pass_at_k
from hierlab.seeds import generator


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def small(**changes):
    tables = {
        "correct": torch.tensor([[True, False]]),
        "features": torch.zeros(1, 2, 3, dtype=torch.float64),
        "own": torch.zeros(1, 2, dtype=torch.float64),
        "shared": torch.zeros(3, dtype=torch.float64),
    }
    return Behaviours(**tables | changes)


def test_the_smallest_world():
    world = small()
    probabilities = world.logits(world.own, world.shared).softmax(dim=1)
    assert world.success(probabilities).tolist() == [0.5]
    assert world.kept_modes(probabilities) == 1
    assert draw_behaviours(generator(0), prompts=1, behaviours=2, most_correct=1, features=1).correct.sum() == 1


def test_logits_have_a_part_of_their_own_and_a_shared_one():
    features = f64([[[1, 0], [0, 1]], [[2, 0], [0, 3]]])
    world = Behaviours(torch.tensor([[True, False]] * 2), features, torch.zeros(2, 2, dtype=torch.float64), f64([0, 0]))
    assert world.logits(f64([[1, 2], [3, 4]]), f64([10, 100])).tolist() == [[11, 102], [23, 304]]


def test_pass_at_k_is_exact():
    success = f64([0.0, 0.5, 1.0])
    assert exact_pass_at_k(success, 1) == pytest.approx(0.5)
    assert exact_pass_at_k(success, 3) == pytest.approx((0 + 0.875 + 1) / 3)


def test_pass_at_k_is_the_share_of_draws_that_hit():
    success = f64([0.1, 0.4])
    draws = torch.rand(20_000, 2, 4, generator=generator("hits"), dtype=torch.float64) < success[:, None]
    assert exact_pass_at_k(success, 4) == pytest.approx(float(draws.any(dim=2).double().mean()), abs=0.01)


def test_entropy():
    assert entropy(f64([[0.25] * 4, [1, 0, 0, 0]])).tolist() == pytest.approx([math.log(4), 0])


def test_modes_are_kept_if_their_probability_is_above_the_threshold():
    world = small(
        correct=torch.tensor([[True, True, True, False]]),
        features=torch.zeros(1, 4, 3, dtype=torch.float64),
        own=torch.zeros(1, 4, dtype=torch.float64),
    )
    probabilities = f64([[0.5, 0.021, 0.019, 0.46]])
    assert world.kept_modes(probabilities) == pytest.approx(2 / 3)
    assert world.kept_modes(probabilities, least=0.1) == pytest.approx(1 / 3)


def test_a_drawn_world_is_as_asked():
    world = draw_behaviours(generator(1), prompts=200, behaviours=30, most_correct=4, features=5)
    assert world.correct.shape == (200, 30)
    assert world.features.shape == (200, 30, 5)
    assert set(world.correct.sum(dim=1).tolist()) == {1, 2, 3, 4}
    success = world.success(world.logits(world.own, world.shared).softmax(dim=1))
    assert 0.15 < exact_pass_at_k(success, 1) < 0.5
    assert success.std() > 0.1  # easy and hard prompts


def test_features_of_right_behaviours_lean_to_one_side():
    world = draw_behaviours(generator(2), prompts=300, lean=2.0)
    right = world.features[world.correct].mean(dim=0)
    assert float(right.norm()) == pytest.approx(2, abs=0.3)
    assert float(world.features[~world.correct].mean(dim=0).norm()) < 0.1


def test_the_same_seed_draws_the_same_world():
    one, other = (draw_behaviours(generator("same")) for _ in range(2))
    assert torch.equal(one.own, other.own)
    assert torch.equal(one.features, other.features)


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="prompt 0 has only one kind"):
        small(correct=torch.tensor([[True, True]]))
    with pytest.raises(ValueError, match="correct must be bool"):
        small(correct=torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"own must have shape \[1, 2\], got \[2, 2\]"):
        small(own=torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"shared must have shape \[3\]"):
        small(shared=torch.zeros(2))
    with pytest.raises(ValueError, match="k must be at least 1"):
        exact_pass_at_k(f64([0.5]), 0)
    for name, value in {"prompts": 0, "behaviours": 1, "most_correct": 60, "features": 0, "spread": -1.0, "difficulty": -1.0}.items():
        with pytest.raises(ValueError, match=f"{name} must be a number in"):
            draw_behaviours(generator(0), **{name: value})
