"""Runners of the reference vectors of ratings, voting rules, Soft Condorcet Optimization and Nash averaging."""

from __future__ import annotations

import numpy as np
from golden_cases import Case, Pairs, Runner

from hierlab.ranking import (
    Outcome,
    SoftCondorcet,
    approval,
    batch_elo,
    borda,
    condorcet_winners,
    copeland,
    fenchel_young_gradient,
    kemeny,
    nash_average,
    plurality,
    ranked_pairs,
    schulze,
    sigmoid_gradient,
    single_transferable_vote,
    votes,
    votes_from_scores,
)
from hierlab.ranking.profile import Profile


def _profile(case: Case) -> Profile:
    cast = case.inputs["votes"]
    return votes([vote["ranking"] for vote in cast], [vote["weight"] for vote in cast], case.outputs["alternatives"])


def _same_order(ours, theirs) -> tuple:
    """Names as numbers: 0 where a place holds the same alternative, 1 where it does not."""
    return [float(a != b) for a, b in zip(ours, theirs, strict=True)], [0.0] * len(theirs)


def _soft_condorcet(case: Case) -> Pairs:
    profile, p, want = _profile(case), case.params, case.outputs
    gradient = sigmoid_gradient(np.array(case.inputs["ratings"]), profile.preferences, p["temperature"]) / profile.size
    pairs: Pairs = {"gradient_at_ratings": (gradient, want["gradient_at_ratings"])}
    for steps in (100, 1000):
        model = SoftCondorcet(p["temperature"], p["lower_bound"], p["upper_bound"], p["learning_rate"], steps).fit(profile)
        pairs[f"ratings_after_{steps}_full_gd_steps"] = (model.ratings_, want[f"ratings_after_{steps}_full_gd_steps"])
        pairs[f"ranking_after_{steps}"] = _same_order(model.ranking_, want[f"ranking_after_{steps}"])
    return pairs


def _fenchel_young(case: Case) -> Pairs:
    profile = _profile(case)
    gradient = fenchel_young_gradient(np.array(case.inputs["ratings"]), profile.expanded(), 0.0, np.random.default_rng(0))
    return {"gradient": (gradient, case.outputs["gradient"])}


def _elo(case: Case) -> Pairs:
    p = case.params
    switches = {"smoothing": p["smoothing_factor"], "max_iterations": p["max_iterations"], "tolerance": p["convergence_delta"]}
    switches |= {"scale": p["scale_factor"], "minimum": p["minimum_rating"]}
    return {"ratings": (batch_elo(case.inputs["win_matrix"], case.inputs["draw_matrix"], **switches), case.outputs["ratings"])}


def _nash(case: Case) -> Pairs:
    found = nash_average(case.inputs["score_matrix_agents_by_tasks"], eps=case.params["eps"])
    return {
        "agent_distribution": (found.agents, case.outputs["agent_distribution"]),
        "task_distribution": (found.tasks, case.outputs["task_distribution"]),
        "agent_nash_average": (found.agent_values, case.outputs["agent_nash_average"]),
        "task_nash_average": (found.task_values, case.outputs["task_nash_average"]),
    }


def _voting(case: Case) -> Pairs:
    profile, p, want = _profile(case), case.params, case.outputs
    if "score_table" in case.inputs:  # the votes follow from the table
        table = np.array(list(case.inputs["score_table"].values()))
        from_table = votes_from_scores(table, case.inputs["agents"])
        order = [from_table.alternatives.index(name) for name in profile.alternatives]
        assert (from_table.positions[:, order] == profile.positions).all()
    seats = p["stv_num_winners"]
    rules: dict[str, Outcome] = {
        f"approval(k={p['approval_k']})": approval(profile, p["approval_k"]),
        "borda": borda(profile),
        "copeland": copeland(profile),
        "plurality": plurality(profile),
        "ranked_pairs": ranked_pairs(profile),
        "schulze": schulze(profile),
        f"single_transferable_vote(num_winners={seats})": _encoded(single_transferable_vote(profile, seats), profile, seats),
    }
    if "kemeny_young" in want:
        rules["kemeny_young"] = kemeny(profile)
    pairs: Pairs = {"margin_matrix": (profile.margins, want["margin_matrix"])}
    for strength, strong in (("strong", True), ("weak", False)):
        pairs[f"condorcet_winner_{strength}"] = _same_order(condorcet_winners(profile, strong=strong), want[f"condorcet_winner_{strength}"])
    for name, outcome in rules.items():
        pairs[f"{name}, scores"] = (list(outcome.scores.values()), want[name]["scores"])
        pairs[f"{name}, ranking"] = _same_order(outcome.ranking, want[name]["ranking"])
    ratings = dict(zip(profile.alternatives, batch_elo(profile.preferences), strict=True))
    pairs["elo"] = ([ratings[name] for name in want["elo"]["scores"]], list(want["elo"]["scores"].values()))
    return pairs


def _encoded(outcome: Outcome, profile: Profile, seats: int) -> Outcome:
    """The reference's scores: a number that falls from place to place, with the votes behind its decimal point."""
    quota, m = int(profile.size / (seats + 1) + 1), len(outcome.ranking)
    elected = sum(votes >= quota for votes in outcome.scores.values())
    first = [2 * m - place for place in range(elected)] + [m - place for place in range(m - elected)]
    texts = [f"{number}.{int(votes)}" for number, votes in zip(first, outcome.scores.values(), strict=True)]
    return Outcome(outcome.ranking, dict(zip(outcome.ranking, map(float, texts), strict=True)))


RUNNERS: dict[tuple[str, str], Runner] = {
    ("active-evaluation", "SoftCondorcetOptimizer._gradient / run_solver (batch_size=0: full gradient descent)"): _soft_condorcet,
    ("active-evaluation", "FenchelYoungOptimizer._gradient with sigma=0 (deterministic when ratings differ)"): _fenchel_young,
    ("active-evaluation", "pyspiel.elo.compute_ratings_from_matrices (batch Elo = Bradley-Terry by MM)"): _elo,
    ("active-evaluation", "nash_averaging_avt_matrix"): _nash,
    ("active-evaluation", "open_spiel voting methods"): _voting,
}
