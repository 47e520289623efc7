"""Markets and decisions under bias: auctions inside generated answers, choice models, selection under constraints.

Everything here is a pure function of numpy arrays, or an estimator in scikit-learn's manner.
"""

from hierlab.market.cascade import cascade_click_rates, cascade_greedy, cascade_optimum
from hierlab.market.matching import k_matching
from hierlab.market.mechanism import Mechanism, Optimiser, Optimum, Outcome, first_price, vcg
from hierlab.market.mnl_auction import mnl_click_rates, mnl_greedy, mnl_optimum, relaxed_gain, stand_alone_rates
from hierlab.market.multinomial_logit import ConditionalLogit, choice_probabilities, log_likelihood
from hierlab.market.myerson import Steps, myerson, own_steps, step_function
from hierlab.market.placements import NOWHERE, all_placements, count_placements, random_placement
from hierlab.market.separable import additive_matching, separable_auction, separable_fit, separable_ranking
from hierlab.market.submodular import Chosen, at_most, greedy, one_each
from hierlab.market.truthfulness import Lies, best_lies, largest_drop, rates_by_bid, utility_of
from hierlab.market.virtual_values import Exponential, Mixture, Uniform, VirtualValue

__all__ = [
    "NOWHERE",
    "Chosen",
    "ConditionalLogit",
    "Exponential",
    "Lies",
    "Mechanism",
    "Mixture",
    "Optimiser",
    "Optimum",
    "Outcome",
    "Steps",
    "Uniform",
    "VirtualValue",
    "additive_matching",
    "all_placements",
    "at_most",
    "best_lies",
    "cascade_click_rates",
    "cascade_greedy",
    "cascade_optimum",
    "choice_probabilities",
    "count_placements",
    "first_price",
    "greedy",
    "k_matching",
    "largest_drop",
    "log_likelihood",
    "mnl_click_rates",
    "mnl_greedy",
    "mnl_optimum",
    "myerson",
    "one_each",
    "own_steps",
    "random_placement",
    "rates_by_bid",
    "relaxed_gain",
    "separable_auction",
    "separable_fit",
    "separable_ranking",
    "stand_alone_rates",
    "step_function",
    "utility_of",
    "vcg",
]
