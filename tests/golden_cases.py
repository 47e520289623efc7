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


def largest_error(pairs: Pairs) -> float:
    """The largest distance between our values and the reference's; infinite where shapes differ or a number is missing."""
    errors = []
    for ours, theirs in pairs.values():
        a, b = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
        error = (a - b).abs().nan_to_num(nan=torch.inf) if a.shape == b.shape else torch.tensor([torch.inf])
        errors.append(float(error.max()) if error.numel() else 0.0)
    return max(errors)
