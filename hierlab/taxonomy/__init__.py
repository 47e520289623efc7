"""Label trees and hierarchical text: the tree, its metrics and losses, verbalizers, few-shot sampling, and a real corpus.

Losses are pure functions of tensors, metrics of sets of labels. Nothing here loads a model.
"""

from __future__ import annotations

from hierlab.taxonomy.constraint_chain import constraint_chain, level_loss
from hierlab.taxonomy.few_shot import few_shot, held_out
from hierlab.taxonomy.filed_texts import FiledTexts, filed, read_filed_texts
from hierlab.taxonomy.flat_contrast import flat_contrast
from hierlab.taxonomy.icd10 import icd10
from hierlab.taxonomy.label_tree import LabelTree
from hierlab.taxonomy.level_labels import several_paths, single_path
from hierlab.taxonomy.tree_metrics import (
    consistency,
    constrained_f1,
    label_f1,
    label_recall,
    level_accuracy,
    path_accuracy,
    path_f1,
    penalty,
    tree_metrics,
)
from hierlab.taxonomy.verbalizer import Verbalizer, label_vectors

__all__ = [
    "FiledTexts",
    "LabelTree",
    "Verbalizer",
    "consistency",
    "constrained_f1",
    "constraint_chain",
    "few_shot",
    "filed",
    "flat_contrast",
    "held_out",
    "icd10",
    "label_f1",
    "label_recall",
    "label_vectors",
    "level_accuracy",
    "level_loss",
    "path_accuracy",
    "path_f1",
    "penalty",
    "read_filed_texts",
    "several_paths",
    "single_path",
    "tree_metrics",
]
