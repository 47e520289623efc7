from __future__ import annotations

from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hierlab.seeds import generator
from hierlab.theory import (
    BallsAndUrns,
    Classification,
    LinearRegression,
    generalised_classification,
    generalised_regression,
    generalised_urns,
    memorised_classification,
    memorised_regression,
    memorised_urns,
)
from hierlab.theory.average_loss import average_loss
from hierlab.trace import Tape

SETTINGS = [BallsAndUrns(4, 6), LinearRegression(3, 6), Classification(4, 6)]


def f64(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# degenerate sizes


def test_one_urn_is_always_predicted():
    urn = f64([[0.2, 0.3, 0.5]])
    draws = torch.tensor([[3, 0, 0, 2], [3, 1, 1, 1]])
    torch.testing.assert_close(memorised_urns(urn, draws).exp(), urn.expand(2, 4, 3))


def test_two_equal_urns_are_one():
    tasks, draws = f64([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([[2, 0, 1, 1]])
    twice = torch.cat([tasks[:1], tasks])
    posterior = memorised_urns(twice, draws).exp()[0, 1]
    expected = (2 * 0.2 * tasks[0] + 0.6 * tasks[1]) / (2 * 0.2 + 0.6)
    torch.testing.assert_close(posterior, expected)
    torch.testing.assert_close(memorised_urns(tasks[:1].expand(3, 2), draws), memorised_urns(tasks[:1], draws))


def test_an_empty_context_has_the_prior_alone():
    draws = torch.tensor([[2]])
    torch.testing.assert_close(memorised_urns(f64([[0.2, 0.8], [0.6, 0.4]]), draws).exp(), f64([[[0.4, 0.6]]]))
    torch.testing.assert_close(generalised_urns(f64([1.0, 3.0]), draws).exp(), f64([[[0.25, 0.75]]]))


def test_what_no_urn_holds_stays_finite():
    tasks = f64([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    predicted = memorised_urns(tasks, torch.tensor([[3, 0, 1, 1, 2]]))
    assert predicted.isfinite().all()
    torch.testing.assert_close(predicted.exp()[0, 1], tasks[0])  # one draw identifies the urn
    torch.testing.assert_close(predicted.exp()[0, 2], f64([0.5, 0.5, 0.0]), atol=1e-12, rtol=0)  # impossible for both, equally
    torch.testing.assert_close(predicted.exp()[0, 3], tasks[1])  # the second misses less


def test_a_long_context_does_not_underflow():
    tasks = f64([[0.999, 0.001], [0.001, 0.999]])
    draws = torch.cat([torch.tensor([[2]]), torch.zeros(1, 5000, dtype=torch.long)], 1)
    torch.testing.assert_close(memorised_urns(tasks, draws).exp()[0, -1], tasks[0])


def test_one_regression_task_and_one_pair():
    task = f64([[1.0, 2.0]])
    xs, ys = f64([[[1.0, 1.0]]]), f64([[9.0]])
    assert memorised_regression(task, xs, ys, 0.1).tolist() == [[3.0]]
    assert generalised_regression(xs, ys, 0.1, (0.25, 1.0)).tolist() == [[0.25]]


# closed form


def test_two_urns_by_hand():
    tasks, draws = f64([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([[2, 0, 1]])
    weight = 0.9 / 1.3
    expected = weight * 0.9 + (1 - weight) * 0.4
    assert memorised_urns(tasks, draws)[0, 1, 0].item() == pytest.approx(log(expected))
    assert generalised_urns([1.0, 1.0], draws).exp()[0, :, 0].tolist() == pytest.approx([1 / 2, 2 / 3, 2 / 4])


def test_ridge_in_one_dimension_by_hand():
    xs, ys = f64([[[2.0], [1.0], [3.0]]]), f64([[4.0, 1.0, 0.0]])
    predicted = generalised_regression(xs, ys, 0.5, (0.0, 2.0))
    penalty = 0.25
    assert predicted[0].tolist() == pytest.approx([0.0, 8 / (4 + penalty), 3 * 9 / (5 + penalty)])


def test_the_nearest_item_lends_its_label():
    s2 = 0.5
    items = f64([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    query = [0.4, 0.1, -1.0]
    pairs = f64([[[0.9, 0.1, 0.0], [0.1, 0.8, 1.0], query]])
    distances = [(1.5**0.5 * 0.4 - a) ** 2 + (1.5**0.5 * 0.1 - b) ** 2 for a, b in ((1, 0), (0, 1))]
    weights = [exp(-2 / (2 * s2) * d) for d in distances]
    assert memorised_classification(items, pairs, s2).exp()[0, 1].item() == pytest.approx(weights[0] / sum(weights))
    scale = 2 * 1.5**2 / (2 * s2 * 2.5)
    near = [exp(-scale * ((0.4 - a / 1.5) ** 2 + (0.1 - b / 1.5) ** 2)) for a, b in ((0.9, 0.1), (0.1, 0.8))]
    assert generalised_classification(pairs, s2).exp()[0, 1].item() == pytest.approx(near[1] / sum(near))


def test_labels_are_never_certain():
    tasks = f64([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0]])
    pairs = f64([[[3.0, 0.0, 1.0], [3.0, 0.0, -1.0]]])
    for predicted in (memorised_classification(tasks, pairs, 0.5), generalised_classification(pairs, 0.5)):
        assert predicted.exp()[0].tolist() == pytest.approx([1e-5, 1 - 1e-5])


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_no_mixture_beats_the_memoriser_on_its_tasks(setting):
    """M is Bayes' answer on the training tasks, and G on fresh ones, up to Monte Carlo noise."""
    tasks, random = setting.draw_tasks(3, generator("few", 1)), generator("sequences", 2)
    for table, better in ((tasks, 0), (setting.draw_tasks(400, generator("fresh", 3)), 1)):
        drawn = setting.draw(table, 2000, random)
        predicted = setting.memorising(tasks, drawn), setting.generalising(drawn)
        mixed = [setting.losses(w * predicted[0] + (1 - w) * predicted[1], table, drawn).mean().item() for w in (1.0, 0.5, 0.0)]
        assert min(mixed) == (mixed[0] if better == 0 else mixed[2])
        assert setting.losses(setting.constant(drawn), table, drawn).mean().item() > min(mixed)


def test_the_loss_of_the_truth_is_nothing():
    setting = BallsAndUrns(5, 3)
    tasks = setting.draw_tasks(4, generator("a"))
    drawn = setting.draw(tasks, 7, generator("b"))
    truth = tasks[drawn.task][:, None].expand(-1, 3, -1)
    torch.testing.assert_close(setting.losses(truth, tasks, drawn), torch.zeros(7, dtype=torch.float64), atol=1e-12, rtol=0)


def test_draws_follow_the_urn():
    setting = BallsAndUrns(3, 2000)
    drawn = setting.draw(f64([[0.5, 0.0, 0.5]]), 20, generator("draws"))
    shares = torch.bincount(drawn.draws[:, 1:].flatten(), minlength=3) / 40_000
    assert shares[1] == 0
    assert shares[0].item() == pytest.approx(0.5, abs=0.02)
    assert (drawn.draws[:, 0] == 3).all()


def test_queries_in_context_and_in_weights():
    setting = Classification(3, 4)
    tasks = setting.draw_tasks(6, generator("items"))
    tasks[:, -1] = torch.arange(6) % 2
    for query, present in (("in context", True), ("in weights", False)):
        context, target = setting._choose(6, 500, generator("choice"), query)
        assert ((context == target[:, None]).any(1) == present).all()
        assert set(target.tolist()) == set(range(6))
    drawn = setting.draw(tasks, 50, generator("pairs"))
    assert (drawn.pairs[:, -1, -1] == -1).all()
    assert (drawn.label == tasks[drawn.task, -1].long()).all()


# loop against vectorised


def plain_memorised_urns(tasks, row):
    rows = []
    for t in range(len(row)):
        weights = [1.0] * len(tasks)
        for ball in row[1 : t + 1]:
            weights = [w * urn[ball] for w, urn in zip(weights, tasks, strict=True)]
        rows.append([sum(w * urn[v] for w, urn in zip(weights, tasks, strict=True)) / sum(weights) for v in range(len(tasks[0]))])
    return rows


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 6), st.integers(0, 1000))
def test_urns_equal_the_plain_version(tasks, alphabet, length, seed):
    random = generator("plain", seed)
    table = BallsAndUrns(alphabet).draw_tasks(tasks, random)
    draws = torch.cat([torch.full((2, 1), alphabet), torch.randint(alphabet, (2, length), generator=random)], 1)
    predicted = memorised_urns(table, draws).exp()
    for found, row in zip(predicted, draws.tolist(), strict=True):
        torch.testing.assert_close(found, f64(plain_memorised_urns(table.tolist(), row)), rtol=1e-9, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(0, 1000))
def test_regression_equals_the_plain_version(tasks, dims, length, seed):
    setting = LinearRegression(dims, length)
    table = setting.draw_tasks(tasks, generator("w", seed))
    drawn = setting.draw(table, 2, generator("s", seed))
    m, g = setting.memorising(table, drawn), setting.generalising(drawn)
    for n in range(2):
        xs, ys = drawn.xs[n], drawn.ys[n]
        for t in range(length):
            errors = ((ys[:t, None] - xs[:t] @ table.T) ** 2).sum(0)
            weight = torch.softmax(-errors / (2 * setting.noise_variance), 0)
            assert m[n, t].item() == pytest.approx(float(weight @ table @ xs[t]), rel=1e-9, abs=1e-9)
            ridge = torch.linalg.solve(xs[:t].T @ xs[:t] + setting.noise_variance * torch.eye(dims, dtype=xs.dtype), xs[:t].T @ ys[:t])
            assert g[n, t].item() == pytest.approx(float(ridge @ xs[t]), rel=1e-6, abs=1e-9)


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_tasks_and_of_past_draws_does_not_matter(seed):
    random = generator("order", seed)
    table = BallsAndUrns(4).draw_tasks(5, random)
    balls = torch.randint(4, (1, 6), generator=random)
    shuffled = balls[:, torch.randperm(6, generator=random)]
    start = torch.full((1, 1), 4)
    draws, other = torch.cat([start, balls], 1), torch.cat([start, shuffled], 1)
    torch.testing.assert_close(memorised_urns(table, draws), memorised_urns(table[torch.randperm(5, generator=random)], draws))
    torch.testing.assert_close(memorised_urns(table, draws)[:, -1], memorised_urns(table, other)[:, -1])
    torch.testing.assert_close(generalised_urns([1.0] * 4, draws)[:, -1], generalised_urns([1.0] * 4, other)[:, -1])


def test_predictions_look_only_back():
    setting = LinearRegression(2, 8)
    table = setting.draw_tasks(3, generator("w"))
    drawn = setting.draw(table, 4, generator("s"))
    changed = drawn.ys.clone()
    changed[:, 5:] += 100
    for predict in (
        lambda ys: memorised_regression(table, drawn.xs, ys, 0.1),
        lambda ys: generalised_regression(drawn.xs, ys, 0.1),
    ):
        torch.testing.assert_close(predict(changed)[:, :6], predict(drawn.ys)[:, :6])


def test_the_tape_tells_the_story():
    tasks, draws = f64([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([[2, 0, 1, 1]])
    with Tape() as tape:
        memorised_urns(tasks, draws)
        generalised_urns([1.0, 1.0], draws)
    assert tape["posterior over urns"].shape == (4, 2)
    assert tape["pseudo-counts"][-1].tolist() == [2, 3]


def test_the_mean_loss_and_the_robust_one():
    losses = torch.cat([torch.ones(99, dtype=torch.float64), f64([1000.0])])
    assert average_loss(losses) == pytest.approx(10.99)
    assert average_loss(losses, average="median of means", generator=generator("blocks")) == 1
    assert average_loss(f64([2.0]), average="median of means", generator=generator("blocks")) == 2
    with pytest.raises(ValueError, match="give it a generator"):
        average_loss(losses, average="median of means")


# wrong usage


def test_rows_that_are_no_distribution_are_refused():
    with pytest.raises(ValueError, match="every row of tasks must be a distribution, but row 1 is"):
        memorised_urns(f64([[0.5, 0.5], [0.7, 0.7]]), torch.tensor([[2, 0]]))
    with pytest.raises(ValueError, match="tasks must be finite, got nan"):
        memorised_urns(f64([[float("nan"), 0.5]]), torch.tensor([[2, 0]]))


@pytest.mark.parametrize("draws", [[[0, 1]], [[3, 0]]])
def test_sequences_without_a_start_token_are_refused(draws):
    with pytest.raises(ValueError, match="must begin with the start token, whose id is the number of balls, 2"):
        memorised_urns(f64([[0.5, 0.5]]), torch.tensor(draws))


def test_unknown_balls_are_refused():
    with pytest.raises(ValueError, match="balls must be numbered 0 to 1, got 0 to 2"):
        generalised_urns([1.0, 1.0], torch.tensor([[2, 0, 2]]))
    with pytest.raises(ValueError, match="draws must be a non-empty integer tensor"):
        generalised_urns([1.0, 1.0], torch.tensor([[2.0, 0.0]]))


def test_priors_and_variances_must_be_positive():
    with pytest.raises(ValueError, match="every concentration must be positive, got 0"):
        generalised_urns([1.0, 0.0], torch.tensor([[2, 0]]))
    xs, ys = torch.ones(1, 2, 2), torch.ones(1, 2)
    with pytest.raises(ValueError, match="noise_variance must be positive"):
        generalised_regression(xs, ys, 0.0)
    with pytest.raises(ValueError, match="the prior's variance must be a number in"):
        generalised_regression(xs, ys, 0.1, (0.0, -1.0))
    with pytest.raises(ValueError, match="within_class_variance must be positive"):
        generalised_classification(torch.zeros(1, 3, 3), 0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"with tasks of 3 dimensions xs must be \[n, C, 3\]"):
        memorised_regression(torch.ones(2, 3), torch.ones(1, 2, 2), torch.ones(1, 2), 0.1)
    with pytest.raises(ValueError, match="the same columns, got 4 and 3"):
        memorised_classification(torch.zeros(2, 4), torch.zeros(1, 3, 3), 0.5)
    with pytest.raises(ValueError, match="rows of pairs must be a whole number of at least 2, got 1"):
        generalised_classification(torch.zeros(1, 1, 3), 0.5)


def test_labels_out_of_range_are_refused():
    pairs = torch.zeros(1, 3, 3)
    pairs[0, 0, -1] = 2
    with pytest.raises(ValueError, match="labels of the context must be whole numbers from 0 to 1, got 2"):
        generalised_classification(pairs, 0.5)
    generalised_classification(pairs, 0.5, labels=3)


def test_settings_refuse_sizes_that_are_none():
    with pytest.raises(ValueError, match="alphabet must be a whole number of at least 2, got 1"):
        BallsAndUrns(1)
    with pytest.raises(ValueError, match=r"length must be a whole number of at least 1, got 2\.5"):
        LinearRegression(2, 2.5)
    with pytest.raises(ValueError, match="concentration must be positive"):
        BallsAndUrns(4, 4, 0.0)
    with pytest.raises(ValueError, match="tasks must have 4 columns"):
        BallsAndUrns(4).draw(f64([[0.5, 0.5]]), 2, generator("x"))
    with pytest.raises(ValueError, match="needs at least two tasks"):
        Classification(2, 3).draw(torch.zeros(1, 3), 2, generator("x"), query="in weights")
    with pytest.raises(ValueError, match="query must be one of"):
        Classification(2, 3).draw(torch.zeros(2, 3), 2, generator("x"), query="nowhere")
