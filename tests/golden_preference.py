"""Runners of the reference vectors of pair losses and listMLE: TRL, Mitchell's DPO, SimPO, HALOs, allRank."""

from __future__ import annotations

from collections.abc import Callable

import torch
from golden_cases import Case, Pairs, Runner
from torch import Tensor

from hierlab.preference import (
    aot,
    aot_unpaired,
    apo_down,
    apo_zero,
    cpo,
    discopop,
    dpo,
    exo_pair,
    hinge,
    implicit_rewards,
    ipo,
    kto,
    nca_pair,
    orpo,
    plackett_luce,
    sft,
    simpo,
    slic,
    sppo_hard,
)
from hierlab.preference.kto import reference_point
from hierlab.preference.orpo import log_odds_ratio

Loss = Callable[..., Tensor]


def _pair_losses(beta: float, smoothing: float, exo_smoothing: float, tau: float) -> dict[str, Loss]:
    """Our loss for each name of TRL's."""

    def cdpo(*columns: Tensor) -> Tensor:
        return dpo(*columns, beta=beta, label_smoothing=smoothing)

    def ipo_sum(*columns: Tensor) -> Tensor:
        return ipo(*columns, beta=beta, length_average=False)

    named = {"hinge": hinge, "nca_pair": nca_pair, "sppo_hard": sppo_hard, "aot": aot, "aot_pair": aot_unpaired}
    named |= {"apo_zero": apo_zero, "apo_down": apo_down}
    losses = {name: lambda *columns, loss=loss: loss(*columns, beta=beta) for name, loss in named.items()}
    return losses | {
        "dpo": lambda *columns: dpo(*columns, beta=beta),
        "cdpo": cdpo,
        "cdpo_mitchell": cdpo,
        "robust": lambda *columns: dpo(*columns, beta=beta, label_smoothing=smoothing, noise="robust"),
        "ipo_sum": ipo_sum,
        "ipo_mitchell": ipo_sum,
        "exo_pair": lambda *columns: exo_pair(*columns, beta=beta, label_smoothing=exo_smoothing),
        "discopop": lambda *columns: discopop(*columns, beta=beta, temperature=tau),
        "dpo_reference_free": lambda *columns: dpo(*columns, beta=beta, gamma=0.0),
    }


def _columns(case: Case) -> tuple[Tensor, ...]:
    names = ("policy_chosen_logps", "policy_rejected_logps", "ref_chosen_logps", "ref_rejected_logps")
    return tuple(case.tensor(name) for name in names)


def _tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _pairs(case: Case) -> Pairs:
    params, columns = case.params, _columns(case)
    smoothing = params["label_smoothing_for_cdpo_and_robust"]
    losses = _pair_losses(params["beta"], smoothing, params["label_smoothing_for_exo"], params["discopop_tau"])
    rewards = dict(zip(("chosen_rewards", "rejected_rewards"), implicit_rewards(*columns, beta=params["beta"]), strict=True))
    pairs: Pairs = {}
    for name, want in case.outputs.items():
        ours = losses[name](*columns)
        found = {"losses": ours, "loss_mean": ours.mean(), **rewards}
        pairs |= {f"{name}: {key}": (found[key], _tensor(value)) for key, value in want.items()}
    return pairs


def _kto(case: Case) -> Pairs:
    params = case.params
    names = ("policy_chosen_logps", "policy_rejected_logps", "ref_chosen_logps", "ref_rejected_logps", "policy_KL_logps", "ref_KL_logps")
    good, bad, reference_good, reference_bad, *mismatched = (case.tensor(name) for name in names)
    weights = {"desirable_weight": params["desirable_weight"], "undesirable_weight": params["undesirable_weight"]}
    pairs: Pairs = {}
    for name, want in case.outputs.items():
        points = mismatched if name == "kto" else ()
        ours = kto(good, bad, reference_good, reference_bad, *points, beta=params["beta"], **weights)
        found = {
            "losses": ours,
            "loss_mean": ours.nanmean(),
            "chosen_rewards": params["beta"] * (good - reference_good),
            "rejected_rewards": params["beta"] * (bad - reference_bad),
            "kl": reference_point(*mismatched) if points else torch.tensor(0.0),
        }
        pairs |= {f"{name}: {key}": (found[key], _tensor(value)) for key, value in want.items()}
    return pairs


def _reference_free(case: Case) -> Pairs:
    params, chosen, rejected = case.params, case.tensor("chosen_avg_logps"), case.tensor("rejected_avg_logps")
    smoothing = {"label_smoothing": params["label_smoothing"]}
    ours = {"beta": params["beta_simpo"], "margin_ratio": params["simpo_gamma"] / params["beta_simpo"], **smoothing}
    theirs = {"beta": params["beta_simpo"], "margin_ratio": params["gamma_beta_ratio"], **smoothing}
    odds = log_odds_ratio(chosen, rejected)
    losses = {
        "simpo_trl": (simpo(chosen, rejected, **ours), params["beta_simpo"]),
        "simpo_official": (simpo(chosen, rejected, **theirs), params["beta_simpo"]),
        "simpo_official_hinge": (simpo(chosen, rejected, form="hinge", **theirs), params["beta_simpo"]),
        "cpo_sigmoid": (cpo(chosen, rejected, beta=params["beta_cpo"], sft_weight=0, **smoothing), params["beta_cpo"]),
        "cpo_hinge": (cpo(chosen, rejected, beta=params["beta_cpo"], sft_weight=0, form="hinge"), params["beta_cpo"]),
        "slic": (slic(chosen, rejected, delta=params["slic_delta"], weight=params["slic_lambda"]), 1.0),
    }
    pairs: Pairs = {}
    for name, want in case.outputs.items():
        beta = losses[name][1] if name in losses else params["beta_orpo"]
        found = {"chosen_rewards": beta * chosen, "rejected_rewards": beta * rejected}
        if name in losses:
            found |= {"losses": losses[name][0], "loss_mean": losses[name][0].mean()}
        else:
            term = -chosen - orpo(chosen, rejected, beta=beta)
            found |= {
                "beta_times_logsigmoid_log_odds": term,
                "beta_times_log_sigmoid_log_odds": term,
                "mean_log_sigmoid": odds.sigmoid().log().mean(),
                "mean_log_odds": odds.mean(),
                "total_loss": orpo(chosen, rejected, beta=beta).mean(),
            }
        pairs |= {f"{name}: {key}": (found[key], _tensor(value)) for key, value in want.items()}
    return pairs


def _list_mle(case: Case) -> Pairs:
    relevance = case.tensor("relevance")
    there = relevance != case.params["padding_label"]
    losses = plackett_luce(case.tensor("scores"), relevance, there, eps=case.params["eps"])
    found = {"plackett_luce_nll_per_list": losses, "mean": losses.mean()}
    return {name: (found[name], case.want(name)) for name in case.outputs}


def _token_level(case: Case) -> Pairs:
    params = case.params
    ids, mask = torch.tensor(case.inputs["input_ids"]), case.mask("completion_mask")

    def answers(name: str) -> Tensor:
        logp = case.tensor(name)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return (logp * mask[:, 1:]).sum(1)

    policy, reference = answers("policy_logits").chunk(2), answers("ref_logits").chunk(2)
    columns, tokens = (*policy, *reference), mask[:, 1:].sum(1).chunk(2)
    beta, smoothing = params["beta"], params["label_smoothing"]
    losses = {
        "sigmoid": dpo(*columns, beta=beta),
        "hinge": hinge(*columns, beta=beta),
        "ipo": ipo(*columns, *tokens, beta=beta),
        "robust": dpo(*columns, beta=beta, label_smoothing=smoothing, noise="robust"),
        "sigmoid_norm": dpo(*columns, *tokens, beta=beta, length_average=True),
        "nca_pair": nca_pair(*columns, beta=beta),
        "sft": sft(policy[0], tokens[0]),
        "apo_zero": apo_zero(*columns, beta=beta),
        "apo_down": apo_down(*columns, beta=beta),
        "exo_pair": exo_pair(*columns, beta=beta, label_smoothing=smoothing),
        "sppo_hard": sppo_hard(*columns, beta=beta),
        "discopop": discopop(*columns, beta=beta),
        "aot": aot(*columns, beta=beta, label_smoothing=smoothing),
        "aot_unpaired": aot_unpaired(*columns, beta=beta, label_smoothing=smoothing),
        "sigmoid+0.5*sft": dpo(*columns, beta=beta) + 0.5 * sft(policy[0], tokens[0]),
    }
    better, worse = implicit_rewards(*columns, beta=beta)
    shared = {
        "reward_accuracy": (better > worse).double().mean(),
        "reward_margin": (better - worse).mean(),
        "logps_chosen_mean": policy[0].mean(),
        "logps_rejected_mean": policy[1].mean(),
    }
    found = {name: {"loss": losses[name].mean(), **shared} for name in case.outputs}
    return {f"{name}: {key}": (found[name][key], _tensor(value)) for name, want in case.outputs.items() for key, value in want.items()}


_FILE = "_baselines-preference"
_REFERENCE_FREE = (
    "cpo_loss/simpo (TRL HEAD), simpo_loss (official SimPO), odds_ratio_loss (TRL HEAD, float32), "
    "ORPOTrainer.loss and SLiCTrainer.loss (HALOs-derived)"
)
RUNNERS: dict[tuple[str, str], Runner] = {
    (_FILE, "dpo_loss (TRL v0.19.1) and preference_loss (Mitchell)"): _pairs,
    (_FILE, "kto_loss (TRL v0.19.1)"): _kto,
    (_FILE, _REFERENCE_FREE): _reference_free,
    (_FILE, "listMLE (allRank)"): _list_mle,
    (_FILE, "DPOTrainer._compute_loss (TRL HEAD, token level)"): _token_level,
}
