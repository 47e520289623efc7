r"""How far a network is from each strategy: distances between predictors, and where between two of them it stands.

With the distance d, the relative distance of a network T to M and G is

$$r=\mathrm{clip}\Bigl(\frac{d(T,G)-d(T,M)}{d(M,G)},-1,1\Bigr),\qquad w_M=\frac{r+1}{2},$$

measured on outputs alone. With more than two strategies the weights are those of the nearest mixture.

Source: arXiv 2506.17859; DanielWurgaft/rational-icl@7fcd0a6 `src/code/analysis_utils.py`: `compute_barycentric_weights`,
`total_variation_distance`, `hellinger_distance`, `batched_spearman_correlation`, pinned by their reference vectors. What is there
called KL is symmetrised and halved; `mean_squared` there also divides by the size of the last axis, which cancels in $r$.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_shapes

Distance = Literal["kl", "mse"]
Ties = Literal["average", "official"]


def symmetric_kl(p: Tensor, q: Tensor) -> Tensor:
    r"""Symmetrised divergence $\tfrac12[KL(p\Vert q)+KL(q\Vert p)]$ in nats, mean over all but the last axis.

    Args:
        p: [..., V] distributions.
        q: [..., V] distributions.

    Returns:
        One number; infinite if one is 0 where the other is not.

    Raises:
        ValueError: if shapes differ or a number is negative.
    """
    _check_distributions(p, q)
    return 0.5 * (kl(p, q) + kl(q, p))


def kl(p: Tensor, q: Tensor) -> Tensor:
    r"""$KL(p\Vert q)$ in nats, mean over all but the last axis; what 0 says counts as 0."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1).mean()


def mean_squared(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared difference of predicted values.

    Raises:
        ValueError: if shapes differ.
    """
    check_shapes(x=x, y=y)
    return (x - y).square().mean()


DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"kl": symmetric_kl, "mse": mean_squared}


def relative_distance(network: Tensor, memorising: Tensor, generalising: Tensor, *, distance: Distance = "kl") -> float:
    """Weight of M, from 0 (the network predicts as G) to 1 (as M); 0.5 where M and G predict the same, and nothing can be said.

    Args:
        network: predictions, [..., V] distributions or [...] values.
        memorising: those of M, of the same shape.
        generalising: those of G.
        distance: "kl" for distributions, "mse" for values.

    Raises:
        ValueError: if shapes differ, or what should be distributions holds negative numbers.
    """
    check_choice("distance", distance, Distance)
    between = DISTANCES[distance]
    apart = float(between(memorising, generalising))
    if apart == 0:
        return 0.5
    ratio = (float(between(network, generalising)) - float(between(network, memorising))) / apart
    return (min(max(ratio, -1.0), 1.0) + 1) / 2


def barycentric_weights(network: Tensor, strategies: Mapping[str, Tensor], *, distance: Distance = "kl") -> dict[str, float]:
    """Weights of the strategies that add up to 1: for two by `relative_distance`, for more those of the nearest mixture.

    Args:
        network: predictions, as in `relative_distance`.
        strategies: predictions of each, of the same shape, by name.
        distance: as in `relative_distance`.

    Raises:
        ValueError: if there are fewer than two strategies, or as `relative_distance`.
    """
    if len(strategies) < 2:
        raise ValueError(f"weights are shared among at least two strategies, got {', '.join(strategies) or 'none'}")
    check_choice("distance", distance, Distance)
    if len(strategies) == 2:
        first = relative_distance(network, *strategies.values(), distance=distance)
        return dict(zip(strategies, (first, 1 - first), strict=True))
    between, stacked = DISTANCES[distance], torch.stack(list(strategies.values()), -1).detach()
    logits = torch.ones(len(strategies), dtype=stacked.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = between(network, (stacked * logits.softmax(0)).sum(-1))
        loss.backward()
        return loss

    optimizer.step(closure)
    return dict(zip(strategies, logits.detach().softmax(0).tolist(), strict=True))


def interpolation_distance(
    network: Tensor, strategies: Mapping[str, Tensor], *, weights: Mapping[str, float] | None = None, distance: Distance = "kl"
) -> float:
    """Distance of the network from the weighted mixture of the strategies: how much no weight can explain.

    Args:
        network: as in `barycentric_weights`.
        strategies: as there.
        weights: of the mixture; None: `barycentric_weights`.
        distance: as there.

    Raises:
        ValueError: as `barycentric_weights`, or if `weights` names other strategies.
    """
    weights = barycentric_weights(network, strategies, distance=distance) if weights is None else weights
    if weights.keys() != strategies.keys():
        raise ValueError(f"weights must name {', '.join(strategies)}, got {', '.join(weights)}")
    mixed = sum(weights[name] * predicted for name, predicted in strategies.items())
    return float(DISTANCES[distance](network, mixed))


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of absolute differences, mean over all but the last axis.

    Raises:
        ValueError: if shapes differ or a number is negative.
    """
    _check_distributions(p, q)
    return float(0.5 * (p - q).abs().sum(-1).mean())


def hellinger(p: Tensor, q: Tensor) -> float:
    """Square root of half the *mean* squared difference of roots, as in the released code: not the mean of Hellinger distances.

    Raises:
        ValueError: if shapes differ or a number is negative.
    """
    _check_distributions(p, q)
    return float((0.5 * (p.sqrt() - q.sqrt()).square().sum(-1).mean()).sqrt())


def spearman(x: Tensor, y: Tensor, *, ties: Ties = "average") -> float:
    """Mean rank correlation over all but the last axis.

    Args:
        x: [..., V] numbers.
        y: [..., V] numbers.
        ties: "average" gives equal numbers their mean rank, as Spearman's correlation does; a row without any difference counts as 0.
            "official" ranks equal numbers by their place, as the double argsort of the released code does: before the first draw,
            where G is uniform, its ranks are those of the alphabet.

    Raises:
        ValueError: if shapes differ or the last axis has fewer than two entries.
    """
    check_shapes(x=x, y=y)
    check_choice("ties", ties, Ties)
    if x.dim() < 1 or x.shape[-1] < 2:
        raise ValueError(f"a rank correlation needs at least two entries a row, got shape {tuple(x.shape)}")
    ranks = _average_ranks if ties == "average" else _place_ranks
    a, b = (ranks(v) for v in (x, y))
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    eps = 1e-8 if ties == "official" else 1e-300
    return float(((a * b).sum(-1) / (a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt() + eps)).mean())


def _place_ranks(x: Tensor) -> Tensor:
    return x.argsort(dim=-1, stable=True).argsort(dim=-1).to(torch.float64)


def _average_ranks(x: Tensor) -> Tensor:
    """Ranks from 0, equal numbers at their mean. [..., V]"""
    ordered = x.sort(-1).values.contiguous()
    x = x.contiguous()
    return (torch.searchsorted(ordered, x) + torch.searchsorted(ordered, x, right=True) - 1).to(torch.float64) / 2


def _check_distributions(p: Tensor, q: Tensor) -> None:
    check_shapes(p=p, q=q)
    for name, x in (("p", p), ("q", q)):
        if not (x >= 0).all():
            raise ValueError(f"{name} must hold distributions, got {float(x[~(x >= 0)][0]):g}: give probabilities, not logarithms")
