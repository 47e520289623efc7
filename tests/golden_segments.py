"""Runners of the reference vectors of SPO.

The reference names a boundary by the last token before it (-1: the prompt), and lists nodes and edges of a tree depth-first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

import torch
from golden_cases import Case, Pairs, Runner
from torch import Tensor

from hierlab.credit import best_of_gain, cutpoint_starts, equal_starts, probability_mask, spo, spo_tree
from hierlab.credit.trees import backed_up_values, tree_of
from hierlab.ops import group_std, whiten
from hierlab.train.surrogate import aggregate, kl, policy_loss


def _valued(case: Case, starts: Tensor, old_logp: Tensor | None, **switches: Any) -> Pairs:
    """Boundaries and advantages of one response."""
    value = torch.full(starts.shape, torch.nan, dtype=torch.float64)
    value[starts] = case.tensor("cutpoint_values")
    score = torch.tensor([case.inputs["score"]], dtype=torch.float64)
    advantage = spo(score, torch.ones_like(starts), starts, value, old_logp, **switches)
    return {
        "cutpoints": (starts[0].nonzero().flatten() - 1, case.want("cutpoints")),
        "token_advantages": (advantage[0], case.want("token_advantages")),
    }


def _chain(case: Case) -> Pairs:
    threshold = case.params["prob_threshold"]
    old_logp = torch.tensor([[log(p) if p > 0 else -1e9 for p in case.inputs["response_probs"]]], dtype=torch.float64)
    everywhere = torch.ones_like(old_logp, dtype=torch.bool)
    starts = cutpoint_starts(old_logp, everywhere, interval=case.params["cutpoint_interval"], threshold=threshold)
    return _valued(case, starts, old_logp, threshold=threshold)


def _naive(case: Case) -> Pairs:
    everywhere = torch.ones(1, case.inputs["num_tokens"], dtype=torch.bool)
    return _valued(case, equal_starts(everywhere, case.params["num_segments"], from_prompt=False), None)


@dataclass
class _Row:
    """One segment of the reference's tree; it is named by its row."""

    parent: int | None
    reward: float


def _segments(children: list, parent: int | None, rows: list[_Row]) -> list[_Row]:
    """The nodes below one, depth-first."""
    for child in children:
        inner = isinstance(child, list)
        rows.append(_Row(parent, 0.0 if inner else float(child["cut"] if isinstance(child, dict) else child)))
        if inner:
            _segments(child, len(rows) - 1, rows)
    return rows


def _tree(case: Case) -> Pairs:
    rows = _segments(case.inputs["tree"], None, [])
    rewards = torch.tensor([row.reward for row in rows], dtype=torch.float64)
    columns = {"task": ["Q"] * len(rows), "node": list(range(len(rows))), "parent": [row.parent for row in rows]}
    tree = tree_of(**columns)
    value = backed_up_values(rewards, tree)
    spread = {parent: float(std) for parent, std in zip(columns["parent"], group_std(value, tree.siblings, unbiased=False), strict=True)}
    advantage = spo_tree(rewards, **columns, scale={"rloo": "none", "grpo": "std"}[case.params["adv_method"]])
    gain = best_of_gain(rewards, **columns)
    kept = advantage + gain != 0 if case.params["only_adv_greater_than_zero"] else torch.ones_like(gain, dtype=torch.bool)
    nodes, edges = case.outputs["nodes"], case.outputs["edges"]
    inner = [node for node in nodes if node["reward_std"] is not None]
    return {
        "value": (value, [node["reward"] for node in nodes[1:]]),
        "leaf": (tree.leaf, [node["leaf"] for node in nodes[1:]]),
        "depth": (tree.depth, [node["depth"] for node in nodes[1:]]),
        "reward_std": ([spread[None if node is nodes[0] else nodes.index(node) - 1] for node in inner], [n["reward_std"] for n in inner]),
        "advantage": (advantage[kept], [edge["advantage"] for edge in edges]),
        "prover_advantage": (gain[kept], [edge["prover_advantage"] for edge in edges]),
        "edge value": (value[kept], [edge["value"] for edge in edges]),
    }


def _whiten(case: Case) -> Pairs:
    mask = probability_mask(case.tensor("logprobs"), case.mask("mask"), threshold=case.params["prob_threshold"])
    mask = mask if mask.any() else case.mask("mask")
    return {"whitened": (whiten(case.tensor("values"), mask), case.want("whitened") * mask)}  # the reference leaves numbers elsewhere


def _loss(case: Case) -> Pairs:
    params, mask = case.params, case.mask("mask")
    old, new, reference = (case.tensor(f"{name}_logprobs") for name in ("old", "new", "ref"))
    if params["use_prob_mask"]:
        mask = probability_mask(old, mask)
    clip = params["cliprange"]
    loss, diagnostics = policy_loss(new, old, case.tensor("advantages"), mask, clip_low=clip, clip_high=clip, dual_clip=None)
    penalty = aggregate(kl(new, reference, mask, estimator="k3"), mask, aggregation="seq-mean-token-sum")
    return {
        "loss": (loss + params["kl_coef"] * penalty, case.want("loss")),
        "clip_frac": (diagnostics["clip_fraction"], case.want("clip_frac")),
    }


RUNNERS: dict[tuple[str, str], Runner] = {
    ("spo", "chain: cutpoint selection + _compute_token_advantages"): _chain,
    ("spo", "naive: get_cutpoints + _compute_token_advantages"): _naive,
    ("spo", "_construct_tree (values) + extract_edges_from_tree"): _tree,
    ("spo", "masked_whiten"): _whiten,
    ("spo", "_compute_actor_loss"): _loss,
}
