"""One GRPO step of ours against one of TRL's GRPOTrainer, on the same work.

Same tiny model and initial weights, prompts, group size, response length (no early end), optimiser, precision and one thread; the
two run in turns, so that whatever else the machine does hits both. A step is sampling, reward, advantages, loss, backward pass and
optimiser. Type `python benchmarks/grpo_step.py --steps 12`.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
import statistics
import tempfile
import threading
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")

import torch

from hierlab.credit import grpo
from hierlab.lab.provenance import hardware
from hierlab.models import LanguageModel, load
from hierlab.rollout import GroupCollector, SamplingParams
from hierlab.train.policy import PolicySettings, PolicyTrainer

WORDS = [f"w{i}" for i in range(296)]


class Task:
    """Some words to continue; the reward depends on what was written."""

    def __init__(self, number: int, length: int):
        self.id = number
        self.prompt = " ".join(WORDS[(number * 7 + j * 3) % len(WORDS)] for j in range(length))

    def verify(self, response: str) -> float:
        """A reward that varies inside every group."""
        return float(len(response) % 7)


def ours(policy: LanguageModel, tasks: list[Task], arguments: argparse.Namespace) -> PolicyTrainer:
    """Our trainer for this work; `step()` is one step."""
    policy = LanguageModel(copy.deepcopy(policy.model), policy.tokenizer, policy.name)
    policy.model.generation_config.eos_token_id = None  # a response ends at its length, as TRL's do with min_new_tokens
    policy.tokenizer.eos_token = None
    collector = GroupCollector(arguments.group_size, SamplingParams(arguments.tokens))
    settings = PolicySettings(learning_rate=1e-4, tasks=arguments.tasks, micro_batch=arguments.group_size * arguments.tasks, dual_clip=None)
    return PolicyTrainer(policy, tasks, collector, grpo, settings)


class Peer:
    """TRL's trainer, made to wait before each step until `step()` lets it go."""

    def __init__(self, policy: LanguageModel, tasks: list[Task], arguments: argparse.Namespace):
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl import GRPOConfig, GRPOTrainer

        go, done = self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)

        class InTurn(TrainerCallback):
            def on_train_begin(self, *_, **__):
                go.acquire()

            def on_step_end(self, *_, **__):
                done.release()
                go.acquire()

        rows = arguments.group_size * arguments.tasks
        config = GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=rows,
            num_generations=arguments.group_size,
            max_completion_length=arguments.tokens,
            generation_kwargs={"min_new_tokens": arguments.tokens},
            max_steps=arguments.steps + 3,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        self.trainer = GRPOTrainer(
            LanguageModel(copy.deepcopy(policy.model), policy.tokenizer, policy.name).model,
            reward_funcs=lambda completions, **_: [float(len(text) % 7) for text in completions],
            args=config,
            train_dataset=Dataset.from_dict({"prompt": [task.prompt for task in tasks]}),
            processing_class=copy.deepcopy(policy.tokenizer),
            callbacks=[InTurn()],
        )
        threading.Thread(target=self.trainer.train, daemon=True).start()

    def step(self) -> None:
        """One step of TRL's loop, data loading included."""
        self.go.release()
        self.done.acquire()


def measure(arguments: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Seconds of each step, ours and TRL's, taken in turns after two steps to warm up."""
    torch.set_num_threads(1)
    policy = load("tiny", vocabulary=WORDS)
    tasks = [Task(number, arguments.prompt) for number in range(64)]
    peer, own = Peer(policy, tasks, arguments), ours(policy, tasks, arguments)
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(arguments.steps + 2):
        for step, column in ((own.step, seconds[0]), (peer.step, seconds[1])):
            started = time.perf_counter()
            step()
            if turn >= 2:
                column.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Print both medians, their ratio, and where they were measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--tasks", type=int, default=8, help="prompts a step")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=64, help="tokens a prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens a response")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    own, peer = measure(arguments)
    ratios = [b / a for a, b in zip(own, peer, strict=True)]
    import trl

    work = f"{arguments.tasks} prompts of {arguments.prompt} tokens x {arguments.group_size} responses of {arguments.tokens} tokens"
    print(f"{work}, one thread, {arguments.steps} steps each")
    print(f"{hardware()} torch {torch.__version__}, trl {trl.__version__}, {time.strftime('%Y-%m-%d')}")
    for name, column in (("hierlab", own), ("TRL", peer)):
        print(f"{name:8s} median {statistics.median(column):.3f} s, fastest {min(column):.3f} s")
    print(f"ratio    median {statistics.median(ratios):.2f} (TRL / hierlab), from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
