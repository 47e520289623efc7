"""Engines that sample, collectors that turn tasks into `Rollouts`, and `estimate`, which hands their columns to an estimator."""

from hierlab.rollout.rollouts import Rollouts, concatenate, estimate

__all__ = ["Rollouts", "concatenate", "estimate"]
