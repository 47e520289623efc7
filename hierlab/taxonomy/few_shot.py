r"""K examples per path: the greedy sampler that defines "K-shot" for a label tree (HierVerb, arXiv 2305.16885, Algorithm 1).

A document may carry several root-to-leaf paths, so "K documents a leaf" is not well defined: drawing one for a rare path may add to a
frequent one. The paper's rule: first drop paths with fewer than K documents, together with the documents that carry them, until nothing
changes; then serve paths in the order of their frequency, and for each draw documents until its count is K. A drawn document counts for all
its paths. With one path a document this is K documents a leaf.

The released code holds no sampler for several paths, so the algorithm is the paper's. Two things it leaves open are our choice: the
*rarest* path is served first (it has the least to choose from), and ties are served in the order of the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from hierlab.taxonomy.label_tree import LabelTree
from hierlab.trace import recording, show


def few_shot(tree: LabelTree, documents: Sequence[int | Iterable[int]], shots: int, generator: torch.Generator) -> list[int]:
    """The documents of a K-shot training set, in the order they were drawn.

    Args:
        tree: the labels.
        documents: [N] the leaf of each document, or several leaves.
        shots: K, documents a path.
        generator: draws the documents.

    Returns:
        Indices into `documents`. Every path that has at least K documents after the pruning is carried by at least K of them.

    Raises:
        ValueError: if `shots` is not positive, a label is no leaf, a document has none, or no path has enough documents.
    """
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
        raise ValueError(f"shots must be a whole number of at least 1, got {shots!r}")
    carried = [_leaves(tree, row, document) for row, document in enumerate(documents)]
    kept = enough(carried, shots)
    if not kept:
        raise ValueError(f"no path has {shots} documents, so there is no {shots}-shot training set")
    frequency = Counter(leaf for row in kept for leaf in carried[row])
    show("documents a path", [float(frequency[leaf]) for leaf in sorted(frequency)], r"|\{n:j\in G_n\}|")
    have: Counter[int] = Counter()
    drawn: list[int] = []
    taken: set[int] = set()
    for leaf in sorted(frequency, key=lambda leaf: (frequency[leaf], leaf)):
        candidates = [row for row in kept if leaf in carried[row] and row not in taken]
        order = torch.randperm(len(candidates), generator=generator).tolist()
        for index in order[: max(0, shots - have[leaf])]:
            drawn.append(candidates[index])
            taken.add(candidates[index])
            have.update(carried[candidates[index]])
        if recording():
            show("drawn so far", [float(have[other]) for other in sorted(frequency)], r"K_j")
    return drawn


def enough(carried: Sequence[frozenset[int]], shots: int) -> list[int]:
    """The documents left when paths with fewer than `shots` documents, and whoever carries one, are dropped until nothing changes."""
    kept = list(range(len(carried)))
    while True:
        frequency = Counter(leaf for row in kept for leaf in carried[row])
        rest = [row for row in kept if all(frequency[leaf] >= shots for leaf in carried[row])]
        if len(rest) == len(kept):
            return kept
        kept = rest


def held_out(documents: Sequence[int], each: int, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Split documents of one leaf each: `each` of every leaf are held out.

    Args:
        documents: [N] the leaf of each document.
        each: how many of every leaf are held out; every leaf needs more.
        generator: draws them.

    Returns:
        The indices of the documents left for training and of those held out, both in the order of `documents`.

    Raises:
        ValueError: if a leaf has not more than `each` documents.
    """
    by_leaf: dict[int, list[int]] = {}
    for row, leaf in enumerate(documents):
        by_leaf.setdefault(leaf, []).append(row)
    out: set[int] = set()
    for leaf, rows in by_leaf.items():
        if len(rows) <= each:
            raise ValueError(f"label {leaf} has {len(rows)} documents: holding out {each} leaves none")
        out.update(rows[i] for i in torch.randperm(len(rows), generator=generator)[:each].tolist())
    return [row for row in range(len(documents)) if row not in out], sorted(out)


def _leaves(tree: LabelTree, row: int, document: int | Iterable[int]) -> frozenset[int]:
    leaves = frozenset([document] if isinstance(document, int) else document)
    if not leaves:
        raise ValueError(f"document {row} has no label")
    for leaf in leaves:
        if tree.children(leaf):
            raise ValueError(f"document {row} has the label {leaf} ({tree.names[leaf]!r}), which is no leaf: paths end at leaves")
    return leaves
