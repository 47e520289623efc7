"""Which of our functions reproduces which reference function.

A *runner* takes a case and gives, for each output it reproduces, our value and the reference's. A new method puts its runners
into a module beside this one and adds that module's table to `RUNNERS`. The tests (test_golden_cases.py) and the parity table
(benchmarks/golden_parity.py) both read it.
"""

from __future__ import annotations

from collections.abc import Mapping

import golden_active_evaluation
import golden_agents
import golden_asymmetry
import golden_credit
import golden_hierverb
import golden_icl_strategies
import golden_map
import golden_preference
import golden_preference_ranking
import golden_rewardbench2
import golden_segments
import golden_slate_gru_ts
import golden_surrogate
from golden_cases import Case, Runner

Table = Mapping[tuple[str, str], Runner]  # (file, reference function): runner


def join(*tables: Table) -> Table:
    """All runners; a second one for the same function is refused."""
    together: dict[tuple[str, str], Runner] = {}
    for table in tables:
        if twice := together.keys() & table.keys():
            raise ValueError(f"two runners for {sorted(twice)}")
        together |= table
    return together


RUNNERS = join(
    golden_active_evaluation.RUNNERS,
    golden_agents.RUNNERS,
    golden_asymmetry.RUNNERS,
    golden_credit.RUNNERS,
    golden_hierverb.RUNNERS,
    golden_icl_strategies.RUNNERS,
    golden_map.RUNNERS,
    golden_preference.RUNNERS,
    golden_preference_ranking.RUNNERS,
    golden_rewardbench2.RUNNERS,
    golden_segments.RUNNERS,
    golden_slate_gru_ts.RUNNERS,
    golden_surrogate.RUNNERS,
)

LATER: set[tuple[str, str]] = set()
"""Reference functions whose method is not in the library yet."""


def runner(case: Case) -> Runner | None:
    """What reproduces the case; None if its method is not in the library yet."""
    return RUNNERS.get((case.file, case.function))
