r"""DAPO: Decoupled Clip and Dynamic Sampling Policy Optimization (arXiv 2503.14476), the parts that are about data.

DAPO is GRPO with four changes. Two are switches of the surrogate (`clip_high=0.28`, `aggregation="token-mean"` in
`hierlab.train.surrogate.policy_loss`). The other two are here: a penalty that grows towards the length limit, and the filter
that keeps only groups which still teach something.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from hierlab.checks import check_finite, check_range, check_rows
from hierlab.ops import group_ids, group_mean, group_size
from hierlab.trace import show


def overlong_penalty(response_length: Tensor, *, max_length: int, buffer: int, factor: float = 1.0) -> Tensor:
    r"""What is added to the reward of a long response, $\min(0,\,-f\,\frac{|o|-(L-b)}{b})$.

    0 up to `max_length - buffer` tokens, then linear to `-factor` at `max_length`. Longer responses, which a sampler that stops at
    `max_length` cannot give, go on linearly as in the released code; the paper stops at -1.

    Args:
        response_length: [N] number of tokens of each response.
        max_length: $L$; 20,480 in the paper.
        buffer: $b$, how many tokens before the limit the penalty sets in; 4,096 in the paper.
        factor: $f$, the penalty at the limit.

    Returns:
        [N], none positive; float32 if the lengths are integers.

    Raises:
        ValueError: unless 1 <= buffer <= max_length and factor >= 0.

    Source: arXiv 2503.14476, Equation 13; verl `workers/reward_manager/dapo.py`.
    """
    check_range("buffer", buffer, 1, max_length)
    check_range("factor", factor, 0)
    length = response_length if response_length.is_floating_point() else response_length.to(torch.float32)
    room = (max_length - buffer - length).clamp(max=0)  # negative where the buffer is entered
    return show("overlong penalty", factor * room / buffer, r"-f\,\frac{|o|-(L-b)}{b}")


def live_groups(metric: Tensor, task: Sequence[Hashable] | Tensor) -> Tensor:
    """Which rows dynamic sampling keeps: those whose group does not agree on the metric, and lone ones.

    The metric is correctness, not the reward: a length penalty makes an all-correct group differ in reward, yet it has nothing to
    teach about correctness. The caller goes on sampling tasks until enough are live, and counts all it generated as cost.

    Args:
        metric: [N] what a group must differ in, such as 0/1 accuracy.
        task: [N] what the row is an attempt at.

    Returns:
        [N] bool.

    Raises:
        ValueError: if the columns differ in length or a metric is not finite.

    Source: arXiv 2503.14476, Section 3.2; the DAPO recipe of verl keeps groups with positive standard deviation or of size one.
    """
    check_finite("metric", metric)
    check_rows(metric=metric, task=task)
    group = group_ids(task, device=metric.device)
    differs = (metric != group_mean(metric, group)).to(metric.dtype)
    return show("live", (group_mean(differs, group) > 0) | (group_size(group) == 1), r"\sigma_g>0")
