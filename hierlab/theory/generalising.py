r"""The generalising predictor G: "the task comes from the true prior" (arXiv 2506.17859).

G knows the distribution that tasks are drawn from and nothing about which D were drawn. It does as well on a fresh task as on a
trained one. One function a setting, over all sequences and positions at once.

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/models.py`: `PosteriorMeanCategoricalSequence`, `RidgeRegression`,
`CopyingClassification`, pinned by their reference vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hierlab.theory.memorising import (
    FLOOR,
    ball_counts,
    check_pairs,
    check_positive,
    check_regression,
    label_table,
    squared_distances,
)
from hierlab.theory.sizes import check_tensor
from hierlab.trace import recording, show


def generalised_urns(concentration: Tensor | Sequence[float], draws: Tensor) -> Tensor:
    r"""Log-probabilities of the next ball under a Dirichlet prior over urns: $(\mathrm{count}_v+a_v)/(t+\sum a)$.

    Args:
        concentration: [V] the prior's parameters $a$, positive; of ones for urns drawn uniformly from the simplex.
        draws: [n, C + 1] the start token, whose id is V, then C balls.

    Returns:
        [n, C + 1, V] log-probabilities, position 0 before any ball, in the precision of `concentration`.

    Raises:
        ValueError: if a parameter is not positive, or `draws` has not the start token first and balls below V behind it.
    """
    prior = torch.as_tensor(concentration, device=draws.device)
    prior = prior if prior.is_floating_point() else prior.to(torch.float64)
    check_tensor("concentration", prior, "[V]")
    if not (prior > 0).all():
        raise ValueError(f"every concentration must be positive, got {float(prior[prior <= 0][0]):g}")
    counts = ball_counts(draws, len(prior), prior.dtype) + prior
    if recording():
        show("pseudo-counts", counts[0], r"count_v + a_v")
    predicted = counts / counts.sum(-1, keepdim=True)
    show("G: next ball", predicted[0], r"(count_v + a_v) / (t + \sum a)")
    return predicted.log()


def generalised_regression(xs: Tensor, ys: Tensor, noise_variance: float, prior: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    r"""Ridge regression on the pairs before each position, with penalty $\sigma^2$ / prior variance.

    Args:
        xs: [n, C, d] inputs.
        ys: [n, C] outputs; a prediction uses those before its position.
        noise_variance: $\sigma^2$, positive.
        prior: mean and variance of the prior over weights. As in the released code the mean is the first prediction and nothing
            else: later ones shrink to 0 whatever it is, which makes them Bayesian for mean 0 only.

    Returns:
        [n, C] predictions.

    Raises:
        ValueError: if shapes do not fit or a variance is not positive.
    """
    check_tensor("xs", xs, "[n, C, d]")
    check_regression(xs, ys, xs.shape[2], noise_variance)
    mean, variance = prior
    check_positive("the prior's variance", variance)
    ys = ys.to(xs.dtype)
    outer = (xs[..., :, None] * xs[..., None, :])[:, :-1].cumsum(1)  # [n, C - 1, d, d]
    cross = (xs * ys[..., None])[:, :-1].cumsum(1)
    penalty = noise_variance / variance * torch.eye(xs.shape[2], dtype=xs.dtype, device=xs.device)
    weights = torch.linalg.solve(outer + penalty, cross)
    if recording():
        show("ridge weights", weights[0], r"(X^T X + \sigma^2 I)^{-1} X^T y")
    later = (weights * xs[:, 1:]).sum(-1)
    return show("G: prediction", torch.cat([torch.full_like(ys[:, :1], mean), later], 1), r"w_t \cdot x_t")


def generalised_classification(pairs: Tensor, within_class_variance: float, labels: int = 2) -> Tensor:
    r"""Log-probabilities of the query's label, if the query is another noisy copy of an item of the context.

    With $u=1+\sigma^2$ the weights over the context are
    $\mathrm{softmax}_j\bigl[-\tfrac{d\,u^2}{2\sigma^2(2+\sigma^2)}\lVert q-c_j/u\rVert^2\bigr]$.

    Args:
        pairs: [n, C, d + 1] the context with labels in the last column, then the query, whose label is not looked at.
        within_class_variance: $\sigma^2$, positive.
        labels: how many there are.

    Returns:
        [n, labels] log-probabilities, kept within [1e-5, 1 - 1e-5] before the logarithm.

    Raises:
        ValueError: if there is no context, a label is not one of 0 to `labels` - 1, or the variance is not positive.
    """
    check_pairs(pairs, within_class_variance, labels)
    query, context, shrink = pairs[:, -1:, :-1], pairs[:, :-1, :-1], 1 + within_class_variance
    scale = query.shape[2] * shrink**2 / (2 * within_class_variance * (2 + within_class_variance))
    weight = (-scale * squared_distances(query, context / shrink)[:, 0]).softmax(-1)  # [n, C - 1]
    show("G: weights of the context", weight, r"\mathrm{softmax}_j")
    share = (weight[..., None] * label_table("the context", pairs[:, :-1, -1], labels, weight.dtype)).sum(1)
    return show("G: label", share, r"\sum_j p(j) 1[label_j]").clamp(FLOOR, 1 - FLOOR).log()
