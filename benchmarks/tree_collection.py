"""What a tree of segments with shared prefixes costs, beside as many independent responses.

`TreeCollector` and `GroupCollector` answer the same prompts with the same tiny model, until there are equally many complete responses;
nothing ends early, so that each response has its full length. Counted are the tokens that were generated and the seconds that took,
scoring included. The two run in turns, so that whatever else the machine does hits both. One thread. Type
`python benchmarks/tree_collection.py`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time

import torch
import transformers

from hierlab.lab.provenance import commit, hardware
from hierlab.models import LanguageModel, load
from hierlab.rollout import GroupCollector, SamplingParams, TransformersEngine, TreeCollector

WORDS = [f"w{i}" for i in range(296)]
TREES = ((4, 4, 4), (6, 6, 6), (8, 8, 8), (2, 2, 2, 2, 2, 2))


class Task:
    """Some words to continue; the reward depends on what was written."""

    def __init__(self, number: int, length: int):
        self.id = number
        self.prompt = " ".join(WORDS[(number * 7 + j * 3) % len(WORDS)] for j in range(length))

    def verify(self, response: str) -> float:
        """A reward that varies inside every group."""
        return float(len(response) % 7)


def endless() -> LanguageModel:
    """The tiny model, without a token that ends a response."""
    policy = load("tiny", vocabulary=WORDS)
    policy.model.generation_config.eos_token_id = None
    policy.tokenizer.eos_token = None
    return policy


def measure(branches: tuple[int, ...], arguments: argparse.Namespace) -> str:
    """One line of the table: the tree, then the independent responses, medians over the repetitions."""
    engine, params = TransformersEngine(endless()), SamplingParams(arguments.tokens)
    tasks = [Task(number, arguments.prompt) for number in range(arguments.tasks)]
    leaves = math.prod(branches)
    # Equal parts, the last level taking what is over. Every leaf is reached, and is `arguments.tokens` long.
    tree = TreeCollector(branches, arguments.tokens // len(branches), params)
    group = GroupCollector(leaves, params)
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(arguments.repeats + 1):
        generator = torch.Generator().manual_seed(repeat)
        rollouts = []
        for collector, column in ((tree, seconds[0]), (group, seconds[1])):
            started = time.perf_counter()
            rollouts.append(collector(engine, tasks, generator))
            column.append(time.perf_counter() - started)
    if len(set(rollouts[0].trajectory)) != len(rollouts[1]):
        raise AssertionError("the two did not end with equally many responses")
    tokens = [int(part.response_mask.sum()) for part in rollouts]
    times = [statistics.median(column[1:]) for column in seconds]  # the first repetition warms up
    ratios = [b / a for a, b in zip(*seconds, strict=True)][1:]
    name = "-".join(map(str, branches))
    cells = f"{f'{tokens[0]:,d} / {tokens[1]:,d}':>20s}{tokens[1] / tokens[0]:>8.2f}{f'{times[0]:.2f} / {times[1]:.2f}':>18s}"
    return f"{name:14s}{leaves:>8d}{len(rollouts[0]) // len(tasks):>10d}{cells}{statistics.median(ratios):>8.2f}"


def main() -> None:
    """Print the table, and where it was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=2, help="prompts")
    parser.add_argument("--prompt", type=int, default=64, help="tokens a prompt")
    parser.add_argument("--tokens", type=int, default=48, help="tokens a response")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{hardware()}\n{versions}, one thread, commit {commit()[:12]}, {time.strftime('%Y-%m-%d')}")
    print(f"{arguments.tasks} prompts of {arguments.prompt} tokens, responses of {arguments.tokens}, medians of {arguments.repeats}")
    print("tokens and seconds: tree / independent; ratio: independent over tree\n")
    print(f"{'tree':14s}{'leaves':>8s}{'segments':>10s}{'tokens':>20s}{'ratio':>8s}{'seconds':>18s}{'ratio':>8s}")
    for branches in TREES:
        print(measure(branches, arguments), flush=True)


if __name__ == "__main__":
    main()
