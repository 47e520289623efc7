r"""Where a critic's heads are read, and what they learn there.

A value head says something at every token. A *read-out* says which of that is wanted: the value before each token (PPO on one
answer), before each turn (flat PPO for agents), or the three values of the plan-execute format (HiPER). Its columns carry the names
that the estimators ask for:

| read-out | columns | estimators |
| --- | --- | --- |
| `TokenValues` | `values` [N, T] | `gae` |
| `TurnValues` | `values` [N] | `turn_gae` |
| `PlanValues` | `value_low`, `value_high`, `value_switch` [N] | `hiper`, `hae` |

A read-out of your own is any object with the three methods of `Readout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor

from hierlab.credit.gae import Gaps, lambda_returns, turn_gae
from hierlab.credit.hae import HAE, boundaries, hae
from hierlab.credit.hae import Targets as PlanTargets
from hierlab.credit.plan_execute import ValueMasks, read_values, value_masks
from hierlab.rollout import Rollouts, estimate

Target = tuple[Tensor, Tensor]
"""What a head learns towards, [N] or [N, T], and the tokens at which it does, [N, T] bool."""


class Readout(Protocol):
    """Where values are read, and what they should have been.

    Attributes:
        heads: names of the value heads, which are also those of the columns.
    """

    heads: tuple[str, ...]

    def where(self, rollouts: Rollouts) -> Tensor:
        """The tokens at which any head is read. [N, T] bool"""

    def columns(self, values: Mapping[str, Tensor], rollouts: Rollouts) -> dict[str, Tensor]:
        """A column for each head, [N] or [N, T], out of what it says at each token, [N, T], which is 0 elsewhere than `where`."""

    def targets(self, rollouts: Rollouts) -> dict[str, Target]:
        """What each head learns towards, from rollouts that have the columns."""


@dataclass(frozen=True)
class TokenValues:
    r"""The value before each token; targets are $\lambda$-returns, `hierlab.credit.lambda_returns`.

    Attributes:
        gamma: discount of each token.
        lam: $\lambda$ of the targets, which need not be the estimator's; 1 (verl's default) for the return itself, 0 for one step ahead.
        gaps: as in `hierlab.credit.gae`.
        heads: the one head.
    """

    gamma: float = 1.0
    lam: float = 1.0
    gaps: Gaps = "skip"
    heads: tuple[str] = ("values",)

    def where(self, rollouts: Rollouts) -> Tensor:
        """Every token of the response."""
        return rollouts.response_mask

    def columns(self, values: Mapping[str, Tensor], rollouts: Rollouts) -> dict[str, Tensor]:
        """The values as they are. [N, T]"""
        return dict(values)

    def targets(self, rollouts: Rollouts) -> dict[str, Target]:
        r"""The $\lambda$-return of each token."""
        returns = estimate(rollouts, partial(lambda_returns, gamma=self.gamma, lam=self.lam, gaps=self.gaps))
        return {self.heads[0]: (returns, rollouts.response_mask)}


@dataclass(frozen=True)
class TurnValues:
    r"""The value before each turn, read before its first token; targets are $\lambda$-returns over turns.

    Attributes:
        gamma: discount of each turn.
        lam: $\lambda$ of the targets; 1 for the return itself, 0 for one step ahead.
        heads: the one head.
    """

    gamma: float = 1.0
    lam: float = 1.0
    heads: tuple[str] = ("values",)

    def where(self, rollouts: Rollouts) -> Tensor:
        """The first token of each response."""
        return _first(rollouts.response_mask)

    def columns(self, values: Mapping[str, Tensor], rollouts: Rollouts) -> dict[str, Tensor]:
        """The value of each turn. [N]"""
        return {name: read_values(value, self.where(rollouts), rollouts.response_mask) for name, value in values.items()}

    def targets(self, rollouts: Rollouts) -> dict[str, Target]:
        r"""The $\lambda$-return of each turn."""
        advantage = estimate(rollouts, partial(turn_gae, gamma=self.gamma, lam=self.lam, whiten=False))
        return {self.heads[0]: (advantage + rollouts[self.heads[0]], self.where(rollouts))}


@dataclass(frozen=True)
class PlanValues:
    """HiPER's values: behind the subgoal, before a subgoal is chosen, and before the decision to keep or switch.

    The value before a subgoal is read in every turn (the paper's switch advantage compares with it), and learnt where a subgoal is
    chosen. Hyperparameters are those of `hierlab.credit.hiper`, and should be the same.

    Attributes:
        gamma: discount of each turn.
        lam_turn: of the action's targets.
        lam_seg: of the subgoal's targets.
        targets_of: "code" (A + V) or "paper" (one step ahead).
        bootstrap_truncated: whether a trajectory that was cut off is worth its own last value behind its end.
        switch_head: whether there is a third head, as in the released code; the paper has two.
    """

    gamma: float = 1.0
    lam_turn: float = 1.0
    lam_seg: float = 0.95
    targets_of: PlanTargets = "code"
    bootstrap_truncated: bool = False
    switch_head: bool = True

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the two or three heads."""
        return ("value_low", "value_high", "value_switch") if self.switch_head else ("value_low", "value_high")

    def where(self, rollouts: Rollouts) -> Tensor:
        """The first token, and the one behind the plan."""
        masks = self._masks(rollouts)
        return masks.low | masks.switch

    def columns(self, values: Mapping[str, Tensor], rollouts: Rollouts) -> dict[str, Tensor]:
        """Each value of each turn. [N]"""
        masks = self._masks(rollouts)
        read = {"value_low": masks.low, "value_high": masks.switch, "value_switch": masks.switch}
        return {name: read_values(value, read[name], rollouts.response_mask) for name, value in values.items()}

    def targets(self, rollouts: Rollouts) -> dict[str, Target]:
        """What hierarchical advantage estimation has the heads learn."""
        masks = self._masks(rollouts)
        found: HAE = estimate(
            rollouts,
            partial(
                hae,
                gamma=self.gamma,
                lam_turn=self.lam_turn,
                lam_seg=self.lam_seg,
                targets=self.targets_of,
                bootstrap_truncated=self.bootstrap_truncated,
            ),
        )
        every = {
            "value_low": (found.action_target, masks.low),
            "value_high": (found.subgoal_target, masks.high),
            "value_switch": (found.switch_target, masks.switch),
        }
        return {name: every[name] for name in self.heads}

    def _masks(self, rollouts: Rollouts) -> ValueMasks:
        boundary = estimate(rollouts, boundaries)
        return value_masks(rollouts["plan_end"], boundary.to(rollouts.response_mask.device), rollouts.response_mask)


def _first(mask: Tensor) -> Tensor:
    """The first token of each row. [N, T] bool"""
    return mask & (mask.cumsum(1) == 1)
