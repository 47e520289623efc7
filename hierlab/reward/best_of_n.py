r"""Best-of-n: does the right answer come out on top, and what is a reward model worth that chooses among n?

RewardBench 2 (arXiv 2506.01937) shows a reward model one right and three wrong answers to each prompt. With scores
$s_1,\dots,s_n$, the right answer's first, the credit of a prompt is

$$c=\begin{cases}1/\#\{j:s_j=\max s\}&s_1=\max s\\0&\text{otherwise,}\end{cases}$$

by exact equality of floating-point numbers. So a model that says the same to everything gets $1/n$, what guessing gets, and not 1 or 0
by the order in which answers happen to stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from hierlab.checks import check_choice
from hierlab.reward.groups import as_groups
from hierlab.trace import recording, show

Shared = Literal["share", "first"]


def best_of_n_credit(scores: Sequence[Sequence[float]]) -> np.ndarray:
    """What a reward model earns at each prompt: 1 if the first answer alone has the highest score, its share if several have it, else 0.

    Args:
        scores: G groups, one a prompt, of any sizes; the right answer's score comes first. A group of one earns 1.

    Returns:
        [G] credits in [0, 1].

    Raises:
        ValueError: if a group is empty, or a score is not finite. (The released code lets NaN through, where no comparison holds.)

    Source: arXiv 2506.01937, Section 3; allenai/reward-bench@05a9005 `rewardbench/utils.py`, `reroll_and_score_dataset`.
    """
    groups = as_groups("scores", scores)
    if recording() and len(set(groups.sizes.tolist())) == 1:
        show("scores, the right answer first", groups.flat.reshape(len(groups.sizes), -1), r"s_j")
    best = show("highest score", groups.reduce(np.maximum, groups.flat), r"s_{max}=max_j s_j")
    top = groups.flat == groups.spread(best)
    sharing = show("answers on top", groups.reduce(np.add, top.astype(float)), r"\#\{j: s_j=s_{max}\}")
    right = top[groups.starts]
    return show("credit", np.where(right, 1 / np.maximum(sharing, 1), 0.0), r"1/\#\{j: s_j=s_{max}\}\text{ if }s_1=s_{max}\text{, else }0")


def best_of_n_accuracy(scores: Sequence[Sequence[float]]) -> float:
    """Mean credit over prompts (see `best_of_n_credit`).

    Raises:
        ValueError: as `best_of_n_credit`, and if there is no prompt.
    """
    if not len(scores):
        raise ValueError("accuracy is a mean over prompts: give at least one group of scores")
    return float(best_of_n_credit(scores).mean())


def pairwise_accuracy(scores: Sequence[Sequence[float]]) -> float:
    """How often the right answer beats a wrong one, as the first RewardBench asks: strictly, so that a constant model gets 0.

    Args:
        scores: G groups of at least two, the right answer's score first. Every wrong answer of a group makes a pair with it; pairs
            count equally inside a group, and groups equally.

    Raises:
        ValueError: if there is no group, a group has no wrong answer, or a score is not finite.
    """
    groups = as_groups("scores", scores)
    if not len(groups.sizes) or groups.sizes.min() < 2:
        raise ValueError("pairs need groups of at least two scores, the right answer's first and a wrong one's")
    won = groups.spread(groups.flat[groups.starts]) > groups.flat
    return float((groups.reduce(np.add, won.astype(float)) / (groups.sizes - 1)).mean())


def best_of_n_value(scores: Sequence[Sequence[float]], utility: Sequence[Sequence[float]], *, tied: Shared = "share") -> np.ndarray:
    """What is gained by answering with the candidate that the reward model likes best.

    Args:
        scores: G groups of candidates' scores.
        utility: G groups of the same sizes: what each candidate is really worth.
        tied: of candidates that share the highest score, take the mean ("share"), or the first as `argmax` does ("first").

    Returns:
        [G] the chosen candidate's utility.

    Raises:
        ValueError: if the groups differ in size, one is empty, or a number is not finite.
    """
    check_choice("tied", tied, Shared)
    groups, worth = as_groups("scores", scores), as_groups("utility", utility)
    if groups.sizes.tolist() != worth.sizes.tolist():
        raise ValueError("scores and utility must be groups of the same sizes, one number for each candidate")
    top = groups.flat == groups.spread(groups.reduce(np.maximum, groups.flat))
    if tied == "first":
        count = np.cumsum(top)
        before = groups.spread(count[groups.starts] - top[groups.starts])
        top &= count - before == 1
    return groups.reduce(np.add, np.where(top, worth.flat, 0.0)) / np.maximum(groups.reduce(np.add, top.astype(float)), 1)
