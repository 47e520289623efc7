"""Reference vectors: the numbers in tests/golden, and how far ours are from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"

TOLERANCES = {  # by file and reference function; 1e-9 for the others, whose references are in double precision
    (
        "_baselines-preference",
        "cpo_loss/simpo (TRL HEAD), simpo_loss (official SimPO), odds_ratio_loss (TRL HEAD, float32), "
        "ORPOTrainer.loss and SLiCTrainer.loss (HALOs-derived)",
    ): 1e-7,  # TRL's odds ratio is in single precision
    (
        "_baselines-preference",
        "RewardTrainer.compute_loss (TRL HEAD), PairWiseLoss/LogExpLoss (OpenRLHF)",
    ): 1e-8,  # single-precision accuracy
    (
        "active-evaluation",
        "SoftCondorcetOptimizer._gradient / run_solver (batch_size=0: full gradient descent)",
    ): 1e-3,  # sums a thousand steps in single precision
    ("active-evaluation", "FenchelYoungOptimizer._gradient with sigma=0 (deterministic when ratings differ)"): 1e-6,  # single precision
    ("active-evaluation", "nash_averaging_avt_matrix"): 1e-6,  # a convex solver's answer
    ("gigpo", "compute_gigpo_outcome_advantage"): 1e-6,  # returns went through single precision
    ("hgpo", "compute_hgpo_outcome_advantage"): 1e-5,  # single precision
    ("hiper", "compute_hae_advantage"): 1e-5,  # single precision
    ("hiper", "compute_policy_loss + compute_value_loss + kl_penalty"): 1e-8,  # adds 1e-8 to the number of tokens; verl no longer does
    ("icl-strategies", "LabelMemorizingClassification / CopyingClassification"): 1e-6,  # single precision
    ("icl-strategies", "HierarchicalBayesianModel.calculate_weights"): 1e-6,  # its parameters are logarithms in single precision
    (
        "icl-strategies",
        "total_variation_distance / hellinger_distance / batched_spearman_correlation",
    ): 1e-7,  # its ranks are in single precision
    ("map", "find_pareto_front"): 0.01,  # another implementation of a random search: fronts are compared, not numbers
    ("spo", "masked_whiten"): 1e-8,  # divides by the number of tokens, where ours adds 1e-8 to it as verl does
    ("spo", "_compute_actor_loss"): 1e-7,  # its diagnostics are in single precision
    ("slate-gru-ts", "MeanFieldGuide.h0_amortization_func"): 1e-6,  # weights of the clicks in single precision
}

Pairs = dict[str, tuple[Any, Any]]  # output: (ours, the reference's)
Runner = Callable[["Case"], Pairs]


@dataclass(frozen=True)
class Case:
    """One call of a reference function."""

    file: str
    name: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @property
    def function(self) -> str:
        """The reference function, as the file names it."""
        return self.params["function"]

    def tensor(self, name: str) -> Tensor:
        """An input of this name in double precision."""
        return torch.tensor(self.inputs[name], dtype=torch.float64)

    def mask(self, name: str) -> Tensor:
        """An input of this name as bool."""
        return torch.tensor(self.inputs[name]).bool()

    def want(self, name: str) -> Tensor:
        """An output of this name in double precision."""
        return torch.tensor(self.outputs[name], dtype=torch.float64)


def files() -> list[str]:
    """The stems of the files of reference vectors."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def cases(file: str) -> list[Case]:
    """The cases of one file."""
    content = json.loads((FOLDER / f"{file}.json").read_text(encoding="utf-8"))
    return [Case(file, case["name"], case["params"], case["inputs"], case["outputs"]) for case in content["cases"]]


def tolerance(case: Case) -> float:
    """The largest error allowed."""
    return TOLERANCES.get((case.file, case.function), 1e-9)


def largest_error(pairs: Pairs) -> float:
    """The largest distance between our values and the reference's; infinite where shapes differ or a number is missing."""
    errors = []
    for ours, theirs in pairs.values():
        a, b = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
        error = (a - b).abs().nan_to_num(nan=torch.inf) if a.shape == b.shape else torch.tensor([torch.inf])
        errors.append(float(error.max()) if error.numel() else 0.0)
    return max(errors)
