r"""Where credit lands when a model slips: estimates of token advantages against near-exact ones, on chain sums.

The state after every token of some responses is valued by so many continuations that the values can be taken for exact, which gives
each token its advantage $A_t=V(s_{t+1})-V(s_t)$, and for each way of cutting, that of each segment. What is left of the noise in these
values is subtracted from squared errors: a value from $n$ continuations has the variance $V(1-V)/(n-1)$ as far as they can tell.
Every way of giving credit then gets fresh continuations, as many as its share of one budget of tokens buys. Broadcasting one number
over the whole response, as GRPO does, is a cut into a single segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hierlab.credit import spo
from hierlab.rollout import GroupCollector, Rollouts, estimate
from hierlab.rollout.chain import Cut, value_segments
from hierlab.seeds import generator
from hierlab.train.solver import Solver

SCORES = {
    "tokens": "continuation tokens a response",
    "continuations": "continuations a state",
    "segments": "segments a response",
    "error": "squared error",
    "blur": "error with exact values",
    "correlation": "correlation",
    "slip_found": "slip found",
}
"""What the columns of `Slips.table` are called."""


@dataclass(frozen=True)
class Slips:
    """What was found for each way of giving credit, by name.

    Attributes:
        numbers: mean scores, those of `SCORES`.
        error: [N] mean squared error over the tokens of each response, in squared units of reward.
        found: [S] for each response with a slip, the chance that a token drawn from those with the least advantage is the slip.
    """

    numbers: Mapping[str, Mapping[str, float]]
    error: Mapping[str, list[float]]
    found: Mapping[str, list[float]]

    def table(self) -> dict[str, list]:
        """One row for each way: `bench.table(name, **found.table())`."""
        rows = [[name, *(f"{scores[key]:.3g}" for key in SCORES)] for name, scores in self.numbers.items()]
        return {"columns": ["credit", *SCORES.values()], "rows": rows}


def everywhere(response_mask: Tensor) -> Tensor:
    """Every token is a segment of its own."""
    return response_mask


def look_for_slips(
    solver: Solver, cuts: Mapping[str, Cut], *, problems: int, truth: int, tokens: float, seed: int = 0, threshold: float | None = None
) -> Slips:
    """Hold ways of giving credit against the near-exact advantages of one response to each of some problems.

    Args:
        solver: whose tasks are chain sums.
        cuts: where segments start, by name.
        problems: how many of its tasks, one response each.
        truth: continuations of every state, for the near-exact values.
        tokens: of continuations that each way may spend on a response, on average; it spends those of one continuation a state at least.
        seed: of the responses and continuations.
        threshold: of the probability mask of `spo`.

    Raises:
        ValueError: if there are no cuts, or numbers are below 1.
    """
    if not cuts or problems < 1 or truth < 2:
        raise ValueError(f"give cuts, a problem and two continuations at least, got {len(cuts)} cuts, {problems} and {truth}")
    tasks = solver.tasks[:problems]
    answers = GroupCollector(1, solver.params)(solver.engine, tasks, generator("slips", "answers", seed))
    value = partial(value_segments, solver.engine, answers, tasks, solver.params)
    exact = value(generator("slips", "truth", seed), cut=everywhere, continuations=truth)
    slips = [task.first_slip(response) for task, response in zip(tasks, answers["response"], strict=True)]
    numbers, error, found = {}, {}, {}
    for number, (name, cut) in enumerate(cuts.items()):
        pilot = value(generator("slips", "pilot", seed, number), cut=cut, continuations=1)
        continuations = max(1, round(tokens * len(answers) / max(1, int(pilot["extra_tokens"].sum()))))
        valued = value(generator("slips", "cut", seed, number), cut=cut, continuations=continuations)
        numbers[name], error[name], found[name] = _scores(valued, exact, slips, truth, threshold)
        numbers[name]["continuations"] = continuations
    return Slips(numbers, error, found)


def _scores(
    valued: Rollouts, exact: Rollouts, slips: Sequence[int | None], truth: int, threshold: float | None
) -> tuple[dict[str, float], list[float], list[float]]:
    mask = exact.response_mask
    behind, noise = _behind(exact), _noise(exact["segment_value"], mask, truth)
    true = torch.where(mask, behind - exact["segment_value"], 0)
    guess = estimate(valued, spo, threshold=threshold)
    with_exact_values = valued.with_columns(segment_value=exact["segment_value"])
    blurred = estimate(with_exact_values, spo, threshold=threshold)
    length = mask.sum(1)
    error = (((guess - true) ** 2).sum(1) - noise) / length
    # With the values of the truth itself, its noise is on both sides and drops out of tokens that are segments.
    blur = ((blurred - true) ** 2 * mask).sum(1) / length
    found = [_chance(row[:n], slip) for row, n, slip in zip(guess, length.tolist(), slips, strict=True) if slip is not None and slip < n]
    numbers = {
        "tokens": float(valued["extra_tokens"].double().mean()),
        "segments": float(valued["segment_start"].sum(1).double().mean()),
        "error": float(error.mean()),
        "blur": float(blur.mean()),
        "correlation": float(torch.corrcoef(torch.stack([guess[mask], true[mask]]))[0, 1].nan_to_num()),
        "slip_found": sum(found) / max(1, len(found)),
    }
    return numbers, error.tolist(), found


def _behind(exact: Rollouts) -> Tensor:
    """The value of the state behind each token: that before the next one, and the reward behind the last. [N, T]"""
    value, mask = exact["segment_value"], exact.response_mask
    following = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], dim=1)
    goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    return torch.where(goes_on, following, exact.rewards[:, None])


def _noise(value: Tensor, mask: Tensor, truth: int) -> Tensor:
    """Variance that the values' own noise adds to a row's squared differences: each enters two, but the first and last. [N]"""
    variance = torch.where(mask, value * (1 - value) / (truth - 1), 0)
    return 2 * variance.sum(1) - variance[:, 0]


def _chance(advantage: Tensor, slip: int) -> float:
    """The chance that a token drawn from those with the least advantage is the slip."""
    least = advantage <= advantage.min() + 1e-9
    return float(least[slip]) / float(least.sum())
