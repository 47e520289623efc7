"""Runners of the reference vectors of estimators for agents: HGPO and HiPER."""

from __future__ import annotations

from collections import Counter

import torch
from golden_cases import Case, Pairs, Runner

from hierlab.credit import boundaries, decision_masks, hae, hgpo, hiper, parse_plans, read_values, shaped_rewards, value_masks
from hierlab.ops import group_ids, returns_to_go
from hierlab.trace import Tape


def turns_in_order(trajectory: list[str]) -> torch.Tensor:
    """The place of each row among the rows of its trajectory, for references that go by the order of the rows."""
    seen: Counter[str] = Counter()
    places = []
    for name in trajectory:
        places.append(seen[name])
        seen[name] += 1
    return torch.tensor(places)


def _hgpo(case: Case) -> Pairs:
    params, inputs = case.params, case.inputs
    rewards, turn = case.tensor("step_env_rewards"), turns_in_order(inputs["traj_uid"])
    advantage = hgpo(
        rewards,
        inputs["uid"],
        inputs["traj_uid"],
        turn,
        inputs["anchor_obs"],
        history=params["history_length"],
        alpha=params["length_weight_alpha"],
        gamma=params["gamma"],
        scale={"mean_norm": "none", "mean_std_norm": "std"}[params["mode"]],
        episode_level=params["base_group"],
        singleton="raw",
        eps=params["epsilon"],
    )
    returns = returns_to_go(rewards, group_ids(inputs["uid"], inputs["traj_uid"]), turn, params["gamma"])
    return {
        "step_returns": (returns, case.want("step_returns")),
        "advantages": (advantage[:, None] * case.mask("response_mask"), case.want("advantages")),
    }


def _hae(case: Case) -> Pairs:
    params, inputs = case.params, case.inputs
    response_mask = case.mask("response_mask")
    masks = {name: case.mask(name) for name in ("action_mask", "subgoal_mask", "switch_mask") if params["token_masks_given"]}
    columns = {
        "task": [0] * len(response_mask),
        "trajectory": inputs["traj_uid"],
        "turn": torch.tensor(inputs["turn_idx"]),
        "switch": torch.tensor(inputs["switch"]),
    }
    value_mask = {head: case.mask(f"value_mask_{head}") for head in ("low", "high", "term") if f"value_mask_{head}" in inputs}
    values = {
        head: read_values(case.tensor(params[f"value_key_{head}"]), value_mask[head], response_mask)
        for head in value_mask
        if params[f"value_key_{head}"] in inputs
    }
    rewards = shaped_rewards(
        case.tensor("rewards"),
        **columns,
        valid=inputs.get("is_action_valid"),
        response_ids=torch.tensor(inputs["responses"]),
        subgoal_mask=masks.get("subgoal_mask", torch.zeros_like(response_mask)) & response_mask,
        keep_penalty=-params["keep_penalty"],
        keep_mode={"fixed": "fixed", "normalized": "normalised"}[params["keep_penalty_mode"]],
        invalid_penalty=params["invalid_action_penalty_coef"] if "is_action_valid" in inputs else 0.0,
        inconsistency_penalty=-params["keep_consistency_penalty"] if "subgoal_mask" in masks else 0.0,
        both_needed=params["keep_consistency_requires_both"],
    )
    columns |= {"rewards": rewards, "value_low": values["low"], "value_high": values.get("high"), "value_switch": values.get("term")}
    switches = {
        "gamma": params["gamma"],
        "lam_turn": params["lam_turn"],
        "lam_seg": params["lam_seg"],
        "bootstrap_truncated": params["bootstrap_truncated"],
        "switch_advantage": "code" if params["assign_term_to_switch"] else "none",
    }
    plan_tokens = {(True, False): "subgoal", (False, True): "switch", (True, True): "both", (False, False): "none"}[
        params["assign_high_to_subgoal"], params["assign_high_to_switch"]
    ]
    rated = params["assign_term_to_switch"] and "term" in values
    with Tape() as tape:
        advantage = hiper(
            **columns,
            response_mask=response_mask,
            **masks,
            done=inputs["dones"],
            **switches,
            plan_tokens=plan_tokens,
            normalise=params["norm_adv"],
        )
    estimate = hae(**columns, done=inputs["dones"], **switches)
    landed = decision_masks(estimate.boundary, response_mask, **masks, plan_tokens=plan_tokens, switch_rated=rated)
    targets = {"low": estimate.action_target, "high": estimate.subgoal_target, "term": estimate.switch_target}
    pairs = {"advantages": (advantage, case.want("advantages"))}
    for theirs, ours in {"low": "action", "high": "subgoal", "term": "switch"}.items():
        pairs[f"advantages_{theirs}"] = tape[f"{ours} advantage on its tokens"], case.want(f"advantages_{theirs}")
        pairs[f"hae_{theirs.replace('low', 'lo').replace('high', 'hi')}_mask"] = (
            getattr(landed, ours),
            case.want(f"hae_{theirs.replace('low', 'lo').replace('high', 'hi')}_mask"),
        )
        read = value_mask[theirs] & response_mask if theirs in values else torch.zeros_like(response_mask)
        pairs[f"returns_{theirs}"] = targets[theirs][:, None] * read, case.want(f"returns_{theirs}")
    return pairs


def _plans(case: Case) -> Pairs:
    params, inputs = case.params, case.inputs
    mask = case.mask("response_mask")
    pieces = [
        [inputs["token_pieces"][token] for token in row[:length]]
        for row, length in zip(inputs["responses"], mask.sum(1).tolist(), strict=True)
    ]
    plans = parse_plans(
        pieces,
        mask,
        include_tags=params["include_tags_mask"],
        keep=params["keep_values"],
        missing=params["default_switch_value"],
        whole_response=params["fallback_action_to_full_response"],
    )
    boundary = boundaries([0] * len(mask), inputs["traj_uid"], torch.tensor(inputs["turn_idx"]), plans.switch)
    read = value_masks(plans.plan_end, boundary, mask)
    return {
        "action_mask": (plans.action_mask, case.want("action_mask")),
        "subgoal_mask": (plans.subgoal_mask, case.want("subgoal_mask")),
        "switch_mask": (plans.switch_mask, case.want("switch_mask")),
        "is_new_subgoal": (plans.switch, case.want("is_new_subgoal")),
        "value_mask_high": (read.high, case.want("value_mask_high")),
        "value_mask_low": (read.low, case.want("value_mask_low")),
        "value_mask_term": (read.switch, case.want("value_mask_term")),
    }


RUNNERS: dict[tuple[str, str], Runner] = {
    ("hgpo", "compute_hgpo_outcome_advantage"): _hgpo,
    ("hiper", "compute_hae_advantage"): _hae,
    ("hiper", "make_hae_masks_and_switch + compute_value_mask"): _plans,
}
