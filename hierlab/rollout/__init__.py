"""Engines that sample, collectors that turn tasks into `Rollouts`, and `estimate`, which hands their columns to an estimator."""

from hierlab.rollout.chain import ChainCollector
from hierlab.rollout.collect import EpisodeCollector, GroupCollector
from hierlab.rollout.engine import Engine, TransformersEngine
from hierlab.rollout.logp import token_logp
from hierlab.rollout.prompts import transcript
from hierlab.rollout.rollouts import Rollouts, concatenate, estimate
from hierlab.rollout.sampling import Samples, SamplingParams
from hierlab.rollout.summary import evaluate, pass_at_k, success_rate, summary
from hierlab.rollout.tree import TreeCollector
from hierlab.rollout.vllm_engine import VLLMEngine

__all__ = [
    "ChainCollector",
    "Engine",
    "EpisodeCollector",
    "GroupCollector",
    "Rollouts",
    "Samples",
    "SamplingParams",
    "TransformersEngine",
    "TreeCollector",
    "VLLMEngine",
    "concatenate",
    "estimate",
    "evaluate",
    "pass_at_k",
    "success_rate",
    "summary",
    "token_logp",
    "transcript",
]
