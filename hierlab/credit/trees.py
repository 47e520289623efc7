"""Trees of segments: responses that share prefixes.

A task's prompt is the root. Every other node is a segment that was sampled behind its parent's, and is one row. Nodes are named, and
say the name of their parent, so that rows may stand in any order and be selected or joined.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hierlab.checks import check_finite, check_rows
from hierlab.ops import group_ids, group_mean, group_size


class Tree(NamedTuple):
    """How the rows hang together, all [N].

    Attributes:
        parent: int64, the row of the parent; -1 behind the prompt.
        depth: int64, 1 behind the prompt.
        siblings: int64, the group of rows with the same parent.
        leaf: bool, whether no row has this one as its parent.
    """

    parent: Tensor
    depth: Tensor
    siblings: Tensor
    leaf: Tensor


def tree_of(
    task: Sequence[Hashable] | Tensor,
    node: Sequence[Hashable] | Tensor,
    parent: Sequence[Hashable | None],
    *,
    device: torch.device | str = "cpu",
) -> Tree:
    """Find each row's parent.

    Args:
        task: [N] the task of each row; a parent is looked for in the row's own task.
        node: [N] the name of each row, unique within its task.
        parent: [N] the name of the row it was sampled behind; None: the prompt.
        device: where the numbers are wanted.

    Returns:
        The tree of each task.

    Raises:
        ValueError: naming the row, if two rows of a task have one name, a parent is missing or belongs to another task, or rows are
            each other's ancestors.
    """
    check_rows(task=task, node=node, parent=parent)
    n = len(node)
    tasks = group_ids(task, device=device)
    parent = parent.tolist() if isinstance(parent, Tensor) else list(parent)
    names = [*(node.tolist() if isinstance(node, Tensor) else node), *parent]
    number = group_ids(torch.cat([tasks, tasks]), names, device=device)  # of task and name: nodes come first, so theirs is their row
    row = torch.arange(n, device=device)
    _check_names(number[:n], row, node, task)
    behind_prompt = torch.tensor([name is None for name in parent], dtype=torch.bool, device=device)
    above = torch.where(behind_prompt, -1, number[n:])
    if (above >= n).any():
        raise ValueError(_no_parent(int((above >= n).nonzero()[0]), task, node, parent))
    leaf = torch.ones(n, dtype=torch.bool, device=device).index_fill_(0, above[above >= 0], False)
    return Tree(above, _depths(above, node), group_ids(tasks, parent, device=device), leaf)


def backed_up_values(rewards: Tensor, tree: Tree) -> Tensor:
    r"""The value of each node: a leaf's reward, and the mean of the children's values inside, $V(n)=\frac1{|Ch(n)|}\sum_c V(c)$.

    A leaf close to the root weighs as much as the whole subtree of its sibling.

    Args:
        rewards: [N] the outcome of each leaf; 0 inside, where nothing was scored.
        tree: the tree.

    Returns:
        [N].

    Raises:
        ValueError: naming the row, if a reward is not finite or a row that is no leaf has one.
    """
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, tree=tree.parent)
    scored = ~tree.leaf & (rewards != 0)
    if scored.any():
        row = int(scored.nonzero()[0])
        raise ValueError(f"only leaves have a reward, but row {row}, which has children, has {float(rewards[row]):g}")
    value = rewards.clone()
    deepest = int(tree.depth.max()) if len(tree.depth) else 0
    for depth in range(deepest, 1, -1):  # the children of a node are all on the next level
        here = tree.depth == depth
        value[tree.parent[here]] = group_mean(value, tree.siblings)[here]
    return value


def path_share(tree: Tree) -> Tensor:
    r"""The probability that a walk from the prompt, which takes each of the children with the same chance, passes through a node.

    A response is such a walk, so this is how often a segment would occur among independent responses, relative to its siblings; as a
    row of a tree every segment occurs once, however many leaves are behind it.

    Args:
        tree: the tree.

    Returns:
        [N] float32; over the leaves of a task it adds up to 1.
    """
    share = 1 / group_size(tree.siblings)
    deepest = int(tree.depth.max()) if len(tree.depth) else 0
    for depth in range(2, deepest + 1):
        here = tree.depth == depth
        share[here] *= share[tree.parent[here]]
    return share


def _depths(parent: Tensor, node: Sequence[Hashable] | Tensor) -> Tensor:
    """How far each row is from its prompt; level by level from the prompt on."""
    depth = (parent < 0).to(torch.int64)
    for level in range(1, len(parent) + 1):
        below = (depth == 0) & (depth[parent] == level)
        if not below.any():
            break
        depth[below] = level + 1
    if (depth == 0).any():
        row = int((depth == 0).nonzero()[0])
        raise ValueError(f"row {row}, node {node[row]!r}, leads back to no prompt: it is its own ancestor, or behind a row that is")
    return depth


def _check_names(number: Tensor, row: Tensor, node: Sequence[Hashable] | Tensor, task: Sequence[Hashable] | Tensor) -> None:
    """Refuse two rows of one name."""
    again = number != row
    if again.any():
        at = int(again.nonzero()[0])
        raise ValueError(f"rows {int(number[at])} and {at} are both node {node[at]!r} of task {task[at]!r}; names must be unique in a task")


def _no_parent(row: int, task: Sequence[Hashable], node: Sequence[Hashable], parent: Sequence[Hashable]) -> str:
    """What to say of a row whose parent is not there."""
    name = parent[row]
    wrong = f"row {row} of task {task[row]!r} names {name!r} as its parent"
    other = next((i for i, candidate in enumerate(node) if candidate == name), None)
    if other is None:
        return f"{wrong}, but there is no such node"
    return f"{wrong}, which is a node of task {task[other]!r} (row {other})"
