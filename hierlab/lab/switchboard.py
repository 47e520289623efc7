"""The five switches that tell the baselines apart, on a handful of answers: set them, and see what each token is told.

Baseline and scale make the advantage, ratio and clip turn it into token losses, and the aggregation weighs these. All of it is done by
the functions that training uses; the weights are found by differentiating our own surrogate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from hierlab.ops import group_ids, group_relative, group_std, leave_one_out
from hierlab.seeds import generator
from hierlab.trace import Tape, show
from hierlab.train.surrogate import Aggregation, Ratio, aggregate, policy_loss

if TYPE_CHECKING:
    import plotly.graph_objects as go

Baseline = Literal["none", "group mean", "mean of the others"]
Scaling = Literal["1", "group deviation", "batch deviation"]
EPS = 1e-6
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


@dataclass(frozen=True)
class Answers:
    """Answers to some problems, sampled by one policy and looked at by the next.

    Attributes:
        task: N names.
        rewards: [N].
        old_logp: [N, T] under the policy that sampled.
        logp: [N, T] under the policy that is trained.
        mask: [N, T] bool.
    """

    task: tuple[str, ...]
    rewards: Tensor
    old_logp: Tensor
    logp: Tensor
    mask: Tensor


def example_answers(*, drift: float = 0.25, seed: int = 0) -> Answers:
    """Four answers each to an easy, a middling and a hopeless problem, the wrong ones longer; the policy has drifted since.

    Args:
        drift: standard deviation of the change of a token's log-probability.
        seed: of the log-probabilities.
    """
    rewards = torch.tensor([1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0], dtype=torch.float64)
    length = torch.tensor([3, 4, 4, 9, 5, 7, 4, 10, 8, 6, 10, 9])
    mask = torch.arange(int(length.max())) < length[:, None]
    draw = generator("switchboard", seed)
    old = -torch.rand(mask.shape, generator=draw, dtype=torch.float64)
    logp = old + drift * torch.randn(mask.shape, generator=draw, dtype=torch.float64)
    return Answers(tuple(name for name in ("easy", "middling", "hopeless") for _ in range(4)), rewards, old * mask, logp * mask, mask)


@dataclass(frozen=True)
class Switches:
    """One setting of the five switches; the default is GRPO as in its paper.

    Attributes:
        baseline: what is subtracted from an answer's reward.
        scale: what the difference is divided by; a deviation of 0 divides nothing.
        ratio: importance ratio per token or per sequence.
        clip_low: the ratio is clipped below 1 - clip_low.
        clip_high: the ratio is clipped above 1 + clip_high.
        aggregation: how token losses become one number.
    """

    baseline: Baseline = "group mean"
    scale: Scaling = "group deviation"
    ratio: Ratio = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregation: Aggregation = "seq-mean-token-mean"

    def advantage(self, rewards: Tensor, task: tuple[str, ...]) -> Tensor:
        """One number an answer. [N]"""
        group = group_ids(task, device=rewards.device)
        centred = {
            "none": rewards,
            "group mean": group_relative(rewards, group, scale="none"),
            "mean of the others": leave_one_out(rewards, group),
        }[self.baseline]
        show("baseline", rewards - centred, r"b_i")
        if self.scale == "1":
            return show("advantage", centred, r"A_i=R_i-b_i")
        deviation = group_std(rewards, group if self.scale == "group deviation" else torch.zeros_like(group))
        show("deviation", deviation, r"\sigma")
        return show("advantage", torch.where(deviation > 0, centred / (deviation + EPS), centred), r"A_i=\frac{R_i-b_i}{\sigma+\epsilon}")

    def run(self, answers: Answers) -> Tape:
        """What every step makes of the answers. The last is the pull: how much the loss wants each token's log-probability raised."""
        logp = answers.logp.clone().requires_grad_()
        with Tape() as tape:
            show("reward", answers.rewards, r"R_i")
            advantage = self.advantage(answers.rewards, answers.task)
            clips = {"clip_low": self.clip_low, "clip_high": self.clip_high, "dual_clip": None}
            loss, _ = policy_loss(logp, answers.old_logp, advantage, answers.mask, ratio=self.ratio, aggregation=self.aggregation, **clips)
            (gradient,) = torch.autograd.grad(loss, logp)
            tokens, absent = answers.mask.sum(), ~answers.mask  # in units of an equal share, so that numbers are readable
            weights = aggregation_weights(answers.mask, self.aggregation) * tokens
            show("weight of a token's loss, in equal shares", weights.masked_fill(absent, torch.nan), r"w_{i,t}\,\sum m")
            show("pull on a token", (0 - gradient * tokens).masked_fill(absent, torch.nan), r"w_{i,t}\,\sum m\;A_i\,\rho_{i,t}")
        return tape


def aggregation_weights(mask: Tensor, aggregation: Aggregation) -> Tensor:
    """What one token's loss counts in the loss of the batch: the derivative of `aggregate`. [N, T] bool -> [N, T] float64"""
    token_loss = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device, requires_grad=True)
    (weights,) = torch.autograd.grad(aggregate(token_loss, mask, aggregation=aggregation), token_loss)
    return weights


def weight_maps(mask: Tensor) -> go.Figure:
    """The weights of all aggregations, one heat map below the other, each in units of its largest weight, which its title names."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from hierlab.lab.figures import NEUTRAL, SEQUENTIAL, house_style

    maps = [aggregation_weights(mask, aggregation) for aggregation in AGGREGATIONS]
    titles = [f"{name}: up to {float(weights.max()):.2g}" for name, weights in zip(AGGREGATIONS, maps, strict=True)]
    figure = make_subplots(rows=len(maps), cols=1, subplot_titles=titles, vertical_spacing=0.06, shared_xaxes=True)
    for row, weights in enumerate(maps, start=1):
        shown = torch.where(mask, weights / weights.max(), torch.nan)
        cells = [[None if value != value else round(value, 3) for value in line] for line in shown.tolist()]
        hover = "answer %{y}, token %{x}: %{z:.2f} of the largest<extra></extra>"
        heat = go.Heatmap(z=cells, colorscale=SEQUENTIAL, zmin=0, zmax=1, showscale=row == 1, xgap=1, ygap=1, hovertemplate=hover)
        heat.colorbar = {"thickness": 10, "len": 1 / len(maps), "y": 1, "yanchor": "top", "outlinewidth": 0}
        figure.add_trace(heat, row=row, col=1)
        figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, title="answer", row=row, col=1)
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_xaxes(title="token", row=len(maps), col=1)
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left")
    return house_style(figure, height=170 * len(maps) + 40)


def clip_curves(settings: dict[str, dict[str, float | None]]) -> go.Figure:
    """The loss of one token against its ratio, for an advantage of 1 (above) and of -1 (below).

    Args:
        settings: for each curve's name, `clip_low`, `clip_high` and `dual_clip` of `policy_loss`.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

    ratio = torch.linspace(0.02, 4, 200, dtype=torch.float64)
    titles = ["after success: advantage 1", "after failure: advantage −1"]
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.16)
    for number, (name, clips) in enumerate(settings.items()):
        for row, advantage in enumerate((1.0, -1.0), start=1):
            with Tape() as tape:
                policy_loss(
                    ratio.log()[None], torch.zeros(1, 200), torch.tensor([advantage]), torch.ones(1, 200, dtype=torch.bool), **clips
                )
            x, y = ([round(v, 3) for v in values] for values in (ratio.tolist(), tape["token loss"][0].tolist()))
            style = {"color": COLOURS[number], "width": 2, "dash": ("solid", "dash", "dot")[number % 3]}
            figure.add_trace(go.Scatter(x=x, y=y, name=name, line=style, legendgroup=name, showlegend=row == 1), row=row, col=1)
    figure.update_yaxes(title="token loss")
    figure.update_xaxes(title="importance ratio", row=2, col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL})
    return house_style(figure, height=620)


def problem_weights(switches: Switches, group_size: int, success: Sequence[float]) -> list[float]:
    """What a problem weighs by how often it is solved: its group's expected sum of sizes of advantages, 1 at one half.

    Args:
        switches: baseline and scale are used.
        group_size: answers to each problem.
        success: probabilities that an answer is right, in [0, 1].
    """
    right = torch.arange(group_size + 1)
    rewards = (torch.arange(group_size) < right[:, None]).double()
    sizes = torch.stack([switches.advantage(group, ("a",) * group_size).abs().sum() for group in rewards])
    rate = torch.tensor([*success, 0.5], dtype=torch.float64)[:, None]
    choices = torch.tensor([comb(group_size, k) for k in right.tolist()], dtype=torch.float64)
    expected = (choices * rate**right * (1 - rate) ** (group_size - right)) @ sizes
    return (expected[:-1] / expected[-1]).tolist()


def difficulty_curves(group_size: int) -> go.Figure:
    """What a problem weighs by how often it is solved, with and without division by the deviation; see `problem_weights`."""
    import plotly.graph_objects as go

    from hierlab.lab.figures import COLOURS, house_style

    figure = go.Figure()
    success = [i / 50 for i in range(51)]
    for number, (name, scale) in enumerate({"GRPO: divided by the deviation": "group deviation", "Dr.GRPO: not divided": "1"}.items()):
        weights = [round(weight, 4) for weight in problem_weights(Switches(scale=scale), group_size, success)]
        figure.add_trace(go.Scatter(x=success, y=weights, name=name, mode="lines", line={"color": COLOURS[number], "width": 2}))
    figure.update_xaxes(title="share of a problem's answers that are right")
    figure.update_yaxes(title="weight of the problem", rangemode="tozero")
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0})
    return house_style(figure, height=380)
