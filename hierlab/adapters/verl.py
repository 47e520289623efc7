"""Any estimator in verl's registry, where `algorithm.adv_estimator=hierlab_rloo` chooses it.

verl calls an estimator of its registry with `token_level_rewards`, `response_mask`, `config` and, as `index`, the id of each row's
prompt (`verl.trainer.ppo.ray_trainer.compute_advantage`); some versions and estimators add `old_log_probs`, `batch` or
`non_tensor_batch`. It hands over no more, so an estimator that needs values, turns or segments needs the hook `columns` or a verl
that passes `batch`.

Shapes: N rows (responses), T response positions (padded on the right).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hierlab.adapters.columns import estimator_name, single_turn_columns
from hierlab.credit import ESTIMATORS
from hierlab.rollout.rollouts import Column, estimate

MoreColumns = Callable[[Mapping[str, Any]], Mapping[str, Column]]
"""`(arguments) -> {name: column}`, where the arguments are those that verl passed, by name."""

VerlEstimator = Callable[..., tuple[Tensor, Tensor]]

PREFIX = "hierlab_"


def verl_estimator(estimator: Callable[..., Tensor], *, columns: MoreColumns | None = None) -> VerlEstimator:
    """An estimator of ours, as verl calls its own. Needs no verl.

    The estimator finds `rewards`, `token_rewards`, `response_mask`, `task` (verl's `index`), `trajectory`, `turn`, `state`,
    `success`, `response_length`, and `old_logp` where verl passes it; then the entries of `batch` and `non_tensor_batch` where verl
    passes those, under their own names; then what `columns` supplies.

    Args:
        estimator: any function of columns (`hierlab.rollout.estimate`) that returns advantages [N] or [N, T]; a `functools.partial`
            of one sets its hyperparameters.
        columns: supplies further columns, or replaces those above.

    Returns:
        A function of verl's arguments that returns advantages and returns, both [N, T] and 0 outside `response_mask`. verl reads the
        returns only where it trains a critic; ours are the advantages themselves, as in verl's own critic-free estimators.
    """

    def advantage_and_returns(
        token_level_rewards: Tensor,
        response_mask: Tensor,
        index: Sequence[Hashable] | None = None,
        config: Any = None,
        **others: Any,
    ) -> tuple[Tensor, Tensor]:
        mask = response_mask.bool()
        token_rewards = torch.where(mask, token_level_rewards, torch.zeros_like(token_level_rewards))
        known: dict[str, Column] = single_turn_columns(
            rewards=token_rewards.sum(dim=1),
            token_rewards=token_rewards,
            response_mask=mask,
            task=list(range(len(mask))) if index is None else list(index),
        )
        if index is None:
            del known["task"], known["state"]  # nobody said which rows are comparable
        if others.get("old_log_probs") is not None:
            known["old_logp"] = others["old_log_probs"]
        for source in ("batch", "non_tensor_batch"):
            passed = others.get(source)
            known = (dict(passed.items()) if passed is not None else {}) | known
        if columns:
            named = {"token_level_rewards": token_level_rewards, "response_mask": response_mask, "index": index, "config": config}
            known |= columns(named | others)
        advantage = estimate(known, estimator)
        spread = (advantage[:, None] if advantage.dim() == 1 else advantage) * mask
        return spread, spread

    advantage_and_returns.__name__ = advantage_and_returns.__qualname__ = PREFIX + estimator_name(estimator)
    return advantage_and_returns


def register_all(estimators: Mapping[str, Callable[..., Tensor]] = ESTIMATORS, *, columns: MoreColumns | None = None) -> list[str]:
    """Put estimators into verl's registry, as `hierlab_<name>`.

    Args:
        estimators: by name; default: every one of hierlab's.
        columns: as in `verl_estimator`.

    Returns:
        The names under which verl knows them now.

    Raises:
        ModuleNotFoundError: if verl is not installed; the message says how to get it.
        ValueError: by verl, if it knows one of the names already.
    """
    register = _registry()
    for name, estimator in estimators.items():
        register(PREFIX + name)(verl_estimator(estimator, columns=columns))
    return [PREFIX + name for name in estimators]


def _registry() -> Callable[[str], Callable[[VerlEstimator], VerlEstimator]]:
    """verl's decorator that registers an estimator."""
    try:
        from verl.trainer.ppo.core_algos import register_adv_est
    except ModuleNotFoundError as error:
        if error.name != "verl":
            raise
        raise ModuleNotFoundError("register_all needs verl, which is not installed; see verl's installation guide") from error
    return register_adv_est
