r"""Verbalizers: a learnable vector for each label, whose product with a prompt's state at a mask is the label's score (HierVerb).

A prompt has one mask a level; the state at mask $d$ goes through a small transform (dense, GELU, LayerNorm: what stands before the
decoder in BERT's head) and is then scored against the label vectors of level $d$: $z^d=f_d(h^d)\,W_d$. The multi-verbalizer has a
transform and a matrix of its own for every level; the flat one shares both among all levels.

Label vectors start from the words of the labels' names. Paper and released code (1KE-JI/HierVerb, `models/hierVerb.py`) differ in how
the tree enters, and `variant` chooses; the default is the paper's.

* **Paper**: the mean over all word pieces of the label's own name and of the names of all its descendants.
* **Code**: from the leaves upwards, a label's vector is its own mean *plus* the mean of its children's finished vectors, so that vectors
  near the root are longer. Its own mean counts [CLS] and [SEP] as words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hierlab.checks import check_choice
from hierlab.taxonomy.label_tree import LabelTree
from hierlab.trace import show

Variant = Literal["paper", "official", "own"]
Kind = Literal["levels", "flat"]


def label_vectors(tree: LabelTree, own: Tensor, *, variant: Variant = "paper", pieces: Tensor | None = None) -> Tensor:
    """Label vectors from the names of labels and of those below. [V, H]

    Args:
        tree: V labels.
        own: [V, H] a vector of each label's own name.
        variant: "paper" or "official", see above; "own" leaves the tree out.
        pieces: [V] how many word pieces each name has, by which the paper's mean is weighted; None: each name counts once.

    Raises:
        ValueError: if the shapes do not fit the tree, or a name has no piece.

    Source: arXiv 2305.16885; HierVerb `init_embeddings` @821da0e, pinned by its reference vectors.
    """
    check_choice("variant", variant, Variant)
    if own.dim() != 2 or len(own) != len(tree) or not own.is_floating_point():
        raise ValueError(f"own must be a floating-point tensor [{len(tree)}, H], one row a label, got {own.dtype} {tuple(own.shape)}")
    show("vectors of the names", own, r"w_j")
    if variant == "own":
        return own.clone()
    if variant == "official":
        return show("label vectors", _added_up(tree, own), r"w_j\leftarrow w_j+\overline{w}_{\text{children}(j)}")
    count = torch.ones(len(tree), device=own.device) if pieces is None else torch.as_tensor(pieces, device=own.device)
    if count.shape != own.shape[:1] or (count < 1).any():
        raise ValueError(f"pieces must hold a number of at least 1 for each of the {len(tree)} labels")
    return show("label vectors", _averaged(tree, own, count.to(own.dtype)), r"w_j=\text{mean over own and descendants' pieces}")


def _added_up(tree: LabelTree, own: Tensor) -> Tensor:
    found = list(own.unbind(0))
    for level in reversed(tree.levels[:-1]):
        for label in level:
            if below := tree.children(label):
                found[label] = own[label] + torch.stack([found[child] for child in below]).mean(0)
    return torch.stack(found)


def _averaged(tree: LabelTree, own: Tensor, count: Tensor) -> Tensor:
    rows = [[label, *tree.descendants(label)] for label in range(len(tree))]
    return torch.stack([(own[row] * count[row, None]).sum(0) / count[row].sum() for row in rows])


class Verbalizer(nn.Module):
    """Transforms and label matrices of every level.

    Args:
        tree: D levels of l_d labels.
        vectors: [V, H] what the label vectors start from.
        kind: "levels" has a transform and a matrix a level; "flat" has one transform and one matrix of all V labels, so that at every
            mask all labels of the tree compete.
        head: a masked language model's "dense.weight", "dense.bias", "LayerNorm.weight" and "LayerNorm.bias", which every transform
            starts as a copy of; None: weights are drawn.
        dropout: the share of a state's numbers that is set to 0 in training, before the transform.
        generator: what the transforms' weights are drawn with.

    Raises:
        ValueError: if the vectors do not fit the tree.
    """

    def __init__(
        self,
        tree: LabelTree,
        vectors: Tensor,
        *,
        kind: Kind = "levels",
        head: Mapping[str, Tensor] | None = None,
        dropout: float = 0.1,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_choice("kind", kind, Kind)
        if vectors.dim() != 2 or len(vectors) != len(tree):
            raise ValueError(f"vectors must have shape [{len(tree)}, H], one row a label, got {tuple(vectors.shape)}")
        self.tree, self.kind, self.dropout = tree, kind, dropout
        width, heads = vectors.shape[1], tree.depth if kind == "levels" else 1
        self.transforms = nn.ModuleList(transform(width, generator) for _ in range(heads))
        for copy in self.transforms if head else ():
            dense, norm = (
                {name.partition(".")[2]: w for name, w in head.items() if name.startswith(part)} for part in ("dense.", "LayerNorm.")
            )
            copy[0].load_state_dict(dense)
            copy[2].load_state_dict(norm)
        parts = [vectors[list(level)] for level in tree.levels] if kind == "levels" else [vectors]
        self.labels = nn.ParameterList(nn.Parameter(part.clone()) for part in parts)

    def forward(self, states: Tensor, generator: torch.Generator | None = None) -> tuple[list[Tensor], Tensor]:
        """Scores and transformed states.

        Args:
            states: [N, D, H] the states at the masks.
            generator: draws the dropout of a training pass; None: the global one.

        Returns:
            D tensors [N, l_d] (for "flat" [N, V]), and the transformed states [N, D, H].

        Raises:
            ValueError: if the states do not fit.
        """
        if states.dim() != 3 or states.shape[1] != self.tree.depth:
            raise ValueError(f"states must have shape [N, {self.tree.depth}, H], one state a level, got {tuple(states.shape)}")
        dropped = dropped_out(states, self.dropout, generator) if self.training and self.dropout else states
        last = len(self.transforms) - 1
        hidden = [self.transforms[min(level, last)](dropped[:, level]) for level in range(self.tree.depth)]
        return [h @ self.labels[min(level, last)].T for level, h in enumerate(hidden)], torch.stack(hidden, 1)

    def scores(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """The logits of each level's own labels: D tensors [N, l_d]."""
        return list(logits) if self.kind == "levels" else [z[:, list(level)] for z, level in zip(logits, self.tree.levels, strict=True)]


def transform(width: int, generator: torch.Generator | None = None) -> nn.Sequential:
    """Dense, GELU, LayerNorm: BERT's head before its decoder, with weights drawn as BERT draws them. [N, H] to [N, H]"""
    dense = nn.Linear(width, width)
    with torch.no_grad():
        dense.weight.normal_(0, 0.02, generator=generator)
        dense.bias.zero_()
    return nn.Sequential(dense, nn.GELU(), nn.LayerNorm(width, eps=1e-12))


def dropped_out(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """`x` with a random share of its numbers set to 0 and the others scaled up, drawn with `generator`."""
    place = generator.device if generator is not None else x.device
    keep = torch.rand(x.shape, generator=generator, device=place, dtype=x.dtype) >= share
    return x * keep.to(x.device) / (1 - share)
