"""Greedy maximisation of a set function under constraints, with its guarantee where the function is monotone and submodular.

A function is submodular if what an item adds shrinks as the set grows. If it is also monotone, greedy reaches at least 1 - 1/e of the
optimum under a limit on the number of items, 1/2 under one matroid (such as a limit for every group), and 1/(p + 1) under p of
them. Nothing is promised for other functions, and `greedy` then stops as soon as no item adds anything.

Source: Nemhauser, Wolsey, Fisher 1978 and Fisher, Nemhauser, Wolsey 1978; lazy evaluation: Minoux 1978.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class Chosen:
    """What greedy chose.

    Attributes:
        chosen: the items, in the order in which they were added.
        values: the function's value with the first, the first two, ... of them.
        evaluations: how often the function was called.
    """

    chosen: tuple[Hashable, ...]
    values: tuple[float, ...]
    evaluations: int


def anything(chosen: Sequence[Item], item: Item) -> bool:
    """The constraint that allows everything."""
    return True


def at_most(limits: Mapping[Hashable, int], group_of: Callable[[Item], Hashable]) -> Callable[[Sequence[Item], Item], bool]:
    """The constraint of a partition matroid: at most so many items of each group; groups without a limit are free.

    Args:
        limits: by group.
        group_of: the group of an item.

    Raises:
        ValueError: if a limit is negative.
    """
    if wrong := {group: limit for group, limit in limits.items() if limit < 0}:
        raise ValueError(f"limits must be at least 0, got {wrong}")

    def allowed(chosen: Sequence[Item], item: Item) -> bool:
        group = group_of(item)
        return group not in limits or Counter(map(group_of, chosen))[group] < limits[group]

    return allowed


def greedy(
    value: Callable[[Sequence[Item]], float],
    items: Sequence[Item],
    k: int | None = None,
    *,
    independent: Callable[[Sequence[Item], Item], bool] = anything,
    lazy: bool = False,
    least_gain: float = 0.0,
) -> Chosen:
    """Add the item that raises the value most, again and again.

    Args:
        value: of a sequence of items, in the order in which they were added.
        items: what there is to choose from; of equal gains the earlier item is taken.
        k: at most so many; None: as many as the constraint allows.
        independent: whether an item may be added to those chosen. For a matroid, or several, what is forbidden once stays forbidden.
        lazy: do not compute gains again that cannot win; the same result in less time if the function is submodular, and perhaps
            another result if it is not.
        least_gain: stop when no item adds more than this; minus infinity goes on while items may be added.

    Raises:
        ValueError: if k is negative, or an item is given twice.
    """
    if k is not None and k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    if len(set(items)) != len(items):
        raise ValueError("items must be distinct")
    limit = len(items) if k is None else k
    run = _Run(value)
    return (_lazy if lazy else _eager)(run, list(items), limit, independent, least_gain)


class _Run:
    """The function with its counter, the items chosen so far, and their value."""

    def __init__(self, value: Callable):
        self._value, self.evaluations = value, 0
        self.chosen: list = []
        self.values: list[float] = []
        self.now = self._of([])

    def _of(self, items: list) -> float:
        self.evaluations += 1
        return float(self._value(items))

    def gain(self, item: Hashable) -> float:
        return self._of([*self.chosen, item]) - self.now

    def add(self, item: Hashable, gain: float) -> None:
        self.chosen.append(item)
        self.now += gain
        self.values.append(self.now)

    def result(self) -> Chosen:
        return Chosen(tuple(self.chosen), tuple(self.values), self.evaluations)


def _eager(run: _Run, items: list, limit: int, independent: Callable, least_gain: float) -> Chosen:
    while len(run.chosen) < limit:
        items = [item for item in items if independent(run.chosen, item)]
        if not items:
            break
        gains = [run.gain(item) for item in items]
        best = max(range(len(items)), key=gains.__getitem__)
        if not gains[best] > least_gain:
            break
        run.add(items.pop(best), gains[best])
    return run.result()


def _lazy(run: _Run, items: list, limit: int, independent: Callable, least_gain: float) -> Chosen:
    """Keep gains on a heap: one that is out of date is an upper bound, and only the top is brought up to date."""
    heap = [(-run.gain(item), place, item, 0) for place, item in enumerate(items) if limit and independent([], item)]
    heapq.heapify(heap)
    while heap and len(run.chosen) < limit:
        loss, place, item, known_at = heapq.heappop(heap)
        if not independent(run.chosen, item):
            continue
        if known_at < len(run.chosen):
            heapq.heappush(heap, (-run.gain(item), place, item, len(run.chosen)))
            continue
        if not -loss > least_gain:
            break
        run.add(item, -loss)
    return run.result()
