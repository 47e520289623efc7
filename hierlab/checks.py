"""Checks of what a caller hands in: every error says what was wrong, where, and what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any, get_args

import torch
from torch import Tensor


def check_rows(**columns: Sized | None) -> None:
    """Refuse columns of different lengths; a column that is None is not there.

    Raises:
        ValueError: naming each column and its length.
    """
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have one entry per row, got {', '.join(f'{name}: {n}' for name, n in lengths.items())}")


def check_shapes(**tensors: Tensor) -> None:
    """Refuse tensors of different shapes.

    Raises:
        ValueError: naming each tensor and its shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"tensors must have one shape, got {', '.join(f'{name}: {shape}' for name, shape in shapes.items())}")


def check_floats(name: str, x: Any, *, dims: int = 1) -> None:
    """Refuse all but a floating-point tensor of `dims` dimensions.

    Args:
        name: what the caller knows `x` by.
        x: the value.
        dims: 1 for [N], 2 for [N, T].

    Raises:
        ValueError: saying what it is instead.
    """
    shape = {1: "[N]", 2: "[N, T]"}[dims]
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() != dims:
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating-point tensor of shape {shape}, got {got}")


def check_finite(name: str, x: Any, mask: Tensor | None = None, *, dims: int = 1) -> None:
    """Refuse all but a floating-point tensor of `dims` dimensions without NaN or infinity.

    Args:
        name: what the caller knows `x` by.
        x: the value.
        mask: bool, of the shape of `x`: only these entries are looked at.
        dims: 1 for [N], 2 for [N, T].

    Raises:
        ValueError: naming the first offending row (and token).
    """
    check_floats(name, x, dims=dims)
    if x.sum().isfinite():  # one fast pass; a sum that overflows is looked at more closely
        return
    finite = torch.isfinite(x) if mask is None else torch.isfinite(x) | ~mask
    if not finite.all():
        where = (~finite).nonzero()[0].tolist()
        place = f"row {where[0]}" + (f", token {where[1]}" if dims == 2 else "")
        raise ValueError(f"{name} must be finite, got {float(x[tuple(where)])} in {place}")


def check_range(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse a number outside [low, high], and NaN.

    Raises:
        ValueError: naming the number and the interval.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or math.isinf(value):
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Refuse a value that is not one of a `Literal`'s.

    Raises:
        ValueError: listing the accepted values.
    """
    accepted = get_args(choices)
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")


def as_mask(name: str, mask: Tensor, shape: torch.Size) -> Tensor:
    """`mask` as bool.

    Args:
        name: what the caller knows it by.
        mask: bool, or numbers that are all 0 or 1.
        shape: the shape it must have.

    Raises:
        ValueError: if it has another shape, or a value other than 0 and 1.
    """
    if mask.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(mask.shape)}")
    if mask.dtype == torch.bool:
        return mask
    truth = mask != 0
    if not (truth == mask).all():
        raise ValueError(f"{name} must hold only 0 and 1 (or be bool), got {float(mask[truth != mask][0]):g}")
    return truth


def as_truth(name: str, column: Any, like: Tensor) -> Tensor:
    """A column of truth values as bool, on the device of `like`.

    Args:
        name: what the caller knows it by.
        column: [N] bool, or numbers that are all 0 or 1; a tensor or a sequence.
        like: a tensor with N rows.

    Raises:
        ValueError: if it has another length, or a value other than 0 and 1.
    """
    return as_mask(name, torch.as_tensor(column, device=like.device), like.shape[:1])


def check_needed(needed: bool, switch: str, **columns: object) -> None:
    """Refuse a switch without the columns it needs.

    Raises:
        ValueError: naming the switch and the columns that are None.
    """
    missing = [name for name, column in columns.items() if column is None]
    if needed and missing:
        raise ValueError(f"{switch} needs the column {' and '.join(missing)}")
