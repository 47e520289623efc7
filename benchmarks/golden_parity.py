"""How far our methods are from the reference vectors: method, cases, largest error.

The same runners are the tests (tests/test_golden_cases.py). Exits with 1 if a case misses its tolerance. Type
`python benchmarks/golden_parity.py`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from golden_cases import cases, files, largest_error, tolerance
from golden_runners import runner


def main() -> int:
    """Print one line for each file and reference function."""
    torch.set_num_threads(1)
    print(f"{'file':20s} {'reference function':64s} {'cases':>5s} {'numbers':>8s} {'largest error':>14s} {'tolerance':>10s}")
    failed = 0
    for file in files():
        functions = defaultdict(list)
        for case in cases(file):
            functions[case.function].append(case)
        for function, group in functions.items():
            line = f"{file:20s} {function[:64]:64s} {len(group):5d}"
            if runner(group[0]) is None:
                print(f"{line} {'':>8s} {'not built yet':>14s}")
                continue
            results = [runner(case)(case) for case in group]
            numbers = sum(torch.as_tensor(theirs).numel() for pairs in results for _, theirs in pairs.values())
            error, allowed = max(map(largest_error, results)), tolerance(group[0])
            failed += error > allowed
            print(f"{line} {numbers:8d} {error:14.1e} {allowed:10.0e}{'  FAILED' if error > allowed else ''}")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
