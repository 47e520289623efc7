r"""The memorising predictor M: "the task is one of the D that were trained on" (arXiv 2506.17859).

M is the Bayesian whose prior is the uniform distribution over the training tasks. It is the best possible predictor of training
sequences, and it never learns a task that is not in its table. One function a setting, each over all sequences and all positions at
once: the released code broadcasts to [n, C, D, V] and loops over positions, here two matrix products do it.

Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/models.py`: `BayesianAveragingCategoricalSequence`, `dMMSERegression`,
`LabelMemorizingClassification`, pinned by their reference vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hierlab.checks import check_range
from hierlab.theory.sizes import check_sizes, check_tasks_are_distributions, check_tensor
from hierlab.trace import recording, show

FLOOR = 1e-5
"""Probabilities of labels are kept this far away from 0 and 1, as in the released code."""


def memorised_urns(tasks: Tensor, draws: Tensor) -> Tensor:
    r"""Log-probabilities of the next ball, if the urn is one of the training urns.

    $$p(v\mid x_{\le t})=\sum_d\mathrm{softmax}_d\Bigl(\sum_{i\le t}\log w_d[x_i]\Bigr)\,w_d[v]$$

    Args:
        tasks: [D, V] the urns, one distribution a row.
        draws: [n, C + 1] the start token, whose id is V, then C balls.

    Returns:
        [n, C + 1, V] log-probabilities, position 0 before any ball. A ball that no urn holds has the logarithm of the smallest
        positive number and not minus infinity, and a context that no urn can have produced counts for the urns that miss least of it.

    Raises:
        ValueError: if a row of `tasks` is no distribution, or `draws` has not the start token first and balls below V behind it.
    """
    check_tasks_are_distributions(tasks)
    counts = ball_counts(draws, tasks.shape[1], tasks.dtype)
    tiny = torch.finfo(tasks.dtype).tiny
    log_likelihood = counts @ tasks.clamp_min(tiny).log().T  # [n, C + 1, D]
    posterior = log_likelihood.softmax(-1)
    if recording():
        show("log-likelihood of each urn", log_likelihood[0], r"\sum_{i \le t} \log w_d[x_i]")
        show("posterior over urns", posterior[0], r"\mathrm{softmax}_d")
    predicted = posterior @ tasks
    show("M: next ball", predicted[0], r"\sum_d p(d) w_d[v]")
    return predicted.clamp_min(tiny).log()


def ball_counts(draws: Tensor, alphabet: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """How often each ball was drawn up to each position.

    Args:
        draws: [n, C + 1] as in `memorised_urns`.
        alphabet: V.
        dtype: of the counts.

    Returns:
        [n, C + 1, V], zeros at position 0.

    Raises:
        ValueError: as `memorised_urns`.
    """
    check_tensor("draws", draws, "[n, C + 1]", floating=False)
    if not (draws[:, 0] == alphabet).all():
        raise ValueError(f"every sequence must begin with the start token, whose id is the number of balls, {alphabet}")
    balls = draws[:, 1:]
    if balls.numel() and (int(balls.min()) < 0 or int(balls.max()) >= alphabet):
        raise ValueError(f"balls must be numbered 0 to {alphabet - 1}, got {int(balls.min())} to {int(balls.max())}")
    return torch.nn.functional.pad(one_hot(balls, alphabet).to(dtype).cumsum(1), (0, 0, 1, 0))


def memorised_regression(tasks: Tensor, xs: Tensor, ys: Tensor, noise_variance: float) -> Tensor:
    r"""Predicted values if the weights are those of one of the training tasks (the discrete minimum-mean-square-error predictor).

    The posterior over tasks before position t is proportional to $\exp(-\mathrm{SSE}_d/(2\sigma^2))$ over the pairs before t.

    Args:
        tasks: [D, d] the weights, one task a row.
        xs: [n, C, d] inputs.
        ys: [n, C] outputs; a prediction uses those before its position.
        noise_variance: $\sigma^2$, positive.

    Returns:
        [n, C] predictions; the first is that of the mean of all tasks.

    Raises:
        ValueError: if shapes do not fit or the variance is not positive.
    """
    check_tensor("tasks", tasks, "[D, d]")
    check_regression(xs, ys, tasks.shape[1], noise_variance)
    guesses = xs.to(tasks.dtype) @ tasks.T  # [n, C, D]
    squared = (ys.to(tasks.dtype)[..., None] - guesses).square()
    posterior = (-_sum_before(squared) / (2 * noise_variance)).softmax(-1)
    if recording():
        show("posterior over tasks", posterior[0], r"\mathrm{softmax}_d(-SSE_d / 2\sigma^2)")
    return show("M: prediction", (posterior * guesses).sum(-1), r"\sum_d p(d) w_d \cdot x_t")


def check_regression(xs: Tensor, ys: Tensor, dims: int, noise_variance: float) -> None:
    """Refuse sequences that do not fit together or the tasks.

    Raises:
        ValueError: naming the shapes.
    """
    check_tensor("xs", xs, "[n, C, d]")
    check_tensor("ys", ys, "[n, C]")
    if xs.shape[2] != dims or xs.shape[:2] != ys.shape:
        raise ValueError(f"with tasks of {dims} dimensions xs must be [n, C, {dims}] and ys [n, C], got {[*xs.shape]} and {[*ys.shape]}")
    check_positive("noise_variance", noise_variance)


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not positive and finite.

    Raises:
        ValueError: naming it.
    """
    check_range(name, value, 0)
    if value == 0:
        raise ValueError(f"{name} must be positive, got 0")


def _sum_before(x: Tensor) -> Tensor:
    """Sums along dimension 1 over what stands before each position. Same shape."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1].cumsum(1)], 1)


def memorised_classification(tasks: Tensor, pairs: Tensor, within_class_variance: float, labels: int = 2) -> Tensor:
    r"""Log-probabilities of the query's label, if the query is a noisy copy of one of the D training items.

    Weights over the items are $\mathrm{softmax}_d\bigl[-\tfrac{d}{2\sigma^2}\lVert\sqrt{1+\sigma^2}\,q-\mathrm{item}_d\rVert^2\bigr]$.

    Args:
        tasks: [D, d + 1] the training items with their label in the last column.
        pairs: [n, C, d + 1] the context, then the query in the last row; M does not look at the context.
        within_class_variance: $\sigma^2$, positive.
        labels: how many there are.

    Returns:
        [n, labels] log-probabilities, kept within [1e-5, 1 - 1e-5] before the logarithm.

    Raises:
        ValueError: if shapes do not fit, a label is not one of 0 to `labels` - 1, or the variance is not positive.
    """
    check_pairs(pairs, within_class_variance, labels)
    check_tensor("tasks", tasks, "[D, d + 1]")
    if tasks.shape[1] != pairs.shape[2]:
        raise ValueError(f"tasks and pairs must have the same columns, got {tasks.shape[1]} and {pairs.shape[2]}")
    query, items = pairs[:, -1, :-1], tasks[:, :-1]
    distance = squared_distances((1 + within_class_variance) ** 0.5 * query[:, None], items[None])  # [n, 1, D]
    weight = (-query.shape[1] / (2 * within_class_variance) * distance[:, 0]).softmax(-1)
    share = show("M: weights of the items", weight, r"\mathrm{softmax}_d") @ label_table("tasks", tasks[:, -1], labels, weight.dtype)
    return show("M: label", share, r"\sum_d p(d) 1[label_d]").clamp(FLOOR, 1 - FLOOR).log()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances between rows, without the cancellation of the expanded square. [..., i, k], [..., j, k] -> [..., i, j]"""
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1)


def label_table(name: str, column: Tensor, labels: int, dtype: torch.dtype) -> Tensor:
    """Labels as rows of 0 and 1. [...] -> [..., labels]

    Raises:
        ValueError: if one is not a whole number from 0 to `labels` - 1.
    """
    known = (column == column.round()) & (column >= 0) & (column < labels)
    if not known.all():
        raise ValueError(f"labels of {name} must be whole numbers from 0 to {labels - 1}, got {float(column[~known][0]):g}")
    return one_hot(column.long(), labels).to(dtype)


def check_pairs(pairs: Tensor, within_class_variance: float, labels: int) -> None:
    """Refuse sequences of pairs without a context or a feature.

    Raises:
        ValueError: saying what is missing.
    """
    check_tensor("pairs", pairs, "[n, C, d + 1]")
    check_positive("within_class_variance", within_class_variance)
    check_sizes(2, labels=labels, **{"columns of pairs": pairs.shape[2], "rows of pairs": pairs.shape[1]})
