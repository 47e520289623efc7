"""Runners of the reference vectors of A-GRAE and its control."""

from __future__ import annotations

from golden_cases import Case, Pairs, Runner

from hierlab.credit import a_grae, grpo, w_reinforce
from hierlab.ops import token_returns
from hierlab.trace import Tape


def _a_grae(case: Case) -> Pairs:
    params, scores, task = case.params, case.tensor("scores"), case.inputs["index"]
    switches = {"scale": "std" if params["norm_adv_by_std_in_grpo"] else "none", "eps": params["epsilon"], "singleton": "raw"}
    with Tape() as tape:
        asymmetric = a_grae(scores, task, alpha=params["alpha"], variant="code", **switches)
    advantage = asymmetric if params["grpo_weight"] == 2.0 else grpo(scores, task, **switches)  # the reference's own test
    means = dict(zip(task, tape["success rate"].tolist(), strict=True))
    return {
        "per_row": (advantage, case.want("per_row")),
        "advantages": (advantage[:, None] * case.mask("response_mask"), case.want("advantages")),
        "group_means": ([means[name] for name in case.outputs["group_means"]], list(case.outputs["group_means"].values())),
        "omega_s": (tape["training state"][0], case.want("omega_s")),
    }


def _w_reinforce(case: Case) -> Pairs:
    params, rewards, mask = case.params, case.tensor("token_level_rewards"), case.mask("response_mask")
    advantage = w_reinforce(
        rewards, mask, reinforce=params["advantage"], positive_weight=params["positive_advantage_weight"], gamma=params["gamma"]
    )
    return {
        "advantages": (advantage, case.want("advantages")),
        "returns": (token_returns(rewards, mask, params["gamma"]), case.want("returns") * mask),
    }


RUNNERS: dict[tuple[str, str], Runner] = {
    ("a-grae", "compute_grpo_outcome_advantage"): _a_grae,
    ("a-grae", "compute_psr_nsr_outcome_advantage"): _w_reinforce,
}
