"""Learning from comparisons: losses on the log-probabilities of whole answers, and what became of the ranking.

Losses are pure functions from columns to one number a pair, [N]; their mean is what is trained on. Columns have one name in all of
them (`chosen`, `rejected`, `reference_chosen`, ..., `chosen_average`), so that `hierlab.rollout.estimate` and
`hierlab.train.preference` fill them by name.
"""

from __future__ import annotations

from hierlab.preference.aot import aot, aot_unpaired
from hierlab.preference.apo import apo_down, apo_zero
from hierlab.preference.cpo import cpo
from hierlab.preference.discopop import discopop
from hierlab.preference.dpo import dpo
from hierlab.preference.exo import exo_pair
from hierlab.preference.hinge import hinge
from hierlab.preference.ipo import ipo
from hierlab.preference.kto import kto, kto_pair
from hierlab.preference.log_ratios import implicit_rewards, log_ratios
from hierlab.preference.nca import nca_pair
from hierlab.preference.orpo import orpo
from hierlab.preference.plackett_luce import plackett_luce, winner
from hierlab.preference.ranking_accuracy import (
    Changes,
    Group,
    competition_ranks,
    difficulty,
    dpo_threshold,
    four_groups,
    ideal_accuracies,
    ideal_margin,
    idealised_ranking_accuracy,
    idealised_right,
    ipo_threshold,
    ranked_right,
    ranking_accuracy,
    ranking_changes,
)
from hierlab.preference.sft import sft
from hierlab.preference.simpo import simpo
from hierlab.preference.slic import slic
from hierlab.preference.sppo import sppo_hard

__all__ = [
    "Changes",
    "Group",
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "competition_ranks",
    "cpo",
    "difficulty",
    "discopop",
    "dpo",
    "dpo_threshold",
    "exo_pair",
    "four_groups",
    "hinge",
    "ideal_accuracies",
    "ideal_margin",
    "idealised_ranking_accuracy",
    "idealised_right",
    "implicit_rewards",
    "ipo",
    "ipo_threshold",
    "kto",
    "kto_pair",
    "log_ratios",
    "nca_pair",
    "orpo",
    "plackett_luce",
    "ranked_right",
    "ranking_accuracy",
    "ranking_changes",
    "sft",
    "simpo",
    "slic",
    "sppo_hard",
    "winner",
]
