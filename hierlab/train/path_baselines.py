"""What a classifier into a label tree has to beat: the majority path, nearest centroids, and a softmax or sigmoids over flat labels.

All take and give leaves or label sets of one `LabelTree`, as `HierVerb` does, and follow scikit-learn: `__init__` only stores, `fit`
checks, fitted attributes end in `_`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from hierlab.seeds import generator
from hierlab.taxonomy.label_tree import LabelTree
from hierlab.taxonomy.verbalizer import dropped_out, transform
from hierlab.train.few_shot_loop import LoopSettings, train_epochs


class MajorityPath(BaseEstimator):
    """Always the most frequent path of the training set, the first in the tree's order where several are.

    Attributes:
        leaf_: the leaf.
    """

    def __init__(self, tree: LabelTree):
        self.tree = tree

    def fit(self, X: Sequence, y: Sequence[int]) -> MajorityPath:
        """Count. X is not looked at.

        Raises:
            ValueError: if there is not one leaf a row, or none.
        """
        _check(self.tree, X, y)
        counts = Counter(y)
        self.leaf_ = min(counts, key=lambda leaf: (-counts[leaf], leaf))
        return self

    def predict(self, X: Sequence) -> list[tuple[int, ...]]:
        """The same path for every row of X."""
        return [self.tree.path(self.leaf_)] * len(X)


class CentroidPath(BaseEstimator):
    """The leaf whose mean training vector is closest by cosine; parents are read off the tree.

    Attributes:
        leaves_: the leaves that were seen.
        centroids_: [leaves, H] their mean vectors, of unit length.
    """

    def __init__(self, tree: LabelTree):
        self.tree = tree

    def fit(self, X: Tensor, y: Sequence[int]) -> CentroidPath:
        """Average. X holds N vectors [N, H].

        Raises:
            ValueError: if X and y do not fit together.
        """
        _check(self.tree, X, y)
        self.leaves_ = sorted(set(y))
        column = torch.tensor(y)
        means = torch.stack([X[column == leaf].mean(0) for leaf in self.leaves_])
        self.centroids_ = torch.nn.functional.normalize(means, dim=-1)
        return self

    def predict(self, X: Tensor) -> list[tuple[int, ...]]:
        """The path of each of N vectors [N, H]."""
        nearest = (torch.nn.functional.normalize(X, dim=-1) @ self.centroids_.T).argmax(1)
        return [self.tree.path(self.leaves_[i]) for i in nearest.tolist()]


class TfidfCentroidPath(BaseEstimator):
    """`CentroidPath` on TF-IDF vectors of the words that the training texts have.

    Attributes:
        vectoriser_: scikit-learn's, fitted.
        centroid_: the fitted `CentroidPath`.
    """

    def __init__(self, tree: LabelTree):
        self.tree = tree

    def fit(self, X: Sequence[str], y: Sequence[int]) -> TfidfCentroidPath:
        """Count words. X holds N texts.

        Raises:
            ValueError: if X and y do not fit together.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        _check(self.tree, X, y)
        self.vectoriser_ = TfidfVectorizer(sublinear_tf=True).fit(X)
        self.centroid_ = CentroidPath(self.tree).fit(self._vectors(X), y)
        return self

    def predict(self, X: Sequence[str]) -> list[tuple[int, ...]]:
        """The path of each of N texts."""
        return self.centroid_.predict(self._vectors(X))

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(self.vectoriser_.transform(texts).toarray().astype(np.float32))


class FlatClassifier(BaseEstimator):
    """A transform and one matrix of random label vectors on a text's state, blind to the tree while it is trained.

    Args:
        tree: the labels.
        over: "leaves" is a softmax over leaves, whose parents are read off the tree: its predictions are always consistent. "labels" is
            one sigmoid a label of the whole tree, predicted where above one half: ordinary fine-tuning for several labels.
        dropout: share of a state's numbers set to 0 in training.
        loop: rates, epochs, batch.
        random_state: seeds weights, order and dropout.

    Attributes:
        transform_, labels_: the fitted network and label vectors.
        centre_, spread_: [H] by which states are standardised.
        loss_curve_: mean loss of each epoch.
    """

    def __init__(
        self, tree: LabelTree, over: str = "leaves", *, dropout: float = 0.1, loop: LoopSettings | None = None, random_state: int = 0
    ):
        self.tree, self.over, self.dropout, self.loop, self.random_state = tree, over, dropout, loop, random_state

    def fit(self, X: Tensor, y: Sequence[int], report: Callable[..., None] | None = None) -> FlatClassifier:
        """Train on N states [N, H]; every text is seen twice a step, as in `HierVerb`.

        Raises:
            ValueError: if X and y do not fit together, or `over` is unknown.
        """
        if self.over not in ("leaves", "labels"):
            raise ValueError(f"over must be 'leaves' or 'labels', got {self.over!r}")
        _check(self.tree, X, y)
        self.centre_, self.spread_ = X.mean(0), X.std(0, correction=0).clamp(min=1e-6)
        states = (X - self.centre_) / self.spread_
        drawing = generator("flat classifier", "weights", self.random_state)
        columns = self.tree.leaves if self.over == "leaves" else range(len(self.tree))
        self.transform_ = transform(X.shape[1], drawing)
        self.labels_ = torch.nn.Parameter(0.02 * torch.randn(len(columns), X.shape[1], generator=drawing))
        place = {label: column for column, label in enumerate(columns)}
        marks = torch.zeros(len(y), len(columns))
        for row, leaf in enumerate(y):
            marks[row, [place[label] for label in self.tree.path(leaf) if label in place]] = 1.0

        def loss(batch: Tensor, drawing: torch.Generator) -> Tensor:
            twice = batch.repeat_interleave(2)
            z = self.transform_(dropped_out(states[twice], self.dropout, drawing)) @ self.labels_.T
            if self.over == "leaves":
                return torch.nn.functional.cross_entropy(z, marks[twice])
            return torch.nn.functional.binary_cross_entropy_with_logits(z, marks[twice])

        self.loss_curve_ = train_epochs(
            [self.transform_], [self.labels_], loss, len(y), self.loop or LoopSettings(), self.random_state, report
        )
        return self

    def predict(self, X: Tensor) -> list[tuple[int, ...]]:
        """The labels of each of N states [N, H]; with "labels" possibly none."""
        with torch.no_grad():
            z = self.transform_((X - self.centre_) / self.spread_) @ self.labels_.T
        if self.over == "leaves":
            return [self.tree.path(self.tree.leaves[i]) for i in z.argmax(1).tolist()]
        return [tuple(map(int, row.nonzero()[:, 0])) for row in z > 0]


def _check(tree: LabelTree, X: Sequence | Tensor, y: Sequence[int]) -> None:
    if len(X) != len(y) or not len(y):
        raise ValueError(f"fit needs one leaf a row and at least one row, got {len(X)} rows and {len(y)} leaves")
    if wrong := [leaf for leaf in y if tree.children(leaf)]:
        raise ValueError(f"label {wrong[0]} ({tree.names[wrong[0]]!r}) is no leaf")
