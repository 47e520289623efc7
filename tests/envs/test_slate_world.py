"""A marketplace whose users are known."""

import itertools

import pytest
import torch

from hierlab.envs.slate_world import slate_world
from hierlab.seeds import generator

SMALL = {"users": 4, "items": 9, "groups": 3, "dim": 2}


def test_the_best_slate_is_the_best_of_all():
    world = slate_world(0, **SMALL)
    worth = world.worth(world.start)
    rates = [world.click_rate(torch.tensor([slate] * 4), worth) for slate in itertools.combinations(range(3, 12), 3)]
    torch.testing.assert_close(world.click_rate(world.best_slates(worth, 3), worth), torch.stack(rates).max(0).values)


def test_clicks_come_as_often_as_computed():
    world = slate_world(1, **SMALL)
    worth, slates = world.worth(world.start), torch.tensor([[3, 5, 7]] * 4)
    clicks = torch.stack([world.respond(slates, worth, generator("respond", i)).click[:, 0] for i in range(3000)])
    torch.testing.assert_close((clicks >= 3).float().mean(0), world.click_rate(slates, worth), atol=0.03, rtol=0)
    share = (clicks == 5).float().mean(0)
    logits = torch.cat([torch.full((4, 1), world.no_click), worth.gather(1, slates)], 1)
    torch.testing.assert_close(share, logits.softmax(1)[:, 2], atol=0.03, rtol=0)


def test_the_moods_do_not_depend_on_what_is_shown():
    world = slate_world(2, **SMALL)
    worth = world.worth(world.start)
    narrow, wide = (world.respond(torch.tensor([shown] * 4), worth, generator("mood")).click for shown in ([3, 4], [3, 4, 5, 6]))
    for few, many in zip(narrow.flatten().tolist(), wide.flatten().tolist(), strict=True):
        assert many in (few, 5, 6)


@pytest.mark.parametrize("rule", ["linear", "gru"])
def test_a_log_of_search_is_clicked_more(rule):
    world = slate_world(3, users=60, items=100, groups=8, dim=4, rule=rule)
    rates = [(world.logged(4, 5, share, generator("log"), nearness=2.0).click >= 3).float().mean() for share in (0.0, 1.0)]
    assert rates[1] > rates[0]
    log = world.logged(4, 5, 0.5, generator("log"))
    assert log.slate.shape == (60, 4, 6)
    assert world.positions(log.click).shape == (60, 5, 4)


def test_one_seed_one_world():
    a, b = slate_world(4, **SMALL), slate_world(4, **SMALL)
    assert a.item_vectors.equal(b.item_vectors)
    assert a.logged(3, 2, 0.5, generator("x")).click.equal(b.logged(3, 2, 0.5, generator("x")).click)


def test_wrong_worlds_are_refused():
    with pytest.raises(ValueError, match="users must be a whole number of at least 1, got 0"):
        slate_world(0, users=0)
    with pytest.raises(ValueError, match="rule must be one of 'linear', 'gru', got 'random'"):
        slate_world(0, rule="random")
    with pytest.raises(ValueError, match="search_share must be a number in"):
        slate_world(0, **SMALL).logged(2, 2, 1.5, generator("x"))
    with pytest.raises(ValueError, match="a log needs at least one step, got 0"):
        slate_world(0, **SMALL).logged(0, 2, 0.5, generator("x"))
