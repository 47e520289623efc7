r"""HGPO's levels against the truth: what each depth of grouping gains, what it costs, and what their mean makes of it.

Many groups of episodes of one policy are played, and the advantage of every level is held against the true one of the row's choice.
Returns are not discounted and differences are not divided by a deviation, so that estimate and truth have one unit and nothing but
the grouping is in the error. Deep groups are often empty of company, so levels are compared on their *common support*: the rows that
have company at the deepest level, and hence at all.

With $d_k$ the error of level $k$ in a row and $c$ the row's choice, two matrices hold all there is to know about weighted means:

$$B_{kl}=E_c\bigl(E[d_k\mid c]\,E[d_l\mid c]\bigr),\qquad V_{kl}=E[d_kd_l]-B_{kl},$$

bias and covariance of the levels. A mean with weights $w$ has the squared bias $w^\top Bw$ and the variance $w^\top Vw$. HGPO's
Proposition 4.1 supposes that $B_{kk}$ falls and $V_{kk}$ rises with depth and that $V_{kl}=0$ off the diagonal; it concludes that
$B_{KK}\le w^\top Bw\le B_{00}$ and $w^\top Vw\le V_{KK}\sum_kw_k^2$.

The products of expectations are estimated from pairs of different groups of episodes, which are independent, so that noise does not
add to the bias. A choice that only one group made has no such pair and is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from hierlab.credit.hgpo import Mean, context_groups, level_advantages, past_groups
from hierlab.lab.testbed import Testbed
from hierlab.ops import Scale, group_ids
from hierlab.ops import group_size as members
from hierlab.rollout.rollouts import Rollouts, estimate
from hierlab.seeds import generator


@dataclass(frozen=True)
class Errors:
    """Errors of L estimators of the same rows.

    Attributes:
        bias: [L, L] the matrix B.
        covariance: [L, L] the matrix V.
        rows: how many rows they were measured in.
    """

    bias: Tensor
    covariance: Tensor
    rows: int

    @property
    def squared_bias(self) -> Tensor:
        """[L] of each estimator; what is 0 in truth may come out below 0."""
        return self.bias.diagonal()

    @property
    def variance(self) -> Tensor:
        """[L] of each estimator."""
        return self.covariance.diagonal()

    @property
    def squared_error(self) -> Tensor:
        """[L] squared bias plus variance."""
        return self.squared_bias + self.variance

    @property
    def correlation(self) -> Tensor:
        """[L, L] of the estimators, given the choice."""
        deviation = self.variance.sqrt()
        return self.covariance / (deviation[:, None] * deviation)

    def of_mean(self, weight: Tensor) -> tuple[float, float]:
        """Squared bias and variance of the mean with these weights. [L]"""
        return float(weight @ self.bias @ weight), float(weight @ self.covariance @ weight)


def errors(estimates: Tensor, truth: Tensor, choice: Tensor, group: Tensor) -> Errors:
    """The errors of L estimators.

    Args:
        estimates: [N, L].
        truth: [N] the true advantage.
        choice: [N] int64; rows of one choice have one truth.
        group: [N] int64; rows of different groups are independent.

    Raises:
        ValueError: if no choice was made in two groups.
    """
    choice, cell = group_ids(choice), group_ids(choice, group)  # a cell: what one group has seen of one choice
    rows, cell_rows = torch.bincount(choice), torch.bincount(cell)
    owner = torch.zeros_like(cell_rows).index_put((cell,), choice)
    pairs = rows**2 - torch.zeros_like(rows).index_add(0, owner, cell_rows**2)  # of rows from different groups, each counted twice
    inside = (pairs > 0)[choice]
    if not inside.any():
        raise ValueError(f"no choice was made in two groups, among {len(truth)} rows: play more groups")
    d = estimates - truth[:, None]
    by_choice, by_cell = (d.new_zeros(len(n), d.shape[1]).index_add(0, number, d) for n, number in ((rows, choice), (cell_rows, cell)))
    weight = (rows / pairs.clamp(min=1) * (pairs > 0))[:, None]  # a choice's mean over its pairs counts once for each of its rows
    n = int(inside.sum())
    bias = (by_choice.T @ (weight * by_choice) - by_cell.T @ (weight[owner] * by_cell)) / n
    return Errors(bias, d[inside].T @ d[inside] / n - bias, n)


def context_levels(
    testbed: Testbed, *, history: int, alphas: Sequence[float] = (0.0, 1.0, 2.0), groups: int = 1000, group_size: int = 8, seed: int = 0
) -> dict[str, float | list[float]]:
    r"""Hold the levels of HGPO against the truth.

    Args:
        testbed: such as `house_testbed(0.5)`.
        history: K, the deepest level.
        alphas: exponents of the paper's weights $(k+1)^\alpha$ under which means are formed.
        groups: number of groups of episodes.
        group_size: episodes in each.
        seed: of the episodes.

    Returns:
        `support`: share of rows with company from another trajectory at the deepest level, in which levels are compared.

        Curves over `depth` (0 to K): `coverage`, share of rows with company; `mixed`, share of these whose group holds different pasts.
        Then, for each way `m` of taking the group's mean (`all`, `other_rows`, `other_trajectories`): `m_squared_bias`, `m_variance`,
        `m_squared_error` on the common support.

        For `all` and `other_trajectories`: `m_least_correlation` of two levels, and over `alpha` the curves `m_mean_squared_bias`,
        `m_mean_variance`, and `m_mean_bound`, what Proposition 4.1 bounds that variance by (with the largest variance of a level).

        Against the paper's oracle, in the rows that have company with the same past (`oracle_support`), means over other trajectories:
        `oracle_squared_bias`, `oracle_variance`, `shallow_squared_bias`, `shallow_variance`, and `true_square`, the mean square of the
        true advantages there.

    Raises:
        ValueError: if an argument is out of range, or there are too few groups for any choice to be met in two of them.
    """
    rollouts = testbed.collect(groups, group_size, generator("context levels", seed))
    rows = _Rows(rollouts, testbed.advantage[rollouts["choice"]])
    context = estimate(rollouts, context_groups, history=history)
    past = estimate(rollouts, past_groups)
    size = torch.stack([members(level) for level in context.unbind(1)], dim=1)
    company = size > 1
    support = rows.others(context[:, -1])
    found: dict[str, float | list[float]] = {
        "support": float(support.double().mean()),
        "depth": list(range(history + 1)),
        "coverage": company.double().mean(0).tolist(),
        "mixed": ((size > members(past)[:, None]).sum(0) / company.sum(0)).tolist(),
        "alpha": list(alphas),
    }
    for mean in get_args(Mean):
        levels = rows.errors(rows.levels(history, mean), support)
        found |= {f"{mean.replace(' ', '_')}_{name}": getattr(levels, name).tolist() for name in PARTS}
        if mean != "other rows":
            found |= {f"{mean.replace(' ', '_')}_{name}": value for name, value in _means(levels, alphas).items()}
    return found | _against_oracle(rows, past)


def one_level(
    rewards: Tensor,
    task: Sequence[Hashable],
    trajectory: Sequence[Hashable],
    turn: Tensor,
    state: Sequence[Any],
    *,
    level: int,
    gamma: float = 0.95,
    scale: Scale = "std",
    mean: Mean = "all",
) -> Tensor:
    """The advantage of one level alone; parameters as in `level_advantages`. [N]"""
    return level_advantages(rewards, task, trajectory, turn, state, history=level, gamma=gamma, scale=scale, mean=mean)[:, level]


def oracle(
    rewards: Tensor,
    task: Sequence[Hashable],
    trajectory: Sequence[Hashable],
    turn: Tensor,
    state: Sequence[Any],
    *,
    gamma: float = 0.95,
    scale: Scale = "std",
    mean: Mean = "all",
) -> Tensor:
    """The advantage among rows that have seen the same since the beginning; parameters as in `level_advantages`. [N]"""
    past = past_groups(task, trajectory, turn, state)
    return one_level(rewards, task, trajectory, turn, past, level=0, gamma=gamma, scale=scale, mean=mean)


PARTS = ("squared_bias", "variance", "squared_error")


class _Rows:
    """Rollouts with the truth about them."""

    def __init__(self, rollouts: Rollouts, truth: Tensor):
        self.rollouts, self.truth, self.group = rollouts, truth, torch.tensor(rollouts.task)
        self.trajectory = group_ids(rollouts.task, rollouts.trajectory)

    def levels(self, history: int, mean: Mean) -> Tensor:
        """[N, K + 1] in units of reward."""
        return estimate(self.rollouts, level_advantages, history=history, gamma=1.0, scale="none", mean=mean)

    def others(self, group: Tensor) -> Tensor:
        """Whether there is another trajectory in the row's group. [N] -> [N] bool"""
        return members(group) > members(group_ids(group, self.trajectory))

    def errors(self, estimates: Tensor, support: Tensor) -> Errors:
        """The errors in some of the rows."""
        return errors(estimates[support], self.truth[support], self.rollouts["choice"][support], self.group[support])


def _means(levels: Errors, alphas: Sequence[float]) -> dict[str, float | list[float]]:
    """What Proposition 4.1 speaks of."""
    depth = torch.arange(1, len(levels.variance) + 1, dtype=torch.float64)
    weights = [depth**alpha / (depth**alpha).sum() for alpha in alphas]
    biases, variances = zip(*map(levels.of_mean, weights), strict=True)
    return {
        "least_correlation": float(levels.correlation.min()),
        "mean_squared_bias": list(biases),
        "mean_variance": list(variances),
        "mean_bound": [float(levels.variance.max() * (weight**2).sum()) for weight in weights],
    }


def _against_oracle(rows: _Rows, past: Tensor) -> dict[str, float]:
    """The shallowest level and groups of equal past, where the latter have another trajectory in them."""
    support = rows.others(past)
    how = {"gamma": 1.0, "scale": "none", "mean": "other trajectories"}
    columns = [estimate(rows.rollouts, one_level, level=0, **how), estimate(rows.rollouts, oracle, **how)]
    both = rows.errors(torch.stack(columns, dim=1), support)
    names = [f"{who}_{part}" for part in PARTS[:2] for who in ("shallow", "oracle")]
    found = dict(zip(names, [*both.squared_bias.tolist(), *both.variance.tolist()], strict=True))
    return found | {"oracle_support": float(support.double().mean()), "true_square": float((rows.truth[support] ** 2).mean())}


class Statement(NamedTuple):
    """One part of Proposition 4.1, one number a seed.

    Attributes:
        measured: what is held against the bar.
        bar: one number, or one a seed.
        direction: on which side of the bar the statement puts what was measured.
    """

    measured: Sequence[float]
    bar: Sequence[float] | float
    direction: Literal["greater", "less"]

    @property
    def gap(self) -> list[float]:
        """By how much it lies on that side."""
        bars = self.bar if isinstance(self.bar, Sequence) else [self.bar] * len(self.measured)
        sign = 1 if self.direction == "greater" else -1
        return [sign * (x - bar) for x, bar in zip(self.measured, bars, strict=True)]


def proposition(found: Mapping[str, Sequence[Any]], mean: str, *, place: int = 1, uncorrelated: float = 0.05) -> dict[str, Statement]:
    """Premises and conclusions of Proposition 4.1, by what they say.

    Args:
        found: values of `context_levels` by name, one entry a seed, such as `levels.best("4 rooms, K = 4")`.
        mean: "all" or "other_trajectories".
        place: which of the alphas the conclusions are about; by default the second, 1.
        uncorrelated: below this, the least correlation of two levels counts as none.
    """
    bias, variance = (found[f"{mean}_{part}"] for part in PARTS[:2])
    of_mean, spread, bound = ([values[place] for values in found[f"{mean}_mean_{name}"]] for name in (*PARTS[:2], "bound"))
    inside = [min(levels[0] - x, x - levels[-1]) for levels, x in zip(bias, of_mean, strict=True)]
    return {
        "premise: bias falls with depth": Statement([min(a - b for a, b in pairwise(levels)) for levels in bias], 0.0, "greater"),
        "premise: variance rises with depth": Statement([min(b - a for a, b in pairwise(levels)) for levels in variance], 0.0, "greater"),
        "premise: levels are uncorrelated": Statement(list(found[f"{mean}_least_correlation"]), uncorrelated, "less"),
        "conclusion: bias between that of the levels": Statement(inside, 0.0, "greater"),
        "conclusion: variance within the bound": Statement(spread, bound, "less"),
    }
