"""Theory with an exact answer: why a trained model settles on one strategy and not another.

In-context learning (arXiv 2506.17859): three settings that draw tasks and sequences (`BallsAndUrns`, `LinearRegression`,
`Classification`), the memorising and the generalising Bayesian predictor of each, distances between predictors, the complexity of a
predictor in bits, and `RationalAccount`, which predicts a network's outputs from these alone.
"""

from __future__ import annotations

from hierlab.theory.balls_and_urns import BallsAndUrns
from hierlab.theory.classification_tasks import Classification
from hierlab.theory.complexity import compressed_bits, predictor_bits, source_bits
from hierlab.theory.fixed_strategies import BestMixturePerCheckpoint, ConstantPrediction, FixedMixture, OneStrategy
from hierlab.theory.generalising import generalised_classification, generalised_regression, generalised_urns
from hierlab.theory.linear_regression_tasks import LinearRegression
from hierlab.theory.memorising import memorised_classification, memorised_regression, memorised_urns
from hierlab.theory.rational_account import ABLATIONS, RationalAccount, Trajectory, strategy_posterior, transition_step
from hierlab.theory.strategy_distance import (
    barycentric_weights,
    hellinger,
    interpolation_distance,
    mean_squared,
    relative_distance,
    spearman,
    symmetric_kl,
    total_variation,
)

__all__ = [
    "ABLATIONS",
    "BallsAndUrns",
    "BestMixturePerCheckpoint",
    "Classification",
    "ConstantPrediction",
    "FixedMixture",
    "LinearRegression",
    "OneStrategy",
    "RationalAccount",
    "Trajectory",
    "barycentric_weights",
    "compressed_bits",
    "generalised_classification",
    "generalised_regression",
    "generalised_urns",
    "hellinger",
    "interpolation_distance",
    "mean_squared",
    "memorised_classification",
    "memorised_regression",
    "memorised_urns",
    "predictor_bits",
    "relative_distance",
    "source_bits",
    "spearman",
    "strategy_posterior",
    "symmetric_kl",
    "total_variation",
    "transition_step",
]
