"""hierlab's estimators inside other people's trainers. Nothing here imports TRL or verl before it is asked to."""

from hierlab.adapters.trl import grpo_trainer
from hierlab.adapters.verl import register_all, verl_estimator

__all__ = ["grpo_trainer", "register_all", "verl_estimator"]
