"""Runners of the reference vectors of surrogate losses."""

from __future__ import annotations

import torch
from golden_cases import Case, Pairs, Runner

from hierlab.train.surrogate import aggregate, kl, policy_loss, value_loss


def _aggregate(case: Case) -> Pairs:
    loss = aggregate(
        case.tensor("loss_mat"),
        case.mask("loss_mask"),
        aggregation=case.params["loss_agg_mode"],
        loss_length=case.params["loss_scale_factor"],
    )
    return {"loss": (loss, case.want("loss"))}


def _ppo(case: Case, mask: str = "response_mask") -> Pairs:
    params = case.params
    loss, diagnostics = policy_loss(
        case.tensor("log_prob"),
        case.tensor("old_log_prob"),
        case.tensor("advantages"),
        case.mask(mask),
        clip_low=params["cliprange_low"],
        clip_high=params["cliprange_high"],
        dual_clip=params["clip_ratio_c"],
        aggregation=params["loss_agg_mode"],
    )
    return {
        "pg_loss": (loss, case.want("pg_loss")),
        "pg_clipfrac": (diagnostics["clip_fraction"], case.want("pg_clipfrac")),
        "pg_clipfrac_lower": (diagnostics["clip_fraction_lower"], case.want("pg_clipfrac_lower")),
        "ppo_kl": (diagnostics["approx_kl"], case.want("ppo_kl")),
    }


def _gspo(case: Case) -> Pairs:
    logp = case.tensor("log_prob").requires_grad_()
    loss, diagnostics = policy_loss(
        logp,
        case.tensor("old_log_prob"),
        case.tensor("advantages"),
        case.mask("response_mask"),
        clip_low=case.params["clip_ratio_low"],
        clip_high=case.params["clip_ratio_high"],
        dual_clip=None,
        ratio="sequence",
        aggregation=case.params["loss_agg_mode"],
    )
    (gradient,) = torch.autograd.grad(loss, logp)
    want = case.outputs["metrics"]
    return {
        "pg_loss": (loss.detach(), case.want("pg_loss")),
        "grad_log_prob": (gradient, case.want("grad_log_prob")),
        "pg_clipfrac": (diagnostics["clip_fraction"], want["actor/pg_clipfrac"]),
        "pg_clipfrac_lower": (diagnostics["clip_fraction_lower"], want["actor/pg_clipfrac_lower"]),
        "ppo_kl": (diagnostics["approx_kl"], want["actor/ppo_kl"]),
    }


def _kl(case: Case) -> Pairs:
    logp, reference = case.tensor("logprob"), case.tensor("ref_logprob")
    return {name: (kl(logp, reference, estimator=name), case.want(name)) for name in ("k1", "k2", "k3", "abs")}


def _value(case: Case, mask: str = "response_mask", factor: float = 0.5) -> Pairs:
    loss, diagnostics = value_loss(
        case.tensor("vpreds"),
        case.tensor("values" if "values" in case.inputs else "old_values"),
        case.tensor("returns"),
        case.mask(mask),
        clip=case.params["cliprange_value"],
        factor=factor,
        aggregation=case.params.get("loss_agg_mode", "token-mean"),
    )
    return {
        "vf_loss": (loss, case.want("vf_loss")),
        "vf_clipfrac": (diagnostics["value_clip_fraction"], case.want("vf_clipfrac")),
    }


def _hiper(case: Case) -> Pairs:
    logp, reference = case.tensor("log_prob"), case.tensor("ref_log_prob")
    names = {"kl_k1": "k1", "kl_k2": "k2", "kl_k3_low_var": "k3"}
    estimates = {name: (kl(logp, reference, estimator=estimator), case.want(name)) for name, estimator in names.items()}
    return _ppo(case, "mask") | _value(case, "mask", factor=1.0) | estimates


_BASELINES = {
    "agg_loss": _aggregate,
    "compute_policy_loss": _ppo,
    "compute_policy_loss_gspo": _gspo,
    "kl_penalty": _kl,
    "compute_value_loss": _value,
}

RUNNERS: dict[tuple[str, str], Runner] = {
    ("hiper", "compute_policy_loss + compute_value_loss + kl_penalty"): _hiper,
    **{("_baselines-credit", function): run for function, run in _BASELINES.items()},
}
