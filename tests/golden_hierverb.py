"""Runners of the reference vectors of HierVerb: its two losses, the tree metrics, and where label vectors start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from golden_cases import Case, Pairs

from hierlab.taxonomy import (
    LabelTree,
    constrained_f1,
    constraint_chain,
    flat_contrast,
    label_f1,
    label_recall,
    label_vectors,
    level_loss,
    path_accuracy,
    path_f1,
)

Children = Sequence[Mapping[str, Sequence[int]]]


def _tree(children: Children, sizes: Sequence[int]) -> LabelTree:
    """The tree of labels that are numbered within their level."""
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    flat = {
        starts[level] + int(parent): [starts[level + 1] + child for child in below]
        for level, mapping in enumerate(children)
        for parent, below in mapping.items()
    }
    return LabelTree.from_children(flat, [f"label {number}" for number in range(sum(sizes))])


def _levels(labels: Sequence[Sequence[int] | Sequence[Sequence[int]]], sizes: Sequence[int] | None = None) -> list[torch.Tensor]:
    """Positions, or marks where a row lists several."""
    found = []
    for level, column in enumerate(labels):
        if all(isinstance(entry, int) for entry in column):
            found.append(torch.tensor(column))
            continue
        size = sizes[level] if sizes else 1 + max((label for entry in column for label in entry), default=0)
        marks = torch.zeros(len(column), size, dtype=torch.bool)
        for row, entry in enumerate(column):
            marks[row, list(entry)] = True
        found.append(marks)
    return found


def _contrast(case: Case) -> Pairs:
    params = case.params
    loss = flat_contrast(
        case.tensor("hidden_at_mask"),
        _levels(case.inputs["labels_per_level"]),
        variant="official",
        decay=params["contrastive_level"],
        weighted=params["imbalanced_weight"],
        reverse=params["imbalanced_weight_reverse"],
    )
    return {"loss": (loss, case.outputs["loss"])}


def _chain(case: Case, *, multi_path: bool) -> Pairs:
    logits = [torch.tensor(z, dtype=torch.float64) for z in case.inputs["logits_per_level"]]
    sizes = [z.shape[1] for z in logits]
    tree = _tree(case.params["children"], sizes)
    labels = _levels(case.inputs["labels_per_level"], sizes)
    marked = multi_path or case.params.get("multi_label", False)
    if marked:
        labels = [y if y.dim() == 2 else torch.nn.functional.one_hot(y, n).bool() for y, n in zip(labels, sizes, strict=True)]
    add_own = bool(case.params.get("mode")) and not multi_path
    ours = constraint_chain(tree, logits, labels, variant="official", multi_path=multi_path, add_own=add_own)
    pairs = {}
    for name, value in case.outputs.items():
        if "ce" in name.split("_") or "bce" in name.split("_"):
            pairs[name] = (level_loss(tree, logits, labels, multi_path=marked), value)
        else:
            pairs[name] = (ours, value)
    return pairs


def _metrics(case: Case) -> Pairs:
    names = case.params["label_names"]
    tree = LabelTree.from_children({int(k): v for k, v in case.params["parent_to_children"].items()}, names)
    guess, gold = case.inputs["pred"], case.inputs["gold"]
    plain, constrained = label_f1(tree, guess, gold), constrained_f1(tree, guess, gold)
    paths = path_f1(tree, guess, gold, counting="official")
    before = paths.unpenalised
    ours = {
        "path_leaf": tree.leaves,
        "p_precision": before.precision,
        "p_recall": before.recall,
        "p_micro_f1": paths.micro,
        "p_macro_f1": paths.macro,
        "p_ori_micro_f1": before.micro,
        "p_ori_macro_f1": before.macro,
        "c_precision": constrained.precision,
        "c_recall": constrained.recall,
        "c_micro_f1": constrained.micro,
        "c_macro_f1": constrained.macro,
        "P_acc": path_accuracy(tree, guess, gold),
        "path_counts_right_pred_gold": [before.right, before.predicted, before.gold],
        "constrained_counts_right_pred_gold": [constrained.right, constrained.predicted, constrained.gold],
    }
    pairs = {name: (value, case.outputs[name]) for name, value in ours.items()}
    for place, (path, leaf) in enumerate(zip(case.outputs["paths"], tree.leaves, strict=True)):
        pairs[f"path {place}"] = (sorted(tree.path(leaf)), path)
    whole = {"precision": plain.precision, "recall": plain.recall, "micro_f1": plain.micro, "macro_f1": plain.macro}
    whole["acc"] = label_recall(tree, guess, gold)
    return pairs | {f"plain {name}": (value, case.outputs["plain"][name]) for name, value in whole.items()}


def _init(case: Case) -> Pairs:
    table, ids = case.tensor("embedding_table"), case.inputs["label_token_ids"]
    tree = _tree(case.params["children"], [len(level) for level in ids])
    own = torch.stack([table[label].mean(0) for level in ids for label in level])
    vectors = label_vectors(tree, own, variant="official" if case.params["use_hier_mean"] else "own")
    wanted = case.outputs["verbalizer_weights_per_level"]
    return {f"level {d}": (vectors[list(level)], wanted[d]) for d, level in enumerate(tree.levels)}


RUNNERS = {
    ("hierverb", "flat_contrastive_loss_func"): _contrast,
    ("hierverb", "constraint_multi_depth_loss_func"): lambda case: _chain(case, multi_path=False),
    ("hierverb", "compute_based_on_path + compute_score"): _metrics,
    ("hierverb", "HierVerbPromptForClassification.init_embeddings"): _init,
}
