r"""FHC, the flat hierarchical contrastive loss (HierVerb, arXiv 2305.16885): texts that share an ancestor are alike.

A batch holds every text twice, in neighbouring rows, seen under two dropout masks. Row $n$ has a state $h^d_n$ at each of the $D$ masks
of its prompt. With the cosine $S$ and $M_u(n,n')=1$ where two rows share a label of level $u$:

$$\mathcal L_{FHC}=\frac{-1}{N^2D^2}\sum_{d=1}^D\sum_{u=1}^d\sum_{n=1}^{2N}\log\frac{\exp\bigl(\sum_{n'}S(h^u_n,h^u_{n'})M_u(n,n')\bigr)}
{\exp\bigl(\sum_{n'}S(h^u_n,h^u_{n'})\bigr)}\cdot\frac{1}{2^{(D-d)\alpha}}.$$

Paper and released code (1KE-JI/HierVerb, `models/loss.py`) differ; `variant` chooses, and the default is the paper's equation.

* The paper has exponentials of sums, so the logarithm undoes them and the loss is linear: the summed cosine of rows that do *not* share
  the label. Nothing in it pulls rows of one label together. The code has sums of exponentials, the usual contrast.
* The code compares the states of mask $m$ by the labels of the levels *above*, $u<m$; the own level is skipped, and mask 0 has no term.
  With two levels, one pair is left: the states of the leaves' mask by the roots' labels.
* The code's weight is $2^{-(m-u)\alpha}$, the paper's $2^{-(D-d)\alpha}$; its divisor is $(2N)^2$, the paper's $N^2D^2$.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hierlab.checks import check_choice, check_range
from hierlab.taxonomy.level_labels import same_label
from hierlab.trace import show

Variant = Literal["paper", "official"]


def flat_contrast(
    states: Tensor,
    labels: Sequence[Tensor],
    *,
    variant: Variant = "paper",
    decay: float = 1.0,
    weighted: bool = True,
    reverse: bool = True,
) -> Tensor:
    r"""$\mathcal L_{FHC}$, a scalar.

    Args:
        states: [B, D, H] the states at the masks; rows 2i and 2i + 1 are the two views of one text.
        labels: D tensors as in `hierlab.taxonomy.level_labels`, of all B rows: positions [B], or marks [B, l_d].
        variant: "paper" or "official", see above.
        decay: $\alpha$, how much less a distant level counts; the code's `contrastive_level`.
        weighted: False gives every pair of levels the weight 1; the code's `imbalanced_weight`.
        reverse: the code's `imbalanced_weight_reverse`; False turns its list of weights around, to $2^{-(D-1-m+u)\alpha}$.

    Returns:
        The loss. 0 in the official variant for a single level. A row without a label of a level has no term there.

    Raises:
        ValueError: if the shapes do not fit, the paper's variant is given an odd number of rows, or `reverse` is switched off in it.

    Source: arXiv 2305.16885; HierVerb `flat_contrastive_loss_func` @821da0e, pinned by its reference vectors.
    """
    check_choice("variant", variant, Variant)
    check_range("decay", decay, 0)
    _check(states, labels)
    if variant == "paper":
        if len(states) % 2:
            raise ValueError(f"rows come in pairs, the two views of one text, got {len(states)} rows")
        if not reverse:
            raise ValueError("reverse=False is a switch of the official variant")
        return _paper(states, labels, decay if weighted else 0.0)
    return _official(states, labels, decay if weighted else 0.0, reverse=reverse)


def official_weights(depth: int, decay: float = 1.0, *, reverse: bool = True) -> Tensor:
    r"""The weight of (mask level $m$, label level $u$) in the released code, 0 where the pair has no term. [D, D]"""
    weights = torch.zeros(depth, depth, dtype=torch.float64)
    for m in range(1, depth):
        for u in range(m):
            weights[m, u] = 2.0 ** (-decay * (m - u if reverse else depth - 1 - m + u))
    return weights


def cosines(states: Tensor) -> Tensor:
    """The cosine of every pair of rows, mask by mask. [D, B, B]"""
    unit = functional.normalize(states, dim=-1).transpose(0, 1)
    return unit @ unit.transpose(1, 2)


def _official(states: Tensor, labels: Sequence[Tensor], decay: float, *, reverse: bool) -> Tensor:
    rows, depth, _ = states.shape
    weights, total, similar = official_weights(depth, decay, reverse=reverse), states.sum() * 0, cosines(states)
    show("cosine at the deepest mask", similar[-1], r"S(h^D_n,h^D_{n'})")
    for u in range(depth - 1):
        shared = show(f"shared label, level {u}", same_label(labels[u]), r"M_u(n,n')")
        has_label = shared.any(1)
        for m in range(u + 1, depth):
            everyone = similar[m][has_label]
            alike = everyone.masked_fill(~shared[has_label], -torch.inf)
            terms = everyone.logsumexp(1) - alike.logsumexp(1)
            show(f"contrast of mask {m} by level {u}", terms, r"-\log\frac{\sum_{n'}M_u e^{S}}{\sum_{n'} e^{S}}")
            total = total + float(weights[m, u]) * terms.sum()
    return total / rows**2


def _paper(states: Tensor, labels: Sequence[Tensor], decay: float) -> Tensor:
    rows, depth, _ = states.shape
    total, similar = states.sum() * 0, cosines(states)
    show("cosine at the deepest mask", similar[-1], r"S(h^D_n,h^D_{n'})")
    for u in range(depth):
        shared = show(f"shared label, level {u}", same_label(labels[u]), r"M_u(n,n')")
        # log (exp(sum S M) / exp(sum S)) = -sum S (1 - M), once for each mask level d >= u, each with its weight
        weight = sum(2.0 ** (-decay * (depth - 1 - d)) for d in range(u, depth))
        apart = show(f"summed cosine of strangers, level {u}", (similar[u] * ~shared).sum(1), r"\sum_{n'}S(h^u_n,h^u_{n'})(1-M_u)")
        total = total + weight * apart[shared.any(1)].sum()
    return total / ((rows / 2) ** 2 * depth**2)


def _check(states: Tensor, labels: Sequence[Tensor]) -> None:
    if states.dim() != 3 or not states.is_floating_point() or not len(states):
        raise ValueError(f"states must be a floating-point tensor [B, D, H] with B at least 1, got {states.dtype} {tuple(states.shape)}")
    if len(labels) != states.shape[1]:
        raise ValueError(f"states have {states.shape[1]} masks, labels {len(labels)} levels: one level a mask")
    for level, column in enumerate(labels):
        if len(column) != len(states):
            raise ValueError(f"labels of level {level} have {len(column)} rows, states {len(states)}")
