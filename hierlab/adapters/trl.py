"""Any estimator inside TRL's `GRPOTrainer`.

The trainer computes its advantages between two of its methods. The subclass made here keeps the rewards that the first one returns,
and replaces the advantages that the second one leaves in the batch; everything else is TRL's. Both methods are private to TRL, so a
newer TRL may move them: the tests train for real with the version of `constraints.txt`.

Shapes: N rows of all processes, n of this one; T completion positions (padded on the right).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hierlab.adapters.columns import estimator_name, single_turn_columns
from hierlab.rollout.logp import token_logp
from hierlab.rollout.rollouts import Column, estimate, rewards_at_the_end

if TYPE_CHECKING:
    from trl import GRPOTrainer

MoreColumns = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Tensor]], Mapping[str, Column]]
"""`(examples, batch) -> {name: column}`: one entry for each of this process's n rows. See `grpo_trainer`."""


def grpo_trainer(
    estimator: Callable[..., Tensor], *, columns: MoreColumns | None = None, base: type[GRPOTrainer] | None = None
) -> type[GRPOTrainer]:
    """TRL's trainer with the advantages of an estimator; use the class as you would use TRL's.

    The estimator finds `rewards` (the weighted sum of the reward functions), `task` (TRL puts the completions of one prompt beside
    each other), `trajectory`, `turn`, `state`, `success`, `token_rewards`, `response_mask`, `response_length` and `old_logp`; tokens
    that a tool wrote are outside the mask. It sees the rows of all processes, so that groups are whole.

    Args:
        estimator: any function of columns (`hierlab.rollout.estimate`) that returns advantages [N] or [N, T]; a `functools.partial`
            of one sets its hyperparameters.
        columns: supplies further columns, or replaces those above. It is called as `columns(examples, batch)` with this process's n
            examples of the data set and TRL's batch (`completion_ids`, `completion_mask`, ... [n, T]), and returns columns of n
            entries: tensors, [n] or [n, T], or lists.
        base: the class to derive from, such as a subclass of your own; default: `trl.GRPOTrainer`.

    Raises:
        ModuleNotFoundError: if TRL is not installed; the message says how to get it.

    While training, raises:
        ValueError: if the estimator needs a column that is not there, a reward is not finite (also where every reward function
            returned None), or the advantages have the wrong shape.
    """
    base = base or _trl().GRPOTrainer
    wanted = inspect.signature(estimator).parameters

    class EstimatorTrainer(base):
        """TRL's GRPOTrainer with another advantage."""

        def _calculate_rewards(self, *arguments: Any, **others: Any) -> Tensor:
            self._rewards_per_function = super()._calculate_rewards(*arguments, **others)  # [N, reward functions]
            return self._rewards_per_function

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch = super()._generate_and_score_completions(inputs)
            known = self._columns(inputs, batch)
            advantage = estimate(known, estimator)
            shape = known["response_mask"].shape
            if advantage.shape not in (shape, shape[:1]):
                wrong = f"{estimator_name(estimator)} returned advantages of shape {tuple(advantage.shape)}"
                raise ValueError(f"{wrong}; wanted one a row, {tuple(shape[:1])}, or one a token, {tuple(shape)}")
            self._log_advantages(advantage)
            n, width = batch["completion_ids"].shape
            start = self.accelerator.process_index * n
            own = advantage[start : start + n].to(self._rewards_per_function.dtype)
            return batch | {"advantages": own[:, :width] if own.dim() == 2 else own}

        def _columns(self, inputs: list[dict[str, Any]], batch: Mapping[str, Any]) -> dict[str, Column]:
            """The columns of all processes' rows."""
            mask = batch["completion_mask"].bool()
            if "tool_mask" in batch:
                mask = mask & batch["tool_mask"].bool()
            own = {"response_mask": mask}
            if "old_logp" in wanted:
                own["old_logp"] = torch.where(mask, self._old_logp(batch), 0.0)
            own |= columns(inputs, batch) if columns else {}
            gathered = {name: self._gathered(name, column, len(mask)) for name, column in own.items()}

            rewards = (self._rewards_per_function * self.reward_weights.to(self._rewards_per_function.device)).nansum(dim=1)
            rewards[self._rewards_per_function.isnan().all(dim=1)] = torch.nan
            size = self.num_generations if self.model.training else self.num_generations_eval
            standard = single_turn_columns(
                rewards=rewards,
                token_rewards=rewards_at_the_end(rewards, gathered["response_mask"]),
                response_mask=gathered["response_mask"],
                task=torch.arange(len(rewards), device=rewards.device) // size,
            )
            return standard | gathered

        def _old_logp(self, batch: Mapping[str, Any]) -> Tensor:
            """Log-probabilities under the policy that wrote; TRL leaves them out where it is still the one that is trained. [n, T]"""
            if batch.get("old_per_token_logps") is not None:
                return batch["old_per_token_logps"]
            ids = (batch[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"))
            prompt_ids, prompt_mask, response_ids, response_mask = ids
            with torch.no_grad():
                return token_logp(
                    self.model, prompt_ids, prompt_mask.bool(), response_ids, response_mask.bool(), temperature=self.temperature
                )

        def _gathered(self, name: str, column: Column, n: int) -> Column:
            """A column of this process's rows, as one of all processes' rows; token columns are padded to one width."""
            if len(column) != n:
                raise ValueError(f"the column {name!r} has {len(column)} entries, but this process has {n} rows")
            if not isinstance(column, Tensor):
                from accelerate.utils import gather_object

                return gather_object(list(column))
            column = column.to(self.accelerator.device)
            if column.dim() == 2:
                column = self.accelerator.pad_across_processes(column, dim=1)
            return self.accelerator.gather(column)

        def _log_advantages(self, advantage: Tensor) -> None:
            """In TRL's table of completions, our advantages (their sum, if one a token) in the place of its own."""
            table = self._logs["advantages"]
            for _ in range(min(len(advantage), len(table))):
                table.pop()
            table.extend((advantage.sum(dim=1) if advantage.dim() == 2 else advantage).tolist())

    EstimatorTrainer.__name__ = EstimatorTrainer.__qualname__ = f"{base.__name__}With_{estimator_name(estimator)}"
    return EstimatorTrainer


def _trl() -> Any:
    try:
        import trl
    except ModuleNotFoundError as error:
        if error.name != "trl":
            raise
        raise ModuleNotFoundError("grpo_trainer needs TRL, which is not installed: pip install 'trl>=1.9'") from error
    return trl
