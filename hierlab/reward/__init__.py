"""Reward models: what they are asked, how they are scored, and the loss that they learn by.

Functions of scores, texts and trees of both; models and trainers are in `hierlab.rollout.reward_model` and `hierlab.train.reward`.
"""

from hierlab.reward.best_of_n import best_of_n_accuracy, best_of_n_credit, best_of_n_value, pairwise_accuracy
from hierlab.reward.bradley_terry import bradley_terry_loss, preference_accuracy
from hierlab.reward.harness import JudgeReport, Report, evaluate, evaluate_baseline, evaluate_baselines, evaluate_judge, table
from hierlab.reward.interface import BASELINES, ConstantReward, LengthReward, RandomReward, ReadableRewardModel, RewardModel
from hierlab.reward.items import Item
from hierlab.reward.rewardbench2 import DOMAINS, final_score, section_scores
from hierlab.reward.ties import TiesRow, TiesScore, ties_score

__all__ = [
    "BASELINES",
    "DOMAINS",
    "ConstantReward",
    "Item",
    "JudgeReport",
    "LengthReward",
    "RandomReward",
    "ReadableRewardModel",
    "Report",
    "RewardModel",
    "TiesRow",
    "TiesScore",
    "best_of_n_accuracy",
    "best_of_n_credit",
    "best_of_n_value",
    "bradley_terry_loss",
    "evaluate",
    "evaluate_baseline",
    "evaluate_baselines",
    "evaluate_judge",
    "final_score",
    "pairwise_accuracy",
    "preference_accuracy",
    "section_scores",
    "table",
    "ties_score",
]
