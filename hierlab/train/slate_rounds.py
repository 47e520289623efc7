"""Recommend, watch, learn, and again: a slate recommender that lives on the clicks it causes.

All users get a slate in every round, click or do not, move accordingly, and the posterior goes on being fitted to the longer log. Every
recommender begins with the same few random slates, meets the same moods of the same users, and has the same number of gradient steps.
Click rates are those of the true users, exact, and regret is what is missing to the best slate for where the users then stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice
from hierlab.envs.slate_world import SlateWorld
from hierlab.recommendation.recommendation_metrics import coverage, groups_in_list, intra_list_distance
from hierlab.recommendation.slate_model import SlateModel
from hierlab.recommendation.slates import SlateLog
from hierlab.recommendation.trivial_slates import epsilon_greedy, most_popular, random_slates
from hierlab.seeds import generator

Recommender = Literal["greedy", "thompson", "in-slate", "epsilon-greedy", "most popular", "random"]
Report = Callable[..., None]


def play_rounds(
    world: SlateWorld,
    recommender: Recommender,
    settings: Mapping[str, Any],
    *,
    rounds: int,
    k: int,
    begin: int = 2,
    refit_steps: int = 15,
    epsilon: float = 0.1,
    seed: int = 0,
    report: Report | None = None,
) -> dict[str, float | list[float]]:
    """Let a recommender run for some rounds.

    Args:
        world: items and users.
        recommender: how slates are made. "epsilon-greedy" gives each place to chance with probability `epsilon`.
        settings: of the `SlateModel`; its `steps` are those of the first fit.
        rounds: how many.
        k: items a slate.
        begin: rounds of random slates before.
        refit_steps: gradient steps after every round.
        epsilon: see above.
        seed: of slates and moods.
        report: called with (done, total) after every round.

    Returns:
        Curves over the rounds: "round", "click_rate_curve", "regret_curve" (summed), "groups_curve". Numbers: "click_rate" and "regret" a
        round on average, "late_click_rate" of the last third, "groups" and "distance" of a slate, "coverage" of all items by the last
        round's slates, "seconds_per_interaction".

    Raises:
        ValueError: if the recommender is unknown or a number is not positive.
    """
    check_choice("recommender", recommender, Recommender)
    for name, value in (("rounds", rounds), ("k", k), ("begin", begin), ("refit_steps", refit_steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    log = _first_rounds(world, begin, k, seed)
    learns = recommender not in ("most popular", "random")
    began = time.perf_counter()
    model = SlateModel(**settings).fit(log, world.item_group) if learns else None
    draws = generator("slate rounds", recommender, seed)
    found: dict[str, list[float]] = {"click_rate": [], "regret": [], "groups": [], "distance": []}
    for number in range(rounds):
        slates = _slates(recommender, model, log, world.num_items, k, epsilon, draws)
        worth = world.worth(world.positions(log.click)[:, -1])
        rate, best = world.click_rate(slates, worth), world.click_rate(world.best_slates(worth, k), worth)
        for name, value in {"click_rate": rate, "regret": best - rate, "groups": groups_in_list(slates, world.item_group)}.items():
            found[name].append(float(value.mean()))
        found["distance"].append(float(intra_list_distance(slates, world.item_vectors).mean()) if k > 1 else 0.0)
        log = log.then(world.respond(slates, worth, generator("moods", seed, number)))
        if model is not None and number < rounds - 1:
            model.partial_fit(log, refit_steps)
        if report is not None:
            report(number + 1, rounds, click_rate=found["click_rate"][-1])
    seconds = time.perf_counter() - began
    regret = torch.tensor(found["regret"]).cumsum(0).tolist()
    late = found["click_rate"][-max(1, rounds // 3) :]
    return {name: sum(values) / rounds for name, values in found.items()} | {
        "late_click_rate": sum(late) / len(late),
        "coverage": coverage(slates, world.num_items),
        "seconds_per_interaction": seconds / (rounds * len(log)),
        "round": [float(n) for n in range(1, rounds + 1)],
        "click_rate_curve": found["click_rate"],
        "regret_curve": regret,
        "groups_curve": found["groups"],
    }


def _first_rounds(world: SlateWorld, begin: int, k: int, seed: int) -> SlateLog:
    return world.logged(begin, k, 0.0, generator("first rounds", seed))


def _slates(
    recommender: Recommender, model: SlateModel | None, log: SlateLog, num_items: int, k: int, epsilon: float, draws: torch.Generator
) -> Tensor:
    if recommender == "random":
        return random_slates(len(log), num_items, k, draws)
    if recommender == "most popular":
        return most_popular(log, num_items, k)
    if recommender == "epsilon-greedy":
        return epsilon_greedy(model.recommend(log, k), num_items, epsilon, draws)
    return model.recommend(log, k, recommender, draws)
