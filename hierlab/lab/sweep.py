"""The microscope at several magnifications: how estimators fare as groups grow, or as the way to the reward gets longer.

over_group_sizes({"GRPO": grpo, "GiGPO": gigpo}, house_testbed(0.5), sizes=(2, 4, 8, 16)).plot()
over_horizons({"GRPO": grpo}, {bits: tree_testbed(0.5, bits=bits) for bits in (2, 3, 4, 5)}, along="bits in the prompt").plot()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hierlab.lab.blocks import Interval
from hierlab.lab.level_lines import level_lines
from hierlab.lab.microscope import Microscope, metric_named, microscope
from hierlab.lab.testbed import Testbed
from hierlab.train.tabular import Estimator

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = ("relative_bias", "relative_variance", "correlation", "batch_cosine")


@dataclass(frozen=True)
class Sweep:
    """What was seen at each level.

    Attributes:
        along: what changes from level to level.
        levels: [L] its values.
        seen: [L] what the microscope saw.
        logarithmic: whether to draw the levels so.
    """

    along: str
    levels: tuple[float, ...]
    seen: tuple[Microscope, ...]
    logarithmic: bool = False

    def __getitem__(self, estimator: str) -> tuple[Mapping[str, Interval | None], ...]:
        """[L] all metrics of one estimator.

        Raises:
            KeyError: if it was not under the microscope.
        """
        return tuple(seen[estimator] for seen in self.seen)

    def table(self, metrics: Sequence[str] = SHOWN) -> dict[str, list]:
        """One row for each level and estimator: `bench.table(name, **found.table())`.

        Raises:
            KeyError: if there is no such metric.
        """
        columns = [self.along, "estimator", *(metric_named(metric).label for metric in metrics)]
        rows = [[level, *row] for level, seen in zip(self.levels, self.seen, strict=True) for row in seen.table(metrics)["rows"]]
        return {"columns": columns, "rows": rows}

    def plot(self, metrics: Sequence[str] = SHOWN) -> go.Figure:
        """One panel a metric against the levels: a line with intervals for each estimator.

        Raises:
            KeyError: if there is no such metric.
        """
        titles = {metric: metric_named(metric).title for metric in metrics}
        measured = {name: self[name] for name in self.seen[0].measured}
        return level_lines(self.levels, measured, titles, along=self.along, logarithmic=self.logarithmic)


def over_group_sizes(
    estimators: Mapping[str, Estimator],
    testbed: Testbed,
    *,
    sizes: Sequence[int] = (2, 4, 8, 16),
    trajectories: int = 4096,
    tasks: int = 1,
    **how: Any,
) -> Sweep:
    """The same number of trajectories in groups of different sizes.

    Args:
        estimators: as `microscope`.
        testbed: as `microscope`.
        sizes: of the groups.
        trajectories: at each size; the number of batches follows from it.
        tasks: groups a batch.
        **how: further arguments of `microscope`.

    Raises:
        ValueError: if there are no sizes, or too few trajectories for two batches; or as `microscope`.
    """
    if not sizes or trajectories < 2 * tasks * max(sizes):
        raise ValueError(f"give sizes, and trajectories for at least 2 batches of {tasks} x {max(sizes, default=0)}, got {trajectories}")
    seen = [microscope(estimators, testbed, batches=trajectories // (tasks * size), tasks=tasks, group_size=size, **how) for size in sizes]
    return Sweep("trajectories in a group", tuple(sizes), tuple(seen), logarithmic=True)


def over_horizons(estimators: Mapping[str, Estimator], testbeds: Mapping[float, Testbed], *, along: str = "horizon", **how: Any) -> Sweep:
    """The same estimators on testbeds whose rewards are further and further away.

    Args:
        estimators: as `microscope`.
        testbeds: by what is to stand on the axis.
        along: what that is.
        **how: further arguments of `microscope`.

    Raises:
        ValueError: if there are no testbeds; or as `microscope`.
    """
    if not testbeds:
        raise ValueError("give at least one testbed")
    return Sweep(along, tuple(testbeds), tuple(microscope(estimators, testbed, **how) for testbed in testbeds.values()))
