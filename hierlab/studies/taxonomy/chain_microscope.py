r"""HierVerb's losses against what is known exactly: true probabilities on a tree, and which rows share a label.

A loss is *proper* if the truth minimises its expectation. With true leaf probabilities written down by hand, expectations are sums over
the leaves, so whether the paper's chain and the released one are proper, and where their minima lie otherwise, is computed and not argued.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.lab.figures import COLOURS, NEUTRAL, house_style
from hierlab.seeds import generator
from hierlab.taxonomy import LabelTree, constraint_chain, flat_contrast, single_path
from hierlab.taxonomy.flat_contrast import cosines

if TYPE_CHECKING:
    import plotly.graph_objects as go

VARIANTS = {"paper": "paper", "official": "released code"}
_LEGEND = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}


def pairs_tree(parents: int) -> LabelTree:
    """A tree in which every parent has one child: the smallest on which a chain of two levels can be seen."""
    return LabelTree.from_paths([(f"parent {i}", f"child {i}") for i in range(parents)])


def star_tree(parents: int, children: int) -> LabelTree:
    """A tree of `parents` roots with so many `children` each."""
    return LabelTree.from_paths([(f"parent {i}", f"child {i}.{j}") for i in range(parents) for j in range(children)])


def expected_chain(tree: LabelTree, leaf_logits: Tensor, truth: Tensor, variant: str) -> Tensor:
    """The chain's loss in expectation over the true leaf. A scalar

    Args:
        tree: two levels.
        leaf_logits: [leaves] the classifier's.
        truth: [leaves] the true probabilities.
        variant: as in `constraint_chain`.
    """
    above = leaf_logits.new_zeros(1, len(tree.levels[0]))
    losses = [constraint_chain(tree, [above, leaf_logits[None]], single_path(tree, [leaf]), variant=variant) for leaf in tree.leaves]
    return (truth * torch.stack(losses)).sum()


@dataclass(frozen=True)
class Properness:
    """How far a chain is from proper, on one tree with one true distribution.

    Attributes:
        gradient: length of the expected gradient at the truth; 0 for a proper loss.
        distance: total variation between the parents' true probabilities and those that minimise the expected loss.
        largest_true, largest_found: the largest parent probability, true and at the minimum.
    """

    gradient: float
    distance: float
    largest_true: float
    largest_found: float


def properness(tree: LabelTree, truth: Tensor, variant: str, *, steps: int = 100) -> Properness:
    """Descend the expected loss from the truth and see where it leads.

    Args:
        tree: two levels.
        truth: [leaves] true probabilities, all above 0.
        variant: as in `constraint_chain`.
        steps: iterations of L-BFGS, at most.
    """
    z = truth.log().clone().requires_grad_()
    (slope,) = torch.autograd.grad(expected_chain(tree, z, truth, variant), z)
    optimiser = torch.optim.LBFGS([z], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = expected_chain(tree, z, truth, variant)
        loss.backward()
        return loss

    optimiser.step(closure)
    found, true = tree.pooled(z.detach().softmax(0), 1), tree.pooled(truth, 1)
    return Properness(float(slope.norm()), float((found - true).abs().sum() / 2), float(true.max()), float(found.max()))


def random_truth(tree: LabelTree, *seed: int | str) -> Tensor:
    """Leaf probabilities drawn as a softmax of normal numbers. [leaves]"""
    return torch.randn(len(tree.leaves), dtype=torch.float64, generator=generator("chain microscope", *seed)).softmax(0)


def second_softmax(parents: int = 21, points: int = 25) -> go.Figure:
    """Loss and gradient of both chains against the probability of the right parent, the others sharing the rest."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    tree = pairs_tree(parents)
    q = torch.linspace(0.005, 0.995, points, dtype=torch.float64)
    titles = ["loss", "length of the gradient at the leaves' logits"]
    figure = make_subplots(rows=2, cols=1, subplot_titles=titles, vertical_spacing=0.14)
    for number, (variant, name) in enumerate(VARIANTS.items()):
        losses, slopes = zip(*(_loss_and_slope(tree, float(share), variant) for share in q), strict=True)
        line = {"color": COLOURS[number], "width": 2}
        for row, values in ((1, losses), (2, slopes)):
            y = [float(f"{value:.4g}") for value in values]
            x = [round(float(share), 4) for share in q]
            figure.add_trace(go.Scatter(x=x, y=y, name=name, line=line, showlegend=row == 1, legendgroup=name), row=row, col=1)
    figure.update_xaxes(title_text="probability of the right parent", row=2, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.14})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left")
    return house_style(figure, height=560)


def _loss_and_slope(tree: LabelTree, share: float, variant: str) -> tuple[float, float]:
    z = _family(len(tree.leaves), torch.tensor(share, dtype=torch.float64)).log().requires_grad_()
    loss = constraint_chain(tree, [torch.zeros_like(z)[None], z[None]], single_path(tree, [tree.leaves[0]]), variant=variant)
    (slope,) = torch.autograd.grad(loss, z)
    return float(loss.detach()), float(slope.norm())


def _family(size: int, share: Tensor) -> Tensor:
    """One label has `share`, the others have equal parts of the rest. [size]"""
    rest = (1 - share) / (size - 1)
    return torch.cat([share[None], rest.expand(size - 1)])


def minimisers(parents: int = 21, points: int = 41, grid: int = 101) -> go.Figure:
    """What probability each chain asks for, against the true one: the minimum of the expected loss over one label's share."""
    import plotly.graph_objects as go

    tree = pairs_tree(parents)
    asked = torch.linspace(1e-6, 1 - 1e-6, grid, dtype=torch.float64)
    truth = torch.linspace(0.02, 0.98, points, dtype=torch.float64)
    figure = go.Figure()
    for number, (variant, name) in enumerate(VARIANTS.items()):
        right, wrong = (torch.tensor([_chain_loss(tree, share, leaf, variant) for share in asked]) for leaf in (0, 1))
        expected = truth[:, None] * right[None] + (1 - truth[:, None]) * wrong[None]
        y = [round(float(asked[i]), 4) for i in expected.argmin(1)]
        line = {"color": COLOURS[number], "width": 2}
        figure.add_trace(go.Scatter(x=[round(float(t), 4) for t in truth], y=y, name=name, line=line, mode="lines+markers"))
    figure.update_layout(
        xaxis={"title": {"text": "true probability of a parent"}},
        yaxis={"title": {"text": "probability that minimises the loss"}, "range": [-0.03, 1.03]},
        legend=_LEGEND,
    )
    return house_style(figure, height=420)


def _chain_loss(tree: LabelTree, share: Tensor, leaf: int, variant: str) -> float:
    z = _family(len(tree.leaves), share).log()[None]
    return float(constraint_chain(tree, [torch.zeros_like(z), z], single_path(tree, [tree.leaves[leaf]]), variant=variant))


KINDS = ("two views of a text", "same leaf", "same root, another leaf", "strangers")


def contrast_alone(variant: str, *, seed: int = 0, width: int = 16, steps: int = 60, length: float = 0.5) -> dict[str, list[float]]:
    """Descend the contrastive loss alone from random states: the mean cosine at the deepest mask of each kind of pair, step by step.

    Twelve texts in two views, two to a leaf, in a tree of three roots with two leaves each. Steps have one length in both variants.
    """
    tree = star_tree(3, 2)
    leaves = [leaf for leaf in tree.leaves for _ in range(4)]
    labels = single_path(tree, leaves)
    drawing = generator("contrast alone", seed)
    texts = torch.randn(len(leaves) // 2, 2, width, dtype=torch.float64, generator=drawing).repeat_interleave(2, 0)
    states = texts + 0.3 * torch.randn(texts.shape, dtype=torch.float64, generator=drawing)
    states = (states / states.norm(dim=-1, keepdim=True)).requires_grad_()
    kinds = _pair_kinds(labels)
    curves: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(steps + 1):
        similar = cosines(states.detach())[-1]
        for kind, mask in zip(KINDS, kinds, strict=True):
            curves[kind].append(float(similar[mask].mean()))
        (slope,) = torch.autograd.grad(flat_contrast(states, labels, variant=variant), states)
        states = (states - length * slope / slope.norm().clamp(min=1e-12)).detach().requires_grad_()
    return curves


def _pair_kinds(labels: list[Tensor]) -> list[Tensor]:
    rows = torch.arange(len(labels[0]))
    views = (rows[:, None] // 2 == rows[None, :] // 2) & (rows[:, None] != rows[None, :])
    root, leaf = (label[:, None] == label[None, :] for label in labels)
    apart = rows[:, None] // 2 != rows[None, :] // 2
    return [views, leaf & apart, root & ~leaf, ~root]


def contrast_figure(seeds: int = 3, steps: int = 40) -> go.Figure:
    """`contrast_alone` of both variants, mean over seeds."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, subplot_titles=list(VARIANTS.values()), vertical_spacing=0.14)
    for row, variant in enumerate(VARIANTS, start=1):
        runs = [contrast_alone(variant, seed=seed, steps=steps) for seed in range(seeds)]
        for number, kind in enumerate(KINDS):
            y = [float(f"{sum(values) / seeds:.3g}") for values in zip(*(run[kind] for run in runs), strict=True)]
            line = {"color": COLOURS[number], "width": 2}
            figure.add_trace(go.Scatter(y=y[::2], x=list(range(0, len(y), 2)), name=kind, line=line, showlegend=row == 1), row=row, col=1)
        figure.update_yaxes(title_text="cosine", range=[-1.05, 1.05], row=row, col=1)
    figure.update_xaxes(title_text="steps", row=2, col=1)
    figure.update_layout(legend={**_LEGEND, "y": -0.14})
    figure.update_annotations(font={"size": 13, "color": NEUTRAL}, x=0, xanchor="left")
    return house_style(figure, height=560)
