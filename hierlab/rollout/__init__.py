"""Engines that sample, collectors that turn tasks into `Rollouts`, and `estimate`, which hands their columns to an estimator."""

from hierlab.rollout.collect import EpisodeCollector, GroupCollector, success_rate, transcript
from hierlab.rollout.engine import Engine, TransformersEngine
from hierlab.rollout.logp import token_logp
from hierlab.rollout.rollouts import Rollouts, concatenate, estimate
from hierlab.rollout.sampling import Samples, SamplingParams

__all__ = [
    "Engine",
    "EpisodeCollector",
    "GroupCollector",
    "Rollouts",
    "Samples",
    "SamplingParams",
    "TransformersEngine",
    "concatenate",
    "estimate",
    "success_rate",
    "token_logp",
    "transcript",
]
