from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.adaptation.angle_bins import cartesian, default_bins, draw_scales, hyperspherical, score_bins, uncertain_mean
from hierlab.adaptation.direct_search import full_grid, grid_scales, random_scales
from hierlab.adaptation.scale_sampling import default_budget, lattice_points, sample_scales

seeds = st.integers(0, 2**31)


def rows(points) -> set[tuple[float, ...]]:
    return {tuple(point) for point in np.asarray(points).tolist()}


def plain_uncertain_mean(mask, losses, weight, percentage, repeats, random) -> float:
    """The released code's rule, one mask thinned again and again."""
    mask, means = list(mask), []
    mean = np.mean([v for v, m in zip(losses, mask, strict=True) if m])
    for _ in range(repeats):
        inside = [i for i, m in enumerate(mask) if m]
        for i in random.choice(inside, int(percentage / 100.0 * len(inside)), replace=False):
            mask[i] = False
        means.append(np.mean([v for v, m in zip(losses, mask, strict=True) if m]))
    return mean + weight * np.std(means)


# lattice and samples


def test_small_lattices_are_empty():
    assert lattice_points(0, 3, np.random.default_rng(0)).shape == (0, 3)
    assert lattice_points(5, 1, np.random.default_rng(0)).shape == (0, 1)  # every point is on the diagonal


@given(st.integers(1, 60), st.integers(2, 4), seeds)
def test_lattice_leaves_its_well_trodden_paths_out(count, tasks, seed):
    points = lattice_points(count, tasks, np.random.default_rng(seed))
    side = int(np.ceil((2 * count) ** (1 / tasks)))
    assert len(points) <= count
    assert len(rows(points)) == len(points)
    assert rows(points) <= rows(np.indices([side] * tasks).reshape(tasks, -1).T / (side - 1))
    assert not rows(points) & rows(np.eye(tasks))
    assert (points.sum(1) != 1).all()
    assert (points != points[:, :1]).any(1).all()


@given(st.integers(2, 5), st.integers(1, 40), seeds)
def test_one_hots_are_always_among_the_samples(tasks, more, seed):
    scales = sample_scales(tasks, tasks + more, np.random.default_rng(seed), isotropic=0.2, one_hot=0.3)
    assert rows(np.eye(tasks)) <= rows(scales)
    assert tasks <= len(scales) <= tasks + more
    assert scales.min() >= 0
    assert scales.max() <= 1


def test_parts_come_in_the_released_order():
    scales = sample_scales(2, 22, np.random.default_rng(0), isotropic=0.4, one_hot=0.2)
    assert (scales[:4, 0] == scales[:4, 1]).all()  # 8 for the diagonal: 4 on it, 4 near it
    assert (scales[4:8, 0] != scales[4:8, 1]).any()
    assert scales[8:10].tolist() == [[1, 0], [0, 1]]
    assert np.abs(scales[10:12] - np.eye(2)[scales[10:12].argmax(1)]).max() < 0.6  # 4 for disturbed corners, of which half are drawn
    assert len(scales) == 4 + 4 + 2 + 2 + 8


def test_legacy_generator_draws_what_the_released_code_draws():
    """Uniform, choice, normal, choice, normal, choice: in this order, by the global generator's legacy streams."""
    ours = sample_scales(3, 23, np.random.RandomState(7), isotropic=0.4, one_hot=0.2)
    old = np.random.RandomState(7)
    diagonal = np.repeat(old.uniform(0, 1, 4)[:, None], 3, axis=1)
    near = np.clip(diagonal[old.choice(4, size=4)] + old.normal(0, 0.1, (4, 3)), 0, 1)
    corner = np.clip(np.eye(3)[old.choice(3, size=2, replace=True)] + old.normal(0, 0.1, (2, 3)), 0, 1)
    assert np.array_equal(ours[:13], np.concatenate([diagonal, near, np.eye(3), corner]))


def test_default_budget_is_twice_the_coefficients():
    assert [default_budget(n) for n in (1, 2, 4, 8)] == [6, 12, 30, 90]


def test_wrong_samples_are_refused():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="total must be above the number of tasks, 3"):
        sample_scales(3, 3, random)
    with pytest.raises(ValueError, match="shares of one whole"):
        sample_scales(3, 10, random, isotropic=0.7, one_hot=0.7)
    with pytest.raises(ValueError, match="count must be a number in"):
        lattice_points(-1, 2, random)


# direct search


@given(st.integers(1, 70), st.integers(1, 4), seeds)
def test_grid_has_as_many_different_points_as_asked_for(count, tasks, seed):
    points = grid_scales(count, tasks, np.random.default_rng(seed))
    assert len(rows(points)) == len(points) == count


def test_full_grid_and_random_scales():
    assert full_grid(3, 1)[:, 0].tolist() == [0, 0.5, 1]
    assert full_grid(11, 2).shape == (121, 2)
    assert random_scales(0, 3, np.random.default_rng(0)).shape == (0, 3)
    with pytest.raises(ValueError, match="side must be"):
        full_grid(1, 2)


# directions


@given(st.integers(2, 6), seeds)
def test_there_and_back_again(tasks, seed):
    scales = np.random.default_rng(seed).uniform(0, 1, (5, tasks))
    angles, radii = hyperspherical(scales)
    assert angles.shape == (5, tasks - 1)
    assert angles.min() >= 0
    assert angles.max() <= np.pi / 2
    assert cartesian(angles, radii) == pytest.approx(scales, abs=1e-12)


def test_directions_by_hand():
    angles, radii = hyperspherical([[1, 0], [0, 2], [1, 1]])
    assert angles[:, 0] == pytest.approx([0, np.pi / 2, np.pi / 4])
    assert radii == pytest.approx([1, 2, 2**0.5])


# scores


@given(st.integers(1, 25), seeds)
def test_faithful_thinning_is_the_released_rule(n, seed):
    random = np.random.default_rng(seed)
    losses, mask = random.uniform(0, 1, 2 * n), np.repeat([True, False], n)
    random.shuffle(mask)
    ours = uncertain_mean(losses[mask], np.random.RandomState(1), faithful=True)
    assert ours == pytest.approx(plain_uncertain_mean(mask, losses, 0.5, 20, 30, np.random.RandomState(1)))


def test_thinning_again_overstates_the_deviation():
    errors = np.random.default_rng(0).exponential(size=40)
    reset, shrinking = (
        np.mean([uncertain_mean(errors, np.random.default_rng(s), faithful=faithful) for s in range(40)]) - errors.mean()
        for faithful in (False, True)
    )
    assert shrinking > 2 * reset > 0


def test_few_errors_are_never_thinned():
    assert uncertain_mean([], np.random.default_rng(0)) == -np.inf
    for faithful in (False, True):
        assert uncertain_mean([0.1, 0.4], np.random.default_rng(0), faithful=faithful) == pytest.approx(0.25)


def test_the_last_one_hot_is_in_a_bin_unless_faithful():
    scales, errors = np.array([[1, 0], [0.9, 0.1], [0, 1]]), np.array([0.0, 0.0, 1.0])
    ours = score_bins(scales, errors, np.random.default_rng(0))
    released = score_bins(scales, errors, np.random.default_rng(0), faithful=True)
    assert ours.scores.tolist() == [0, -np.inf, -np.inf, 1]
    assert released.scores.tolist() == [0, -np.inf, -np.inf, -np.inf]
    assert ours.probabilities[3] > 0.999


@given(st.integers(2, 4), seeds)
def test_new_samples_come_from_bins_that_had_some(tasks, seed):
    random = np.random.default_rng(seed)
    scales = random.uniform(0, 1, (12, tasks))
    found = score_bins(scales, random.uniform(0, 1, 12), random)
    new = draw_scales(found, 30, random)
    assert len(found.centres) == default_bins(tasks) ** (tasks - 1)
    assert found.probabilities.sum() == pytest.approx(1)
    angles, radii = hyperspherical(new)
    assert radii.min() >= 0.2 - 1e-9
    assert radii.max() <= 0.8 + 1e-9
    near = [np.abs(found.centres - a).max(1).argmin() for a in angles]
    assert np.isfinite(found.scores[near]).all()


def test_wrong_bins_are_refused():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="one task has no direction"):
        hyperspherical([[1.0]])
    with pytest.raises(ValueError, match="one finite number a scale vector"):
        score_bins([[1, 0], [0, 1]], [1.0], random)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        score_bins([[1, 0]], [1.0], random, temperature=0)
    with pytest.raises(ValueError, match="scales must not be negative"):
        score_bins([[-1.0, 0.0]], [1.0], random)
    with pytest.raises(ValueError, match="drop must be below 1"):
        uncertain_mean([1.0], random, drop=1)
    with pytest.raises(ValueError, match="radius must be"):
        draw_scales(score_bins([[1, 0]], [1.0], random), 1, random, radius=(0.8, 0.2))
    with pytest.raises(ValueError, match="angles must be"):
        cartesian([[1.0]], [1.0, 2.0])
