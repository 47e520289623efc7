"""Slates that need no model: random items, the most popular ones, and a greedy slate with some of its places given to chance."""

from __future__ import annotations

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.recommendation.slates import FIRST_ITEM, SlateLog, item_clicks
from hierlab.recommendation.thompson import top_items


def random_slates(users: int, num_items: int, k: int, generator: torch.Generator) -> Tensor:
    """[users, k] different items for each user, all equally likely, on the generator's device; `num_items` counts the special ids.

    Raises:
        ValueError: if there are fewer than k items.
    """
    return top_items(torch.rand(users, num_items, generator=generator, device=generator.device), k)


def most_popular(log: SlateLog, num_items: int, k: int) -> Tensor:
    """[users, k] the items with the most clicks in the training steps, the same for every user.

    Raises:
        ValueError: if there are fewer than k items.
    """
    return top_items(item_clicks(log, num_items).float(), k).expand(len(log), k)


def epsilon_greedy(slates: Tensor, num_items: int, epsilon: float, generator: torch.Generator) -> Tensor:
    """Slates in which each place is given, with probability `epsilon`, to an item drawn from those not in the slate.

    Args:
        slates: [N, k] different items.
        num_items: number of ids, the special ones included.
        epsilon: in [0, 1].
        generator: what draws, on the device of the slates.

    Returns:
        [N, k] different items.

    Raises:
        ValueError: if epsilon is out of range, or there are fewer than 2k items to choose from.
    """
    check_range("epsilon", epsilon, 0, 1)
    users, k = slates.shape
    if num_items - FIRST_ITEM < 2 * k:
        raise ValueError(f"k others must exist beside the k of a slate: {num_items - FIRST_ITEM} items, k = {k}")
    noise = torch.rand(users, num_items, generator=generator, device=slates.device).scatter(1, slates, -1.0)
    others = top_items(noise, k)
    explore = torch.rand(slates.shape, generator=generator, device=slates.device) < epsilon
    return torch.where(explore, others, slates)
