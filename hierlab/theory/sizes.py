"""Checks that the settings and predictors of this family share: whole numbers, and tensors of a known last dimension."""

from __future__ import annotations

from torch import Tensor


def check_sizes(least: int = 1, **sizes: int) -> None:
    """Refuse all but whole numbers of at least `least`.

    Raises:
        ValueError: naming the number and what it must be.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_tensor(name: str, x: Tensor, shape: str, *, floating: bool = True) -> None:
    """Refuse all but a tensor with as many dimensions as `shape` names, none of them empty.

    Args:
        name: what the caller knows it by.
        x: the tensor.
        shape: "[D, V]" or the like.
        floating: whether it holds floating-point numbers, or else integers; floating-point numbers must be finite.

    Raises:
        ValueError: saying what it is instead.
    """
    dims = shape.count(",") + 1
    kind = "floating-point" if floating else "integer"
    fits = isinstance(x, Tensor) and x.dim() == dims and 0 not in x.shape
    if not fits or x.is_floating_point() != floating or x.is_complex():
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a non-empty {kind} tensor of shape {shape}, got {got}")
    if floating and not x.isfinite().all():
        raise ValueError(f"{name} must be finite, got {float(x[~x.isfinite()][0])}")


def check_tasks_are_distributions(tasks: Tensor) -> None:
    """Refuse all but a table of distributions, one a row.

    Raises:
        ValueError: naming the first row that is none.
    """
    check_tensor("tasks", tasks, "[D, V]")
    bad = (tasks < 0).any(-1) | ((tasks.sum(-1) - 1).abs() > 1e-4)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(f"every row of tasks must be a distribution, but row {row} is {[round(v, 4) for v in tasks[row].tolist()]}")
