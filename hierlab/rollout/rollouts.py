"""Rollouts: what a policy did, as columns with one row per response or turn.

Shapes: N rows, P prompt positions (padded on the left), T response positions (padded on the right).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

Column = Tensor | Sequence[Any]


@dataclass(frozen=True)
class Rollouts:
    """Columns of equal length N.

    Attributes:
        prompt_ids: [N, P] int64, what the policy read, padded on the left.
        prompt_mask: [N, P] bool.
        response_ids: [N, T] int64, what it wrote, padded on the right.
        response_mask: [N, T] bool, the tokens the policy chose (and is trained on).
        old_logp: [N, T] log-probability of each chosen token under the policy that chose it; 0 where masked.
        rewards: [N] reward of each row (of each turn, for agents).
        task: N names; rows of one task are comparable.
        trajectory: N names; the rows of one trajectory are the turns of one episode.
        turn: [N] int64, the row's place in its trajectory.
        state: N anchor states (the bare observation of the row, or the prompt).
        columns: optional further columns by name, such as `values`, `entropy`, `reference_logp`, `parent`, `role`, `success`.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    response_ids: Tensor
    response_mask: Tensor
    old_logp: Tensor
    rewards: Tensor
    task: Sequence[Hashable]
    trajectory: Sequence[Hashable]
    turn: Tensor
    state: Sequence[Hashable]
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self):
        lengths = {name: len(column) for name, column in self._all().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must have one entry per row, got {lengths}")
        clash = set(self.columns) & set(_NAMES)
        if clash:
            raise ValueError(f"optional columns may not be named like a standard one: {sorted(clash)}")
        if not self.response_ids.shape == self.response_mask.shape == self.old_logp.shape:
            shapes = [tuple(x.shape) for x in (self.response_ids, self.response_mask, self.old_logp)]
            raise ValueError(f"response_ids, response_mask and old_logp must have one shape [N, T], got {shapes}")
        if self.prompt_ids.shape != self.prompt_mask.shape:
            shapes = tuple(self.prompt_ids.shape), tuple(self.prompt_mask.shape)
            raise ValueError(f"prompt_ids and prompt_mask must have one shape [N, P], got {shapes}")

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, name: str) -> Column:
        """The column of this name: a standard one, an optional one, or one that is derived from them.

        Raises:
            KeyError: if there is no such column; the message lists those there are.
        """
        if name in self.columns:
            return self.columns[name]
        if name in _NAMES:
            return getattr(self, name)
        if name in _DERIVED:
            return _DERIVED[name](self)
        raise KeyError(f"no column {name!r}; there are {', '.join([*self._all(), *_DERIVED])}")

    def __contains__(self, name: str) -> bool:
        return name in self.columns or name in _NAMES or name in _DERIVED

    def with_columns(self, **columns: Column) -> Rollouts:
        """The same rollouts with optional columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def select(self, rows: Tensor | Sequence[int]) -> Rollouts:
        """The given rows, in the given order."""
        index = torch.as_tensor(rows, dtype=torch.int64, device=self.rewards.device)
        picked = index.tolist()

        def take(column: Column) -> Column:
            return column[index] if isinstance(column, Tensor) else [column[i] for i in picked]

        standard = {name: take(getattr(self, name)) for name in _NAMES}
        return Rollouts(**standard, columns={name: take(column) for name, column in self.columns.items()})

    def to(self, device: torch.device | str) -> Rollouts:
        """The same rollouts with every tensor on `device`."""

        def move(column: Column) -> Column:
            return column.to(device) if isinstance(column, Tensor) else column

        return Rollouts(**{name: move(getattr(self, name)) for name in _NAMES}, columns={k: move(v) for k, v in self.columns.items()})

    def _all(self) -> dict[str, Column]:
        return {name: getattr(self, name) for name in _NAMES} | dict(self.columns)


_NAMES = tuple(f.name for f in fields(Rollouts) if f.name != "columns")


def concatenate(parts: Sequence[Rollouts], *, pad_id: int = 0) -> Rollouts:
    """One batch out of several: rows in order, prompts padded on the left and responses on the right to the widest."""
    if not parts:
        raise ValueError("nothing to concatenate: give at least one batch of rollouts")
    optional = set(parts[0].columns)
    if any(set(part.columns) != optional for part in parts):
        raise ValueError(f"batches must have the same optional columns, got {[sorted(part.columns) for part in parts]}")

    def join(columns: list[Column], *, left: bool, fill: int) -> Column:
        if not isinstance(columns[0], Tensor):
            return [value for column in columns for value in column]
        if columns[0].dim() == 1:
            return torch.cat(columns)
        width = max(column.shape[1] for column in columns)
        return torch.cat([_pad_to(column, width, left=left, fill=fill) for column in columns])

    standard = {
        name: join([getattr(part, name) for part in parts], left=name.startswith("prompt"), fill=pad_id if name.endswith("_ids") else 0)
        for name in _NAMES
    }
    return Rollouts(**standard, columns={name: join([part.columns[name] for part in parts], left=False, fill=0) for name in optional})


def _pad_to(x: Tensor, width: int, *, left: bool, fill: int) -> Tensor:
    """Pad the second dimension to `width`. [N, T, ...] -> [N, width, ...]"""
    missing = x.new_full((x.shape[0], width - x.shape[1], *x.shape[2:]), fill)
    return torch.cat([missing, x] if left else [x, missing], dim=1)


def rewards_at_the_end(rewards: Tensor, response_mask: Tensor) -> Tensor:
    """Each row's reward on the last token of its response; none where it has no token. [N], [N, T] -> [N, T]"""
    position = torch.arange(response_mask.shape[1], device=response_mask.device)
    last = torch.where(response_mask, position, -1).amax(dim=1, keepdim=True)
    return torch.where(position == last, rewards[:, None], 0.0)


_DERIVED: dict[str, Callable[[Rollouts], Column]] = {
    "token_rewards": lambda rollouts: rewards_at_the_end(rollouts.rewards, rollouts.response_mask),
    "response_length": lambda rollouts: rollouts.response_mask.sum(dim=1),
}


def estimate(rollouts: Rollouts | Mapping[str, Column], estimator: Callable[..., Any], **hyperparameters: Any) -> Any:
    """Call an estimator with its parameters filled from the columns of the same name.

    A parameter given in `hyperparameters` is not looked up; one with a default may be missing from the rollouts.

    Args:
        rollouts: the columns; a plain mapping of names to columns will do.
        estimator: any function of columns, such as `hierlab.credit.gigpo`, or a `functools.partial` of one.
        **hyperparameters: passed on as they are.

    Returns:
        Whatever the estimator returns: advantages, [N] or [N, T].

    Raises:
        ValueError: if a column that the estimator needs is missing, or a hyperparameter is none of its parameters.
    """
    name = getattr(estimator.func if isinstance(estimator, partial) else estimator, "__name__", repr(estimator))
    given = (estimator.keywords if isinstance(estimator, partial) else {}) | hyperparameters
    parameters = inspect.signature(estimator).parameters
    unknown = [key for key in hyperparameters if key not in parameters]
    if unknown:
        raise ValueError(f"{name} has no parameter {', '.join(map(repr, unknown))}; it takes {', '.join(parameters)}")
    columns = {key: rollouts[key] for key in parameters if key not in given and key in rollouts}
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in columns and key not in given]
    if missing:
        wanted, there = ", ".join(map(repr, missing)), rollouts._all() if isinstance(rollouts, Rollouts) else rollouts
        raise ValueError(f"{name} needs the column {wanted}, which these rollouts lack; they have {', '.join(there)}")
    return estimator(**columns, **hyperparameters)
