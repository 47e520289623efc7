"""What the slate lab calls: its units, its microscope, its pictures."""

from types import SimpleNamespace

import pytest
import torch

from hierlab.envs.slate_world import slate_world
from hierlab.recommendation.slate_model import SlateModel
from hierlab.seeds import generator
from hierlab.studies.recommendation.slate_experiments import online_unit, prior_unit, search_unit
from hierlab.studies.recommendation.slate_microscope import WAYS, cold_posteriors, one_step
from hierlab.studies.recommendation.slate_steps import elbo_figure, paths_figure, views_figure, walk
from hierlab.trace import Tape

SETTINGS = SimpleNamespace(
    data="simulated",
    rule="linear",
    users=20,
    items=30,
    groups=4,
    dim=3,
    log_steps=5,
    slate=3,
    held_since=3,
    held_share=0.5,
    list_length=4,
    fit_steps=4,
    temperature=0.1,
    prior_scale=1.0,
    max_scale=1.0,
    particles=1,
    batch_users=0,
    adam_betas=(0.9, 0.999),
    shares=(0.2, 0.9),
    prior_share=0.5,
    prior_items=40,
    rounds=2,
    refit_steps=2,
    first_steps=3,
    online_rate=0.05,
    epsilon=0.1,
)


def silent(*numbers, **values):
    pass


def test_units_of_an_experiment_measure_the_same_numbers():
    for unit in (search_unit, prior_unit):
        found = [unit(arm, 0.05, 0, SETTINGS, silent) for arm in ({"user": "gru"}, "random", "most popular")]
        assert found[0].keys() == found[1].keys() == found[2].keys()
    assert len(search_unit("random", 0.05, 0, SETTINGS, silent)["hits_curve"]) == 2


def test_finn_is_asked_for_where_it_is_missing(tmp_path):
    absent = SimpleNamespace(**vars(SETTINGS) | {"data": "finn", "folder": str(tmp_path), "finn_users": 0})
    with pytest.raises(FileNotFoundError, match=r"data.npz of the FINN.no slates is not in"):
        search_unit("random", 0.05, 0, absent, silent)


def test_a_folder_of_finns_form_is_measured_like_a_log(tmp_path):
    import numpy as np

    world = slate_world(0, users=20, items=30, groups=4, dim=3)
    log = world.logged(5, 3, 0.5, generator("finn"))
    np.savez(tmp_path / "data.npz", slate=log.slate.numpy(), click=log.click.numpy(), click_idx=log.click_position.numpy())
    np.savez(tmp_path / "itemattr.npz", category=world.item_group.numpy())
    there = SimpleNamespace(**vars(SETTINGS) | {"data": "finn", "folder": str(tmp_path), "finn_users": 0})
    found = [search_unit(arm, 0.05, 0, there, silent) for arm in ({"user": "linear"}, "most popular")]
    assert found[0].keys() == found[1].keys()
    assert "click_rate" not in found[0]


def test_an_arm_of_the_rounds_may_have_its_own_temperature():
    arms = [{"recommender": "in-slate"}, {"recommender": "in-slate", "likelihood_temperature": 1.0}]
    found = [online_unit(arm, 0, SETTINGS, silent)["click_rate_curve"] for arm in arms]
    assert found[0] != found[1]


def test_nobody_does_better_than_who_knows_the_truth():
    seen = one_step((0.1, 1.0), worlds=3, users=30, items=40, groups=4, dim=3, k=4)
    for width in seen.widths:
        for way in WAYS:
            assert all(a <= b + 1e-6 for a, b in zip(seen.at(way, "click_rate", width), seen.at("best", "click_rate", width), strict=True))
    assert len(seen.table()["rows"]) == 2 * len(WAYS)
    assert len(seen.plot().data) == 2 * len(WAYS)


def test_who_is_far_too_sure_is_greedy():
    seen = one_step((0.5,), worlds=2, users=30, items=40, groups=4, dim=3, k=4, confidence=1e6)
    for way in ("thompson", "in-slate"):
        assert seen.at(way, "click_rate", 0.5) == pytest.approx(seen.at("greedy", "click_rate", 0.5), abs=1e-4)
    with pytest.raises(ValueError, match="a confidence above 0"):
        one_step(confidence=0)


def test_a_cold_posterior_is_narrower_than_the_exact_one():
    seen = cold_posteriors((1.0, 0.05), users=8, items=12, slates=4, k=3, fit_steps=60, grid=25)
    assert seen.fitted[0] == pytest.approx(seen.exact, rel=0.35)
    assert seen.fitted[1] < 0.5 * seen.exact
    assert len(seen.table()["rows"]) == 3
    with pytest.raises(ValueError, match="must be at least 1"):
        cold_posteriors(users=0)


@pytest.mark.parametrize("moves", ["gru", "linear", "lin-gru", "markov"])
def test_a_walk_narrates_what_the_pictures_need(moves):
    world = slate_world(0, users=20, items=30, groups=4, dim=3)
    log = world.logged(5, 3, 0.5, generator("walk"))
    fit = {"dim": 3, "steps": 4, "particles": 1, "max_scale": 1.0}
    model = SlateModel(user="gru", **fit).fit(log, world.item_group)
    with Tape() as tape:
        slate = walk(model, log, 2, k=4, moves=moves)
    assert len(set(slate.tolist())) == 4
    assert tape["rankings of the draws"].shape == (4, 4)
    assert tape["probability of a click"].sum(1).tolist() == pytest.approx([1] * 5, rel=1e-5)
    assert all(torch.as_tensor(step.value).dim() <= 2 for step in tape.steps)
    flat = SlateModel(user="linear", items="one group", **fit).fit(log, world.item_group)
    assert len(paths_figure(model, log, 2, world.item_group).data) == 4
    assert len(views_figure({"hierarchical": model, "flat": flat}, log, world.item_group).data) == 4
    assert len(elbo_figure(model).data) == 4
