"""Recommendation: methods that act on lists, and what lists are worth.

Import from the module that is named for what you need: `slates` (logs), `slate_model` (the recommender of Eide et al.), `thompson` (slates
from posterior draws), `recommendation_metrics` (accuracy, coverage, diversity, popularity), `trivial_slates` (random, most popular).
"""

from __future__ import annotations

from hierlab.recommendation.slate_model import SlateModel
from hierlab.recommendation.slates import SlateLog, padded_log
from hierlab.recommendation.thompson import in_slate, merge_in_slate, top_items

__all__ = ["SlateLog", "SlateModel", "in_slate", "merge_in_slate", "padded_log", "top_items"]
