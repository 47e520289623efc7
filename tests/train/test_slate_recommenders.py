"""Slate recommenders measured on logs, and living on the clicks they cause."""

import pytest
import torch

from hierlab.envs.slate_world import slate_world
from hierlab.recommendation.slates import padded_log
from hierlab.seeds import generator
from hierlab.train.slate_offline import liked_first, measure_model, measure_trivial, split_log
from hierlab.train.slate_rounds import play_rounds

FIT = {"dim": 4, "steps": 8, "rate": 0.05, "particles": 1, "likelihood_temperature": 1.0, "max_scale": 1.0, "user": "linear"}


def small_world():
    return slate_world(0, users=30, items=40, groups=5, dim=4)


def test_a_split_holds_out_later_steps_of_some_users():
    log = small_world().logged(6, 3, 0.5, generator("log"))
    split = split_log(log, 4, 0.5, seed=1)
    assert len(split.users) == 15
    assert (~split.log.train).sum() == 30
    assert split.log.train[:, :4].all()
    assert split.targets.equal(log.click[split.users, 4:])
    with pytest.raises(ValueError, match="hold out steps 1 to 5 of at least one of 30 users, got since = 6"):
        split_log(log, 6, 0.5, seed=1)


def test_all_recommenders_are_measured_alike():
    world = small_world()
    split = split_log(world.logged(6, 3, 0.5, generator("log")), 4, 0.5, seed=1)
    model = measure_model(split, world.item_group, FIT, 5, world=world)
    for name in ("random", "most popular"):
        assert measure_trivial(name, split, world.item_group, 5, world=world).keys() == model.keys()
    assert 0 < model["click_rate"] < 1
    assert model["log_likelihood"] < 0
    with pytest.raises(ValueError, match="'random' or 'most popular', got 'best'"):
        measure_trivial("best", split, world.item_group, 5)


def test_the_truth_puts_what_is_liked_first_and_its_opposite_never_does():
    truth = torch.randn(4, 33, generator=generator("truth"))
    items = torch.arange(3, 33)
    assert liked_first(truth, truth, items) == 1
    assert liked_first(-truth, truth, items) == 0
    assert liked_first(torch.zeros(4, 33), truth, items) == 0.5
    assert liked_first(truth, truth, items[:1]) == 0.5
    assert liked_first(-truth, torch.zeros(4, 33), items) == 0.5  # nothing is liked more than anything else


def test_the_order_of_what_is_not_liked_does_not_matter():
    truth = torch.arange(23.0).expand(2, 23)
    scores = truth.clone()
    scores[:, 3:21] = scores[:, 3:21].flip(1)
    assert liked_first(scores, truth, torch.arange(3, 23)) == 1


def test_the_likelihood_of_shares_by_hand():
    log = padded_log([[([3, 4], 3), ([3, 5], 3)], [([3, 4], None), ([4, 5], 4)]])
    split = split_log(log, 1, 1.0, seed=0)  # in training: one click on item 3, one no-click
    found = measure_trivial("most popular", split, torch.zeros(6, dtype=torch.long), 1)
    expected = torch.tensor([0.5 * 2 / 3, 0.5 * 1 / 2]).log().mean()
    assert found["log_likelihood"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("recommender", ["greedy", "thompson", "in-slate", "epsilon-greedy", "most popular", "random"])
def test_every_recommender_plays(recommender):
    seen = []
    found = play_rounds(
        small_world(), recommender, FIT, rounds=3, k=3, refit_steps=2, report=lambda done, total, **values: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(found["regret_curve"]) == 3
    assert found["regret_curve"] == sorted(found["regret_curve"])
    assert found["regret"] == pytest.approx(found["regret_curve"][-1] / 3, rel=1e-5)
    assert all(r >= 0 for r in found["regret_curve"])


def test_equal_seeds_play_equally_and_meet_the_same_moods():
    runs = [play_rounds(small_world(), "in-slate", FIT, rounds=2, k=3, refit_steps=2, seed=s)["click_rate_curve"] for s in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_wrong_play_is_refused():
    with pytest.raises(ValueError, match="recommender must be one of"):
        play_rounds(small_world(), "best", FIT, rounds=1, k=3)
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        play_rounds(small_world(), "random", FIT, rounds=0, k=3)
