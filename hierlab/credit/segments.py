"""Segments: runs of response tokens that share one advantage.

What lies between one advantage a response (GRPO) and one a token (PPO). A segment is a half-open range of positions of one row. Here
such ranges are checked, valued and laid on the tokens; how a response is cut, and where the values come from, is up to the method.

Shapes: N rows, T response positions, S segments. Segments may stand in any order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_rows


class Segments(NamedTuple):
    """Ranges of response positions, all [S] int64.

    Attributes:
        row: the row each segment lies in.
        start: its first position.
        stop: the position behind its last.
    """

    row: Tensor
    start: Tensor
    stop: Tensor


def segments_between(starts: Tensor, mask: Tensor) -> Segments:
    """The segments that begin at the marked tokens, each up to the next or to the end of its response.

    Tokens before the first mark of a row are in no segment.

    Args:
        starts: [N, T] bool, the first token of each segment.
        mask: [N, T] bool, the response tokens.

    Returns:
        Segments in the order of rows and positions.

    Raises:
        ValueError: if the shapes differ, or a segment starts at a masked token.
    """
    mask = as_mask("response_mask", mask, mask.shape)
    starts = as_mask("segment_start", starts, mask.shape)
    stray = starts & ~mask
    if stray.any():
        row, token = stray.nonzero()[0].tolist()
        raise ValueError(f"a segment must start at a response token, but in row {row} one starts at token {token}, which is masked")
    row, start = starts.nonzero(as_tuple=True)
    position = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    stop = torch.where(mask, position, 0).amax(1)[row] if len(row) else row.clone()
    stop[:-1] = torch.where(row[1:] == row[:-1], start[1:], stop[:-1])
    return Segments(row, start, stop)


def value_steps(value: Tensor, outcome: Tensor, segments: Segments) -> Tensor:
    r"""How much the value changes across each segment, $V(s_{k+1})-V(s_k)$; behind a row's last segment stands its outcome.

    The steps of a row add up to its outcome minus the value its first segment starts from.

    Args:
        value: [S] value of the state each segment starts from.
        outcome: [N] what each row came to.
        segments: S segments; those of one row follow each other in the order of their starts.

    Returns:
        [S].

    Raises:
        ValueError: if there are not as many values as segments.
    """
    check_rows(value=value, segments=segments.row)
    order = _in_order(segments)
    row, own = segments.row[order], value[order]
    following = outcome.to(value.dtype)[row]
    following[:-1] = torch.where(row[1:] == row[:-1], own[1:], following[:-1])
    steps = torch.empty_like(value)
    steps[order] = following - own
    return steps


def spread(x: Tensor, segments: Segments, mask: Tensor) -> Tensor:
    """Lay one number per segment on its tokens.

    Args:
        x: [S].
        segments: S segments, of which no two share a position.
        mask: [N, T] bool, the response tokens.

    Returns:
        [N, T], exactly 0 in no segment and where masked.

    Raises:
        ValueError: if there are not as many numbers as segments, or `check_segments` refuses.
    """
    mask = as_mask("response_mask", mask, mask.shape)
    check_rows(x=x, segments=segments.row)
    check_segments(segments, mask)
    order, length, everything = _in_order(segments), mask.shape[1], mask.numel()
    ends = torch.stack([segments.row * length + segments.start, segments.row * length + segments.stop], dim=1)[order].flatten()
    runs = torch.diff(ends, prepend=ends.new_zeros(1), append=ends.new_full((1,), everything))  # gap, segment, gap, ..., gap
    levels = torch.cat([torch.stack([torch.zeros_like(x), x[order]], dim=1).flatten(), x.new_zeros(1)])
    return torch.where(mask, levels.repeat_interleave(runs, output_size=everything).view_as(mask), 0)


def check_segments(segments: Segments, mask: Tensor) -> None:
    """Refuse segments that are empty, lie outside their row, or overlap.

    Args:
        segments: S segments.
        mask: [N, T], whose shape they must fit.

    Raises:
        ValueError: naming the first offending row and range.
    """
    check_rows(row=segments.row, start=segments.start, stop=segments.stop)
    if not len(segments.row):
        return
    outside = (segments.row < 0) | (segments.row >= len(mask)) | (segments.start < 0) | (segments.stop > mask.shape[1])
    _refuse(outside, segments, f"must lie inside {len(mask)} rows of {mask.shape[1]} positions")
    _refuse(segments.start >= segments.stop, segments, "must hold at least one token")
    order = _in_order(segments)
    row, start, stop = (column[order] for column in segments)
    overlap = (row[1:] == row[:-1]) & (start[1:] < stop[:-1])
    if overlap.any():
        at = int(overlap.nonzero()[0])
        first, second = (f"[{int(start[i])}, {int(stop[i])})" for i in (at, at + 1))
        raise ValueError(f"segments must not overlap, but in row {int(row[at])} {first} and {second} do")


def _in_order(segments: Segments) -> Tensor:
    """The segments by row and position."""
    return torch.argsort(segments.row * 2**32 + segments.start, stable=True)  # no response has 2**32 tokens


def _refuse(wrong: Tensor, segments: Segments, rule: str) -> None:
    """Raise for the first segment that is wrong."""
    if wrong.any():
        i = int(wrong.nonzero()[0])
        row, start, stop = (int(column[i]) for column in segments)
        raise ValueError(f"a segment {rule}, but segment {i} is [{start}, {stop}) of row {row}")
