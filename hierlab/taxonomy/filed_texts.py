"""Texts that are filed in a label tree, each under one leaf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hierlab.taxonomy.label_tree import LabelTree


@dataclass(frozen=True)
class FiledTexts:
    """A corpus for single-path classification.

    Attributes:
        tree: the labels.
        texts: N texts.
        leaves: [N] the leaf of each text: its index in `tree`.
    """

    tree: LabelTree
    texts: tuple[str, ...]
    leaves: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.leaves) or not self.texts:
            raise ValueError(f"a corpus needs one leaf a text and at least one text, got {len(self.texts)} and {len(self.leaves)}")
        for text, leaf in zip(self.texts, self.leaves, strict=True):
            if self.tree.children(leaf):
                raise ValueError(f"text {text!r:.60} is filed under {self.tree.names[leaf]!r}, which is no leaf")

    def below(self, roots: Sequence[int]) -> FiledTexts:
        """The part of the corpus that is filed below some of the tree's roots, with the tree cut to them.

        Raises:
            ValueError: if one of `roots` is no root, or nothing is filed below them.
        """
        if unknown := [root for root in roots if root not in self.tree.roots]:
            raise ValueError(f"label {unknown[0]} is no root; the roots are {', '.join(map(str, self.tree.roots))}")
        kept = [
            (text, self.tree.path(leaf)) for text, leaf in zip(self.texts, self.leaves, strict=True) if self.tree.path(leaf)[0] in roots
        ]
        if not kept:
            raise ValueError("nothing is filed below these roots")
        return filed([text for text, _ in kept], [[self.tree.names[label] for label in path] for _, path in kept])


def filed(texts: Sequence[str], paths: Sequence[Sequence[str]]) -> FiledTexts:
    """The corpus of texts with their paths of names, root first.

    Raises:
        ValueError: if the columns differ in length, or a text is filed under a label that has children.
    """
    if len(texts) != len(paths):
        raise ValueError(f"every text needs one path, got {len(texts)} texts and {len(paths)} paths")
    tree = LabelTree.from_paths(paths)
    number = {tuple(tree.names[above] for above in tree.path(label)): label for label in range(len(tree))}
    return FiledTexts(tree, tuple(texts), tuple(number[tuple(path)] for path in paths))


def read_filed_texts(file: Path | str) -> FiledTexts:
    """A corpus from JSON lines, one text a line: `{"text": "...", "path": ["root label", ..., "leaf label"]}`.

    Raises:
        FileNotFoundError: if there is no such file; the message shows the format.
        ValueError: naming the first line that does not fit.
    """
    form = '{"text": "...", "path": ["root label", ..., "leaf label"]}'
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: it should hold one text a line, as {form}")
    texts, paths = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, labels = row["text"], row["path"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: wanted {form}, got {line!r:.60}") from error
        if not isinstance(text, str) or not isinstance(labels, list) or not labels or not all(isinstance(name, str) for name in labels):
            raise ValueError(f"{path}, line {number}: wanted {form}, got {line!r:.60}")
        texts.append(text)
        paths.append(labels)
    return filed(texts, paths)
