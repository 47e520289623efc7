"""The units of the slate lab: one call, one arm, one rate, one seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from hierlab.envs.slate_world import SlateWorld, slate_world
from hierlab.recommendation.finn_slates import read_finn
from hierlab.recommendation.slate_joint import Priors
from hierlab.recommendation.slates import SlateLog
from hierlab.seeds import generator
from hierlab.train.slate_offline import Split, measure_model, measure_trivial, split_log
from hierlab.train.slate_rounds import play_rounds

Report = Callable[..., None]
SHOWN = ("hits", "click_rate")


class SlateSettings(Protocol):
    """What the units read of a lab's settings; the lab documents each."""

    data: str
    folder: str
    finn_users: int
    rule: str
    users: int
    items: int
    groups: int
    dim: int
    log_steps: int
    slate: int
    held_since: int
    held_share: float
    list_length: int
    fit_steps: int
    temperature: float
    prior_scale: float
    max_scale: float
    particles: int
    batch_users: int
    adam_betas: tuple[float, float]
    shares: tuple[float, ...]
    prior_share: float
    prior_items: int
    rounds: int
    refit_steps: int
    first_steps: int
    online_rate: float
    epsilon: float


def model_settings(settings: SlateSettings, seed: int, rate: float, **arm: Any) -> dict[str, Any]:
    """The settings of a `SlateModel` that all arms share, with an arm's own."""
    scale = settings.prior_scale
    shared = {
        "dim": settings.dim,
        "priors": Priors(group_vector=scale, group_scale=scale, start=scale),
        "likelihood_temperature": settings.temperature,
        "max_scale": settings.max_scale,
        "particles": settings.particles,
        "batch_users": settings.batch_users or None,
        "betas": settings.adam_betas,
        "steps": settings.fit_steps,
        "rate": rate,
        "random_state": seed,
    }
    return shared | arm


def search_unit(arm: Mapping[str, Any] | str, rate: float, seed: int, settings: SlateSettings, report: Report) -> dict[str, Any]:
    """Slate or all-item likelihood, on logs with more and more search in them.

    Args:
        arm: settings of a model that differ, or the name of a trivial recommender.
        rate: Adam's.
        seed: of world, log and fit.
        settings: the lab's.
        report: moves the progress bar.

    Returns:
        Curves over the share of search, "search_share", "hits_curve" and "click_rate_curve"; "mean_hits" over them; all numbers of
        `measure_model` at the highest share, and "hits_least_search" at the lowest. On FINN.no's data, which has one share and no known
        truth, the numbers that need neither.
    """
    if settings.data == "finn":
        log, groups = read_finn(settings.folder, users=settings.finn_users or None)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        split = split_log(log.to(device), settings.held_since, settings.held_share, seed)
        values = measure(arm, split, groups.to(device), settings, rate, seed, None)
        return values | {"mean_hits": values["hits"]}
    world = _world(settings, seed)
    found = []
    for number, share in enumerate(settings.shares):
        split = _split(world, settings, share, seed)
        found.append(measure(arm, split, world.item_group, settings, rate, seed, world))
        report(number + 1, len(settings.shares), hits=found[-1]["hits"])
    curves = {f"{name}_curve": [values[name] for values in found] for name in SHOWN}
    mean = sum(values["hits"] for values in found) / len(found)
    return found[-1] | curves | {"search_share": list(settings.shares), "mean_hits": mean, "hits_least_search": found[0]["hits"]}


def prior_unit(arm: Mapping[str, Any] | str, rate: float, seed: int, settings: SlateSettings, report: Report) -> dict[str, Any]:
    """Hierarchical or flat prior, in a catalogue so large that many items were hardly ever shown."""
    world = _world(settings, seed, items=settings.prior_items)
    values = measure(arm, _split(world, settings, settings.prior_share, seed), world.item_group, settings, rate, seed, world)
    report(1, 1, hits=values["hits"])
    return values


def online_unit(arm: Mapping[str, Any], seed: int, settings: SlateSettings, report: Report) -> dict[str, Any]:
    """A recommender that lives on the clicks it causes.

    Args:
        arm: "recommender", and settings of its model that differ.
        seed: of world, moods and fit.
        settings: the lab's.
        report: moves the progress bar.
    """
    own = dict(arm)
    recommender = own.pop("recommender")
    fit = model_settings(settings, seed, settings.online_rate, user="linear", steps=settings.first_steps) | own
    sizes = {"rounds": settings.rounds, "k": settings.slate, "refit_steps": settings.refit_steps}
    return play_rounds(_world(settings, seed), recommender, fit, **sizes, epsilon=settings.epsilon, seed=seed, report=report)


def measure(
    arm: Mapping[str, Any] | str,
    split: Split,
    item_group: torch.Tensor,
    settings: SlateSettings,
    rate: float,
    seed: int,
    world: SlateWorld | None,
) -> dict[str, float]:
    """One arm on one log."""
    if isinstance(arm, str):
        return measure_trivial(arm, split, item_group, settings.list_length, seed=seed, world=world)
    return measure_model(split, item_group, model_settings(settings, seed, rate, **arm), settings.list_length, world=world)


def _world(settings: SlateSettings, seed: int, items: int | None = None) -> SlateWorld:
    sizes = {"users": settings.users, "items": items or settings.items, "groups": settings.groups, "dim": settings.dim}
    return slate_world(seed, **sizes, rule=settings.rule)


def _split(world: SlateWorld, settings: SlateSettings, share: float, seed: int) -> Split:
    log: SlateLog = world.logged(settings.log_steps, settings.slate, share, generator("slate lab", "log", seed))
    return split_log(log, settings.held_since, settings.held_share, seed)
