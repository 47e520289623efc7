r"""The microscope: advantage estimators held against advantages that are known exactly.

    seen = microscope({"GRPO": grpo, "GiGPO": gigpo}, house_testbed(success=0.5))
    seen = microscope({"GRPO": grpo, "GAE": partial(gae, whiten=False)}, tree_testbed(success=0.5))
    seen.plot(), seen.table()

Many batches of one fixed policy are played at once, and every estimator is called once on all their rows (groups are named apart,
so none crosses batches). All estimators see the same rollouts. A row makes one choice (a turn) or several (the tokens of a response);
what an estimator says of a row it says of all of them. With $\hat A$ the estimate of a choice (this task, state, memory, turn and
action) and $A$ its true advantage, the error of an estimator splits into two parts,

$$E(\hat A-A)^2=E\bigl(E[\hat A\mid\text{choice}]-A\bigr)^2+E\operatorname{Var}[\hat A\mid\text{choice}],
\qquad\text{mean squared error}=\text{squared bias}+\text{variance},$$

each choice counting as often as the policy makes it. The squared bias includes offsets that all actions in a state share: they do
not bend the expected gradient (`mean_cosine` shows what does), but each of them adds noise to it.

Estimators that divide by a deviation live on another scale, which a learning rate makes up for. The *relative* errors are therefore
those of $c\hat A$ with $c=E A^2/E\hat A A$, the multiple in which one unit of true advantage counts as one on average, and in units
of $E A^2$: always guessing 0 would have a relative error of 1.

A squared bias and the length of a mean gradient are estimated from products of different blocks of batches, so that noise does not
add to them; intervals hold 95 % of bootstrap samples over blocks (`hierlab.lab.blocks`), the same samples for all estimators.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hierlab.lab.blocks import Blocks, Interval, interval
from hierlab.lab.testbed import Testbed, house_testbed
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.seeds import generator
from hierlab.train.tabular import Estimator

if TYPE_CHECKING:
    import plotly.graph_objects as go

ZERO = 1e-9  # true advantages below this are taken for 0: a choice of no consequence


class Metric(NamedTuple):
    """What a number means.

    Attributes:
        label: in a few words.
        meaning: in a sentence.
        better: "less", "more", or "" if neither is.
    """

    label: str
    meaning: str
    better: str

    @property
    def title(self) -> str:
        """The label, and which way is better."""
        return f"{self.label} ({self.better} is better)" if self.better else self.label


METRICS: dict[str, Metric] = {
    "squared_bias": Metric(
        "squared bias", "mean over choices of (expected estimate - true advantage)², in squared units of reward", "less"
    ),
    "variance": Metric("variance", "mean over choices of the estimate's variance, in squared units of reward", "less"),
    "squared_error": Metric("mean squared error", "squared bias + variance", "less"),
    "relative_bias": Metric("relative squared bias", "squared bias after calibration, as a share of the advantages' mean square", "less"),
    "relative_variance": Metric("relative variance", "variance after calibration, as a share of the advantages' mean square", "less"),
    "relative_error": Metric("relative error", "relative squared bias + relative variance; 1 is the error of always guessing 0", "less"),
    "correlation": Metric("correlation", "of estimate and true advantage, over choices made", "more"),
    "sign_agreement": Metric(
        "sign agreement", "share of choices of consequence with the right sign; an estimate of 0 counts one half", "more"
    ),
    "batch_cosine": Metric("cosine, one batch", "of the gradient of one batch with the exact policy gradient, mean over batches", "more"),
    "mean_cosine": Metric(
        "cosine, mean gradient", "of the expected gradient with the exact one: what is left when noise averages out", "more"
    ),
    "gradient_norm": Metric("length of mean gradient", "of the expected gradient, in lengths of the exact one", ""),
    "gradient_noise": Metric("gradient noise", "variance of one batch's gradient, in squared lengths of the expected gradient", "less"),
}
SHOWN = ("relative_bias", "relative_variance", "correlation", "sign_agreement", "batch_cosine", "mean_cosine")


@dataclass(frozen=True)
class Microscope:
    """What was seen.

    Attributes:
        description: what lay under the microscope.
        settings: numbers of batches, tasks a batch, trajectories a group, rows in all, and the seed.
        measured: by estimator and metric; None where a number is not defined (no signal at all to calibrate by).
    """

    description: str
    settings: Mapping[str, int]
    measured: Mapping[str, Mapping[str, Interval | None]]
    _samples: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)

    def __getitem__(self, estimator: str) -> Mapping[str, Interval | None]:
        """All metrics of one estimator.

        Raises:
            KeyError: if it was not under the microscope.
        """
        if estimator not in self.measured:
            raise KeyError(f"no estimator {estimator!r} was under the microscope; there were {', '.join(self.measured)}")
        return self.measured[estimator]

    def difference(self, metric: str, one: str, other: str) -> Interval | None:
        """`one` minus `other`, with the interval of the difference: both saw the same rollouts.

        Raises:
            KeyError: if there is no such metric or estimator.
        """
        metric_named(metric)
        for estimator in (one, other):
            self[estimator]  # refused by name if there is none
        return interval(self._samples[one][metric] - self._samples[other][metric])

    def table(self, metrics: Sequence[str] = tuple(METRICS)) -> dict[str, list]:
        """One row an estimator, one column a metric, cells such as "0.42 (0.40 to 0.44)": `bench.table(name, **seen.table())`.

        Raises:
            KeyError: if there is no such metric.
        """
        columns = ["estimator", *(metric_named(metric).label for metric in metrics)]
        rows = [[name, *(str(found[metric] or "not defined") for metric in metrics)] for name, found in self.measured.items()]
        return {"columns": columns, "rows": rows}

    def ordered(self, estimators: Iterable[str]) -> Microscope:
        """The same, with the estimators in this order.

        Raises:
            KeyError: if one was not under the microscope.
        """
        names = list(estimators)
        measured = {name: self[name] for name in names}
        return replace(self, measured=measured, _samples={name: self._samples[name] for name in names})

    def numbers(self) -> dict[str, list]:
        """The same as plain numbers: one row for each estimator and metric."""
        rows = [[name, metric, *(value or (None, None, None))] for name, found in self.measured.items() for metric, value in found.items()]
        return {"columns": ["estimator", "metric", "value", "low", "high"], "rows": rows}

    def plot(self, metrics: Sequence[str] = SHOWN) -> go.Figure:
        """One panel a metric, one below the other: a dot and its interval for each estimator.

        Raises:
            KeyError: if there is no such metric.
        """
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

        panel = 56 + 24 * len(self.measured)
        titles = [metric_named(metric).title for metric in metrics]
        figure = make_subplots(rows=len(metrics), cols=1, subplot_titles=titles, vertical_spacing=56 / (panel * len(metrics)))
        for row, metric in enumerate(metrics, start=1):
            for number, (name, found) in enumerate(self.measured.items()):
                if (value := found[metric]) is None:
                    continue
                whisker = {"type": "data", "symmetric": False, "array": [value.high - value.value], "arrayminus": [value.value - value.low]}
                marker = {"color": COLOURS[number % len(COLOURS)], "size": 10}
                hover = f"{name}: {value}<extra></extra>"
                dot = go.Scatter(x=[value.value], y=[name], mode="markers", marker=marker, error_x=whisker, hovertemplate=hover)
                figure.add_trace(dot, row=row, col=1)
            figure.update_yaxes(categoryorder="array", categoryarray=list(self.measured)[::-1], row=row, col=1)
        figure.update_layout(showlegend=False, margin={"l": 44, "r": 12, "t": 36, "b": 32})
        figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left", xref="paper")
        return house_style(figure, height=panel * len(metrics) + 32)


def microscope(
    estimators: Mapping[str, Estimator],
    testbed: Testbed | None = None,
    *,
    batches: int = 500,
    tasks: int = 4,
    group_size: int = 8,
    seed: int = 0,
    separately: Collection[str] = (),
    resamples: int = 1000,
) -> Microscope:
    """Put estimators under the microscope.

    Args:
        estimators: functions of columns that return one advantage a row or a token, by the name they are to be shown under.
        testbed: what they are tried on; `house_testbed(success=0.5)` by default. Others: `hierlab.lab.token_testbed`.
        batches: number of batches.
        tasks: groups a batch. It matters for the gradient of one batch, and for estimators that look across groups.
        group_size: trajectories a group.
        seed: of the rollouts and of the bootstrap. The rollouts do not depend on the estimators.
        separately: names of estimators that look across groups, such as those that whiten over a batch: they are called once a batch.
        resamples: bootstrap samples.

    Raises:
        ValueError: if there are no estimators, a number is too small, `separately` names none of the estimators, or an estimator
            returns anything but one finite number a row or a token.
    """
    if not estimators:
        raise ValueError("give at least one estimator")
    if tasks < 1 or group_size < 1:
        raise ValueError(f"tasks and group_size must be at least 1, got {tasks} and {group_size}")
    if unknown := set(separately) - set(estimators):
        raise ValueError(f"separately names {', '.join(sorted(unknown))}, which is none of {', '.join(estimators)}")
    sample = _Sample(testbed or house_testbed(0.5), Blocks(batches, resamples, seed), tasks, group_size, seed)
    samples = {name: sample.measure(sample.estimates(estimator, apart=name in separately)) for name, estimator in estimators.items()}
    measured = {name: {metric: interval(values) for metric, values in found.items()} for name, found in samples.items()}
    settings = {"batches": batches, "tasks": tasks, "group_size": group_size, "rows": len(sample.rollouts), "seed": seed}
    return Microscope(sample.testbed.description, settings, measured, samples)


def together(*seen: Microscope) -> Microscope:
    """What was seen of the same rollouts in several looks, such as with different critics.

    Raises:
        ValueError: if settings differ, or an estimator's name occurs twice.
    """
    names = [name for one in seen for name in one.measured]
    if len({tuple(one.settings.items()) for one in seen}) != 1 or len(set(names)) < len(names):
        raise ValueError(f"give looks at the same rollouts, each estimator under a name of its own; got {', '.join(names)}")
    measured = {name: found for one in seen for name, found in one.measured.items()}
    samples = {name: found for one in seen for name, found in one._samples.items()}
    return Microscope(seen[0].description, seen[0].settings, measured, samples)


def choice_advantage(rollouts: Rollouts, estimator: Estimator) -> Tensor:
    """The estimator's advantage of each choice that the rows make, shaped like the column `choice`; 0 where there is none.

    Raises:
        ValueError: if it returns anything but one finite number a row or a choice.
    """
    choice = rollouts["choice"]
    advantage = estimate(rollouts, estimator)
    if tuple(advantage.shape) not in {choice.shape[:1], (len(choice), 1), choice.shape}:
        wanted = f"each of the {len(rollouts)} rows, or for each of their choices, {list(choice.shape)}"
        raise ValueError(f"an estimator must return one number for {wanted}; got {list(advantage.shape)}")
    made = choice >= 0
    advantage = advantage.reshape(len(rollouts), -1).expand(len(rollouts), made[0].numel()).reshape(made.shape)
    if (wrong := made & ~advantage.isfinite()).any():
        raise ValueError(f"an estimator must return finite numbers, got {float(advantage[wrong][0])} in row {int(wrong.nonzero()[0, 0])}")
    return torch.where(made, advantage, 0).double()


class _Sample:
    """Batches of rollouts with their truth, to be summed in blocks. D choices are made in all."""

    def __init__(self, testbed: Testbed, blocks: Blocks, tasks: int, group_size: int, seed: int):
        self.testbed, self.blocks, self.trajectories = testbed, blocks, tasks * group_size
        self.rollouts = testbed.collect(len(blocks.of_batch) * tasks, group_size, generator("microscope", seed))
        self.of_row = torch.tensor(self.rollouts.task) // tasks  # [N] the batch of each row
        choice = self.rollouts["choice"]
        self.made = choice >= 0
        self.choice = choice[self.made]  # [D]
        self.batch = self.of_row[self.made.nonzero()[:, 0]]  # [D]
        self.truth = testbed.advantage[self.choice]  # [D]
        self.truth_by_choice = self._by_choice(self.truth)
        self.truth_square = blocks.product_of_means(self.truth_by_choice)

    def estimates(self, estimator: Estimator, *, apart: bool) -> Tensor:
        """The estimator's advantages, float64, shaped like the column `choice`."""
        if not apart:
            return choice_advantage(self.rollouts, estimator)
        rows = torch.arange(len(self.of_row)).split(torch.bincount(self.of_row).tolist())
        return torch.cat([choice_advantage(self.rollouts.select(part), estimator) for part in rows])

    def measure(self, estimate: Tensor) -> dict[str, np.ndarray]:
        """Every metric in every bootstrap sample: each [R]."""
        return self._errors(estimate[self.made]) | gradient_metrics(self.testbed, self.blocks, self._gradients(estimate))

    def _errors(self, e: Tensor) -> dict[str, np.ndarray]:
        """Metrics of single choices. Letters: e estimate, a true advantage. e [D]"""
        a = self.truth
        matters = (a.abs() > ZERO).double()
        agrees = torch.where(e == 0, 0.5, (e.sign() == a.sign()).double()) * matters
        columns = torch.stack([torch.ones_like(e), e, a, e * e, a * a, e * a, agrees, matters], dim=1)
        n, e1, a1, ee, aa, ea, agreeing, mattering = self.blocks.means(self.blocks.sums(columns, self.batch)).T

        by_choice = self._by_choice(e)
        bias_ee = self.blocks.product_of_means(by_choice)
        bias_ea = self.blocks.product_of_means(by_choice, self.truth_by_choice)
        with np.errstate(divide="ignore", invalid="ignore"):
            c = np.where(ea > ZERO, aa / ea, np.nan)
            squared_bias = bias_ee - 2 * bias_ea + self.truth_square
            squared_error = (ee - 2 * ea + aa) / n
            relative_bias = (c**2 * bias_ee - 2 * c * bias_ea + self.truth_square) * n / aa
            relative_error = (c**2 * ee - 2 * c * ea + aa) / aa
            return {
                "squared_bias": squared_bias,
                "variance": squared_error - squared_bias,
                "squared_error": squared_error,
                "relative_bias": relative_bias,
                "relative_variance": relative_error - relative_bias,
                "relative_error": relative_error,
                "correlation": (ea - e1 * a1 / n) / np.sqrt((ee - e1**2 / n) * (aa - a1**2 / n)),
                "sign_agreement": agreeing / mattering,
            }

    def _gradients(self, estimate: Tensor) -> Tensor:
        """The implied policy gradient of each batch. [B, C * A]"""
        batches = len(self.blocks.of_batch)
        return self.testbed.implied_gradients(self.rollouts, estimate, self.of_row, batches) / self.trajectories

    def _by_choice(self, x: Tensor) -> Tensor:
        """Sums of `x` within each block and choice, so scaled that their inner products are mean squares over the choices made.

        A choice's mean is its sum divided by how often it is made, and it counts as often: so its sum is divided by the square root
        of that number, which is known exactly, and of the number of all choices made. [D] -> [K, choices]
        """
        choices = len(self.testbed.frequency)
        place = self.blocks.of_batch[self.batch] * choices + self.choice
        sums = x.new_zeros(self.blocks.count * choices).index_add(0, place, x).view(self.blocks.count, choices)
        rows = self.trajectories * self.testbed.frequency
        return sums / (rows.clamp(min=1e-300) * rows.sum()).sqrt()


def gradient_metrics(testbed: Testbed, blocks: Blocks, gradients: Tensor) -> dict[str, np.ndarray]:
    """How the gradients of single batches, [B, C * A], and their expectation compare with the exact gradient: each [R]."""
    exact = testbed.gradient.flatten()
    along = gradients @ exact / exact.norm()
    lengths = gradients.norm(dim=1)
    cosine = torch.where(lengths > 0, along / lengths.clamp(min=1e-300), 0.0)  # a gradient of 0 points nowhere
    along, cosine, squares = blocks.means(blocks.sums(torch.stack([along, cosine, lengths**2], dim=1))).T
    squared_mean = blocks.product_of_means(blocks.sums(gradients))
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = np.where(squared_mean > ZERO * squares, squared_mean, np.nan)
        return {
            "batch_cosine": cosine,
            "mean_cosine": np.clip(along / np.sqrt(signal), -1, 1),
            "gradient_norm": np.sqrt(signal) / float(exact.norm()),
            "gradient_noise": (squares - signal) / signal,
        }


def metric_named(name: str, metrics: Mapping[str, Metric] = METRICS) -> Metric:
    """The metric of this name.

    Raises:
        KeyError: if there is none; the message lists those there are.
    """
    if name not in metrics:
        raise KeyError(f"no metric {name!r}; there are {', '.join(metrics)}")
    return metrics[name]
