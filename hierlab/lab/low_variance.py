r"""What estimators make of groups that hold no contrast: all trajectories fail, or all succeed.

Dividing by the group's deviation gives every group the same weight, whether its outcomes differ by a success or only by a penalty
of 0.1. Along a path of policies from hopeless to nearly perfect, this measures how long the gradients of such *flat* groups are
beside those of the others, where they point, and what that does to the expected gradient and to its noise. Here the batch is one
group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hierlab.lab.blocks import Blocks, Interval, interval
from hierlab.lab.level_lines import level_lines
from hierlab.lab.microscope import Metric, choice_advantage, gradient_metrics, metric_named
from hierlab.lab.testbed import Testbed, house_testbed
from hierlab.seeds import generator
from hierlab.train.tabular import Estimator

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEVELS = (0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97)

METRICS: dict[str, Metric] = {
    "flat_groups": Metric("flat groups", "share of groups in which all fail or all succeed; the same for every estimator", ""),
    "flat_length": Metric(
        "length: flat against mixed groups", "root mean square length of a flat group's gradient, in lengths of a mixed one's", ""
    ),
    "flat_share": Metric("flat groups' share of squared length", "of the sum of all groups' squared gradient lengths", ""),
    "flat_cosine": Metric(
        "cosine, flat groups alone", "of the expected gradient of the flat groups with the exact policy gradient", "more"
    ),
    "mean_cosine": Metric("cosine, mean gradient", "of the expected gradient of all groups with the exact policy gradient", "more"),
    "batch_cosine": Metric("cosine, one group", "of one group's gradient with the exact policy gradient, mean over groups", "more"),
    "gradient_noise": Metric("gradient noise", "variance of one group's gradient, in squared lengths of the expected gradient", "less"),
}
SHOWN = ("flat_length", "flat_share", "mean_cosine")


@dataclass(frozen=True)
class LowVariance:
    """What was measured.

    Attributes:
        success: the exact probability of success of each policy, ascending.
        groups: number of groups under each policy.
        group_size: trajectories a group.
        measured: by estimator, one mapping of metrics a policy; None where a number is not defined, such as the length of flat groups
            beside mixed ones where no group was mixed.
    """

    success: tuple[float, ...]
    groups: int
    group_size: int
    measured: Mapping[str, Sequence[Mapping[str, Interval | None]]]

    def table(self, metrics: Sequence[str] = tuple(METRICS)) -> dict[str, list]:
        """One row for each policy and estimator: `bench.table(name, **found.table())`.

        Raises:
            KeyError: if there is no such metric.
        """
        columns = ["success", "estimator", *(metric_named(metric, METRICS).label for metric in metrics)]
        rows = [
            [round(success, 4), name, *(str(levels[i][metric] or "not defined") for metric in metrics)]
            for i, success in enumerate(self.success)
            for name, levels in self.measured.items()
        ]
        return {"columns": columns, "rows": rows}

    def plot(self, metrics: Sequence[str] = SHOWN) -> go.Figure:
        """One panel a metric, one below the other, against the policy's success: a line with intervals for each estimator.

        Raises:
            KeyError: if there is no such metric.
        """
        titles = {metric: metric_named(metric, METRICS).title for metric in metrics}
        return level_lines(self.success, self.measured, titles, along="probability of success of the policy")


def low_variance(
    estimators: Mapping[str, Estimator],
    testbeds: Sequence[Testbed] | None = None,
    *,
    groups: int = 1000,
    group_size: int = 8,
    seed: int = 0,
    resamples: int = 500,
) -> LowVariance:
    """Measure what estimators make of flat groups, under policies from hopeless to nearly perfect.

    Args:
        estimators: functions of columns that return one advantage a row, by the name they are to be shown under.
        testbeds: one for each policy; by default `house_testbed` at each success probability of `LEVELS`.
        groups: number of groups under each policy.
        group_size: trajectories a group.
        seed: of the rollouts, which do not depend on the estimators, and of the bootstrap.
        resamples: bootstrap samples.

    Raises:
        ValueError: if there are no estimators or testbeds, a number is too small, or an estimator returns anything but one finite
            number a row.
    """
    if not estimators:
        raise ValueError("give at least one estimator")
    if testbeds is None:
        testbeds = [house_testbed(success) for success in LEVELS]
    if not testbeds:
        raise ValueError("give at least one testbed")
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")
    testbeds = sorted(testbeds, key=lambda testbed: testbed.truth.success)
    blocks = Blocks(groups, resamples, seed)
    measured: dict[str, list] = {name: [] for name in estimators}
    for testbed in testbeds:
        rollouts = testbed.collect(groups, group_size, generator("low variance", seed))
        group = torch.tensor(rollouts.task)
        flat = _flat(rollouts["success"], rollouts.turn, group, group_size)
        for name, estimator in estimators.items():
            gradients = testbed.implied_gradients(rollouts, choice_advantage(rollouts, estimator), group, groups) / group_size
            found = _flat_metrics(testbed, blocks, gradients, flat) | gradient_metrics(testbed, blocks, gradients)
            measured[name].append({metric: interval(found[metric]) for metric in METRICS})
    return LowVariance(tuple(testbed.truth.success for testbed in testbeds), groups, group_size, measured)


def _flat(success: Tensor, turn: Tensor, group: Tensor, group_size: int) -> Tensor:
    """Whether all trajectories of a group fail, or all succeed. [groups] bool"""
    first = turn == 0
    successes = torch.bincount(group[first], weights=success[first].double())
    return (successes == 0) | (successes == group_size)


def _flat_metrics(testbed: Testbed, blocks: Blocks, gradients: Tensor, flat: Tensor) -> dict[str, np.ndarray]:
    """What flat groups contribute: each [R]."""
    squares = gradients.square().sum(dim=1)
    share = flat.double()
    columns = torch.stack([share, squares * share, squares, gradients @ testbed.gradient.flatten() * share], dim=1)
    flat_groups, flat_squares, all_squares, along = blocks.means(blocks.sums(columns)).T
    squared_mean = blocks.product_of_means(blocks.sums(gradients * share[:, None]))
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed_squares = (all_squares - flat_squares) / (1 - flat_groups)
        signal = np.where(squared_mean > 1e-9 * all_squares, squared_mean, np.nan)
        return {
            "flat_groups": flat_groups,
            "flat_length": _defined(np.sqrt(flat_squares / flat_groups / mixed_squares)),
            "flat_share": flat_squares / all_squares,
            "flat_cosine": np.clip(along / np.sqrt(signal) / float(testbed.gradient.norm()), -1, 1),
        }


def _defined(x: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x), x, np.nan)
