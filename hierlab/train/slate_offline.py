"""Fit slate recommenders to logs and measure them: by what the log holds out, and where the users are known, by the truth.

Held out are the later steps of some users. The model sees these users' earlier steps, recommends once, and is asked how many of the later
clicks are in its list. In a simulated world the same list also has an exact click rate, and every score an exact counterpart.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.slate_world import SlateWorld
from hierlab.recommendation.recommendation_metrics import coverage, groups_in_list, hits_at_k, popularity_percentile, recall_at_k
from hierlab.recommendation.slate_model import SlateModel
from hierlab.recommendation.slates import FIRST_ITEM, SlateLog, item_clicks, item_views
from hierlab.recommendation.trivial_slates import most_popular, random_slates
from hierlab.seeds import generator

HOW = {"thompson": "thompson", "in_slate": "in-slate"}
PAIRS = 20_000


@dataclass(frozen=True)
class Split:
    """A log with the later steps of some users held out.

    Attributes:
        log: the log; `train` is False where a step is held out.
        users: [M] rows of the users who have steps held out.
        since: the first step held out.
    """

    log: SlateLog
    users: Tensor
    since: int

    @property
    def targets(self) -> Tensor:
        """[M, T - since] what these users clicked in the steps held out."""
        return self.log.click[self.users, self.since :]


def split_log(log: SlateLog, since: int, share: float, seed: int) -> Split:
    """Hold out the steps from `since` on of a share of the users, drawn at random (the paper: 5 % for testing, from step 5 on).

    Raises:
        ValueError: if no user or no step would be held out, or none left.
    """
    check_range("share", share, 0, 1)
    users, steps = log.click.shape
    held = round(share * users)
    if not 0 < since < steps or not 0 < held <= users:
        raise ValueError(f"hold out steps 1 to {steps - 1} of at least one of {users} users, got since = {since}, share = {share:g}")
    rows = torch.randperm(users, generator=generator("slate split", seed))[:held].sort().values
    train = log.train.clone()
    train[rows.to(train.device), since:] = False
    return Split(log.masked(train), rows.to(log.slate.device), since)


def measure_model(split: Split, item_group: Tensor, settings: Mapping[str, Any], k: int, *, world: SlateWorld | None = None) -> dict:
    """Fit a `SlateModel` and measure it.

    Args:
        split: the log.
        item_group: [I] the group of every id.
        settings: of the model.
        k: items in the list it recommends.
        world: where the log comes from, if that is known.

    Returns:
        What `list_values` measures of the greedy list; "hits_thompson" and "hits_in_slate" of the others; "log_likelihood", the mean
        log-probability of what was clicked in the held-out slates; "fit_seconds"; and with a world what `truth_values` measures.
    """
    began = time.perf_counter()
    model = SlateModel(**settings).fit(split.log, item_group)
    seconds = time.perf_counter() - began
    held = split.log.users(split.users)
    draws = generator("slate offline", settings.get("random_state", 0))
    lists = {"": model.recommend(held, k, at=split.since)}
    lists |= {f"_{name}": model.recommend(held, k, how, draws, at=split.since) for name, how in HOW.items()}
    values = list_values(lists[""], split, item_group, k)
    values |= {f"hits{name}": _mean(hits_at_k(found, split.targets)) for name, found in lists.items()}
    values |= {"log_likelihood": model.log_likelihood(held, ~held.train), "fit_seconds": seconds}
    if world is not None:
        values |= truth_values(lists[""], model.scores(held, model.latents(), model.start(held), at=split.since), split, world)
    return values


def measure_trivial(name: str, split: Split, item_group: Tensor, k: int, *, seed: int = 0, world: SlateWorld | None = None) -> dict:
    """The same for "random" or "most popular", which fit nothing.

    For the log-likelihood, both know how often nothing is clicked. "random" gives what remains to the items shown in equal parts, "most
    popular" in proportion to their clicks plus one.

    Raises:
        ValueError: if the name is unknown.
    """
    log, ids = split.log, len(item_group)
    if name == "random":
        weight = torch.ones(ids, device=log.slate.device)
        lists = random_slates(len(split.users), ids, k, generator("random slates", seed)).to(log.slate.device)
    elif name == "most popular":
        lists, weight = most_popular(log, ids, k)[split.users], item_clicks(log, ids) + 1.0
    else:
        raise ValueError(f"a trivial recommender is 'random' or 'most popular', got {name!r}")
    hits = _mean(hits_at_k(lists, split.targets))
    values = list_values(lists, split, item_group, k) | {"hits": hits, "hits_thompson": hits, "hits_in_slate": hits}
    values |= {"log_likelihood": _share_log_likelihood(split, weight), "fit_seconds": 0.0}
    if world is None:
        return values
    scores = (
        torch.rand(len(split.users), ids, generator=generator("random scores", seed))
        if name == "random"
        else weight.expand(len(lists), ids)
    )
    return values | truth_values(lists, scores, split, world)


def list_values(lists: Tensor, split: Split, item_group: Tensor, k: int) -> dict[str, float]:
    """Of one list a held-out user: "recall", "coverage", "groups", "popularity" (by clicks in training)."""
    recall = recall_at_k(lists, split.targets)
    popular = popularity_percentile(lists, item_clicks(split.log, len(item_group)))
    return {
        "recall": _mean(recall[~recall.isnan()]),
        "coverage": coverage(lists, len(item_group)),
        "groups": _mean(groups_in_list(lists, item_group)),
        "popularity": _mean(popular),
    }


def truth_values(lists: Tensor, scores: Tensor, split: Split, world: SlateWorld, rare: int = 5) -> dict[str, float]:
    """What only a known world tells.

    Args:
        lists: [M, K] what is recommended to the held-out users.
        scores: [M, I] how items were ordered.
        split: the log.
        world: where it comes from.
        rare: items shown fewer times in training are rare.

    Returns:
        "click_rate" of the lists, exact; "liked_first_rare" and "liked_first_known": for how many pairs of rare items, or of the others,
        of which one is among the user's best tenth of all items and the other is not, the scores put the better one first (0.5 by chance;
        so it is, too, if there is no such pair).
    """
    positions = world.positions(split.log.click)[split.users, split.since]
    worth = world.worth(positions)
    views = item_views(split.log, world.num_items)
    items = torch.arange(FIRST_ITEM, world.num_items)
    seldom = views[FIRST_ITEM:] < rare
    return {
        "click_rate": _mean(world.click_rate(lists, worth)),
        "liked_first_rare": liked_first(scores, worth, items[seldom]),
        "liked_first_known": liked_first(scores, worth, items[~seldom]),
    }


def liked_first(scores: Tensor, worth: Tensor, items: Tensor, *, tenth: float = 0.1, pairs: int = PAIRS) -> float:
    """How often scores put an item the user likes before one the user does not: the area under the curve, by sampling.

    Liked is what is among the best tenth of *all* items for the user. Pairs of two disliked items are left out on purpose: which of two
    items a user would never click is the worse one leaves no trace in any log.

    Args:
        scores: [M, I] by which items are ordered.
        worth: [M, I] what they are worth; minus infinity for the special ids.
        items: ids from which pairs are drawn.
        tenth: the share that counts as liked.
        pairs: how many are drawn, always the same ones; those without contrast are left out.

    Returns:
        A share between 0 and 1, ties counted half; 0.5 if no pair has contrast.
    """
    if len(items) < 2:
        return 0.5
    real = worth[:, FIRST_ITEM:]
    bar = real.quantile(1 - tenth, dim=1)
    draws = generator("pairs of items")
    user = torch.randint(len(scores), (pairs,), generator=draws)
    first = torch.randint(len(items), (pairs,), generator=draws)
    second = (first + torch.randint(1, len(items), (pairs,), generator=draws)) % len(items)
    liked = [worth[user, items[side]] > bar[user] for side in (first, second)]
    contrast = liked[0] != liked[1]
    if not contrast.any():
        return 0.5
    ahead = (scores[user, items[first]] - scores[user, items[second]]).sign() * torch.where(liked[0], 1.0, -1.0)
    return _mean((1 + ahead[contrast]) / 2)


def _share_log_likelihood(split: Split, weight: Tensor) -> float:
    """The mean log-probability of the held-out outcomes if items share what no click leaves in proportion to `weight`."""
    log, known = split.log, split.log.train & split.log.observed
    nothing = float((log.click[known] < FIRST_ITEM).float().mean().clamp(0.01, 0.99))
    shown = weight[log.slate] * (log.slate >= FIRST_ITEM)
    share = (1 - nothing) * shown / shown.sum(-1, keepdim=True).clamp(min=1e-12)
    share[..., 0] = nothing
    chosen = share.gather(-1, log.click_position[..., None])[..., 0].clamp(min=1e-12).log()
    held = ~log.train & log.observed
    return float(chosen[held].mean())


def _mean(values: Tensor) -> float:
    return float(values.float().mean())
