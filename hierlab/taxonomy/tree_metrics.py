r"""How well sets of labels were predicted in a tree: plain, constrained and path F1, path accuracy, consistency, accuracy by level.

A document has a gold set $G_n$ and a predicted set $P_n$ of labels. Three ways of counting, from lenient to strict:

* **plain**: a label is right if it is in both sets.
* **constrained** (C): a label is right if it and all its ancestors are in both sets. Predicted and gold counts stay.
* **path** (P): the units are root-to-leaf paths. A path is predicted (or gold) if all its labels are. Predicting labels that complete no
  path costs: both F1 are multiplied by $\gamma=1-2(\frac{1}{1+e^{-a}}-\frac12)$, where $a$ is the number of such invalid labels
  divided by the number of gold labels.

Macro F1 is a mean over *all* labels (or paths) of the tree; one that occurs neither in gold nor in predicted sets counts 0. $0/0$ is 0.

Paper (arXiv 2305.16885) and released code (1KE-JI/HierVerb, `util/eval.py`) count invalid labels differently, and
`counting` chooses. The paper's count, the default, takes the labels of $P_n$ that belong to no completely predicted path. The code's is
$|P_n|$ minus the *summed lengths* of the completely predicted paths: where two of them share an ancestor, the shared label is
subtracted twice, the count can be negative, and $\gamma$ exceeds 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hierlab.checks import check_choice
from hierlab.taxonomy.label_tree import LabelTree
from hierlab.trace import recording, show

Counting = Literal["paper", "official"]
LabelSets = Sequence[Iterable[int]]


@dataclass(frozen=True)
class F1:
    """Precision, recall and F1 with the counts they come from.

    Attributes:
        precision, recall, micro: of all units counted together.
        macro: the mean of the units' own F1.
        right, predicted, gold: [n] counts a unit (label or path).
    """

    precision: float
    recall: float
    micro: float
    macro: float
    right: tuple[int, ...]
    predicted: tuple[int, ...]
    gold: tuple[int, ...]


@dataclass(frozen=True)
class PathF1:
    """F1 over paths, with the penalty for labels that complete none.

    Attributes:
        unpenalised: F1 before the penalty; its counts are by leaf, in the order of `tree.leaves`.
        gamma: the penalty's factor.
        invalid: the number of invalid labels; the official count may be negative.
        micro, macro: F1 times gamma.
    """

    unpenalised: F1
    gamma: float
    invalid: int
    micro: float
    macro: float


def label_f1(tree: LabelTree, predicted: LabelSets, gold: LabelSets) -> F1:
    """Plain F1 over labels.

    Args:
        tree: V labels.
        predicted: N sets of labels, any of them may be empty.
        gold: N sets of labels.

    Raises:
        ValueError: if the columns differ in length or are empty, a label is unknown, or one is named twice for a document.
    """
    guess, truth = _multi_hot(tree, predicted, gold)
    return _f1(guess & truth, guess, truth)


def constrained_f1(tree: LabelTree, predicted: LabelSets, gold: LabelSets) -> F1:
    """F1 over labels in which a hit counts only if all its ancestors are hits. Arguments and errors as `label_f1`."""
    guess, truth = _multi_hot(tree, predicted, gold)
    hit = guess & truth
    paths = _path_matrix(tree, range(len(tree)))
    whole = hit @ paths == paths.sum(0)
    return _f1(hit & whole, guess, truth)


def path_f1(tree: LabelTree, predicted: LabelSets, gold: LabelSets, *, counting: Counting = "paper") -> PathF1:
    """F1 over root-to-leaf paths, times the penalty for invalid labels.

    Args:
        tree: the labels.
        predicted: [N] sets of labels, as in `label_f1`.
        gold: [N] sets of labels.
        counting: how invalid labels are counted, see above.

    Raises:
        ValueError: as `label_f1`, or if there is no gold label at all.
    """
    check_choice("counting", counting, Counting)
    guess, truth = _multi_hot(tree, predicted, gold)
    if not truth.any():
        raise ValueError("path F1 needs at least one gold label: its penalty is relative to their number")
    paths = _path_matrix(tree, tree.leaves)
    length = paths.sum(0)
    walked, true = (guess @ paths == length, truth @ paths == length)
    if recording():
        show("predicted labels", guess.astype(float), r"P_n")
        show("completely predicted paths", walked.astype(float), r"\text{path}\subseteq P_n")
    if counting == "paper":
        invalid = guess & ~(walked @ paths.T > 0)
        show("invalid labels", invalid.astype(float), r"P_n\setminus\text{complete paths}")
        count = int(invalid.sum())
    else:
        by_document = guess.sum(1) - walked @ length
        show("invalid labels", by_document.astype(float), r"|P_n|-\sum_{\text{complete paths}}|\text{path}|")
        count = int(by_document.sum())
    plain = _f1(walked & true, walked, true)
    factor = show("gamma", penalty(count, int(truth.sum())), r"\gamma=1-2(\frac{1}{1+e^{-a}}-\frac{1}{2})")
    return PathF1(plain, factor, count, factor * plain.micro, factor * plain.macro)


def penalty(invalid: int, gold: int) -> float:
    r"""$\gamma=1-2(\frac{1}{1+e^{-a}}-\frac12)$ with $a$ = invalid / gold: 1 without invalid labels, 0.54 at $a=1$, towards 0 beyond.

    Raises:
        ValueError: if there is no gold label.
    """
    if gold < 1:
        raise ValueError(f"the penalty is relative to the number of gold labels, got {gold}")
    # 1 - 2 (sigmoid(a) - 1/2) = 1 - tanh(a / 2), which never overflows
    return 1 - math.tanh(invalid / gold / 2)


def path_accuracy(tree: LabelTree, predicted: LabelSets, gold: LabelSets) -> float:
    """The share of documents whose predicted set is the gold set. Arguments and errors as `label_f1`."""
    guess, truth = _multi_hot(tree, predicted, gold)
    return float((guess == truth).all(1).mean())


def label_recall(tree: LabelTree, predicted: LabelSets, gold: LabelSets) -> float:
    """The share of gold labels that were predicted, which the released code calls `acc`. Arguments and errors as `label_f1`."""
    return label_f1(tree, predicted, gold).recall


def consistency(tree: LabelTree, predicted: LabelSets) -> float:
    """The share of documents that are given at least one label, and with every label its parent.

    Raises:
        ValueError: as `label_f1`.
    """
    guess, _ = _multi_hot(tree, predicted, predicted)
    parents = [label if parent is None else parent for label, parent in enumerate(tree.parents)]
    return float((guess.any(1) & (guess <= guess[:, parents]).all(1)).mean())


def level_accuracy(tree: LabelTree, predicted: Sequence[Sequence[int]], gold: Sequence[int]) -> list[float]:
    """The share of documents whose label is right, level by level.

    Args:
        tree: the labels.
        predicted: N predicted labels each, one a level from the root on; levels that are missing at the end count as wrong.
        gold: [N] the last label of each document's path. A document whose path ends above a level is not counted there.

    Raises:
        ValueError: if the columns differ in length or are empty.
    """
    if len(predicted) != len(gold) or not len(gold):
        raise ValueError(f"level accuracy needs one prediction a document, got {len(predicted)} for {len(gold)} documents")
    paths = [tree.path(label) for label in gold]
    found = []
    for level in range(tree.depth):
        asked = [(guess, path) for guess, path in zip(predicted, paths, strict=True) if len(path) > level]
        right = sum(len(guess) > level and guess[level] == path[level] for guess, path in asked)
        found.append(right / len(asked) if asked else 0.0)
    return found


def tree_metrics(tree: LabelTree, predicted: LabelSets, gold: LabelSets, *, counting: Counting = "paper") -> dict[str, float]:
    """All numbers that tables show, by name.

    Returns:
        `micro_f1`, `macro_f1`, `c_micro_f1`, `c_macro_f1`, `p_micro_f1`, `p_macro_f1`, `path_accuracy`, `consistency`.

    Raises:
        ValueError: as `path_f1`.
    """
    plain, constrained = label_f1(tree, predicted, gold), constrained_f1(tree, predicted, gold)
    paths = path_f1(tree, predicted, gold, counting=counting)
    return {
        "micro_f1": plain.micro,
        "macro_f1": plain.macro,
        "c_micro_f1": constrained.micro,
        "c_macro_f1": constrained.macro,
        "p_micro_f1": paths.micro,
        "p_macro_f1": paths.macro,
        "path_accuracy": path_accuracy(tree, predicted, gold),
        "consistency": consistency(tree, predicted),
    }


def _multi_hot(tree: LabelTree, *columns: LabelSets) -> list[np.ndarray]:
    """Each column as [N, V] bool."""
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"predicted and gold need one set of labels a document, got {' and '.join(str(len(c)) for c in columns)}")
    if not len(columns[0]):
        raise ValueError("a metric needs at least one document")
    return [_one_column(tree, column) for column in columns]


def _one_column(tree: LabelTree, column: LabelSets) -> np.ndarray:
    found = np.zeros((len(column), len(tree)), dtype=bool)
    for row, labels in enumerate(column):
        for label in labels:
            if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < len(tree):
                raise ValueError(f"document {row} has the label {label!r}; labels are the numbers 0 to {len(tree) - 1}")
            if found[row, label]:
                raise ValueError(f"document {row} has the label {label} ({tree.names[label]!r}) twice")
            found[row, label] = True
    return found


def _path_matrix(tree: LabelTree, ends: Iterable[int]) -> np.ndarray:
    """A column of ones for each path that ends at one of `ends`. [V, ends]"""
    ends = list(ends)
    matrix = np.zeros((len(tree), len(ends)))  # of floats, whose products are fast, and exact for such counts
    for column, label in enumerate(ends):
        matrix[list(tree.path(label)), column] = 1
    return matrix


def _f1(right: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> F1:
    counts = [column.sum(0) for column in (right, predicted, gold)]
    precision, recall, micro = _ratios(*(int(count.sum()) for count in counts))
    each = [_ratios(*map(int, unit))[2] for unit in zip(*counts, strict=True)]
    return F1(precision, recall, micro, sum(each) / len(each), *(tuple(map(int, count)) for count in counts))


def _ratios(right: int, predicted: int, gold: int) -> tuple[float, float, float]:
    precision = right / predicted if predicted else 0.0
    recall = right / gold if gold else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0
