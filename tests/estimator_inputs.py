"""Random batches for tests of estimators, and a mode that refuses tensors made on a default device."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Columns = dict[str, Any]


def agent_batch(
    seed: int = 0, *, tasks: int = 3, group: int = 4, turns: int = 5, states: int = 4, tokens: int = 6, dtype: torch.dtype = torch.float64
) -> Columns:
    """Every column an estimator may ask for: `tasks` x `group` trajectories of 1 to `turns` turns, in shuffled order."""
    generator = torch.Generator().manual_seed(seed)

    def below(n: int, *shape: int) -> Tensor:
        return torch.randint(n, shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    rows = [(f"task {i}", j, k) for i in range(tasks) for j in range(group) for k in range(1 + int(below(turns, 1)))]
    rows = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
    n = len(rows)
    mask = torch.arange(tokens) < 1 + below(tokens, n, 1)
    field = torch.arange(tokens) * 3 // tokens  # the switch, the subgoal and the action of a plan-execute response
    batch = {
        "rewards": normal(n),
        "task": [task for task, _, _ in rows],
        "trajectory": [trajectory for _, trajectory, _ in rows],
        "turn": torch.tensor([turn for _, _, turn in rows], dtype=torch.int64),
        "state": [f"room {room}" for room in below(states, n).tolist()],
        "token_rewards": normal(n, tokens) * mask,
        "response_mask": mask,
        "response_length": mask.sum(1),
        "values": normal(n, tokens),
    }
    plan = {
        "switch": below(2, n).bool(),
        "value_low": normal(n),
        "value_high": normal(n),
        "value_switch": normal(n),
        "value_kept": normal(n),
        "switch_probability": normal(n).sigmoid(),
        "switch_mask": mask & (field == 0),
        "subgoal_mask": mask & (field == 1),
        "action_mask": mask & (field == 2),
        "done": last_turn(batch) & below(2, n).bool(),
    }
    solved = below(2, tasks * group).bool()
    segments = {
        "old_logp": -normal(n, tokens).abs() / 4,
        "segment_start": mask & below(2, n, tokens).bool(),
        "segment_value": normal(n, tokens),
        "node": list(range(n)),
        "parent": [None] * n,
        "planning_mask": mask & below(2, n, tokens).bool(),
        "success": torch.tensor([bool(solved[int(task[5:]) * group + trajectory]) for task, trajectory, _ in rows], dtype=torch.bool),
    }
    return batch | plan | segments


def last_turn(columns: Columns) -> Tensor:
    """[N] bool, the last row of each trajectory."""
    last: dict[tuple, int] = {}
    keys = list(zip(columns["task"], columns["trajectory"], strict=True))
    for key, turn in zip(keys, columns["turn"].tolist(), strict=True):
        last[key] = max(turn, last.get(key, turn))
    return torch.tensor([last[key] == turn for key, turn in zip(keys, columns["turn"].tolist(), strict=True)], dtype=torch.bool)


def select(columns: Columns, rows: Sequence[int]) -> Columns:
    """The given rows of every column."""
    return {name: column[list(rows)] if isinstance(column, Tensor) else [column[i] for i in rows] for name, column in columns.items()}


def call(estimator: Callable[..., Tensor], columns: Columns, **switches: Any) -> Tensor:
    """The estimator on the columns its parameters name."""
    parameters = inspect.signature(estimator).parameters
    columns = columns | {"values": columns["values"][:, 0]} if estimator.__name__ == "turn_gae" else columns
    return estimator(**{name: columns[name] for name in parameters if name in columns}, **switches)


class NoDefaultDevice(TorchFunctionMode):
    """Refuses to make a tensor without saying on which device, so that what passes on the CPU runs on a GPU as well."""

    FACTORIES = frozenset(
        {
            *(torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.zeros, torch.ones, torch.empty, torch.full),
            *(torch.arange, torch.linspace, torch.eye, torch.rand, torch.randn, torch.randint, torch.randperm, torch.tril_indices),
        }
    )

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.FACTORIES and kwargs.get("device") is None:
            raise AssertionError(f"torch.{func.__name__} was called without a device")
        return func(*args, **kwargs)
