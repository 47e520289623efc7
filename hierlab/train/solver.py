"""A language model that learns to solve verifiable problems: the experiment that the labs on single answers share.

A `Solver` is where training starts from: a policy, its problems, and the engine that samples. `chain_sum_solver` makes one that
trains in seconds on a core: a tiny model, taught by example to solve chain sums not too well. `hub_solver` makes one at full scale.
`train_solver` trains either with any estimator, on equal terms; what counts is accuracy on problems held out, against tokens generated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from hierlab.credit import live_groups
from hierlab.envs import chain_sum, digit_sum
from hierlab.envs.chain_sum import END, WORDS, ChainSum, Demonstrator, chain_sums
from hierlab.envs.environment import Problem
from hierlab.envs.reasoning import reasoning_problems
from hierlab.models import LanguageModel, LoRA, TinySize, load, tiny
from hierlab.ops import group_first, group_ids
from hierlab.rollout import Engine, GroupCollector, Rollouts, SamplingParams, TransformersEngine, VLLMEngine, collect, prompts
from hierlab.rollout.collect import Demonstration
from hierlab.rollout.summary import Collector, pass_at_k
from hierlab.seeds import generator
from hierlab.sources import source_digest
from hierlab.train.imitation import ImitationSettings, warm_start
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.records import Records, cumulative, estimator_share, resampled

if TYPE_CHECKING:
    from hierlab.train.critic import Critic

EngineName = Literal["transformers", "vllm"]
ATTEMPTS = 4
"""Answers to each held-out problem in the final evaluation, at least."""
POINTS = 21
"""Points of a curve."""


@dataclass(frozen=True)
class Solver:
    """Where a training run starts from.

    Attributes:
        policy: the model; training changes it.
        engine: samples from it.
        tasks: the problems it is trained on.
        held_out: the problems it is tested on.
        params: how answers are sampled, in training and in tests.
    """

    policy: LanguageModel
    engine: Engine
    tasks: Sequence[Problem]
    held_out: Sequence[Problem]
    params: SamplingParams


@dataclass(frozen=True)
class ChainSumSettings:
    """A tiny model, its problems, and how well it solves them before it is trained.

    Attributes:
        terms: digits to add up.
        number: how many problems there are to train on.
        held_out: how many to test on; none is among the former.
        demonstrator: whom the model has watched.
        demonstrations: how many it has seen.
        rechecks: there is room for so many re-checks before an answer is cut.
        size: of the model.
        imitation: how the model is taught.
    """

    terms: int = 5
    number: int = 4000
    held_out: int = 200
    demonstrator: Demonstrator = field(default_factory=Demonstrator)
    demonstrations: int = 4000
    rechecks: int = 6
    size: TinySize = field(default_factory=lambda: TinySize(hidden=64, layers=2, heads=4, inner=192, context=64))
    imitation: ImitationSettings = field(default_factory=lambda: ImitationSettings(steps=450, batch=32, rate=3e-3))

    def __post_init__(self):
        for name in ("number", "held_out", "demonstrations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def chain_sum_solver(settings: ChainSumSettings | None = None, *, report: Callable[[int, float], None] | None = None) -> Solver:
    """A tiny model that solves chain sums, after it has watched somebody solve others not too well.

    The weights come from the cache once they have been made.

    Args:
        settings: the model and its problems.
        report: called with each step of the warm start and its loss, if there is training.

    Raises:
        ValueError: if there are not so many different problems.
    """
    settings = settings or ChainSumSettings()
    drawn = chain_sums(settings.terms, settings.number + settings.held_out, generator=generator("chain sum solver", "problems"))
    tasks, held_out = drawn[: settings.number], drawn[settings.number :]
    policy = load("tiny", vocabulary=WORDS, size=settings.size)
    _spread_weights(policy)
    recipe = {
        "settings": asdict(settings),
        "code": [source_digest(chain_sum, digit_sum, tiny, collect, prompts), *map(inspect.getsource, (_spread_weights, _demonstrations))],
    }
    warm_start(policy, lambda: _demonstrations(policy, tasks, settings), settings.imitation, recipe=recipe, report=report)
    longest = settings.terms - 1 + 2 * settings.rechecks + 3
    params = SamplingParams(longest, stop_ids=(policy.tokenizer.convert_tokens_to_ids(END),))
    return Solver(policy, TransformersEngine(policy), tasks, held_out, params)


@torch.no_grad()
def _spread_weights(policy: LanguageModel) -> None:
    """Give the matrices of a new model the variance 1/width.

    Transformers draws them with a deviation of 0.02, which suits wide models. At width 64 attention then starts out blind, and took
    600 steps instead of 150 to find the terms.
    """
    for name, weight in policy.model.named_parameters():
        if weight.dim() == 2 and "embed" not in name:
            weight.mul_(weight.shape[1] ** -0.5 / weight.std())


def _demonstrations(policy: LanguageModel, tasks: Sequence[ChainSum], settings: ChainSumSettings) -> list[Demonstration]:
    """What somebody who slips now and then reads and writes; each problem in turn."""
    draw = generator("chain sum solver", "demonstrations")
    collector = GroupCollector(1, SamplingParams(1))
    shown = [tasks[i % len(tasks)] for i in range(settings.demonstrations)]
    return [collector.demonstrate(policy.tokenizer, task, settings.demonstrator(task, draw)) for task in shown]


@dataclass(frozen=True)
class Stated:
    """A problem that is solved in as many words as one likes, with the answer behind a mark; implements `Problem`.

    Attributes:
        problem: the problem itself.
    """

    problem: Problem

    MARK = "####"

    @property
    def id(self) -> Any:
        """That of the problem."""
        return self.problem.id

    @property
    def prompt(self) -> str:
        """The problem, and how to answer it."""
        return f"{self.problem.prompt}\nThink step by step, then write the answer alone behind {self.MARK}."

    def verify(self, response: str) -> float:
        """The problem's own score of what stands behind the last mark; 0 without a mark."""
        _, mark, answer = response.rpartition(self.MARK)
        return self.problem.verify(answer.strip()) if mark else 0.0


def hub_solver(
    model: str,
    *,
    task: str = "gsm_symbolic",
    engine: EngineName = "vllm",
    number: int = 7000,
    held_out: int = 500,
    max_new_tokens: int = 1024,
    rank: int = 0,
) -> Solver:
    """A language model on the problems of a reasoning-gym task.

    Args:
        model: a hub id or folder, such as "Qwen/Qwen2.5-1.5B-Instruct".
        task: of reasoning-gym.
        engine: "vllm", or "transformers" (slow).
        number: how many problems there are to train on.
        held_out: how many to test on, drawn with another seed.
        max_new_tokens: an answer is cut after so many.
        rank: train LoRA adapters of this rank; 0 trains all weights.

    Raises:
        ModuleNotFoundError: if `vllm` is not installed; the message says how to install it.
        RuntimeError: if vLLM finds no GPU.
        ValueError: if there is no such task.
    """
    sets = [[Stated(p) for p in reasoning_problems(task, size, seed=seed)] for seed, size in enumerate((number, held_out))]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load(model, dtype=torch.bfloat16, device=device, lora=LoRA(rank=rank) if rank else None)
    sampler = VLLMEngine(policy) if engine == "vllm" else TransformersEngine(policy)
    return Solver(policy, sampler, *sets, SamplingParams(max_new_tokens))


def train_solver(
    solver: Solver,
    estimator: Callable[..., torch.Tensor],
    settings: PolicySettings,
    *,
    iterations: int,
    collector: Collector | None = None,
    critic: Critic | None = None,
    group_size: int = 8,
    seed: int = 0,
    tokens: int | None = None,
    evaluate_every: int = 5,
    evaluate_k: Sequence[int] = (1,),
    measure: Callable[[Rollouts], dict[str, float]] | None = None,
    folder: Path | None = None,
    report: Callable[..., Any] | None = None,
) -> dict[str, float | list[float]]:
    """Train a solver; its policy changes in place.

    Args:
        solver: where to start from.
        estimator: any function of columns that returns advantages.
        settings: how the policy is updated.
        iterations: how often, at most.
        collector: turns problems into rollouts; by default `group_size` independent answers to each.
        critic: for estimators that read values.
        group_size: answers to each problem.
        seed: of task order and sampling.
        tokens: stop earlier, once training has cost this many generated tokens, those of the column `extra_tokens` counted.
        evaluate_every: iterations between tests on the held-out problems, one answer each. They cost nothing.
        evaluate_k: attempts for which pass@k is estimated after training.
        measure: further numbers about each batch of rollouts, to become curves.
        folder: where to keep a checkpoint, to go on from if killed.
        report: called as `report(done, iterations, success=...)`.

    Returns:
        Numbers: `auc` (mean held-out accuracy over the run, by tokens if there is a budget of them, else by updates), `final` (held-out
        accuracy after training), `pass_at_k` for each k above 1, `overhead` (the estimator's share of the seconds),
        `generated_tokens` and `iterations` of the training. Curves of 21 points, at equal distances in tokens from 0 to the budget,
        else in updates: `tokens`, `updates`, `success` (held-out accuracy), and of the rollouts `length` (tokens an answer),
        `entropy` (nats a token, estimated by the sampled tokens), `live_share` (groups with right and wrong answers), `gradient_norm`,
        `clip_fraction`, and what `measure` gives.
    """
    trainer = PolicyTrainer(
        solver.policy,
        solver.tasks,
        collector or GroupCollector(group_size, solver.params),
        estimator,
        settings,
        critic=critic,
        engine=solver.engine,
        seed=seed,
        folder=folder,
        evaluate=lambda engine, draw: {"held_out": held_out_scores(solver, 1, draw)[1]},
        evaluate_every=evaluate_every,
        measure=lambda rollouts: _measured(rollouts) | (measure(rollouts) if measure else {}),
        report=(lambda record: report(record["iteration"], iterations, success=record.get("success", 0.0))) if report else None,
    )
    records = trainer.fit(iterations, tokens=tokens)
    scores = held_out_scores(solver, max(ATTEMPTS, *evaluate_k), generator(seed, "final"), (1, *evaluate_k))
    return {"final": scores[1]} | {f"pass_at_{k}": scores[k] for k in evaluate_k if k > 1} | _numbers(records, tokens)


def held_out_scores(solver: Solver, attempts: int, generator: torch.Generator, ks: Sequence[int] = (1,)) -> dict[int, float]:
    """Pass@k of the held-out problems for each k, from so many attempts at each problem; pass@1 is the accuracy."""
    rollouts = GroupCollector(attempts, solver.params)(solver.engine, solver.held_out, generator)
    right = torch.tensor(rollouts["success"]).view(len(solver.held_out), attempts).sum(1).tolist()
    return {k: pass_at_k(right, attempts, k) for k in ks}


def _measured(rollouts: Rollouts) -> dict[str, float]:
    """What the rollouts were like, beside their `summary`."""
    mask = rollouts.response_mask
    success = torch.as_tensor(rollouts["success"], dtype=torch.float32, device=mask.device)
    live = live_groups(success, rollouts.task)[group_first(group_ids(rollouts.task, device=mask.device))]
    return {
        "length": float(mask.sum() / len(rollouts)),
        "entropy": float(-rollouts.old_logp[mask].mean()),
        "live_share": float(live.float().mean()),
    }


_TRAINER = frozenset({"iteration", "generated_tokens", "rows", "trajectories", "success", "held_out", "return"})
_TRAINER |= {"loss", "clip_fraction_lower", "approx_kl", "kl_reference"}
"""What the trainer records and a lab has no curve of: ledgers hold every curve of every unit."""


def _numbers(records: Records, budget: int | None) -> dict[str, float | list[float]]:
    """What `train_solver` returns of the trainer's records."""
    updates, tokens = [record["iteration"] for record in records], cumulative(records, "generated_tokens")
    along, end = (updates, updates[-1]) if budget is None else (tokens, budget)
    grid = np.linspace(0, end, POINTS).tolist()
    rollouts, before = records[1:], along[:-1]  # of the policy before the update that they led to
    names = [name for name in dict.fromkeys(name for record in rollouts for name in record) if name not in _TRAINER]
    curves = {name: resampled(rollouts, name, before, grid) for name in names if not name.startswith(("seconds_", "critic_", "values_"))}
    success = resampled(records, "held_out", along, grid)
    return {
        "auc": float(np.trapezoid(success)) / (POINTS - 1),
        "overhead": estimator_share(records),
        "generated_tokens": tokens[-1],
        "iterations": updates[-1],
        "updates": np.interp(grid, along, updates).tolist(),
        "tokens": np.interp(grid, along, tokens).tolist(),
        "success": success,
        **curves,
    }
