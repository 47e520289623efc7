"""The mean loss of a predictor on training sequences, which is what the rational account takes for its evidence (arXiv 2506.17859)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_floats

Average = Literal["mean", "median of means"]


def average_loss(losses: Tensor, *, average: Average = "mean", generator: torch.Generator | None = None) -> float:
    r"""One number for the losses of many sequences.

    Args:
        losses: [n] mean loss of each sequence.
        average: "mean", or "median of means" (released code): the sequences are dealt into $\lfloor\sqrt n\rfloor$ random blocks, and the
            median of the blocks' means counts. It is robust against a few enormous losses. It also adds noise to the *difference* of
            two predictors on the same sequences, which is all that the odds depend on, so that the mean is our default.
        generator: of the blocks; needed for "median of means".

    Raises:
        ValueError: if there are no losses, or no generator where one is needed.

    Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/analysis_utils.py`, `median_of_means`.
    """
    check_choice("average", average, Average)
    check_floats("losses", losses)
    if not len(losses):
        raise ValueError("at least one loss is needed, got none")
    if average == "mean":
        return float(losses.mean())
    if generator is None:
        raise ValueError('average="median of means" deals sequences into random blocks: give it a generator')
    order = torch.randperm(len(losses), generator=generator)
    means = torch.stack([losses[block].mean() for block in order.tensor_split(math.isqrt(len(losses)))])
    return float(means.quantile(0.5))
