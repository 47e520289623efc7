from __future__ import annotations

import numpy as np
import pytest
import torch

from hierlab.adaptation.task_vectors import merge, relative_norms
from hierlab.envs.digit_views import SIZES, VIEWS, digit_views, layers, logits, parameter_count
from hierlab.train.digit_views import DigitSettings, first_weights, train_digit_views

QUICK = DigitSettings(base_epochs=3, fine_epochs=2)


@pytest.fixture(scope="module")
def merged():
    return train_digit_views(0, names=("plain", "mirrored", "inverted"), settings=QUICK)


def test_views_show_the_same_images():
    digits = digit_views(tuple(VIEWS), seed=1)
    assert digits.train.shape == (8, 1198, 64)
    assert digits.held_out.shape == (8, 599, 64)
    plain, turned = digits.train[0, 0].reshape(8, 8), digits.train[1, 0].reshape(8, 8)
    assert torch.equal(turned, plain.rot90())
    assert torch.equal(digits.train[3], 1 - digits.train[0])
    assert len({tuple(view[:5].flatten().tolist()) for view in digits.train}) == 8
    assert digits.train.min() == 0
    assert digits.train.max() == 1


def test_a_flat_network_is_the_network():
    flat = first_weights(torch.Generator().manual_seed(0))
    x = torch.rand(7, 64)
    modules = []
    for weight, bias in layers(flat):
        linear = torch.nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias[0].clone()
        modules += [linear, torch.nn.ReLU()]
    assert len(flat) == parameter_count() == sum(p.numel() for m in modules for p in m.parameters())
    assert torch.allclose(logits(flat, x), torch.nn.Sequential(*modules[:-1])(x), atol=1e-5)
    assert torch.allclose(logits(flat.expand(3, -1), x)[2], logits(flat, x), atol=1e-6)


def test_many_merges_are_measured_as_one_by_one(merged):
    scales = np.random.default_rng(0).uniform(0, 1, (11, 3))  # more than two chunks
    together = merged.evaluate(scales)
    assert together.shape == (11, 3)
    for row in (0, 3, 4, 10):
        theta = merge(merged.base, merged.vectors, torch.tensor(scales[row], dtype=torch.float32))
        for n in range(3):
            right = logits(theta, merged.digits.held_out[n]).argmax(-1) == merged.digits.held_out_labels
            assert abs(together[row, n] - float(right.double().mean())) < 0.002  # an image may change sides by rounding
    assert np.array_equal(merged.evaluate(scales[:5], [2, 0]), together[:5, [2, 0]])
    assert merged.evaluate(np.zeros((0, 3))).shape == (0, 3)


def test_fine_tuning_helps_its_own_view_and_moves_little(merged):
    own, base = merged.evaluate(np.eye(3)), merged.evaluate(np.zeros((1, 3)))[0]
    assert (own.diagonal() > base).all()
    assert relative_norms(merged.base, merged.vectors).max() < 0.3


def test_some_tasks_of_a_merge(merged):
    part = merged.only([2, 0])
    assert part.digits.names == ("inverted", "plain")
    assert np.allclose(part.evaluate([[0.3, 0.6]]), merged.evaluate([[0.6, 0.0, 0.3]], [2, 0]))
    assert np.allclose(merged.with_vectors(merged.vectors / 2).evaluate([[1.0, 0, 0]]), merged.evaluate([[0.5, 0, 0]]))


def test_training_is_seeded(merged):
    again = train_digit_views(0, names=("plain", "mirrored", "inverted"), settings=QUICK)
    assert torch.equal(again.base, merged.base)
    assert torch.equal(again.vectors, merged.vectors)


def test_wrong_usage_is_refused(merged):
    for names in ((), ("plain", "plain"), ("sideways",)):
        with pytest.raises(ValueError, match="names must be different views out of 'plain'"):
            digit_views(names)
    with pytest.raises(ValueError, match="one column a task vector"):
        merged.evaluate([[0.5, 0.5]])
    with pytest.raises(ValueError, match="vectors must have shape"):
        merged.with_vectors(merged.vectors[:2])
    with pytest.raises(ValueError, match=f"has {parameter_count(SIZES)} parameters, got 5"):
        layers(torch.zeros(5))
    with pytest.raises(ValueError, match="epochs must not be negative"):
        DigitSettings(base_epochs=-1)
