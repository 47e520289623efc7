r"""A tree of labels: who is whose parent, what lies on which level, how one walks down and adds up.

Labels are numbered $0..V-1$. The roots of the tree are the labels of level 0; the invisible node above them is not a label. A label
may end at any level: `leaves` are those without children, wherever they stand.

    tree = LabelTree.from_paths([("science", "physics"), ("science", "biology"), ("arts", "music")])
    tree.names[tree.leaves[0]], tree.path(tree.leaves[0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

Pooling = Literal["sum", "mean", "max"]


@dataclass(frozen=True)
class LabelTree:
    """An immutable tree (or forest) of labels.

    Args:
        names: the name of each label. Two labels may share a name, but not under one parent.
        parents: the parent of each label, or None for a root.

    Raises:
        ValueError: if there are no labels, the columns differ in length, a parent is no label, labels form a circle, or two children
            of one parent have one name. The message names the label.
    """

    names: tuple[str, ...]
    parents: tuple[int | None, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "parents", tuple(self.parents))
        if not self.names:
            raise ValueError("a label tree needs at least one label")
        if len(self.names) != len(self.parents):
            raise ValueError(
                f"a label tree needs one parent (or None) a label, got {len(self.names)} names and {len(self.parents)} parents"
            )
        for name, parent in zip(self.names, self.parents, strict=True):
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"a label's name must be a text that is not empty, got {name!r}")
            if parent is not None and (isinstance(parent, bool) or not isinstance(parent, int) or not 0 <= parent < len(self.names)):
                raise ValueError(f"the parent of {name!r} must be None or one of the labels 0 to {len(self.names) - 1}, got {parent!r}")
        self._refuse_circles()
        seen: dict[tuple[int | None, str], int] = {}
        for label, key in enumerate(zip(self.parents, self.names, strict=True)):
            if key in seen:
                above = "the root" if key[0] is None else repr(self.names[key[0]])
                raise ValueError(f"two children of {above} are called {key[1]!r}: labels {seen[key]} and {label}")
            seen[key] = label

    def _refuse_circles(self) -> None:
        safe: set[int] = set()
        for start in range(len(self.names)):
            trail: list[int] = []
            label: int | None = start
            while label is not None and label not in safe:
                if label in trail:
                    circle = [self.names[i] for i in trail[trail.index(label) :]]
                    raise ValueError(f"labels form a circle: {' > '.join([*circle, self.names[label]])}")
                trail.append(label)
                label = self.parents[label]
            safe.update(trail)

    @classmethod
    def from_paths(cls, paths: Iterable[Sequence[str]]) -> LabelTree:
        """The tree of all given paths of names, root first. Labels are numbered level by level, in the order of their appearance.

        Raises:
            ValueError: if there is no path, or an empty one.
        """
        paths = [tuple(path) for path in paths]
        if not paths or not all(paths):
            raise ValueError("a label tree needs at least one path, and a path at least one name")
        depth = max(map(len, paths))
        labels = list(dict.fromkeys(path[: level + 1] for level in range(depth) for path in paths if len(path) > level))
        number = {path: label for label, path in enumerate(labels)}
        return cls(tuple(path[-1] for path in labels), tuple(number[path[:-1]] if len(path) > 1 else None for path in labels))

    @classmethod
    def from_children(cls, children: Mapping[int, Sequence[int]], names: Sequence[str]) -> LabelTree:
        """The tree in which `children[label]` lists a label's children; labels that are nobody's child are roots.

        Raises:
            ValueError: if a label has two parents, or as the class itself.
        """
        parents: list[int | None] = [None] * len(names)
        for parent, below in children.items():
            for child in below:
                if not 0 <= child < len(names):
                    raise ValueError(f"label {parent} lists the child {child}, but labels are 0 to {len(names) - 1}")
                if parents[child] is not None:
                    raise ValueError(f"label {names[child]!r} has two parents: {parents[child]} and {parent}")
                parents[child] = parent
        return cls(tuple(names), tuple(parents))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The labels of each level, in increasing order; level 0 holds the roots."""
        found: list[list[int]] = [[] for _ in range(max(self.level_of) + 1)]
        for label, level in enumerate(self.level_of):
            found[level].append(label)
        return tuple(map(tuple, found))

    @cached_property
    def level_of(self) -> tuple[int, ...]:
        """The level of each label."""
        return tuple(len(self.ancestors(label)) for label in range(len(self)))

    @cached_property
    def position(self) -> tuple[int, ...]:
        """The place of each label among the labels of its level: the index of its column in that level's scores."""
        place = {label: index for level in self.levels for index, label in enumerate(level)}
        return tuple(place[label] for label in range(len(self)))

    @property
    def depth(self) -> int:
        """How many levels there are."""
        return len(self.levels)

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """The labels without parent."""
        return self.levels[0]

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The labels without children, in increasing order."""
        return tuple(label for label in range(len(self)) if not self.children(label))

    @cached_property
    def _children(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.names]
        for label, parent in enumerate(self.parents):
            if parent is not None:
                found[parent].append(label)
        return tuple(map(tuple, found))

    def children(self, label: int | None) -> tuple[int, ...]:
        """The children of a label in increasing order; of None: the roots."""
        return self.roots if label is None else self._children[self._known(label)]

    def ancestors(self, label: int) -> tuple[int, ...]:
        """The labels above, root first."""
        above: list[int] = []
        parent = self.parents[self._known(label)]
        while parent is not None:
            above.append(parent)
            parent = self.parents[parent]
        return tuple(reversed(above))

    def path(self, label: int) -> tuple[int, ...]:
        """From the root to the label itself."""
        return (*self.ancestors(label), label)

    def descendants(self, label: int) -> tuple[int, ...]:
        """Everything below, parents before children."""
        found = list(self.children(label))
        for below in found:  # grows while it is walked
            found.extend(self.children(below))
        return tuple(found)

    def find(self, *path: str) -> int:
        """The label at the end of a path of names.

        Raises:
            KeyError: if there is none; the message lists what there is instead.
        """
        at: int | None = None
        for name in path:
            below = {self.names[child]: child for child in self.children(at)}
            if name not in below:
                where = "at the root" if at is None else f"below {self.names[at]!r}"
                raise KeyError(f"no label {name!r} {where}; there are {', '.join(below) or 'none'}")
            at = below[name]
        if at is None:
            raise KeyError("the empty path leads to no label")
        return at

    def shared_levels(self, one: int, other: int) -> int:
        """How many labels two paths have in common: 0 where already the roots differ."""
        pairs = zip(self.path(one), self.path(other), strict=False)
        return sum(a == b for a, b in pairs)

    def walk_down(self, choose: Callable[[tuple[int, ...], int | None], int | None]) -> tuple[int, ...]:
        """Walk from the root towards a leaf, one choice a level.

        Args:
            choose: is handed the candidates and the node they are children of (None at the root), and names one of them, or None to
                stop. It is asked where there is one candidate, too.

        Returns:
            The labels chosen, root first.

        Raises:
            ValueError: if it names something that is no candidate.
        """
        walked: list[int] = []
        at: int | None = None
        while candidates := self.children(at):
            chosen = choose(candidates, at)
            if chosen is None:
                break
            if chosen not in candidates:
                raise ValueError(f"choose must name one of {candidates} (or None to stop), got {chosen!r}")
            walked.append(chosen)
            at = chosen
        return tuple(walked)

    def parent_positions(self, level: int, *, device: torch.device | str | None = None) -> Tensor:
        """For each label of `level` (1 or deeper) the position of its parent in the level above. [l_level]"""
        if not 1 <= level < self.depth:
            raise ValueError(f"only the levels 1 to {self.depth - 1} have parents, got {level}")
        return torch.tensor([self.position[self.parents[label]] for label in self.levels[level]], device=device)

    def pooled(self, values: Tensor, level: int, pooling: Pooling = "sum") -> Tensor:
        """What the children of each label of the level above hold together.

        Args:
            values: [..., l_level] one number a label of `level`.
            level: 1 or deeper.
            pooling: "sum", "mean" or "max" over the children.

        Returns:
            [..., l_{level-1}]; 0 for a label without children.

        Raises:
            ValueError: if the shape or the pooling does not fit.
        """
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {', '.join(map(repr, get_args(Pooling)))}, got {pooling!r}")
        parent = self.parent_positions(level, device=values.device)
        if values.shape[-1] != len(parent):
            raise ValueError(f"level {level} has {len(parent)} labels, got values of shape {tuple(values.shape)}")
        above = values.new_zeros(*values.shape[:-1], len(self.levels[level - 1]))
        how = {"sum": "sum", "mean": "mean", "max": "amax"}[pooling]
        return above.scatter_reduce(-1, parent.expand_as(values), values, how, include_self=False)

    def has_children(self, level: int, *, device: torch.device | str | None = None) -> Tensor:
        """Which labels of a level have children. [l_level] bool"""
        return torch.tensor([bool(self.children(label)) for label in self.levels[level]], device=device)

    def outline(self) -> str:
        """The names, indented by two blanks a level."""
        lines: list[str] = []
        stack = list(reversed(self.roots))
        while stack:
            label = stack.pop()
            lines.append("  " * self.level_of[label] + self.names[label])
            stack.extend(reversed(self.children(label)))
        return "\n".join(lines)

    def _known(self, label: int) -> int:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.names):
            raise ValueError(f"no label {label!r}: labels are the numbers 0 to {len(self.names) - 1}")
        return label
