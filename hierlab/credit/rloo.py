r"""RLOO: REINFORCE Leave-One-Out (Back to Basics, arXiv 2402.14740).

The baseline of an attempt is the mean outcome of the *other* attempts at the same task. It does not depend on the attempt
itself, so the gradient stays unbiased:

$$A_i=R_i-\frac{1}{n-1}\sum_{j\neq i}R_j=\frac{n}{n-1}(R_i-\overline{R}).$$

That is Dr. GRPO's advantage times $n/(n-1)$.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor

from hierlab.credit.outcome import Statistics, outcome
from hierlab.ops import Singleton, leave_one_out
from hierlab.trace import recording, show


def rloo(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    trajectory: Sequence[Hashable] | Tensor | None = None,
    *,
    statistics: Statistics = "trajectories",
    singleton: Singleton = "zero",
) -> Tensor:
    r"""Outcome minus the mean outcome of the other attempts at the task, one number per row.

    Args:
        rewards: [N] reward of each row.
        task: [N] what the row is an attempt at.
        trajectory: [N] the trajectory of the row; None: every row is an attempt.
        statistics: "trajectories" leaves one attempt out, which keeps the baseline independent of it. "turns" leaves out one row,
            so the other turns of the same attempt stay in its baseline.
        singleton: the advantage of a lone attempt: "zero", or "raw", its outcome (verl).

    Returns:
        [N] advantages, to be spread over the tokens of each row's response.

    Raises:
        ValueError: if the columns differ in length, a reward is not finite, or a switch has an unknown value.

    Source: arXiv 2402.14740, Section 3; verl `core_algos.compute_rloo_outcome_advantage`.
    """
    score, group, counted = outcome(rewards, task, trajectory, statistics)
    advantage = leave_one_out(score, group, singleton=singleton, counted=counted)
    if recording():
        show("mean of the others", score - advantage, r"b_i=\frac{1}{n-1}\sum_{j\neq i}R_j")
    return show("advantage", advantage, r"A_i=R_i-b_i")
