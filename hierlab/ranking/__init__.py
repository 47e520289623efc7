"""Tournaments and ratings: win matrices, ratings, voting rules, the errors of a ranking, and evaluation that chooses its next game.

Players, agents and alternatives are one thing under three names: what is ranked. Rankings are best first.
"""

from __future__ import annotations

from hierlab.ranking.active import ActiveEvaluator, Evaluation, Evaluator, endless, evaluate
from hierlab.ranking.bradley_terry import BradleyTerry, batch_elo, mm_strengths, newton_strengths
from hierlab.ranking.elo import expected_score, online_elo
from hierlab.ranking.mallows import expected_distance, mallows_log_probability, sample_mallows
from hierlab.ranking.nash_averaging import NashAverage, nash_average, nash_average_agents
from hierlab.ranking.observations import Observations
from hierlab.ranking.profile import Profile, pair_counts, votes, votes_from_scores
from hierlab.ranking.rank_metrics import (
    error_over_places,
    error_over_time,
    identification_error,
    kendall_tau_distance,
    positions,
    random_order_error,
    ranking_error,
    spearman,
    wrong_pairs,
)
from hierlab.ranking.score_table import ScoreTable, atari_table, mallows_table, real_table
from hierlab.ranking.soft_condorcet import FenchelYoung, SoftCondorcet, fenchel_young_gradient, sigmoid_gradient, sigmoid_loss
from hierlab.ranking.voting import (
    RULES,
    Outcome,
    approval,
    borda,
    condorcet_winners,
    copeland,
    copeland_scores,
    kemeny,
    kemeny_order,
    plurality,
    ranked_pairs,
    ranked_pairs_order,
    schulze,
    schulze_order,
    single_transferable_vote,
)
from hierlab.ranking.win_matrix import check_matrices, compare_scores, connected, count_games, points, win_rates

__all__ = [
    "RULES",
    "ActiveEvaluator",
    "BradleyTerry",
    "Evaluation",
    "Evaluator",
    "FenchelYoung",
    "NashAverage",
    "Observations",
    "Outcome",
    "Profile",
    "ScoreTable",
    "SoftCondorcet",
    "approval",
    "atari_table",
    "batch_elo",
    "borda",
    "check_matrices",
    "compare_scores",
    "condorcet_winners",
    "connected",
    "copeland",
    "copeland_scores",
    "count_games",
    "endless",
    "error_over_places",
    "error_over_time",
    "evaluate",
    "expected_distance",
    "expected_score",
    "fenchel_young_gradient",
    "identification_error",
    "kemeny",
    "kemeny_order",
    "kendall_tau_distance",
    "mallows_log_probability",
    "mallows_table",
    "mm_strengths",
    "nash_average",
    "nash_average_agents",
    "newton_strengths",
    "online_elo",
    "pair_counts",
    "plurality",
    "points",
    "positions",
    "random_order_error",
    "ranked_pairs",
    "ranked_pairs_order",
    "ranking_error",
    "real_table",
    "sample_mallows",
    "schulze",
    "schulze_order",
    "sigmoid_gradient",
    "sigmoid_loss",
    "single_transferable_vote",
    "spearman",
    "votes",
    "votes_from_scores",
    "win_rates",
    "wrong_pairs",
]
