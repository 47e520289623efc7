"""What share of a training step each advantage estimator takes.

Every registered estimator trains a tiny, warm-started model for some steps: chain sums, or games in TextWorld's houses, with the
collector and the critic that give it the columns it needs. A step is sampling, reward, values, advantages, loss, backward pass and
optimiser; the estimator's part is timed inside it. The first step warms up and is not counted. One thread. Type
`python benchmarks/credit_share.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

warnings.filterwarnings("ignore")

import torch

from hierlab.credit import ESTIMATORS
from hierlab.lab.provenance import commit, hardware
from hierlab.models import LanguageModel
from hierlab.models.value_heads import value_model
from hierlab.rollout import ChainCollector, Engine, GroupCollector, TreeCollector
from hierlab.rollout.marks import MarkedCollector
from hierlab.rollout.summary import Collector
from hierlab.train.critic import Critic
from hierlab.train.plan_agent import HouseAgentSettings, house_agent
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.readouts import PlanValues, Readout, TokenValues, TurnValues
from hierlab.train.solver import chain_sum_solver

TARGET = 0.05
GROUP = 8
PLANNING = {("?",)}  # a chain sum's re-check: where the solver decides to look again


class Work(NamedTuple):
    """What an estimator is part of."""

    policy: LanguageModel
    tasks: Iterable[Any]
    engine: Engine
    collector: Collector
    tasks_a_step: int
    readout: Readout | None = None


def sums(collector: Callable[..., Collector] | None = None, readout: Readout | None = None) -> Work:
    """Chain sums; `collector` is made of the policy and how it is sampled."""
    solver = chain_sum_solver()
    made = collector(solver.policy, solver.params) if collector else GroupCollector(GROUP, solver.params)
    return Work(solver.policy, solver.tasks, solver.engine, made, 16, readout)


def games(planning: bool = False, readout: Readout | None = None) -> Work:
    """Errands in houses, with plans or without."""
    agent = house_agent(HouseAgentSettings(planning=planning))
    return Work(agent.policy, agent.tasks, agent.engine, replace(agent.collector, group_size=GROUP), 4, readout)


WORKS: Mapping[str, Callable[[], Work]] = {
    **dict.fromkeys(("grpo", "dr_grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "a_grae"), sums),
    "gae": partial(sums, readout=TokenValues()),
    "spo": partial(sums, lambda policy, params: ChainCollector(GROUP, params)),
    "spo_tree": partial(sums, lambda policy, params: TreeCollector((4, 4), 4, params)),
    "hicra": partial(sums, lambda policy, params: MarkedCollector(GroupCollector(GROUP, params), PLANNING, entropy_of=policy)),
    "gigpo": games,
    "hgpo": games,
    "turn_gae": partial(games, readout=TurnValues()),
    "hiper": partial(games, planning=True, readout=PlanValues()),
}


def measure(name: str, steps: int) -> dict[str, float]:
    """Medians over the steps after the first."""
    work = WORKS[name]()
    critic = Critic(value_model(work.policy, work.readout.heads), work.readout) if work.readout else None
    settings = PolicySettings(learning_rate=1e-4, tasks=work.tasks_a_step)
    trainer = PolicyTrainer(
        work.policy, list(work.tasks), work.collector, ESTIMATORS[name], settings, critic=critic, engine=work.engine
    )  # fmt: skip
    records = trainer.fit(steps + 1)[1:]
    parts = ("seconds_collect", "seconds_estimate", "seconds_update")
    whole = [sum(record[part] for part in parts) for record in records]
    return {
        "rows": statistics.median(record["rows"] for record in records),
        "tokens": statistics.median(record["generated_tokens"] for record in records),
        "estimate": statistics.median(record["seconds_estimate"] for record in records),
        "step": statistics.median(whole),
        "share": statistics.median(record["seconds_estimate"] / all_ for record, all_ in zip(records, whole, strict=True)),
    }


def main() -> None:
    """Print one row an estimator, and where it was measured; exit 1 if one takes more than the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error("--steps must be at least 1")
    torch.set_num_threads(1)
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}"
    print(f"{hardware()}\n{versions}, one thread, {arguments.steps} steps each, commit {commit()[:12]}, {time.strftime('%Y-%m-%d')}")
    print(f"{'estimator':30s}{'rows':>8s}{'tokens':>10s}{'estimate ms':>14s}{'step ms':>10s}{'share':>9s}")
    above = []
    for name in arguments.only:
        row = measure(name, arguments.steps)
        cells = f"{row['rows']:8.0f}{row['tokens']:10.0f}{1e3 * row['estimate']:14.2f}{1e3 * row['step']:10.0f}{row['share']:9.2%}"
        print(f"{name:30s}{cells}", flush=True)
        above += [name] if row["share"] > TARGET else []
    print(f"above the target of {TARGET:.0%}: {', '.join(above) or 'none'}")
    sys.exit(bool(above))


if __name__ == "__main__":
    main()
