r"""Slates under the microscope: one step with an exactly known posterior, and a posterior that can be computed on a grid.

*One step.* Beliefs about users and items are independent normals, and the truth is drawn from them: the beliefs **are** the posterior, by
construction. What a recommender's slates are then worth is computed exactly, without learning, fitting or luck in clicks. Whatever one
way of drawing gains over another here, it gains by what it shows alone.

*Cold posteriors.* With items known and a user who stays in one place of a plane, the posterior of that place is a sum over a grid. The
mean-field fit at several likelihood temperatures is held against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.envs.slate_world import SlateWorld, slate_world
from hierlab.lab.results import mean_and_interval
from hierlab.recommendation.recommendation_metrics import coverage, groups_in_list, intra_list_distance
from hierlab.recommendation.slate_likelihood import score_all, slate_log_likelihood, slate_scores
from hierlab.recommendation.slate_posterior import MeanField, elbo
from hierlab.recommendation.slates import FIRST_ITEM, SlateLog
from hierlab.recommendation.thompson import in_slate, top_items
from hierlab.recommendation.trivial_slates import random_slates
from hierlab.seeds import generator

if TYPE_CHECKING:
    import plotly.graph_objects as go

WAYS = ("greedy", "thompson", "in-slate", "popular", "random", "best")
LABELS = {"click_rate": "click rate, exact", "groups": "groups in a slate", "distance": "distance within a slate", "coverage": "coverage"}


@dataclass(frozen=True)
class OneStep:
    """What slates are worth at several widths of the posterior.

    Attributes:
        widths: the posterior deviation of users; that of items is a third of it.
        measured: by way of making slates, then by metric of `LABELS`: [width][world].
    """

    widths: tuple[float, ...]
    measured: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]

    def at(self, way: str, metric: str, width: float) -> list[float]:
        """One number a world."""
        return list(self.measured[way][metric][self.widths.index(width)])

    def table(self) -> dict[str, list]:
        """One row for each width and way."""
        columns = ["deviation of users", "slates", *LABELS.values()]
        rows = [
            [width, way, *(mean_and_interval(self.at(way, metric, width)) for metric in LABELS)] for width in self.widths for way in WAYS
        ]
        return {"columns": columns, "rows": rows}

    def plot(self, metrics: Sequence[str] = ("click_rate", "groups")) -> go.Figure:
        """One panel a metric: the mean over worlds against the posterior's width."""
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots

        from hierlab.lab.figures import COLOURS, NEUTRAL, house_style

        figure = make_subplots(rows=len(metrics), cols=1, subplot_titles=[LABELS[m] for m in metrics], vertical_spacing=0.14)
        for row, metric in enumerate(metrics, start=1):
            for number, way in enumerate(WAYS):
                heights = [float(f"{sum(v) / len(v):.4g}") for v in self.measured[way][metric]]
                line = {"color": NEUTRAL if way == "best" else COLOURS[number], "width": 2, "dash": "dot" if way == "best" else "solid"}
                trace = go.Scatter(x=list(self.widths), y=heights, name=way, legendgroup=way, showlegend=row == 1, line=line)
                figure.add_trace(trace, row=row, col=1)
        figure.update_xaxes(title_text="posterior deviation of users", row=len(metrics), col=1)
        figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.12, "yanchor": "top"})
        figure.update_annotations(font={"size": 13, "color": NEUTRAL})
        return house_style(figure, height=300 * len(metrics) + 80)


def one_step(
    widths: Sequence[float] = (0.1, 0.3, 0.6, 1.0),
    *,
    worlds: int = 20,
    users: int = 200,
    items: int = 200,
    groups: int = 20,
    dim: int = 8,
    k: int = 10,
    confidence: float = 1.0,
) -> OneStep:
    """Slates from a posterior that is right by construction.

    Args:
        widths: posterior deviations of users, in each coordinate; items have a third of it.
        worlds: how many independent ones.
        users: in each.
        items: in each.
        groups: in each.
        dim: length of vectors.
        k: items a slate.
        confidence: what draws divide the deviations by: above 1, the recommender is surer than it may be.

    Raises:
        ValueError: if there are no widths or worlds, or confidence is not above 0.
    """
    if not widths or worlds < 1 or confidence <= 0:
        raise ValueError(f"one_step needs widths, worlds and a confidence above 0, got {widths}, {worlds}, {confidence}")
    measured: dict[str, dict[str, list[list[float]]]] = {way: {metric: [] for metric in LABELS} for way in WAYS}
    for width in widths:
        columns: dict[str, dict[str, list[float]]] = {way: {metric: [] for metric in LABELS} for way in WAYS}
        for number in range(worlds):
            belief = slate_world(number, users=users, items=items, groups=groups, dim=dim)
            for way, values in _one_world(belief, width, k, confidence, generator("one step", number)).items():
                for metric, value in values.items():
                    columns[way][metric].append(value)
        for way in WAYS:
            for metric in LABELS:
                measured[way][metric].append(columns[way][metric])
    return OneStep(tuple(widths), measured)


def _one_world(belief: SlateWorld, width: float, k: int, confidence: float, draws: torch.Generator) -> dict[str, dict[str, float]]:
    def around(mean: Tensor, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(mean.shape, generator=draws)

    def drawn(shrink: float = 1.0) -> Tensor:
        users, vectors = around(belief.start, width / shrink), around(belief.item_vectors, width / 3 / shrink)
        return belief.sharpness * score_all(users, vectors)

    truth = drawn()
    truth[:, :FIRST_ITEM] = -torch.inf
    believed = belief.worth(belief.start)
    popular = top_items(believed.softmax(1).mean(0), k).expand(len(truth), k)
    slates = {
        "greedy": top_items(believed, k),
        "thompson": top_items(drawn(confidence), k),
        "in-slate": in_slate(torch.stack([drawn(confidence) for _ in range(k)])),
        "popular": popular,
        "random": random_slates(len(truth), belief.num_items, k, draws),
        "best": top_items(truth, k),
    }
    return {
        way: {
            "click_rate": float(belief.click_rate(found, truth).mean()),
            "groups": float(groups_in_list(found, belief.item_group).mean()),
            "distance": float(intra_list_distance(found, belief.item_vectors).mean()) if k > 1 else 0.0,
            "coverage": coverage(found, belief.num_items),
        }
        for way, found in slates.items()
    }


@dataclass(frozen=True)
class Coldness:
    """Mean-field posteriors of users' places beside the exact ones.

    Attributes:
        temperatures: of the likelihood.
        exact: mean exact posterior deviation.
        fitted: mean fitted deviation, by temperature.
        error: mean distance between fitted and exact means, in exact deviations, by temperature.
        covered: the share of coordinates of the true place within 1.96 fitted deviations of the fitted mean, by temperature; the exact
            posterior's own is last.
    """

    temperatures: tuple[float, ...]
    exact: float
    fitted: tuple[float, ...]
    error: tuple[float, ...]
    covered: tuple[float, ...]

    def table(self) -> dict[str, list]:
        """One row a temperature, and one for the exact posterior."""
        columns = [
            "likelihood temperature",
            "deviation",
            "beside the exact one",
            "error of the mean, in exact deviations",
            "95 % intervals cover",
        ]
        rows = [
            [f"{t:g}", f"{sd:.3f}", f"{sd / self.exact:.2f}", f"{error:.2f}", f"{cover:.0%}"]
            for t, sd, error, cover in zip(self.temperatures, self.fitted, self.error, self.covered, strict=False)
        ]
        return {"columns": columns, "rows": [*rows, ["exact, on a grid", f"{self.exact:.3f}", "1", "0", f"{self.covered[-1]:.0%}"]]}


def cold_posteriors(
    temperatures: Sequence[float] = (1.0, 0.1, 0.026, 0.01),
    *,
    users: int = 50,
    items: int = 40,
    slates: int = 10,
    k: int = 6,
    fit_steps: int = 150,
    grid: int = 41,
    seed: int = 0,
) -> Coldness:
    """Hold mean-field posteriors of users' places against the exact ones.

    Args:
        temperatures: of the likelihood.
        users: whose places in a plane are to be found; they stay there.
        items: known.
        slates: of random items, seen by each user.
        k: items a slate.
        fit_steps: gradient steps of each fit.
        grid: points a side.
        seed: of everything.

    Raises:
        ValueError: if a size is not positive.
    """
    if min(users, items, slates, k, fit_steps, grid) < 1:
        raise ValueError("users, items, slates, k, fit_steps and grid must be at least 1")
    world = slate_world(seed, users=users, items=items, groups=1, dim=2, spread=1.0, keep=1.0, no_click=-3.0)
    draws = generator("cold posteriors", seed)
    place = torch.randn(users, 2, generator=draws)
    world = SlateWorld(world.item_vectors, world.item_group, place, "linear", world.latents, world.sharpness, world.no_click)
    log = world.logged(slates, k, 0.0, draws)
    mean, deviation = _on_a_grid(world, log, grid)
    fitted, error, covered = [], [], []
    for temperature in temperatures:
        found, sd = _fit_places(world, log, temperature, fit_steps, seed)
        fitted.append(float(sd.mean()))
        error.append(float(((found - mean) / deviation).abs().mean()))
        covered.append(_covered(place, found, sd))
    covered.append(_covered(place, mean, deviation))
    return Coldness(tuple(temperatures), float(deviation.mean()), tuple(fitted), tuple(error), tuple(covered))


def _log_likelihood(world: SlateWorld, log: SlateLog, place: Tensor) -> Tensor:
    """[..., N] of users who stand at `place` [..., N, 2]."""
    bias = torch.full((log.slate.shape[2] + 1,), world.no_click)
    position = place.unsqueeze(-2).expand(*place.shape[:-1], log.slate.shape[1], 2)
    slate = log.slate.expand(*position.shape[:-1], log.slate.shape[2])
    scores = slate_scores(slate, position, world.item_vectors, bias, multiplier=world.sharpness)
    return slate_log_likelihood(scores, log.click_position.expand(position.shape[:-1])).sum(-1)


def _on_a_grid(world: SlateWorld, log: SlateLog, points: int) -> tuple[Tensor, Tensor]:
    """[N, 2] exact posterior means and deviations under the prior N(0, 1)."""
    axis = torch.linspace(-4, 4, points)
    cells = torch.cartesian_prod(axis, axis)
    log_p = torch.stack([_log_likelihood(world, log, cell.expand(len(log), 2)) for cell in cells])
    weight = (log_p - 0.5 * cells.square().sum(1, keepdim=True)).softmax(0)
    mean = weight.T @ cells
    return mean, (weight.T @ cells.square() - mean.square()).clamp(min=1e-12).sqrt()


def _fit_places(world: SlateWorld, log: SlateLog, temperature: float, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """[N, 2] mean-field means and deviations of all users, by the ELBO with 2 particles."""
    field = MeanField({"place": torch.zeros(len(log), 2)}, {"place": 0.3}, max_scale=2.0)
    optimiser = torch.optim.Adam(field.parameters(), lr=0.1)
    draws = generator("fit places", seed)
    for _ in range(steps):
        particles = []
        for _ in range(2):
            place = field.draw(draws)["place"]
            likelihood = _log_likelihood(world, log, place).sum() / temperature
            particles.append({"place": -0.5 * place.square().sum(), "clicks": likelihood})
        optimiser.zero_grad()
        (-elbo(particles, field.entropy())).backward()
        optimiser.step()
    return field.mean("place").detach(), field.scale("place").detach()


def _covered(truth: Tensor, mean: Tensor, deviation: Tensor) -> float:
    return float(((truth - mean).abs() < 1.96 * deviation).float().mean())
