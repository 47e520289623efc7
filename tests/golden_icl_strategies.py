"""Runners of the reference vectors of the strategies of in-context learning."""

from __future__ import annotations

import torch
from golden_cases import Case, Pairs, Runner

from hierlab.theory import (
    barycentric_weights,
    generalised_classification,
    generalised_regression,
    generalised_urns,
    hellinger,
    interpolation_distance,
    memorised_classification,
    memorised_regression,
    memorised_urns,
    spearman,
    strategy_posterior,
    symmetric_kl,
    total_variation,
)


def _urns(case: Case) -> Pairs:
    draws = torch.tensor(case.inputs["input_ids"])
    prior = torch.tensor(case.params["prior"], dtype=torch.float64)
    return {
        "M_log_probs": (memorised_urns(case.tensor("tasks"), draws), case.want("M_log_probs")),
        "G_log_probs": (generalised_urns(prior, draws), case.want("G_log_probs")),
    }


def _regression(case: Case) -> Pairs:
    xs, ys, noise = case.tensor("xs"), case.tensor("ys"), case.params["noise_variance"]
    return {
        "M_pred": (memorised_regression(case.tensor("tasks"), xs, ys, noise), case.want("M_pred")),
        "G_pred": (generalised_regression(xs, ys, noise, tuple(case.params["prior"])), case.want("G_pred")),
    }


def _classification(case: Case) -> Pairs:
    pairs, variance, labels = case.tensor("pairs"), case.params["within_class_variance"], case.params["num_labels"]
    return {
        "M_log_probs": (memorised_classification(case.tensor("tasks"), pairs, variance, labels), case.want("M_log_probs")),
        "G_log_probs": (generalised_classification(pairs, variance, labels), case.want("G_log_probs")),
    }


def _odds(case: Case) -> Pairs:
    parameters = {name: case.params[name] for name in ("alpha", "beta", "gamma")}
    found = strategy_posterior(case.tensor("avg_losses"), case.tensor("complexity_bits"), case.inputs["N"], **parameters)
    return {
        "weights": (found.weights.flatten(), case.want("weights").flatten()),
        "log_prior_odds": (found.log_prior_odds, case.want("log_prior_odds")),
        "log_bayes_factor": (found.log_bayes_factor, case.want("log_bayes_factor")),
        "log_posterior_odds": (found.log_posterior_odds.flatten(), case.want("log_posterior_odds").flatten()),
    }


def _relative(case: Case) -> Pairs:
    distance = case.params["distance"].lower()
    network, strategies = case.tensor("transformer"), {name: case.tensor(name) for name in ("M", "G")}
    weights = barycentric_weights(network, strategies, distance=distance)
    between = interpolation_distance(network, strategies, distance=distance)
    each = {name: symmetric_kl(network, predicted) for name, predicted in strategies.items()}
    return {
        **{f"weight of {name}": (weights[name], theirs) for name, theirs in case.outputs["weights"].items()},
        "interpolation_distance": (between, case.want("interpolation_distance")),
        **{f"distance from {name}": (each[name], theirs) for name, theirs in case.outputs["individual"].items()},
    }


def _agreement(case: Case) -> Pairs:
    p, q = case.tensor("p"), case.tensor("q")
    return {
        "tvd": (total_variation(p, q), case.want("tvd")),
        "hellinger": (hellinger(p, q), case.want("hellinger")),
        "spearman": (spearman(p, q, ties="official"), case.want("spearman")),
    }


RUNNERS: dict[tuple[str, str], Runner] = {
    ("icl-strategies", "BayesianAveragingCategoricalSequence / PosteriorMeanCategoricalSequence"): _urns,
    ("icl-strategies", "dMMSERegression / RidgeRegression"): _regression,
    ("icl-strategies", "LabelMemorizingClassification / CopyingClassification"): _classification,
    ("icl-strategies", "HierarchicalBayesianModel.calculate_weights"): _odds,
    ("icl-strategies", "compute_barycentric_weights"): _relative,
    ("icl-strategies", "total_variation_distance / hellinger_distance / batched_spearman_correlation"): _agreement,
}
