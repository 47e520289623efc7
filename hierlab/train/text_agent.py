"""A language model that learns to act in text games: the experiment that every agent lab shares.

An `Agent` is where training starts from: a policy, its tasks, and the engine that samples. Two of them train in seconds on a core.
`textworld_agent` is a tiny model that was taught by example to play the very games it then trains on, not too well; `novice_agent`
was taught by others (`hierlab.train.novice`), and is also tested on games it never trains on, of the same kind and larger ones.
`alfworld_agent` is one at full scale. `train_agent` trains any of them with any estimator, on equal terms.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hierlab.credit import anchor_groups
from hierlab.envs.alfworld import alfworld_games
from hierlab.envs.environment import EpisodicTask
from hierlab.envs.house import GameSettings, House, draw_house
from hierlab.envs.house_graph import predict
from hierlab.envs.text_games import Rules, brief
from hierlab.envs.textworld import TextWorldTask, disjoint_games, vocabulary
from hierlab.models import LanguageModel, LoRA, TinySize, load
from hierlab.rollout import Engine, EpisodeCollector, Rollouts, SamplingParams, TransformersEngine, VLLMEngine, evaluate
from hierlab.rollout.collect import Demonstration
from hierlab.rollout.prompts import Render, transcript
from hierlab.seeds import derive_seed, generator
from hierlab.train.imitation import ImitationSettings, warm_start
from hierlab.train.novice import NoviceSettings, novice, wander
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.records import cumulative, estimator_share

COMMAND_TOKENS = 8
"""Longest command of the tiny agent; a TextWorld command has at most five words and an end mark."""
EngineName = Literal["transformers", "vllm"]
EVALUATION = 0.4
"""Sampling temperature of evaluations, as in the GiGPO paper."""
ALFWORLD_TESTS = {"in_distribution": "valid_seen", "out_of_distribution": "valid_unseen"}
ATTEMPTS = 10_000
"""Houses drawn before there are taken to be no more different ones."""


@dataclass(frozen=True)
class Agent:
    """Where a training run starts from.

    Attributes:
        policy: the model; training changes it.
        tasks: what it is trained on.
        engine: samples from it.
        params: how commands are sampled.
        history: past turns that the policy reads.
        render: how it reads them.
        held_out: tasks it is only tested on, by the name of the set.
    """

    policy: LanguageModel
    tasks: Sequence[EpisodicTask]
    engine: Engine
    params: SamplingParams
    history: int
    render: Render = transcript
    held_out: Mapping[str, Sequence[EpisodicTask]] = field(default_factory=dict)

    def collector(self, episodes: int, *, temperature: float | None = None) -> EpisodeCollector:
        """Plays so many episodes of each task, at the temperature of training if no other is given."""
        params = self.params if temperature is None else replace(self.params, temperature=temperature)
        return EpisodeCollector(episodes, params, self.history, render=self.render)


@dataclass(frozen=True)
class TextWorldSettings:
    """A tiny agent, its games, and how well it plays them before it is trained.

    Attributes:
        games: what the games are drawn from.
        number: how many games there are to train on.
        turns: turn limit of an episode.
        history: past turns that the policy reads.
        size: of the model.
        detour: probability that a turn of the demonstrated player is a random command; the model learns to stray as often.
        demonstrations: demonstrated episodes of each game.
        imitation: how the model is taught.
    """

    games: GameSettings = field(default_factory=lambda: GameSettings(rooms=3, objects=4, things=2, quest_length=5))
    number: int = 8
    turns: int = 12
    history: int = 2
    size: TinySize = field(default_factory=lambda: TinySize(hidden=64, layers=2, heads=4, inner=192, context=256))
    detour: float = 0.4
    demonstrations: int = 60
    imitation: ImitationSettings = field(default_factory=lambda: ImitationSettings(steps=300, batch=32, rate=3e-3))


def textworld_agent(settings: TextWorldSettings, *, report: Callable[[int, float], None] | None = None) -> Agent:
    """A tiny model that plays TextWorld games by writing commands, after it has watched somebody play them not too well.

    Games and weights come from the cache once they have been made.

    Args:
        settings: the model and its games.
        report: called with each step of the warm start and its loss, if there is training.

    Raises:
        ValueError: if no such games can be drawn.
    """
    (tasks,) = disjoint_games(settings.games, settings.number, rules=Rules(turns=settings.turns))
    params = SamplingParams(COMMAND_TOKENS)
    collector = EpisodeCollector(1, params, settings.history)
    policy = load("tiny", vocabulary=vocabulary(tasks), size=settings.size)
    recipe = {"settings": asdict(settings), "games": [task.id for task in tasks], "code": inspect.getsource(sys.modules[__name__])}
    warm_start(policy, lambda: _demonstrations(policy, tasks, collector, settings), settings.imitation, recipe=recipe, report=report)
    return Agent(policy, tasks, TransformersEngine(policy), params, settings.history)


def _demonstrations(
    policy: LanguageModel, tasks: Sequence[TextWorldTask], collector: EpisodeCollector, settings: TextWorldSettings
) -> list[Demonstration]:
    """What a player who strays reads and writes, detours included."""
    rng = np.random.default_rng(derive_seed("text agent", "demonstrations"))
    walks = [
        (task, wander(task.graph, settings.detour, rng, turns=settings.turns)) for task in tasks for _ in range(settings.demonstrations)
    ]
    return [pair for task, acts in walks for pair in collector.demonstrate(policy.tokenizer, task, [command for command, _ in acts])]


@dataclass(frozen=True)
class NoviceAgentSettings:
    """A novice, the games it trains on, and those it is tested on.

    Attributes:
        novice: what the novice has seen. Its kind of games is also the kind it trains on.
        larger: the kind of games of the second test.
        number: how many games there are to train on.
        held_out: how many games there are in each test.
        turns: turn limit of an episode.
        history: past turns that the policy reads.
    """

    novice: NoviceSettings = field(
        default_factory=lambda: NoviceSettings(
            games=GameSettings(rooms=3, objects=3, quest_length=4),
            houses=1000,
            detour=0.4,
            strays=True,
            imitation=ImitationSettings(steps=500, batch=32, rate=6e-3),
        )
    )
    larger: GameSettings = field(default_factory=lambda: GameSettings(rooms=4, objects=4, quest_length=5))
    number: int = 64
    held_out: int = 64
    turns: int = 10
    history: int = 2

    def __post_init__(self):
        for name in ("number", "held_out", "turns"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def novice_agent(settings: NoviceAgentSettings, *, seed: int = 0, report: Callable[[int, float], None] | None = None) -> Agent:
    """A novice that trains on games it has not seen, and is tested on others.

    All games are TextWorld's, worked out without running it (`hierlab.envs.house_graph`), and no two are alike. The weights come from
    the cache once they have been made. Held out are the sets `in_distribution`, of the kind it trains on, and `out_of_distribution`,
    of `settings.larger`.

    Args:
        settings: the novice and its games.
        seed: of the novice and of the games.
        report: called with each step of the novice's imitation and its loss, if there is training.

    Raises:
        ValueError: if no such games can be drawn.
    """
    params = SamplingParams(COMMAND_TOKENS)
    policy = novice(settings.novice, EpisodeCollector(1, params, settings.history, render=brief), seed=seed, report=report)
    kinds = {"train": settings.novice.games, "in_distribution": settings.novice.games, "out_of_distribution": settings.larger}
    amounts = {"train": settings.number, "in_distribution": settings.held_out, "out_of_distribution": settings.held_out}
    rules = Rules(turns=settings.turns)
    known: set[House] = set()
    sets = {name: list(islice(_new_games(kind, name, seed, rules, known), amounts[name])) for name, kind in kinds.items()}
    return Agent(policy, sets.pop("train"), TransformersEngine(policy), params, settings.history, brief, sets)


def _new_games(kind: GameSettings, name: str, seed: int, rules: Rules, known: set[House]) -> Iterator[TextWorldTask]:
    """Games of a kind whose houses are not known yet; they are from then on.

    Raises:
        ValueError: if no house fits the kind, or too few different ones do.
    """
    for i in range(ATTEMPTS):
        house = draw_house(kind, derive_seed("novice agent", name, seed, i))
        if house not in known:
            known.add(house)
            yield TextWorldTask(house, predict(house), Path(), rules)
    raise ValueError(f"too few different houses of {kind}: allow more rooms or things, or ask for fewer games")


def alfworld_agent(model: str, *, engine: EngineName = "vllm", limit: int | None = None, rank: int = 0, history: int = 2) -> Agent:
    """A language model on ALFWorld's training games, as in the GiGPO paper, tested on its seen and unseen rooms as in HGPO's.

    Args:
        model: a hub id or folder, such as "Qwen/Qwen2.5-1.5B-Instruct".
        engine: "vllm", or "transformers" (slow).
        limit: only so many games of each set.
        rank: train LoRA adapters of this rank; 0 trains all weights.
        history: past turns that the policy reads.

    Raises:
        ModuleNotFoundError: if `alfworld` or `vllm` is not installed; the message says how to install it.
        FileNotFoundError: if ALFWorld's data are missing; the message says how to get them.
        RuntimeError: if vLLM finds no GPU.
    """
    tasks = alfworld_games("train", limit=limit)
    held_out = {name: alfworld_games(split, limit=limit) for name, split in ALFWORLD_TESTS.items()}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load(model, dtype=torch.bfloat16, device=device, lora=LoRA(rank=rank) if rank else None)
    sampler = VLLMEngine(policy) if engine == "vllm" else TransformersEngine(policy)
    return Agent(policy, tasks, sampler, SamplingParams(512), history, held_out=held_out)


def train_agent(
    agent: Agent,
    estimator: Callable[..., torch.Tensor],
    settings: PolicySettings,
    *,
    iterations: int,
    group_size: int = 8,
    seed: int = 0,
    episodes: int = 4,
    folder: Path | None = None,
    report: Callable[..., Any] | None = None,
) -> dict[str, float | list[float]]:
    """Train an agent; its policy changes in place.

    Args:
        agent: where to start from.
        estimator: any function of columns that returns advantages.
        settings: how the policy is updated.
        iterations: how often.
        group_size: episodes of each task.
        seed: of task order and sampling.
        episodes: of each training task in the final evaluation, at temperature 0.4; held-out tasks are played once.
        folder: where to keep a checkpoint, to go on from if killed.
        report: called as `report(done, iterations, success=...)`.

    Returns:
        Numbers: `auc` (mean success over the iterations), `final` (success of the final evaluation), one number for each held-out set
        by its name (its success after training), `singletons` (the largest share
        of size-1 anchor groups in any iteration), `late_full` (share of 6 to 8 members among the anchor groups of two and more, over
        the last quarter), `overhead` (the estimator's share of the seconds). Curves, one entry an iteration: `updates`, `success`,
        `turns` and `tokens` (spent so far), `singleton_share`, `gradient_norm`, `valid`.
    """
    trainer = PolicyTrainer(
        agent.policy,
        agent.tasks,
        agent.collector(group_size),
        estimator,
        settings,
        engine=agent.engine,
        seed=seed,
        folder=folder,
        measure=anchor_sizes,
        report=(lambda record: report(record["iteration"], iterations, success=record["success"])) if report else None,
    )
    records = trainer.fit(iterations)
    final = _success(agent, agent.tasks, episodes, generator(seed, "final"))
    tests = {name: _success(agent, tasks, 1, generator(seed, "final", name)) for name, tasks in agent.held_out.items()}
    return {"final": final, **tests, **_numbers(records)}


def _success(agent: Agent, tasks: Sequence[EpisodicTask], episodes: int, generator: torch.Generator) -> float:
    return evaluate(agent.engine, tasks, agent.collector(episodes, temperature=EVALUATION), generator)["success"]


def anchor_sizes(rollouts: Rollouts) -> dict[str, float]:
    """How many anchor groups (same task, same observation) there are: in all, of one member, of two and more, of six to eight."""
    members = torch.bincount(anchor_groups(rollouts.task, rollouts.state))
    between = (members >= 6) & (members <= 8)
    counts = {"anchors": members > 0, "anchors_of_one": members == 1, "anchors_of_more": members > 1, "anchors_of_6_to_8": between}
    return {name: int(chosen.sum()) for name, chosen in counts.items()}


def _numbers(history: list[dict[str, float]]) -> dict[str, float | list[float]]:
    """What `train_agent` returns of the trainer's records."""
    columns = {name: [record[name] for record in history] for name in history[0]}
    singletons = [one / all_ for one, all_ in zip(columns["anchors_of_one"], columns["anchors"], strict=True)]
    late = slice(-max(1, len(history) // 4), None)
    return {
        "auc": sum(columns["success"]) / len(history),
        "singletons": max(singletons),
        "late_full": sum(columns["anchors_of_6_to_8"][late]) / max(1, sum(columns["anchors_of_more"][late])),
        "overhead": estimator_share(history),
        "updates": columns["iteration"],
        "success": columns["success"],
        "turns": cumulative(history, "rows"),
        "tokens": cumulative(history, "generated_tokens"),
        "singleton_share": singletons,
        "gradient_norm": columns["gradient_norm"],
        "valid": columns["valid"],
    }
