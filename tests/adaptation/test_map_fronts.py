from __future__ import annotations

import numpy as np
import pytest

from hierlab.adaptation.amortised_front import AmortisedFront, spread
from hierlab.adaptation.bayesian_map import BayesianMAP
from hierlab.adaptation.direct_search import direct_front, win_rate
from hierlab.adaptation.evaluations import BudgetError, CountedEvaluations
from hierlab.adaptation.nested_map import NestedMAP, closest
from hierlab.adaptation.nsga3 import reference_points, search_front
from hierlab.adaptation.quadratic_world import QuadraticWorld
from hierlab.pareto import hypervolume, mean_distance
from hierlab.trace import Tape

WORLD = QuadraticWorld(3)
QUICK = {"generations": 2, "population": 40}


def fitted(**settings) -> AmortisedFront:
    return AmortisedFront(**settings).fit(WORLD.evaluate, WORLD.tasks)


# degenerate sizes


def test_one_task_has_its_best_scale_as_front():
    found = AmortisedFront(budget=8, isotropic=1.0).fit(QuadraticWorld(1).evaluate, 1)
    assert found.choose([1.0]) == pytest.approx([QuadraticWorld(1).peaks[0, 0]], abs=0.01)


def test_one_task_needs_no_merge():
    nested = NestedMAP().fit(QuadraticWorld(1).evaluate, 1)
    assert nested.scales_.tolist() == [1.0]
    assert (nested.tree_.depth, nested.task_evaluations_) == (0, 1)


def test_reference_points_of_one_and_three_objectives():
    assert reference_points(1).tolist() == [[1.0]]
    assert len(reference_points(3)) == 6 + 3
    assert reference_points(3).sum(1) == pytest.approx(np.ones(9))


def test_spread_takes_the_ends_first_and_never_twice():
    line = np.linspace(0, 1, 11)[:, None] * [1, -1]
    assert spread(line, 2).tolist() == [10, 0]
    assert spread(line, 3).tolist() == [10, 0, 5]
    assert sorted(spread(line, 99)) == list(range(11))
    assert len(spread(np.zeros((4, 2)), 4)) == 4


# closed form


def test_the_world_knows_its_front():
    scales, metrics = WORLD.front(2000, np.random.default_rng(0))
    assert metrics == pytest.approx(WORLD.evaluate(scales))
    other = WORLD.evaluate(np.random.default_rng(1).uniform(0, 1, (2000, 3)))
    beaten = (other[:, None] >= metrics[None] + 1e-9).all(-1)
    assert not beaten.any()


def test_map_finds_the_front_of_a_quadratic_world():
    _, true = WORLD.front(3000, np.random.default_rng(0))
    found = fitted()
    assert [s.squared_error_ for s in found.surrogates_] == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.front_predicted_ == pytest.approx(WORLD.evaluate(found.front_scales_), abs=1e-5)
    assert mean_distance(found.front_predicted_, true) < 0.02
    assert hypervolume(found.front_predicted_, 0) > 0.97 * hypervolume(true, 0)


def test_losses_are_minimised():
    world = QuadraticWorld(2)

    def loss(scales, tasks):
        return -np.log(world.evaluate(scales, tasks))

    found = AmortisedFront(link="softplus", maximise=False).fit(loss, 2)
    best = loss(world.front(500, np.random.default_rng(0))[0], [0, 1]).min(0)
    assert found.front_predicted_.min(0) == pytest.approx(best, abs=0.05)
    assert loss(found.choose([1, 0])[None], [0])[0, 0] < 0.1 + best[0]


def test_search_meets_mixed_directions():
    scales, values = search_front(
        lambda c: np.stack([c[:, 0], c[:, 0]], 1), 1, np.random.default_rng(0), maximise=(True, True), objectives=2
    )
    assert values.max() > 0.99
    _, both = search_front(lambda c: np.stack([c[:, 0], c[:, 0]], 1), 1, np.random.default_rng(0), maximise=(True, False), objectives=2)
    assert len(both) > 100 > len(scales)


def test_closest_pair_is_the_first_on_ties():
    assert closest([1.0, 3.0, 2.0, 4.0]) == (0, 2)
    assert closest([5.0, 1.0, 1.5]) == (1, 2)


def test_win_rate_of_equal_and_of_better_fronts():
    random, points = np.random.default_rng(0), np.random.default_rng(1).uniform(0, 1, (40, 3))
    assert win_rate(points, points, random) == pytest.approx(0.5)
    assert win_rate(points + 1, points[:7], random) == 1
    assert win_rate(points + 1, points[:7], random, maximise=False) == 0


# what it costs


def test_evaluations_are_counted_and_limited():
    measure = CountedEvaluations(WORLD.evaluate, 3, limit=10)
    assert measure(np.zeros((2, 3))).shape == (2, 3)
    assert measure(np.zeros((2, 3)), [1]).shape == (2, 1)
    assert (measure.spent, measure.scale_vectors, len(measure.measured)) == (8, 8 / 3, 2)
    with pytest.raises(BudgetError, match="3 task evaluations were asked for, 2 of 10 are left"):
        measure(np.zeros((1, 3)))
    assert measure.spent == 8


def test_plain_and_bayesian_map_cost_their_budget():
    measure = CountedEvaluations(WORLD.evaluate, 3)
    found = AmortisedFront(budget=25, **QUICK).fit(measure, 3)
    assert measure.spent == 3 * len(found.scales_) <= 75
    found.reevaluate(measure, 10)
    assert measure.spent == 3 * (len(found.scales_) + 10)
    measure = CountedEvaluations(WORLD.evaluate, 3)
    bayesian = BayesianMAP(schedule=(15, 4, 4), **QUICK).fit(measure, 3)
    assert measure.spent == 3 * 23
    assert [len(scales) for scales in bayesian.task_scales_] == [23, 23, 23]
    assert len(bayesian.bins_) == 2
    assert not np.array_equal(bayesian.task_scales_[0], bayesian.task_scales_[1])


@pytest.mark.parametrize("tasks", [2, 4, 5, 8])
def test_nested_map_costs_what_its_tree_says(tasks):
    measure = CountedEvaluations(QuadraticWorld(tasks).evaluate, tasks)
    nested = NestedMAP(pairs=12, settings=QUICK).fit(measure, tasks)
    merges = nested.nodes_[tasks:]
    assert len(merges) == tasks - 1
    assert nested.task_evaluations_ == measure.spent == tasks + sum(13 * len(m.tasks) for m in merges)
    assert sorted(nested.tree_.tasks) == list(range(tasks))
    balanced, chain = tasks + 13 * tasks * np.log2(tasks), tasks + 13 * (tasks * (tasks + 1) / 2 - 1)
    assert balanced <= measure.spent + 1e-9
    assert measure.spent <= chain


def test_nested_scales_are_products_along_the_tree():
    nested = NestedMAP(settings=QUICK).fit(WORLD.evaluate, 3)
    root = nested.tree_
    assert nested.scales_ == pytest.approx(sum(c * child.scales for c, child in zip(root.pair, root.children, strict=True)))
    assert root.score == pytest.approx(WORLD.evaluate(nested.scales_[None]).mean())


def test_known_scores_are_not_measured_again():
    scores = [WORLD.evaluate(np.eye(3)[n : n + 1])[0, n] for n in range(3)]
    known = NestedMAP(settings=QUICK).fit(WORLD.evaluate, 3, scores=scores)
    paid = NestedMAP(settings=QUICK).fit(WORLD.evaluate, 3)
    assert known.scales_ == pytest.approx(paid.scales_)
    assert known.task_evaluations_ == paid.task_evaluations_ - 3


# equal configurations


def test_the_same_seed_gives_the_same_front():
    one, again, other = (fitted(random_state=seed, **QUICK) for seed in (3, 3, 4))
    assert np.array_equal(one.front_scales_, again.front_scales_)
    assert not np.array_equal(one.scales_, other.scales_)
    refitted = AmortisedFront(random_state=5, **QUICK).fit_to(one.scales_, one.measured_)
    assert refitted.predict(np.full((1, 3), 0.5)) == pytest.approx(one.predict(np.full((1, 3), 0.5)))


def test_bounds_keep_the_search_in_its_box():
    for bounds in ((0, 1), (-3, 3)):
        scales, _ = search_front(lambda c: np.stack([c[:, 0], -c[:, 0]], 1), 2, np.random.default_rng(0), bounds=bounds, generations=3)
        assert bounds[0] <= scales.min() < bounds[0] + 0.1
        assert bounds[1] - 0.1 < scales.max() <= bounds[1]


def test_preferences_move_the_choice():
    found = fitted()
    for n in range(3):
        wish = np.full(3, 1e-3)
        wish[n] = 1
        assert found.predict(found.choose(wish)[None])[0].argmax() == n


def test_found_is_the_front_of_everything_measured():
    found = fitted()
    scales, metrics = found.found(*found.reevaluate(WORLD.evaluate, 20))
    assert metrics == pytest.approx(WORLD.evaluate(scales))
    kept = direct_front(np.concatenate([found.scales_, scales]), WORLD.evaluate)
    assert hypervolume(kept[1], 0) == pytest.approx(hypervolume(metrics, 0))


def test_map_narrates_its_steps():
    with Tape() as tape:
        found = fitted(generations=3)
    assert np.array_equal(tape["predicted front"], found.front_predicted_)
    assert sum(step.name == "population" for step in tape.steps) == 4


# wrong usage


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="10 coefficients want at least as many scale vectors"):
        fitted(budget=7)
    with pytest.raises(ValueError, match="no surrogates are fitted"):
        AmortisedFront().predict([[0, 0]])
    with pytest.raises(ValueError, match="no front to choose from"):
        AmortisedFront().choose([1])
    with pytest.raises(ValueError, match="no front to re-evaluate"):
        AmortisedFront().reevaluate(WORLD.evaluate)
    with pytest.raises(ValueError, match=r"scales and measured must be \[K, N\]"):
        AmortisedFront().fit_to(np.zeros((9, 2)), np.zeros((9, 3)))
    with pytest.raises(ValueError, match="bounds must be a lower and a higher"):
        fitted(bounds=(1, 0))
    with pytest.raises(ValueError, match="the schedule is the budget"):
        BayesianMAP(budget=3).fit(WORLD.evaluate, 3)
    with pytest.raises(ValueError, match="tasks at least 2"):
        BayesianMAP().fit(QuadraticWorld(1).evaluate, 1)
    with pytest.raises(ValueError, match="preference must be 3 finite numbers above 0"):
        NestedMAP().fit(WORLD.evaluate, 3, preference=[1, 0, 1])
    with pytest.raises(ValueError, match="scores must be 3 finite numbers"):
        NestedMAP().fit(WORLD.evaluate, 3, scores=[1])
    with pytest.raises(ValueError, match="at least two scores"):
        closest([1.0])
    with pytest.raises(ValueError, match="both fronts must have rows"):
        win_rate(np.zeros((0, 2)), [[1, 1]], np.random.default_rng(0))
    with pytest.raises(ValueError, match="evaluate must return finite metrics"):
        CountedEvaluations(lambda c, tasks: np.full((len(c), 1), np.nan), 1)(np.zeros((1, 1)))
    with pytest.raises(ValueError, match="there are 3 tasks, got scale vectors of length 2"):
        CountedEvaluations(WORLD.evaluate, 3)(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="evaluate has 3 tasks, but 2"):
        AmortisedFront().fit(CountedEvaluations(WORLD.evaluate, 3), 2)
    with pytest.raises(ValueError, match="metrics must return one row"):
        search_front(lambda c: c[:, :1], 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="count must be"):
        spread([[1.0]], 0)
