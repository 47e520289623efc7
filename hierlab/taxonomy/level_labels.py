"""The gold labels of a batch, level by level: one label a level, or any number of them.

Losses take a list with one tensor a level. A tensor of integers [N] holds the position of each row's label within its level (single
path). A tensor [N, l] of truth values marks every label of the level that a row has (several paths, or paths that end early).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hierlab.taxonomy.label_tree import LabelTree


def single_path(tree: LabelTree, leaves: Sequence[int], *, device: torch.device | str | None = None) -> list[Tensor]:
    """One tensor [N] a level: the position of each document's label on its path.

    Args:
        tree: the labels.
        leaves: [N] the leaf of each document, on the deepest level.
        device: where the tensors are wanted.

    Raises:
        ValueError: if a document's label is not on the deepest level.
    """
    short = [leaf for leaf in leaves if tree.level_of[leaf] != tree.depth - 1]
    if short:
        raise ValueError(
            f"label {tree.names[short[0]]!r} ends on level {tree.level_of[short[0]]}: a single path goes down to level {tree.depth - 1}; "
            "mark labels with `several_paths` where paths end early"
        )
    paths = [tree.path(leaf) for leaf in leaves]
    return [torch.tensor([tree.position[path[level]] for path in paths], dtype=torch.long, device=device) for level in range(tree.depth)]


def several_paths(tree: LabelTree, labels: Sequence[Iterable[int]], *, device: torch.device | str | None = None) -> list[Tensor]:
    """One tensor [N, l] of truth values a level: which of its labels each document has.

    Args:
        tree: the labels.
        labels: N sets of labels.
        device: where the tensors are wanted.
    """
    marks = [torch.zeros(len(labels), len(level), dtype=torch.bool) for level in tree.levels]
    for row, document in enumerate(labels):
        for label in document:
            marks[tree.level_of[label]][row, tree.position[label]] = True
    return [mark.to(device) for mark in marks]


def same_label(labels: Tensor) -> Tensor:
    """Which rows share a label. [N, N] bool

    Args:
        labels: one level, as above; a row without any label shares none, not even with itself.
    """
    if labels.dim() == 1:
        return labels[:, None] == labels[None, :]
    marks = labels.to(torch.get_default_dtype())
    return marks @ marks.T > 0


def check_levels(tree: LabelTree, labels: Sequence[Tensor], rows: int, *, multi_path: bool) -> None:
    """Refuse labels that do not fit the tree or the rows.

    Raises:
        ValueError: naming the level, and what was expected there.
    """
    if len(labels) != tree.depth:
        raise ValueError(f"labels need one tensor a level, {tree.depth} in all, got {len(labels)}")
    for level, (column, names) in enumerate(zip(labels, tree.levels, strict=True)):
        if multi_path:
            if tuple(column.shape) != (rows, len(names)):
                raise ValueError(f"labels of level {level} must mark {len(names)} labels in {rows} rows, got shape {tuple(column.shape)}")
        elif tuple(column.shape) != (rows,) or column.is_floating_point() or column.dtype == torch.bool:
            raise ValueError(f"labels of level {level} must be {rows} whole numbers, got {column.dtype} of shape {tuple(column.shape)}")
        elif rows and (column.min() < 0 or column.max() >= len(names)):
            low, high = int(column.min()), int(column.max())
            raise ValueError(f"labels of level {level} must be positions 0 to {len(names) - 1}, got {low} to {high}")
