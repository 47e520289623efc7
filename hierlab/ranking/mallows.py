r"""Mallows' model: rankings that are noisy copies of one, $P(\sigma)\propto\phi^{K_d(\sigma,\sigma_0)}$ with Kendall's distance $K_d$.

$\phi=0$ gives the central ranking itself, $\phi=1$ every ranking alike.
"""

from __future__ import annotations

import numpy as np

from hierlab.checks import check_range
from hierlab.ranking.win_matrix import Array


def sample_mallows(center: Array | int, phi: float, size: int, generator: np.random.Generator) -> Array:
    """Rankings by repeated insertion: the i-th item of the centre goes to place j of the i + 1 with probability proportional to phi^(i-j).

    Args:
        center: [m] the central ranking, best first; or m, for 0, 1, ..., m - 1.
        phi: the dispersion, in [0, 1].
        size: how many rankings.
        generator: the source of chance.

    Returns:
        [size, m] rankings, best first.

    Raises:
        ValueError: if phi is out of range, or there is nothing to rank.
    """
    check_range("phi", phi, 0, 1)
    items = np.arange(center) if isinstance(center, int | np.integer) else np.asarray(center)
    if items.ndim != 1 or not len(items):
        raise ValueError(f"center must rank at least one item, got shape {items.shape}")
    rankings = np.empty((size, 0), dtype=items.dtype)
    columns = np.arange(len(items))
    for i, item in enumerate(items):
        weights = float(phi) ** np.arange(i, -1, -1)
        place = generator.choice(i + 1, size=size, p=weights / weights.sum())
        grown = np.empty((size, i + 1), dtype=items.dtype)
        behind = columns[: i + 1] > place[:, None]
        at = columns[: i + 1] == place[:, None]
        grown[at] = item
        grown[~at & ~behind] = rankings[columns[:i] < place[:, None]]
        grown[behind] = rankings[columns[:i] >= place[:, None]]
        rankings = grown
    return rankings


def mallows_log_probability(distance: float | Array, items: int, phi: float) -> float | Array:
    """The log-probability of a ranking at a Kendall-tau distance from the centre.

    Raises:
        ValueError: if phi is not in (0, 1].
    """
    check_range("phi", phi, np.nextafter(0, 1), 1)
    normaliser = sum(np.log(sum(phi**j for j in range(i + 1))) for i in range(items))
    return np.asarray(distance) * np.log(phi) - normaliser


def expected_distance(items: int, phi: float) -> float:
    """The mean Kendall-tau distance of a sample from the centre, in closed form.

    Raises:
        ValueError: if phi is out of range.
    """
    check_range("phi", phi, 0, 1)
    total = 0.0
    for i in range(1, items):
        weights = [float(phi) ** j for j in range(i + 1)]
        total += sum(j * w for j, w in enumerate(weights)) / sum(weights)
    return total
