"""Runners of the reference vectors of RewardBench 2 and of the Bradley-Terry loss."""

from __future__ import annotations

from golden_cases import Case, Pairs, Runner

from hierlab.reward import TiesRow, best_of_n_credit, bradley_terry_loss, preference_accuracy, ties_score
from hierlab.reward.judge import parse_rating, parse_verdict
from hierlab.reward.ties import spread_and_gap


def _best_of_n(case: Case) -> Pairs:
    return {"results": (best_of_n_credit(case.inputs["groups"]), case.want("results"))}


def _ties(case: Case) -> Pairs:
    rows = [
        TiesRow(f"{kind}:{prompt}", row["scores"], row["num_correct"])
        for kind in ("ref", "tied")
        for prompt, row in case.inputs[kind].items()
    ]
    spread, gap = spread_and_gap(rows)
    wanted = [case.outputs["stats"][row.id] for row in rows]
    several = [row.num_correct > 1 for row in rows]
    return {
        "overall": (ties_score(rows).overall, case.want("overall")),
        "accurate": (gap > 0, [accurate for accurate, _, _ in wanted]),
        "gap": (gap, [theirs for _, _, theirs in wanted]),
        "spread": (spread[several], [theirs for _, theirs, _ in wanted if theirs is not None]),
    }


def _verdict(case: Case) -> Pairs:
    letters = [*"ABCD", "error"]
    ours = [letters.index(parse_verdict(text)) for text in case.inputs["judgments"]]
    return {"winner": (ours, [letters.index(winner) for winner in case.outputs["winner"]])}


def _rating(case: Case) -> Pairs:
    return {"rating": ([parse_rating(text) for text in case.inputs["judgments"]], case.want("rating"))}


def _bradley_terry(case: Case) -> Pairs:
    chosen, rejected, margin = (case.tensor(name) for name in ("chosen_rewards", "rejected_rewards", "margin"))
    plain, with_margin = bradley_terry_loss(chosen, rejected), bradley_terry_loss(chosen, rejected, margin=margin)
    centred = bradley_terry_loss(chosen, rejected, centering=case.params["center_rewards_coefficient"])
    ours = {"trl": plain, "trl_centered": centred, "trl_margin": with_margin}
    pairs: Pairs = {}
    for name, loss in ours.items():
        theirs = case.outputs[name]
        pairs[f"{name} loss"] = loss, theirs["loss"]
        pairs[f"{name} accuracy"] = preference_accuracy(chosen, rejected), theirs["accuracy"]
        pairs[f"{name} margin"] = (chosen - rejected).mean(), theirs["margin"]
    names = {"openrlhf": plain, "openrlhf_margin": with_margin, "openrlhf_logexp": plain}
    return pairs | {name: (loss, case.want(name)) for name, loss in names.items()}


RUNNERS: dict[tuple[str, str], Runner] = {
    ("rewardbench2", "reroll_and_score_dataset"): _best_of_n,
    ("rewardbench2", "process_single_model (Ties subset)"): _ties,
    ("rewardbench2", "process_judgement"): _verdict,
    ("rewardbench2", "get_single_rating (parsing only)"): _rating,
    ("_baselines-preference", "RewardTrainer.compute_loss (TRL HEAD), PairWiseLoss/LogExpLoss (OpenRLHF)"): _bradley_terry,
}
