r"""Anchor states: which turns were taken from the same environment state.

Rollouts of one task start in the same state and often meet again. The turns taken from one state form a group, in which what
they led to can be compared. States are the same if their observations are equal or, for text that varies in wording (search
results), similar.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher
from typing import Any

from torch import Tensor

from hierlab.checks import check_range, check_rows
from hierlab.ops import group_ids


def anchor_groups(
    task: Sequence[Hashable] | Tensor, state: Sequence[Any] | Tensor, *, similarity: float | None = None, device: Any = None
) -> Tensor:
    """Number the rows by task and anchor state.

    Args:
        task: [N] the task of each row; states of different tasks are never the same.
        state: [N] observations without history, of any kind `hierlab.ops.hashable` takes; text if `similarity` is given.
        similarity: None: states are the same if they are equal. Else a ratio in [0, 1]: going through the rows in order, a text joins
            the first cluster of its task whose first member it resembles at least so much (`difflib.SequenceMatcher.ratio`), or
            opens a cluster. So the clusters depend on the order of the rows.
        device: where the numbers are wanted; default as `group_ids`.

    Returns:
        [N] int64, numbered from 0 in order of first appearance.

    Raises:
        ValueError: if the columns differ in length, `similarity` is outside [0, 1], or a state is not text though it must be.

    Source: verl-agent `gigpo/core_gigpo.py`, `build_step_group` and `cluster_by_similarity`.
    """
    check_rows(task=task, state=state)
    if similarity is None:
        return group_ids(task, state, device=device)
    check_range("similarity", similarity, 0, 1)
    for row, text in enumerate(state):
        if not isinstance(text, str):
            raise ValueError(f"similarity compares text, but the state in row {row} is a {type(text).__name__}; use similarity=None")
    clusters: dict[int, _Clusters] = {}
    tasks = group_ids(task, device="cpu").tolist()
    members = [clusters.setdefault(number, _Clusters(similarity)).place(text) for number, text in zip(tasks, state, strict=True)]
    return group_ids(tasks, members, device=device)


class _Clusters:
    """The clusters of one task. A text met before is not compared again: it would join the same cluster."""

    def __init__(self, similarity: float):
        self.similarity = similarity
        self.representatives: list[SequenceMatcher] = []
        self.known: dict[str, int] = {}

    def place(self, text: str) -> int:
        """The number of the text's cluster."""
        if text not in self.known:
            self.known[text] = next((i for i, matcher in enumerate(self.representatives) if self._resembles(matcher, text)), -1)
            if self.known[text] < 0:
                self.known[text] = len(self.representatives)
                self.representatives.append(SequenceMatcher(None, "", text))  # it analyses its second text once
        return self.known[text]

    def _resembles(self, matcher: SequenceMatcher, text: str) -> bool:
        matcher.set_seq1(text)
        bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)  # from cheap to exact, none below the next
        return all(bound() >= self.similarity for bound in bounds)
