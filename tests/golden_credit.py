"""Runners of the reference vectors of advantage estimators.

The reference spreads a row's number over its tokens; ours stay one number per row and are multiplied by the mask here, which
also holds ours to be 0 where masked. Where the reference leaves numbers at masked positions, these are set to 0.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count

import torch
from golden_cases import Case, Pairs, Runner
from torch import Tensor

from hierlab.credit import (
    anchor_groups,
    gae,
    gigpo,
    grpo,
    lambda_returns,
    overlong_penalty,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    rloo,
    turn_gae,
)
from hierlab.ops import group_ids, returns_to_go, token_returns


def _spread(row: Tensor, case: Case) -> Tensor:
    return row[:, None] * case.mask("response_mask")


def _gigpo(case: Case) -> Pairs:
    params, inputs = case.params, case.inputs
    turns = defaultdict(count)  # the reference takes the rows of a trajectory in the order they stand
    columns = {
        "rewards": case.tensor("step_env_rewards"),
        "task": inputs["uid"],
        "trajectory": inputs["traj_uid"],
        "turn": torch.tensor([next(turns[name]) for name in inputs["traj_uid"]]),
        "state": inputs["anchor_obs"],
    }
    switches = {
        "gamma": params["gamma"],
        "eps": params["epsilon"],
        "scale": {"mean_norm": "none", "mean_std_norm": "std"}[params["mode"]],
        "similarity": params["similarity_thresh"] if params["enable_similarity"] else None,
        "episode_statistics": "turns" if params.get("compute_mean_std_cross_steps", True) else "trajectories",
        "singleton": "raw",
    }
    trajectories = group_ids(columns["task"], columns["trajectory"])
    return {
        "step_returns": (returns_to_go(columns["rewards"], trajectories, columns["turn"], params["gamma"]), case.want("step_returns")),
        "step_group": (anchor_groups(inputs["uid"], inputs["anchor_obs"], similarity=switches["similarity"]), case.want("step_group")),
        "episode_advantages": (_spread(gigpo(**columns, **switches, step_weight=0), case), case.want("episode_advantages")),
        "step_advantages": (_spread(gigpo(**columns, **switches, episode_weight=0), case), case.want("step_advantages")),
        "advantages": (
            _spread(gigpo(**columns, **switches, step_weight=params["step_advantage_w"]), case),
            case.want("advantages"),
        ),
    }


def _rows(case: Case, advantage: Tensor) -> Pairs:
    return {"advantages": (_spread(advantage, case), case.want("advantages")), "returns": (_spread(advantage, case), case.want("returns"))}


def _grpo(case: Case) -> Pairs:
    scale = "std" if case.params["norm_adv_by_std_in_grpo"] else "none"
    return _rows(case, grpo(case.tensor("scores"), case.inputs["index"], scale=scale, eps=case.params["epsilon"], singleton="raw"))


def _rloo(case: Case) -> Pairs:
    return _rows(case, rloo(case.tensor("scores"), case.inputs["index"], singleton="raw"))


def _reinforce_baseline(case: Case) -> Pairs:
    length = case.mask("response_mask").sum(1)
    return _rows(case, reinforce_plus_plus_baseline(case.tensor("scores"), case.inputs["index"], length, singleton="raw"))


def _reinforce(case: Case) -> Pairs:
    rewards, mask, gamma = case.tensor("token_level_rewards"), case.mask("response_mask"), case.params["gamma"]
    return {
        "advantages": (reinforce_plus_plus(rewards, mask, gamma=gamma), case.want("advantages")),
        "returns": (token_returns(rewards, mask, gamma), case.want("returns") * mask),
    }


def _gae(case: Case) -> Pairs:
    columns = case.tensor("token_level_rewards"), case.tensor("values"), case.mask("response_mask")
    discounts = {"gamma": case.params["gamma"], "lam": case.params["lam"]}
    mask = columns[2]
    return {
        "advantages_whitened": (gae(*columns, **discounts), case.want("advantages_whitened") * mask),
        "advantages_raw": (gae(*columns, **discounts, whiten=False), case.want("advantages_raw") * mask),
        "returns": (lambda_returns(*columns, **discounts), case.want("returns") * mask),
    }


def _turn_gae(case: Case) -> Pairs:
    inputs = case.inputs
    rewards = case.tensor("token_level_rewards").sum(1)
    value = case.tensor("values")[:, 0]  # the value is read at the first token of the turn
    columns = rewards, [0] * len(rewards), inputs["traj_uid"], torch.tensor(inputs["turn_idx"]), value
    discounts = {"gamma": case.params["gamma"], "lam": case.params["lam"]}
    return {
        "advantages": (_spread(turn_gae(*columns, **discounts), case), case.want("advantages")),
        "returns": (_spread(turn_gae(*columns, **discounts, whiten=False) + value, case), case.want("returns")),
    }


def _overlong(case: Case) -> Pairs:
    params = case.params
    penalty = overlong_penalty(
        case.tensor("lengths"), max_length=params["max_resp_len"], buffer=params["overlong_buffer_len"], factor=params["penalty_factor"]
    )
    return {"overlong_reward": (penalty, case.want("overlong_reward"))}


def _trl(case: Case) -> Pairs:
    rewards, size = case.tensor("rewards"), case.params["num_generations"]
    scale = {"group": "std", "batch": "batch", "none": "none"}[case.params["scale_rewards"]]
    advantage = grpo(rewards, [i // size for i in range(len(rewards))], scale=scale, eps=case.params["eps"])
    return {"advantages": (advantage, case.want("advantages"))}


_BASELINES = {
    "compute_grpo_outcome_advantage": _grpo,
    "compute_rloo_outcome_advantage": _rloo,
    "compute_reinforce_plus_plus_baseline_outcome_advantage": _reinforce_baseline,
    "compute_reinforce_plus_plus_outcome_advantage": _reinforce,
    "compute_gae_advantage_return": _gae,
    "DAPORewardManager overlong lines 117-122": _overlong,
    "TRL GRPOTrainer advantages lines 2682-2708": _trl,
}

RUNNERS: dict[tuple[str, str], Runner] = {
    ("gigpo", "compute_gigpo_outcome_advantage"): _gigpo,
    ("hiper", "compute_turn_gae_advantage_return"): _turn_gae,
    **{("_baselines-credit", function): run for function, run in _BASELINES.items()},
}
