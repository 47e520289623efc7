"""Runners of the reference vectors of MAP.

The search is stochastic and the reference used another implementation of NSGA-III, so fronts are compared by their hypervolume and
distance, at the tolerance that golden_cases.py states for them.
"""

from __future__ import annotations

import numpy as np
from golden_cases import Case, Pairs, Runner

from hierlab.adaptation.angle_bins import cartesian, hyperspherical, score_bins, uncertain_mean
from hierlab.adaptation.nsga3 import reference_points, search_front
from hierlab.adaptation.quadratic_surrogate import QuadraticSurrogate, quadratic
from hierlab.adaptation.scale_sampling import lattice_points
from hierlab.pareto import hypervolume, mean_distance, weighted_choice


def _array(case: Case, name: str) -> np.ndarray:
    return np.asarray(case.inputs[name], dtype=np.float64)


def _link(case: Case) -> str:
    return case.params.get("activation") or "identity"


def _random(case: Case) -> np.random.RandomState:
    return np.random.RandomState(case.params.get("np_random_seed", 0))


def _quadratic(case: Case) -> Pairs:
    return {"values": (quadratic(_array(case, "X").T, case.inputs["coef"], _link(case)), case.want("values"))}


def _fit(case: Case) -> Pairs:
    x, y = _array(case, "X"), _array(case, "y")
    fitted = QuadraticSurrogate(_link(case), start=case.params["p0"]).fit(x, y)
    return {"fitted": (fitted.predict(x), case.want("fitted")), "sse": (fitted.squared_error_, case.want("sse"))}


def _hypersphere(case: Case) -> Pairs:
    angles, radii = hyperspherical(_array(case, "X"))
    return {
        "phi": (angles, case.want("phi")),
        "r": (radii, case.want("r")),
        "roundtrip": (cartesian(angles, radii), case.want("roundtrip")),
    }


def _choice(case: Case) -> Pairs:
    row = weighted_choice(_array(case, "pareto_points"), case.inputs["preference"], maximise=case.params["higher"])
    return {"chosen": (case.inputs["decision"][row], case.want("chosen"))}


def _thinning(case: Case) -> dict:
    params = case.params
    return {
        "weight": params["lamba"],
        "drop": params.get("std_percentage", 20) / 100,
        "repeats": params.get("std_sample", 30),
        "faithful": True,
    }


def _uncertain_mean(case: Case) -> Pairs:
    errors = _array(case, "losses")[np.asarray(case.inputs["mask"], dtype=bool)]
    return {"score": (uncertain_mean(errors, _random(case), **_thinning(case)), _finite(case.outputs["score"]))}


def _bins(case: Case) -> Pairs:
    x = _array(case, "X")
    errors = np.square(quadratic(x, case.inputs["coef"], _link(case)) - _array(case, "y"))
    params = {"bins": case.params["n_bins"], "temperature": case.params.get("temperature", 0.07)}
    found = score_bins(x, errors, _random(case), **params, **_thinning(case))
    empty = [value == "-inf" for value in case.outputs["score"]]
    return {
        "bin_size": (found.width, case.want("bin_size")),
        "bins": (found.centres, case.want("bins")),
        "empty": (np.isneginf(found.scores), empty),
        "score": (np.nan_to_num(found.scores, neginf=-1), [_finite(value) for value in case.outputs["score"]]),
        "softmax": (found.probabilities, case.want("softmax")),
    }


def _reference_points(case: Case) -> Pairs:
    params = case.params
    return {"points": (reference_points(params["nobj"], params["p_values"], params["scale_values"]), case.want("points"))}


def _front(case: Case) -> Pairs:
    params, coefficients = case.params, case.inputs["coefs"]
    theirs = case.want("pareto_points_sorted_subsample").numpy()

    def metrics(scales: np.ndarray) -> np.ndarray:
        return np.stack([quadratic(scales, p, _link(case)) for p in coefficients], axis=1)

    settings = {"maximise": params["higher"], "bounds": params["bounds"], "population": params["population"], "generations": params["ngen"]}
    _, ours = search_front(metrics, len(np.asarray(case.inputs["coefs"])), np.random.default_rng(params["seed"]), **settings)
    worst = theirs.min(axis=0) if params["higher"] else theirs.max(axis=0)
    volumes = [hypervolume(points, worst, maximise=params["higher"]) for points in (ours, theirs)]
    return {
        "hypervolume": (volumes[0], volumes[1]),
        "ours to theirs": (mean_distance(ours, theirs), 0.0),
        "theirs to ours": (mean_distance(theirs, ours), 0.0),
        "decision": (np.abs(metrics(np.asarray(case.outputs["decision"])) - theirs).max(), 0.0),
    }


def _lattice(case: Case) -> Pairs:
    points = lattice_points(case.params["n_points"], case.params["dimension"], _random(case))
    return {"points": (points, case.want("points"))}


def _finite(value: float | str) -> float:
    return -1.0 if value == "-inf" else float(value)


RUNNERS: dict[tuple[str, str], Runner] = {
    ("map", "quadratic_model"): _quadratic,
    ("map", "fit_quadratic_from_json"): _fit,
    ("map", "batch_cartesian_to_hyperspherical"): _hypersphere,
    ("map", "get_scaling_from_pf"): _choice,
    ("map", "mean_plus_half_std"): _uncertain_mean,
    ("map", "bayesian_compute_score_per_bin"): _bins,
    ("map", "create_reference_points"): _reference_points,
    ("map", "find_pareto_front"): _front,
    ("map", "Sampling.generate_adjusted_nd_points"): _lattice,
}
