r"""From scores to a slate: greedy, Thompson sampling, and Thompson sampling inside the slate.

*Greedy* ranks by the posterior means. *Thompson* ranks by one draw from the posterior of everything, so that what is uncertain sometimes
comes first; but one draw makes one consistent, and often narrow, list. *In-slate* Thompson makes a new draw for every place: K draws give
K rankings $R_s$, read rank by rank,

$$R_1[1], R_2[1], \dots, R_K[1], R_1[2], \dots, R_K[K],$$

and the slate takes the first K different items of that list. First comes every draw's favourite, then the second choices.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `recommend` and `recommend_inslate`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hierlab.recommendation.slates import FIRST_ITEM
from hierlab.trace import show


def top_items(scores: Tensor, k: int) -> Tensor:
    """The k best items, best first; of equal ones the one with the smaller id.

    Args:
        scores: [..., I] a score for every id; the special ids are never recommended.
        k: how many.

    Returns:
        [..., k] ids.

    Raises:
        ValueError: if k is not between 1 and the number of items, or a score is NaN.
    """
    items = scores.shape[-1] - FIRST_ITEM
    if not 1 <= k <= items:
        raise ValueError(f"a slate has 1 to {max(items, 0)} items, as many as have a score beyond the {FIRST_ITEM} special ids, got {k}")
    real = scores[..., FIRST_ITEM:]
    if real.isnan().any():
        raise ValueError("scores must not be NaN")
    return FIRST_ITEM + real.argsort(dim=-1, descending=True, stable=True)[..., :k]


def merge_in_slate(rankings: Tensor) -> Tensor:
    """The first K different items of K rankings, read rank by rank.

    Args:
        rankings: [K, ..., K] ids: ranking s of the s-th draw, best first, no id twice in one ranking.

    Returns:
        [..., K] ids. Any single ranking has K different items, so there are always enough.

    Raises:
        ValueError: if there are not as many rankings as ranks, or a ranking has an id twice.
    """
    k = rankings.shape[-1]
    if rankings.dim() < 2 or rankings.shape[0] != k:
        raise ValueError(f"in-slate sampling needs K rankings of K items, [K, ..., K], got {tuple(rankings.shape)}")
    ordered = rankings.sort(-1).values
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise ValueError("a ranking has one item twice")
    priority = rankings.movedim(0, -1).flatten(-2)  # [..., rank * K + draw]
    values, order = priority.sort(dim=-1, stable=True)
    new = torch.ones_like(values, dtype=torch.bool)
    new[..., 1:] = values[..., 1:] != values[..., :-1]
    first = torch.zeros_like(new).scatter(-1, order, new)  # whether the item stands here for the first time
    taken = first & (first.cumsum(-1) <= k)
    return priority[taken].view(*priority.shape[:-1], k)


def in_slate(score_draws: Tensor) -> Tensor:
    """In-slate Thompson sampling from K draws of all scores.

    Args:
        score_draws: [K, ..., I] the scores of every id under each of K posterior draws.

    Returns:
        [..., K] ids. If all draws agree it is the plain top K, and with K = 1 it is Thompson sampling.

    Raises:
        ValueError: as `top_items`.
    """
    rankings = top_items(score_draws, score_draws.shape[0])
    show("rankings of the draws", rankings if rankings.dim() == 2 else rankings[:, 0], r"R_s[1..K]")
    slate = merge_in_slate(rankings)
    show("in-slate Thompson slate", slate if slate.dim() == 1 else slate[0], r"R_1[1],R_2[1],\dots,R_K[K]")
    return slate
