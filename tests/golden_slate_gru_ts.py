"""Runners of the reference vectors of the slate recommender: GRU cell, joint density, in-slate merge, amortised start, scores."""

from __future__ import annotations

import torch
from golden_cases import Case, Pairs
from torch import Tensor

from hierlab.recommendation.amortised_state import amortised_state
from hierlab.recommendation.slate_joint import CLICKS, Priors, log_joint, used_vectors
from hierlab.recommendation.slate_likelihood import score, score_all
from hierlab.recommendation.slates import SlateLog
from hierlab.recommendation.thompson import in_slate, top_items
from hierlab.recommendation.user_state import GRU_WEIGHTS, gru_path, gru_step

_ITEMS = {"hier": "hierarchical", "flat": "flat"}
_USERS = {"gru": "gru", "linear": "linear", "lingru": "lin-gru", "markov": "markov"}


def _matrix(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _our_name(site: str) -> str:
    """What we call a site of the Pyro model."""
    last = site.removesuffix(".weight").split(".")[-1]
    return {"groupvec": "group_vectors", "groupscale": "group_scales", "itemvec": "item_vectors", "bias_noclick": "no_click_bias"}.get(
        last, {"h0-batch": "start", "obs": CLICKS, "softmax_mult": "multiplier"}.get(last, last)
    )


def _gru_cell(case: Case) -> Pairs:
    x, start = case.tensor("x"), case.tensor("h0")
    weights = {name: _matrix(case.inputs["weights_out_by_in"][name]) for name in GRU_WEIGHTS}
    hidden, states = start, []
    for t in range(x.shape[1]):
        hidden = gru_step(x[:, t], hidden, weights)
        states.append(hidden)
    # the same inputs as clicks on a table that holds one row a user and step
    rows = torch.cat([torch.zeros(3, x.shape[-1], dtype=x.dtype), x.flatten(0, 1)])
    click = 3 + torch.arange(x.shape[0] * x.shape[1]).view(x.shape[:2])
    return {
        "hidden": (torch.stack(states, 1), case.want("hidden")),
        "output": (gru_path(click, rows, start, weights)[:, 1:], case.want("output")),
    }


def _joint(case: Case) -> Pairs:
    params, batch = case.params, case.inputs["batch"]
    mask = torch.tensor(batch["phase_mask"]).bool()
    log = SlateLog(*(torch.tensor(batch[name]) for name in ("action", "click", "click_idx")), train=mask)
    latents = {_our_name(site): _matrix(values) for site, values in case.inputs["latents"].items()}
    items = _ITEMS[params["item_model"]]
    # "prior_rnn_scale" is left out: in the reference it has no effect, and the matrices' prior is N(0, 1), our default
    scales = {"group_vector": "groupvec", "group_scale": "groupscale", "start": "userinit", "bias": "bias"}
    given = {ours: params[f"prior_{name}_scale"] for ours, name in scales.items() if f"prior_{name}_scale" in params}
    joint = log_joint(
        log,
        latents,
        item_group=torch.tensor(case.inputs["item_group"]),
        user=_USERS[params["user_model"]],
        items=items,
        score=params["score"],
        priors=Priors(**given, multiplier=params.get("prior_softmax_mult_scale", 0.0)),
        likelihood_temperature=params["likelihood_temperature"],
        prior_temperature=params["prior_temperature"],
        num_users=params["num_users"],
    )
    last = score_all(joint.positions[:, -1], used_vectors(latents["item_vectors"], items), params["score"])
    ours = {
        f"log density of {site}": (joint.terms[_our_name(site)], _matrix(value))
        for site, value in case.outputs["log_prob_per_site"].items()
    }
    return ours | {
        "score": (joint.scores, case.want("score")),
        "Z": (joint.positions, case.want("Z")),
        "predict_score_last_step": (last, case.want("predict_score_last_step")),
    }


def _merge(case: Case) -> Pairs:
    draws = case.tensor("score_draws")[: case.params["num_rec"]]
    return {
        "inslate_topk": (in_slate(draws), case.want("inslate_topk")),
        "plain_thompson_topk_from_draw0": (top_items(draws[0], len(draws)), case.want("plain_thompson_topk_from_draw0")),
    }


def _amortised(case: Case) -> Pairs:
    mask = None if case.inputs["mask"] is None else case.mask("mask")
    numbers = {"decay": case.params["h0_amort_decayfactor"], "factor": case.params["amort_scalefactor"]}
    mean, scale = amortised_state(torch.tensor(case.inputs["click"]), case.tensor("V"), mask, **numbers)
    return {"mean": (mean, case.want("mean")), "scale": (scale, case.want("scale"))}


def _score(kind: str, case: Case) -> Pairs:
    return {"score": (score(case.tensor("z"), case.tensor("V"), kind), case.want("score"))}


RUNNERS = {
    ("slate-gru-ts", "Gru.forward / hidden2output"): _gru_cell,
    ("slate-gru-ts", "PyroRecommender._compute(mode=likelihood) and .predict"): _joint,
    ("slate-gru-ts", "PyroRecommender.recommend_inslate and .recommend"): _merge,
    ("slate-gru-ts", "MeanFieldGuide.h0_amortization_func"): _amortised,
    ("slate-gru-ts", "score_euclidean"): lambda case: _score("l2", case),
}
