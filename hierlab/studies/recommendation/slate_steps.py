"""One user of a fitted slate model, step by step, and pictures of what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.lab.figures import COLOURS, GRID, NEUTRAL, house_style
from hierlab.recommendation.amortised_state import Variant, amortised_state
from hierlab.recommendation.slate_likelihood import score_all, slate_log_likelihood, slate_scores
from hierlab.recommendation.slate_model import SlateModel
from hierlab.recommendation.slates import FIRST_ITEM, SlateLog, item_views
from hierlab.recommendation.thompson import in_slate, top_items
from hierlab.recommendation.user_state import UserModel, user_path
from hierlab.seeds import generator
from hierlab.trace import Tape, show

if TYPE_CHECKING:
    import plotly.graph_objects as go


def walk(
    model: SlateModel,
    log: SlateLog,
    user: int,
    *,
    k: int = 5,
    moves: UserModel = "gru",
    variant: Variant = "official",
    temperature: float = 1.0,
) -> Tensor:
    """Take one user through the model, narrated: slates, start, state, scores, probabilities, draws, the merged slate.

    Args:
        model: a fitted GRU model, whose linear user's gamma it has as well.
        log: what users did.
        user: whose row.
        k: places of the slate recommended in the end.
        moves: how the user moves.
        variant: of the amortised start.
        temperature: multiplies the posterior's deviations.

    Returns:
        [k] the in-slate Thompson slate.
    """
    slate, click, position = log.slate[user], log.click[user], log.click_position[user]
    latents = model.latents()
    show("slates, by step", slate, r"1:\text{no click},\ 0:\text{padding}")
    show("clicked entry", position, r"0:\text{no click}")
    vectors = latents["item_vectors"]
    mean, deviation = amortised_state(click, vectors, log.train[user], factor=model.start_factor_, variant=variant)
    path = user_path(moves, click, vectors, mean, latents)
    scores = slate_scores(slate, path[:-1], vectors, latents["no_click_bias"], kind=model.score)
    slate_log_likelihood(scores, position)
    show("greedy slate", top_items(score_all(path[-1:], vectors, model.score)[0], k), r"\text{top }K\text{ at the posterior means}")
    draws = generator("walk", user)
    return in_slate(torch.stack([_drawn_scores(model, click, mean, deviation, moves, temperature, draws) for _ in range(k)]))


def _drawn_scores(
    model: SlateModel, click: Tensor, mean: Tensor, deviation: Tensor, moves: UserModel, temperature: float, draws: torch.Generator
) -> Tensor:
    latents = model.latents(draws, temperature=temperature)
    start = mean + temperature * deviation * torch.randn(mean.shape, generator=draws)
    with Tape():  # the draws' own paths are not part of the narration
        end = user_path(moves, click, latents["item_vectors"], start, latents)[-1:]
    return score_all(end, latents["item_vectors"], model.score)[0]


def paths_figure(model: SlateModel, log: SlateLog, user: int, item_group: Tensor) -> go.Figure:
    """One user's path among the item vectors, in the plane in which the items differ most."""
    import plotly.graph_objects as go

    latents = model.latents()
    items = latents["item_vectors"][FIRST_ITEM:]
    centre = items.mean(0)
    plane = torch.linalg.svd(items - centre, full_matrices=False).Vh[:2].T
    flat = ((items - centre) @ plane).tolist()
    groups = item_group[FIRST_ITEM:].tolist()
    figure = go.Figure()
    colours = [COLOURS[g % len(COLOURS)] for g in groups]
    x, y = ([round(p[axis], 3) for p in flat] for axis in (0, 1))
    look = {"color": colours, "size": 6, "opacity": 0.55}
    figure.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=look, name="items", text=[f"group {g}" for g in groups]))
    start = model.start(log)[user]
    for number, moves in enumerate(("linear", "gru")):
        path = ((user_path(moves, log.click[user], latents["item_vectors"], start, latents) - centre) @ plane).tolist()
        x, y = ([round(p[axis], 3) for p in path] for axis in (0, 1))
        line = {"color": COLOURS[6 - 6 * number], "width": 2}
        texts = [f"before step {t}" for t in range(len(path))]
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", line=line, name=f"the user, {moves}", text=texts))
    clicked = log.click[user][log.click[user] >= FIRST_ITEM]
    spots = ((latents["item_vectors"][clicked] - centre) @ plane).tolist()
    look = {"symbol": "circle-open", "size": 13, "color": NEUTRAL, "line": {"width": 2}}
    x, y = ([round(p[axis], 3) for p in spots] for axis in (0, 1))
    figure.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=look, name="clicked"))
    axis = {"showticklabels": False, "zeroline": False}
    figure.update_layout(xaxis=axis, yaxis=axis, legend={"orientation": "h", "x": 0, "y": -0.05, "yanchor": "top"})
    return house_style(figure, height=460)


def views_figure(models: Mapping[str, SlateModel], log: SlateLog, item_group: Tensor) -> go.Figure:
    """Posterior deviation of each item's vector, and its distance from its group's mean, against how often it was shown."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    views = item_views(log, len(item_group))[FIRST_ITEM:]
    jitter = torch.rand(len(views), generator=generator("jitter")) - 0.5
    x = [round(v, 2) for v in (views + 0.5 * jitter).tolist()]
    titles = ["posterior deviation of an item's vector", "distance from the group's mean"]
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.14, shared_xaxes=True)
    for number, (name, model) in enumerate(models.items()):
        latents = model.latents()
        centres = latents["group_vectors"][item_group if len(latents["group_vectors"]) > 1 else torch.zeros_like(item_group)]
        deviation = model.posterior_.scale("item_vectors").detach().mean(1)[FIRST_ITEM:]
        distance = (latents["item_vectors"] - centres).norm(dim=1)[FIRST_ITEM:]
        for row, values in enumerate((deviation, distance), start=1):
            look = {"color": COLOURS[number], "size": 5, "opacity": 0.6}
            y = [float(f"{v:.3g}") for v in values.tolist()]
            trace = go.Scatter(x=x, y=y, mode="markers", marker=look, name=name, legendgroup=name, showlegend=row == 1)
            figure.add_trace(trace, row=row, col=1)
    figure.update_xaxes(title_text="times shown in training", row=2, col=1)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL})
    return house_style(figure, height=560)


def elbo_figure(model: SlateModel, points: int = 60) -> go.Figure:
    """The terms of the ELBO during the fit; a line marks where the second phase begins."""
    import plotly.graph_objects as go

    history = model.history_
    every = max(1, len(history) // points)
    steps = list(range(0, len(history), every))
    figure = go.Figure()
    names = {"elbo": "ELBO", "clicks": "log-likelihood / temperature", "log_prior": "log prior", "entropy": "entropy"}
    for number, (key, name) in enumerate(names.items()):
        y = [float(f"{history[s][key]:.4g}") for s in steps]
        figure.add_trace(go.Scatter(x=steps, y=y, name=name, line={"color": COLOURS[number], "width": 2}))
    if model.phases == 2 and model.user in ("gru", "lin-gru"):
        figure.add_vline(x=len(history) // 2, line={"color": GRID, "width": 2, "dash": "dot"})
    late = [history[s][key] for s in steps[len(steps) // 5 :] for key in names]
    low, high = min(late), max(late)
    figure.update_layout(
        xaxis={"title": {"text": "gradient step"}},
        yaxis={"title": {"text": "nats"}, "range": [low - 0.1 * (high - low), high + 0.1 * (high - low)]},
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
    )
    return house_style(figure, height=420)
