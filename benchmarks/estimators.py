"""How long the advantage estimators take, and how that grows.

GiGPO beside the same method written with dictionaries and loops (tests/plain_gigpo.py), the other estimators of one number per
row on the same batches, and those of one number per token beside one addition over the same tensors and a loop over the tokens.
One thread. States are fresh strings in every repetition, as an environment makes them, so that hashing them is paid for. Type
`python benchmarks/estimators.py`.
"""

from __future__ import annotations

import argparse
import inspect
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from plain_gigpo import plain_gigpo

from hierlab.credit import ESTIMATORS, gigpo
from hierlab.lab.provenance import commit, hardware

TURNS, GROUP, ROOMS = 16, 8, 20


def batch(rows: int, seed: int = 0) -> dict:
    """Columns of `rows` turns: 8 trajectories a task, 16 turns a trajectory, 20 rooms a task described in about 250 characters."""
    generator = torch.Generator().manual_seed(seed)
    rooms = torch.randint(ROOMS, (rows,), generator=generator).tolist()
    return {
        "rewards": torch.randn(rows, generator=generator),
        "task": [f"task {i // (TURNS * GROUP)}" for i in range(rows)],
        "trajectory": [f"trajectory {i // TURNS}" for i in range(rows)],
        "turn": torch.arange(rows) % TURNS,
        "state": [f"-= Room {room} =- " + "You see a table, a stove and a fridge. An exit leads east. " * 4 for room in rooms],
        "response_length": torch.randint(1, 64, (rows,), generator=generator),
        "values": torch.randn(rows, generator=generator),
        "success": torch.arange(rows) // TURNS % 2 == 0,
    }


def milliseconds(call: Callable[[dict], object], make: Callable[[], dict], repeats: int) -> tuple[float, float]:
    """Median CPU time and shortest wall time of `repeats` calls, each on a batch of its own, after one to warm up.

    Others on the machine lengthen the wall time, but hardly the CPU time; on an idle core they are the same.
    """
    cpu, wall = [], []
    for _ in range(repeats + 1):
        columns = make()
        started = time.process_time(), time.perf_counter()
        call(columns)
        cpu.append((time.process_time() - started[0]) * 1e3)
        wall.append((time.perf_counter() - started[1]) * 1e3)
    return statistics.median(cpu[1:]), min(wall[1:])


def runnable(columns: dict) -> dict[str, Callable[[dict], object]]:
    """The registered estimators whose columns are all there, each as a function of the columns."""

    def on(estimator: Callable) -> Callable[[dict], object]:
        names = [name for name in inspect.signature(estimator).parameters if name in columns]
        return lambda columns: estimator(**{name: columns[name] for name in names})

    needed = {name: [p.name for p in inspect.signature(e).parameters.values() if p.default is p.empty] for name, e in ESTIMATORS.items()}
    return {name: on(ESTIMATORS[name]) for name, required in needed.items() if columns.keys() >= set(required)}


def plain(columns: dict) -> list[float]:
    """The loops, on plain lists."""
    lists = [columns[name] for name in ("task", "trajectory")]
    return plain_gigpo(columns["rewards"].tolist(), *lists, columns["turn"].tolist(), columns["state"])


def token_loop(columns: dict) -> torch.Tensor:
    """GAE with a loop over the tokens, all rows at once."""
    rewards, values = columns["token_rewards"], columns["values"]
    advantage, running, following = torch.empty_like(rewards), torch.zeros(len(rewards)), torch.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        running = rewards[:, t] + following - values[:, t] + running
        following = values[:, t]
        advantage[:, t] = running
    return advantage


def by_row(rows: list[int], repeats: int) -> None:
    """Print the estimators of one number per row."""
    print(f"\nOne number per row: milliseconds, median CPU (shortest wall) time of {repeats}")
    print(f"{'rows':32s}" + "".join(f"{n:>18,d}" for n in rows))
    calls = {"gigpo, dictionaries and loops": plain} | runnable(batch(1))
    calls["gigpo, scale std"] = lambda columns: gigpo(
        **{k: columns[k] for k in ("rewards", "task", "trajectory", "turn", "state")}, scale="std"
    )
    for name, call in calls.items():
        cells = [milliseconds(call, lambda n=n: batch(n), repeats) for n in rows]
        print(f"{name:32s}" + "".join(f"{f'{median:.2f} ({fastest:.2f})':>18s}" for median, fastest in cells))
        if name == "gigpo":
            growth = [1e3 * median / n for n, (median, _) in zip(rows, cells, strict=True)]
            print(f"{'gigpo, microseconds a row':32s}" + "".join(f"{g:>18.2f}" for g in growth))


def by_token(shapes: list[tuple[int, int]], repeats: int) -> None:
    """Print the estimators of one number per token."""
    print(f"\nOne number per token: milliseconds, median CPU (shortest wall) time of {repeats}")
    print(f"{'rows x tokens':32s}" + "".join(f"{f'{n:,d} x {t:,d}':>18s}" for n, t in shapes))

    def make(n: int, t: int) -> dict:
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(t // 2, t + 1, (n, 1), generator=generator)
        rewards, values = torch.randn(2, n, t, generator=generator)
        mask, field = torch.arange(t) < lengths, torch.arange(t) * 3 // t
        turns = {name: torch.randn(n, generator=generator) for name in ("value_low", "value_high", "value_switch")}
        fields = {f"{name}_mask": mask & (field == i) for i, name in enumerate(("switch", "subgoal", "action"))}
        marks = {name: mask & (torch.rand(n, t, generator=generator) < 0.05) for name in ("segment_start", "planning_mask")}
        return {
            **batch(n),
            "token_rewards": rewards,
            "values": values,
            "response_mask": mask,
            "segment_value": values,
            "old_logp": -values.abs(),
            "switch": turns["value_low"] > 0,
            **turns,
            **fields,
            **marks,
        }

    calls = {"one pass: rewards + values": lambda c: c["token_rewards"] + c["values"], "gae, loop over tokens": token_loop}
    calls |= {name: call for name, call in runnable(make(1, 3)).items() if name not in runnable(batch(1))}
    for name, call in calls.items():
        cells = [milliseconds(call, lambda n=n, t=t: make(n, t), repeats) for n, t in shapes]
        print(f"{name:32s}" + "".join(f"{f'{median:.2f} ({fastest:.2f})':>18s}" for median, fastest in cells))


def main() -> None:
    """Print both tables and where they were measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}"
    print(f"{hardware()}\n{versions}, one thread, commit {commit()[:12]}, {time.strftime('%Y-%m-%d')}")
    by_row([1024, 2048, 4096, 8192, 16384, 32768, 65536], arguments.repeats)
    by_token([(256, 256), (256, 1024), (1024, 1024)], arguments.repeats)


if __name__ == "__main__":
    main()
