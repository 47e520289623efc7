r"""TIES and DARE: thinning task vectors before they are added, so that they disturb each other less.

TIES (Yadav et al., arXiv 2306.01708) keeps the largest entries of each task vector, elects for every parameter the sign with the
greater total, and averages those entries that have it. DARE (Yu et al., arXiv 2311.03099) drops entries at random and enlarges the
rest, so that the expectation stays.

Both are given here in two forms: thinned vectors, one a task, which MAP or task arithmetic can scale, and TIES's single merged one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.trace import show


def trim(vectors: Tensor, keep: float = 0.2) -> Tensor:
    """Each row's entries of largest size, the others 0.

    Args:
        vectors: [N, d].
        keep: the share of a row's entries that is kept, at least one entry; entries as large as the smallest kept one stay too.

    Returns:
        [N, d]

    Raises:
        ValueError: if vectors is no floating-point matrix, or keep is not in (0, 1].
    """
    _check(vectors)
    check_range("keep", keep, 0, 1)
    if keep == 0:
        raise ValueError("keep must be above 0: nothing would be left")
    count = max(1, math.ceil(keep * vectors.shape[1]))
    threshold = vectors.abs().topk(count, dim=1).values[:, -1:]
    return show("trimmed task vectors", torch.where(vectors.abs() >= threshold, vectors, 0), r"\mathrm{top}(|v_n|)")


def elect(vectors: Tensor) -> Tensor:
    """Each parameter's elected sign, that of the sum over tasks; where the sum is 0, the sign that most parameters have.

    Args:
        vectors: [N, d].

    Returns:
        [d] of 1 and -1 (0 only if there is no sign at all).

    Raises:
        ValueError: if vectors is no floating-point matrix.
    """
    _check(vectors)
    signs = vectors.sum(0).sign()
    return torch.where(signs == 0, signs.sum().sign(), signs)


def ties_vectors(vectors: Tensor, keep: float = 0.2) -> Tensor:
    """Task vectors after TIES's first two steps: trimmed, and without the entries that disagree with the elected sign.

    Args:
        vectors: [N, d].
        keep: as in `trim`.

    Returns:
        [N, d]

    Raises:
        ValueError: as `trim`.
    """
    trimmed = trim(vectors, keep)
    return torch.where(trimmed.sign() == elect(trimmed), trimmed, 0)


def ties(vectors: Tensor, keep: float = 0.2) -> Tensor:
    """TIES's merged task vector: for each parameter, the mean of those trimmed entries that have the elected sign.

    Args:
        vectors: [N, d].
        keep: as in `trim`.

    Returns:
        [d] to be added to the pre-trained parameters, scaled; the authors recommend a scale of 1 where none can be tuned.

    Raises:
        ValueError: as `trim`.

    Source: arXiv 2306.01708, Section 4 and its Algorithm 1.
    """
    agreeing = ties_vectors(vectors, keep)
    return agreeing.sum(0) / (agreeing != 0).sum(0).clamp(min=1)


def dare(vectors: Tensor, drop: float = 0.9, *, generator: torch.Generator) -> Tensor:
    """Task vectors with entries dropped at random, and the rest divided by the share that is left.

    Args:
        vectors: [N, d].
        drop: the probability that an entry is dropped, below 1.
        generator: draws what is dropped; on the device of `vectors`.

    Returns:
        [N, d]

    Raises:
        ValueError: if vectors is no floating-point matrix, or drop is not in [0, 1).

    Source: arXiv 2311.03099, Section 3.
    """
    _check(vectors)
    check_range("drop", drop, 0, 1)
    if drop == 1:
        raise ValueError("drop must be below 1: nothing would be left")
    kept = torch.rand(vectors.shape, generator=generator, device=vectors.device) >= drop
    return torch.where(kept, vectors / (1 - drop), 0)


def _check(vectors: Tensor) -> None:
    if not isinstance(vectors, Tensor) or vectors.dim() != 2 or not vectors.is_floating_point() or 0 in vectors.shape:
        raise ValueError("vectors must be a floating-point matrix [N, d], one task vector a row, with at least one row and column")
