r"""HCC, the hierarchy-aware constraint chain (HierVerb, arXiv 2305.16885): probability flows up the tree.

Each level $d$ of a tree has its own classifier with logits $z^d$ and probabilities $p^d$. A child's probability is a part of its
parent's, so what the children of label $j$ hold is a second opinion about $j$:

$$\tilde p^d_j=(1-\beta)\,p^d_j+\beta\sum_{k\in\text{children}(j)}p^{d+1}_k,\qquad\mathcal L_{HCC}=\sum_d\mathcal L^C(\tilde p^d,y^d).$$

Paper and released code (1KE-JI/HierVerb, `models/loss.py`) differ; `variant` chooses, and the default is the paper's equation.

* **Single path, code.** The chain starts from the leaves alone, $q^{D}=p^{D}$, and goes on with what was propagated:
  $q^d_j=\sum_kq^{d+1}_k$, which is the paper's $\beta=1$ if all levels are exact sums of the next. These $q$, which are probabilities,
  are then handed to a cross-entropy that takes *logits*, so a second softmax is applied. It flattens: with $q\in[0,1]^l$ the largest
  probability it can give is $e/(e+l-1)$, and the loss never falls below $\log(1+(l-1)/e)$.
  `add_own` is the code's mode 1: the level's own logits are added to $q$ before the loss and before $q$ goes on upwards.
* **Several paths, code.** Logits are mixed, not probabilities: $z^d_j\leftarrow(1-\beta)z^d_j+\beta\,\text{mean}_kz^{d+1}_k$, from the
  leaves upwards, with the mixed $z^{d+1}$. (The code does it in place; here the caller's logits stay as they are.)

The paper's sum over $d$ is read as one over the levels that have a level below: at the leaves $\tilde p$ would be $(1-\beta)p$, whose
logarithm does not exist for $\beta=1$. A label without children keeps its own $p$. With several paths, sums above 1 are cut to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hierlab.checks import check_choice, check_range
from hierlab.taxonomy.label_tree import LabelTree
from hierlab.taxonomy.level_labels import check_levels
from hierlab.trace import recording, show

Variant = Literal["paper", "official"]


def level_loss(tree: LabelTree, logits: Sequence[Tensor], labels: Sequence[Tensor], *, multi_path: bool = False) -> Tensor:
    r"""$\mathcal L_C$: every level classified on its own, added up.

    Args:
        tree: D levels of $l_d$ labels.
        logits: D tensors [N, l_d].
        labels: D tensors as in `hierlab.taxonomy.level_labels`.
        multi_path: a row may have several labels a level: binary cross-entropy, mean over rows and labels. Else cross-entropy, mean
            over rows.

    Raises:
        ValueError: if logits or labels do not fit the tree.
    """
    _check(tree, logits, labels, multi_path=multi_path)
    if multi_path:
        pairs = zip(logits, labels, strict=True)
        return torch.stack([functional.binary_cross_entropy_with_logits(z, y.to(z.dtype)) for z, y in pairs]).sum()
    return torch.stack([functional.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)]).sum()


def constraint_chain(
    tree: LabelTree,
    logits: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    variant: Variant = "paper",
    multi_path: bool = False,
    mixing: float | None = None,
    add_own: bool = False,
) -> Tensor:
    r"""$\mathcal L_{HCC}$, a scalar.

    Args:
        tree: D levels of $l_d$ labels.
        logits: D tensors [N, l_d].
        labels: D tensors as in `hierlab.taxonomy.level_labels`: positions [N], or marks [N, l_d].
        variant: "paper" or "official", see above.
        multi_path: a row may have several labels a level. The official chain of a single path takes marks, too, and then applies
            binary cross-entropy, as the code does with `multi_label`.
        mixing: $\beta$; None is 1 for single paths and 0.01 for several, as in the paper. The official chain of a single path has none.
        add_own: whether the official chain of a single path adds the level's own logits.

    Returns:
        The loss: a mean over rows (with marks: and labels), a sum over levels. 0 for a tree of one level.

    Raises:
        ValueError: if logits or labels do not fit the tree, or a switch has no meaning in this variant.

    Source: arXiv 2305.16885; HierVerb `constraint_multi_depth_loss_func` and
        `multi_path_constraint_multi_depth_loss_func` @821da0e, pinned by their reference vectors.
    """
    check_choice("variant", variant, Variant)
    marked = multi_path or (variant == "official" and any(column.dim() == 2 for column in labels))
    _check(tree, logits, labels, multi_path=marked)
    if add_own and (variant != "official" or multi_path):
        raise ValueError("add_own belongs to the official chain of a single path")
    if variant == "official" and not multi_path and mixing not in (None, 1):
        raise ValueError(f"the official chain of a single path has no mixing, got {mixing!r}: leave it out, or use variant='paper'")
    beta = (0.01 if multi_path else 1.0) if mixing is None else mixing
    check_range("mixing", beta, 0, 1)
    if recording():
        for level, z in enumerate(logits):
            show(f"own probability, level {level}", z.sigmoid() if multi_path else z.softmax(-1), r"p^d=\text{softmax}(z^d)")
    if variant == "paper":
        terms = _paper_terms(tree, logits, labels, beta, multi_path=multi_path)
    elif multi_path:
        terms = _logit_terms(tree, logits, labels, beta)
    else:
        terms = _softmax_again_terms(tree, logits, labels, add_own=add_own, marked=marked)
    return torch.stack(terms).sum() if terms else logits[0].sum() * 0


def mixed_probabilities(tree: LabelTree, logits: Sequence[Tensor], mixing: float, *, multi_path: bool = False) -> list[Tensor]:
    r"""$\tilde p^d$ of every level, the paper's; the leaves' level is $p^D$. D tensors [N, l_d]"""
    p = [z.sigmoid() if multi_path else z.softmax(-1) for z in logits]
    found = []
    for level in range(tree.depth - 1):
        below = tree.pooled(p[level + 1], level + 1)
        inner = tree.has_children(level, device=below.device)
        found.append(torch.where(inner, (1 - mixing) * p[level] + mixing * below, p[level]).clamp(max=1))
    return [*found, p[-1]]


def chained_probabilities(tree: LabelTree, logits: Sequence[Tensor], *, add_own: bool = False) -> list[Tensor]:
    r"""$q^d$ of every level, the released code's: what the leaves hold, added up level by level. D tensors [N, l_d]"""
    q = [logits[-1].softmax(-1)]
    for level in range(tree.depth - 1, 0, -1):
        above = tree.pooled(q[0], level)
        q.insert(0, above + logits[level - 1] if add_own else above)
    return q


def _paper_terms(tree: LabelTree, logits: Sequence[Tensor], labels: Sequence[Tensor], beta: float, *, multi_path: bool) -> list[Tensor]:
    mixed = mixed_probabilities(tree, logits, beta, multi_path=multi_path)
    terms = []
    for level in range(tree.depth - 1):
        p = show(f"mixed probability, level {level}", mixed[level], r"\tilde{p}^d_j=(1-\beta)p^d_j+\beta\sum_k p^{d+1}_k")
        if multi_path:
            terms.append(functional.binary_cross_entropy(p, labels[level].to(p.dtype)))
        else:
            log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
            by_row = functional.nll_loss(log_p, labels[level], reduction="none")
            terms.append(show(f"chain loss of each row, level {level}", by_row, r"-\log\tilde{p}^d_y").mean())
    return terms


def _softmax_again_terms(
    tree: LabelTree, logits: Sequence[Tensor], labels: Sequence[Tensor], *, add_own: bool, marked: bool
) -> list[Tensor]:
    chained = chained_probabilities(tree, logits, add_own=add_own)
    terms = []
    for level in range(tree.depth - 2, -1, -1):
        q = show(f"chained probability, level {level}", chained[level], r"q^d_j=\sum_k q^{d+1}_k")
        if marked:
            terms.append(functional.binary_cross_entropy_with_logits(q, labels[level].to(q.dtype)))
        else:
            show(f"after the second softmax, level {level}", q.softmax(-1), r"\text{softmax}(q^d)")
            by_row = functional.cross_entropy(q, labels[level], reduction="none")
            terms.append(show(f"chain loss of each row, level {level}", by_row, r"-\log\text{softmax}(q^d)_y").mean())
    return terms


def _logit_terms(tree: LabelTree, logits: Sequence[Tensor], labels: Sequence[Tensor], beta: float) -> list[Tensor]:
    below, terms = logits[-1], []
    for level in range(tree.depth - 2, -1, -1):
        z = logits[level]
        inner = tree.has_children(level, device=z.device)
        below = torch.where(inner, (1 - beta) * z + beta * tree.pooled(below, level + 1, "mean"), z)
        show(f"mixed logits, level {level}", below, r"(1-\beta)z^d_j+\beta\,\overline{z}^{d+1}")
        terms.append(functional.binary_cross_entropy_with_logits(below, labels[level].to(z.dtype)))
    return terms


def _check(tree: LabelTree, logits: Sequence[Tensor], labels: Sequence[Tensor], *, multi_path: bool) -> None:
    shapes = [tuple(z.shape) for z in logits]
    rows = shapes[0][0] if shapes and shapes[0] else 0
    wanted = [(rows, len(level)) for level in tree.levels]
    if shapes != wanted or not rows:
        raise ValueError(f"logits need one tensor [N, labels] a level with N at least 1, here {wanted}, got {shapes}")
    check_levels(tree, labels, rows, multi_path=multi_path)
