"""The mean advantage that estimators give to tokens that plan, beside the truth, which is 0.

True advantages average to 0 under the policy in every state, and the advantages of a group-relative method average to 0 in every group.
A method that treats success and failure unequally moves that mean: it tells the policy that whatever it did was good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hierlab.lab.token_testbed import ResponseTestbed
from hierlab.lab.verdicts import interval
from hierlab.ops import masked_mean
from hierlab.seeds import generator
from hierlab.train.tabular import Estimator
from hierlab.train.token_table import token_advantage

if TYPE_CHECKING:
    import plotly.graph_objects as go

PARTS = 20
"""Batches that an interval is taken over."""


@dataclass(frozen=True)
class Optimism:
    """What was measured.

    Attributes:
        success: the exact probability of success of each policy.
        measured: by estimator, (mean, low, high) for each policy.
    """

    success: tuple[float, ...]
    measured: Mapping[str, tuple[tuple[float, float, float], ...]]

    def plot(self) -> go.Figure:
        """One line an estimator."""
        import plotly.graph_objects as go

        from hierlab.lab.figures import COLOURS, house_style

        figure = go.Figure()
        for number, (name, points) in enumerate(self.measured.items()):
            y = [float(f"{mean:.4g}") for mean, *_ in points]
            whisker = {"type": "data", "array": [float(f"{high - mean:.3g}") for mean, _, high in points]}
            line = {"color": COLOURS[number % len(COLOURS)], "dash": ("solid", "solid", "dash", "dot")[number % 4]}
            figure.add_trace(go.Scatter(x=[round(s, 4) for s in self.success], y=y, error_y=whisker, name=name, line=line))
        figure.update_xaxes(title_text="success")
        figure.update_yaxes(title_text="mean advantage")
        figure.update_layout(legend={"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0})
        return house_style(figure, height=380)


def optimism(
    estimators: Mapping[str, Estimator], testbeds: Sequence[ResponseTestbed], *, groups: int, group_size: int = 8, seed: int = 0
) -> Optimism:
    """The mean advantage of planning tokens under each policy.

    Args:
        estimators: by the name they are shown under.
        testbeds: one for each policy, in the order of the figure; their planning tokens are looked at.
        groups: in each of 20 batches, whose means give the interval.
        group_size: responses a group.
        seed: of the responses, which all estimators share.

    Raises:
        ValueError: if there are no estimators or testbeds, or as the testbed's `collect`.
    """
    if not estimators or not testbeds:
        raise ValueError("give at least one estimator and one testbed")
    measured: dict[str, list] = {name: [] for name in estimators}
    for number, testbed in enumerate(testbeds):
        batches = [testbed.collect(groups, group_size, generator("optimism", seed, number, part)) for part in range(PARTS)]
        for name, estimator in estimators.items():
            means = [float(masked_mean(token_advantage(batch, estimator), batch["planning_mask"])) for batch in batches]
            measured[name].append(interval(means))
    return Optimism(tuple(testbed.truth.success for testbed in testbeds), {name: tuple(points) for name, points in measured.items()})
