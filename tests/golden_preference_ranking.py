"""Runners of the reference vectors of ranking accuracy: gamma-DPO, idealised rankings, competition ranks."""

from __future__ import annotations

import numpy as np
import torch
from golden_cases import Case, Pairs, Runner
from torch import Tensor

from hierlab.preference import dpo, hinge, ideal_margin, idealised_right, implicit_rewards, ipo, ranking_accuracy
from hierlab.preference.ranking_accuracy import rater_log_odds, ratio_ranks


def _numbers(values: object) -> Tensor:
    """Numbers in double precision, of which "nan" and "inf" are written as texts."""
    return torch.from_numpy(np.array(values, dtype=np.float64))


def _gamma_dpo(case: Case) -> Pairs:
    beta = case.params["beta"]
    columns = tuple(case.tensor(f"{model}_{side}_logps") for model in ("policy", "ref") for side in ("chosen", "rejected"))
    losses = {f"dpo_gamma={gamma}": dpo(*columns, beta=beta, gamma=float(gamma)) for gamma in case.params["gammas"]}
    losses |= {
        "sigmoid": dpo(*columns, beta=beta),
        "no_sft_ratio": dpo(*columns, beta=beta, gamma=0.0),
        "ipo": ipo(*columns, beta=beta, length_average=False),
        "ipo_nsr": ipo(*columns, beta=beta, gamma=0.0, length_average=False),
        "hinge": hinge(*columns, beta=beta),
    }
    better, worse = implicit_rewards(*columns, beta=beta)
    pairs: Pairs = {}
    for name, want in case.outputs.items():
        found = {"losses": losses[name], "mean": losses[name].mean(), "chosen_rewards": better, "rejected_rewards": worse}
        pairs |= {f"{name}: {key}": (found[key], _numbers(value)) for key, value in want.items()}
    return pairs


def _branch(case: Case, branch: str, beta: float, eps: float) -> tuple[Tensor, Tensor]:
    """Our ideal margin, and whether the reference keeps the row: it drops those whose ratio overflows."""
    first, second = case.tensor("sum_logp_1"), case.tensor("sum_logp_2")
    tokens = (case.tensor("num_tokens_1"), case.tensor("num_tokens_2"))
    switches = {"beta": beta, "eps": eps}
    agreement = case.tensor("a1")
    if branch == "length_normalized":
        margin = ideal_margin(first, second, agreement, *tokens, **switches)
        ratio = (-second / tokens[1]).exp() / (-first / tokens[0]).exp()  # of the perplexities
    elif branch == "sequence_probability_ratio":
        margin, ratio = ideal_margin(first, second, agreement, **switches), (-second).exp() / (-first).exp()
    else:
        margin, ratio = ideal_margin(first, second, agreement, variant="official", **switches), first / second
    ideal = (rater_log_odds(agreement, eps=eps).exp() ** (1 / beta)) * ratio
    return margin, ideal.isfinite()


def _idealised(case: Case) -> Pairs:
    params, agreement = case.params, case.tensor("a1")
    pairs: Pairs = {}
    for beta in params["betas"]:
        for branch, want in case.outputs[f"beta={beta}"].items():
            margin, kept = _branch(case, branch, float(beta), params["eps"])
            right = idealised_right(margin, agreement, variant="official", eps=params["eps"])[kept]
            odds = rater_log_odds(agreement, eps=params["eps"])[kept]
            found = {
                "human_ratios": odds.exp(),
                "human_ranking": ratio_ranks(odds, band=params["tie_tolerance"]),
                "ideal_ranking": ratio_ranks(margin[kept], band=params["tie_tolerance"]),
                "accuracy": right.double().mean(),
                "per_example": right,
            }
            pairs |= {f"{beta} {branch}: {key}": (found[key], _numbers(want[key])) for key in found}
            # Ratios of 1e300 are compared as what they are made from.
            pairs[f"{beta} {branch}: log ratios"] = (margin[kept], _numbers(want["ideal_policy_ratios"]).log())
    return {name: (_finite(ours), _finite(theirs)) for name, (ours, theirs) in pairs.items()}


def _finite(values: Tensor) -> Tensor:
    """The logarithm of a ratio of 0 as a number that can be subtracted."""
    return torch.as_tensor(values, dtype=torch.float64).nan_to_num(nan=torch.nan, neginf=-1e9)


def _ranks(case: Case) -> Pairs:
    perplexities, ranks = _numbers(case.inputs["ppls"]), torch.tensor(case.inputs["human_rankings"])
    scores = {"length_normalized": 1 / perplexities, "sum_logp": -case.tensor("num_tokens") * perplexities.log()}
    tie = (case.params["tie_threshold"] or 0.0) if case.params["include_ties"] else 0.0
    pairs: Pairs = {}
    for name, want in case.outputs.items():
        accuracy, values = ranking_accuracy(scores[name], ranks, tie=tie, variant="official")
        found = {"accuracy": torch.tensor(accuracy, dtype=torch.float64), "per_example": values[~values.isnan()]}
        theirs = {key: _numbers(value) for key, value in want.items()}
        pairs |= {f"{name}: {key}": (found[key], theirs[key]) for key in found}
    return pairs


_FILE = "preference-ranking"
RUNNERS: dict[tuple[str, str], Runner] = {
    (_FILE, "dpo_loss (loss_type alpha_scaling etc.)"): _gamma_dpo,
    (_FILE, "RLHFMinimizerClient._compute_likelihood_ratios_helper / compute_ranks"): _idealised,
    (_FILE, "CalibrationMetrics.rank + Accuracy.distance"): _ranks,
}
