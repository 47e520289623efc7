r"""What lists are worth: hits, and what accuracy alone does not see.

All take lists of ids [N, K], best first. Accuracy is easily bought with popularity, so every table should show coverage, diversity and
popularity beside it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hierlab.recommendation.slates import FIRST_ITEM


def hits_at_k(lists: Tensor, targets: Tensor) -> Tensor:
    """How many *different* later clicks are in the list, a user.

    Args:
        lists: [N, K] ids, no id twice in a list.
        targets: [N, M] ids that count as hits, with repeats; ids below 3 are padding.

    Returns:
        [N] counts, which may exceed 1.

    Raises:
        ValueError: if lists and targets are of different users, or a list has an id twice.
    """
    return _matches(lists, targets).sum(1).to(torch.get_default_dtype())


def hit_rate_at_k(lists: Tensor, targets: Tensor) -> Tensor:
    """[N] 1 if any target is in the list, else 0; a user without targets is NaN, to be left out of a mean."""
    found = _matches(lists, targets).any(1).to(torch.get_default_dtype())
    return torch.where(_distinct(targets) > 0, found, math.nan)


def recall_at_k(lists: Tensor, targets: Tensor) -> Tensor:
    """[N] different targets found, as a share of the user's different targets; NaN for a user without any."""
    wanted = _distinct(targets)
    return torch.where(wanted > 0, hits_at_k(lists, targets) / wanted.clamp(min=1), math.nan)


def ndcg_at_k(lists: Tensor, targets: Tensor) -> Tensor:
    """[N] discounted gain of the targets found, as a share of the best possible list's; NaN for a user without targets."""
    matches = _matches(lists, targets).to(torch.get_default_dtype())
    k = lists.shape[1]
    discount = 1 / torch.log2(torch.arange(2, k + 2, dtype=matches.dtype, device=lists.device))
    wanted = _distinct(targets)
    ideal = torch.cat([discount.new_zeros(1), discount.cumsum(0)])[wanted.clamp(max=k)]
    return torch.where(wanted > 0, (matches * discount).sum(1) / ideal.clamp(min=1e-12), math.nan)


def coverage(lists: Tensor, num_items: int) -> float:
    """The share of all items that stand in at least one list; `num_items` counts the special ids."""
    _check_lists(lists)
    if num_items <= FIRST_ITEM or int(lists.max()) >= num_items:
        raise ValueError(f"num_items must exceed {FIRST_ITEM} and every id in the lists, got {num_items}")
    return len(lists.unique()) / (num_items - FIRST_ITEM)


def intra_list_distance(lists: Tensor, vectors: Tensor) -> Tensor:
    """Mean Euclidean distance between two different places of a list: intra-list diversity.

    Args:
        lists: [N, K] ids, K at least 2.
        vectors: [I, d] a vector for every id.

    Returns:
        [N]

    Raises:
        ValueError: if lists have a single place.
    """
    _check_lists(lists)
    k = lists.shape[1]
    if k < 2:
        raise ValueError("the distance within a list needs at least two places")
    members = vectors[lists]
    return torch.cdist(members, members, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2)) / (k * (k - 1))


def groups_in_list(lists: Tensor, item_group: Tensor) -> Tensor:
    """[N] how many different groups a list has items of; `item_group` [I] gives the group of every id."""
    _check_lists(lists)
    ordered = item_group[lists].sort(1).values
    return (1 + (ordered[:, 1:] != ordered[:, :-1]).sum(1)).to(torch.get_default_dtype())


def group_entropy(lists: Tensor, item_group: Tensor) -> Tensor:
    """[N] entropy, in bits, of the groups in a list: 0 if all are of one group, log2 K if all differ."""
    _check_lists(lists)
    same = item_group[lists].unsqueeze(2) == item_group[lists].unsqueeze(1)
    share = same.to(torch.get_default_dtype()).mean(2)
    return -share.log2().mean(1)


def popularity_percentile(lists: Tensor, popularity: Tensor) -> Tensor:
    """How popular the recommended items are: 0.5 on average for random items, near 1 for the most popular ones.

    Args:
        lists: [N, K] ids.
        popularity: [I] clicks or views of every id; the special ids are ignored.

    Returns:
        [N] mean over the list of the share of all items that are less popular, those equally popular counted half.
    """
    _check_lists(lists)
    real = popularity[FIRST_ITEM:].sort().values
    at = popularity[lists].contiguous()
    below, upto = torch.searchsorted(real, at), torch.searchsorted(real, at, right=True)
    return ((below + upto) / (2 * len(real))).to(torch.get_default_dtype()).mean(1)


def _matches(lists: Tensor, targets: Tensor) -> Tensor:
    """[N, K] whether the place holds one of the user's targets."""
    _check_lists(lists)
    if targets.dim() != 2 or len(targets) != len(lists):
        raise ValueError(f"targets must be [N, M] for the {len(lists)} users of the lists, got {tuple(targets.shape)}")
    return ((lists.unsqueeze(2) == targets.unsqueeze(1)) & (targets >= FIRST_ITEM).unsqueeze(1)).any(2)


def _distinct(targets: Tensor) -> Tensor:
    """[N] number of different items among the targets."""
    if not targets.shape[1]:
        return torch.zeros(len(targets), dtype=torch.long, device=targets.device)
    ordered = targets.sort(1).values
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return (new & (ordered >= FIRST_ITEM)).sum(1)


def _check_lists(lists: Tensor) -> None:
    if not isinstance(lists, Tensor) or lists.dtype != torch.long or lists.dim() != 2 or not lists.numel():
        got = f"{lists.dtype} of shape {tuple(lists.shape)}" if isinstance(lists, Tensor) else type(lists).__name__
        raise ValueError(f"lists must be int64 [N, K], got {got}")
    if lists.min() < FIRST_ITEM:
        raise ValueError(f"lists hold items, whose ids start at {FIRST_ITEM}, got {int(lists.min())}")
    ordered = lists.sort(1).values
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        row = int((ordered[:, 1:] == ordered[:, :-1]).any(1).nonzero()[0])
        raise ValueError(f"list {row} has one item twice")
