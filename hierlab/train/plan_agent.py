"""A language model that plans and acts in houses with one errand or several: the experiment of hierarchical credit.

A `PlanAgent` is where training starts from. `house_agent` makes one that trains in seconds on a core: a tiny model that was shown, in the
plan-execute format, how somebody runs errands who is sometimes led astray, by a wrong subgoal or a wrong step. With more errands an
episode has more subgoals, and more turns between a choice and its reward. The same walks can be shown without the plans, for
flat baselines. `alfworld_plan_agent` makes one at full scale. `train_plan_agent` trains any of them with any estimator, with a critic or
without.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hierlab.credit import plan_execute as format_module
from hierlab.credit.hae import boundaries
from hierlab.credit.plan_execute import Plan, write_plan
from hierlab.envs import house as house_module
from hierlab.envs import house_graph, state_graph, text_games
from hierlab.envs.alfworld import alfworld_games
from hierlab.envs.environment import EpisodicTask
from hierlab.envs.house import GameSettings, House, draw_house
from hierlab.envs.house_graph import predict
from hierlab.envs.state_graph import StateGraph
from hierlab.envs.text_games import Rules, brief
from hierlab.envs.textworld import TextWorldTask, vocabulary
from hierlab.models import LanguageModel, LoRA, TinySize, load, tiny
from hierlab.models.value_heads import value_model
from hierlab.rollout import Engine, EpisodeCollector, Rollouts, SamplingParams, TransformersEngine, VLLMEngine, collect, estimate, evaluate
from hierlab.rollout import plan_execute as collector_module
from hierlab.rollout.collect import Demonstration
from hierlab.rollout.plan_execute import FORMAT_WORDS, PlanExecuteCollector, with_instructions
from hierlab.seeds import derive_seed, generator
from hierlab.sources import source_digest
from hierlab.train.critic import Critic, CriticSettings
from hierlab.train.imitation import ImitationSettings, warm_start
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.readouts import Readout

PLAN_TOKENS = 22
"""Longest response of the tiny agent: six tags, the decision, a subgoal and a command of at most five words each, an end mark, and room
for some words too many."""
COMMAND_TOKENS = 8
EVALUATION = 0.4
"""Sampling temperature of evaluations, as in the GiGPO paper."""


@dataclass(frozen=True)
class PlanAgent:
    """Where a training run starts from.

    Attributes:
        policy: the model; training changes it.
        tasks: what it is trained on.
        engine: samples from it.
        collector: how it is asked; its `group_size` is of no account.
    """

    policy: LanguageModel
    tasks: Sequence[EpisodicTask]
    engine: Engine
    collector: EpisodeCollector


@dataclass(frozen=True)
class HouseAgentSettings:
    """A tiny agent, its games, and how well it plays them before it is trained.

    Attributes:
        games: what the games are drawn from; `errands` is the number of dependent subtasks.
        number: how many games there are to train on.
        rules: rewards and turn limit.
        planning: whether the agent writes plans; else it writes commands only, after the same walks.
        history: past turns that the policy reads.
        size: of the model.
        astray: probability that a subgoal of the demonstrated player is a random one that could be reached next.
        detour: probability that a command of theirs is a random one.
        demonstrations: demonstrated episodes of each game.
        imitation: how the model is taught.
    """

    games: GameSettings = field(default_factory=lambda: GameSettings(rooms=2, objects=3, things=3, quest_length=4))
    number: int = 4
    rules: Rules = field(default_factory=lambda: Rules(success=1.0, invalid=-0.01, turns=10))
    planning: bool = True
    history: int = 0
    size: TinySize = field(default_factory=lambda: TinySize(hidden=64, layers=2, heads=4, inner=192, context=192))
    astray: float = 0.3
    detour: float = 0.15
    demonstrations: int = 60
    imitation: ImitationSettings = field(default_factory=lambda: ImitationSettings(steps=300, batch=32, rate=6e-3))

    def __post_init__(self):
        for name in ("number", "demonstrations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("astray", "detour"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")


def house_agent(settings: HouseAgentSettings, *, seed: int = 0, report: Callable[[int, float], None] | None = None) -> PlanAgent:
    """A tiny model that runs errands in houses, after it has watched somebody run them not too well.

    The games are TextWorld's, worked out without running it (`hierlab.envs.house_graph`). The weights come from the cache once they
    have been made.

    Args:
        settings: the model and its games.
        seed: of the games, the walks and the model.
        report: called with each step of the warm start and its loss, if there is training.

    Raises:
        ValueError: if too few such games can be drawn.
    """
    tasks = _different_games(settings, seed)
    collector = EpisodeCollector(1, SamplingParams(COMMAND_TOKENS), settings.history, render=brief)
    if settings.planning:
        collector = PlanExecuteCollector(1, SamplingParams(PLAN_TOKENS), settings.history, render=brief)
    policy = load("tiny", vocabulary=[*vocabulary(tasks), *FORMAT_WORDS], size=settings.size, seed=seed)
    modules = (collect, collector_module, format_module, house_module, house_graph, state_graph, text_games, tiny)
    recipe = {
        "settings": asdict(settings),
        "seed": seed,
        "code": [source_digest(*modules), inspect.getsource(sys.modules[__name__])],
    }
    warm_start(policy, lambda: _demonstrations(policy, tasks, collector, settings, seed), settings.imitation, recipe=recipe, report=report)
    return PlanAgent(policy, tasks, TransformersEngine(policy), collector)


def _different_games(settings: HouseAgentSettings, seed: int, attempts: int = 1000) -> list[TextWorldTask]:
    houses: dict[House, None] = {}
    for i in range(attempts):
        if len(houses) == settings.number:
            return [TextWorldTask(house, predict(house), Path(), settings.rules) for house in houses]
        houses[draw_house(settings.games, derive_seed("plan agent", seed, i))] = None
    raise ValueError(f"only {len(houses)} different houses of {settings.games} in {attempts} seeds, {settings.number} are wanted")


def _demonstrations(
    policy: LanguageModel, tasks: Sequence[TextWorldTask], collector: EpisodeCollector, settings: HouseAgentSettings, seed: int
) -> list[Demonstration]:
    """What a player who is sometimes led astray reads and writes."""
    rng = np.random.default_rng(derive_seed("plan agent", "walks", seed))
    pairs = []
    for task in tasks:
        for _ in range(settings.demonstrations):
            walk = planned_walk(task.graph, settings.astray, settings.detour, rng, turns=settings.rules.turns)
            responses = [write_plan(plan) if settings.planning else plan.action for plan in walk]
            pairs += collector.demonstrate(policy.tokenizer, task, responses)
    return pairs


def planned_walk(graph: StateGraph, astray: float, detour: float, rng: np.random.Generator, *, turns: int) -> list[Plan]:
    """A walk towards the goal by way of subgoals: things to take, and to put somewhere.

    Each subgoal is followed until it is reached, or cannot be the next one any more.

    Args:
        graph: the game.
        astray: probability that a new subgoal is a random one of those that could be reached next; else it is on a shortest way.
        detour: probability that a command is a random one; else it is on a shortest way to the subgoal.
        rng: source of all randomness.
        turns: most of them.

    Returns:
        What the player writes in each turn.
    """
    plans: list[Plan] = []
    state, subgoal = 0, ""
    while len(plans) < turns and state not in graph.won:
        ways = ways_ahead(graph, state)
        if switch := subgoal not in ways:
            best = next(filter(None, map(landmark, graph.solution(state))))
            subgoal = _any(list(ways), rng) if rng.random() < astray else best
        command = _any(list(graph.moves[state]), rng) if rng.random() < detour else ways[subgoal]
        plans.append(Plan(switch, subgoal, command))
        state = graph.moves[state][command]
        if landmark(command) == subgoal:
            subgoal = ""
    return plans


def landmark(command: str) -> str:
    """The subgoal that a command reaches; empty for walking, opening and closing.

    >>> landmark("take cup from box"), landmark("put cup on desk"), landmark("go east")
    ('take cup', 'put cup on desk', '')
    """
    if command.startswith("take "):
        return command.partition(" from ")[0]
    return command if command.startswith(("put ", "insert ")) else ""


def ways_ahead(graph: StateGraph, state: int) -> dict[str, str]:
    """Every subgoal that can be the next one to reach, nearest first, with the first command on a shortest way there."""
    ways: dict[str, str] = {}
    first, frontier = {state: ""}, deque([state])  # the first command on the way to each state
    while frontier:
        here = frontier.popleft()
        for command, there in graph.moves[here].items():
            begin = first[here] or command
            if name := landmark(command):
                ways.setdefault(name, begin)
            elif there not in first:
                first[there] = begin
                frontier.append(there)
    return ways


def _any(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def alfworld_plan_agent(model: str, *, limit: int | None = None, rank: int = 0, history: int = 2, planning: bool = True) -> PlanAgent:
    """A language model on ALFWorld's training games with the plan-execute prompt, sampled by vLLM, as in the HiPER paper.

    Args:
        model: a hub id or folder, such as "Qwen/Qwen2.5-1.5B-Instruct".
        limit: only so many games.
        rank: train LoRA adapters of this rank; 0 trains all weights.
        history: past turns that the policy reads.
        planning: whether it is asked for plans; else for commands only.

    Raises:
        ModuleNotFoundError: if `alfworld` or `vllm` is not installed; the message says how to install it.
        FileNotFoundError: if ALFWorld's data are missing; the message says how to get them.
        RuntimeError: if vLLM finds no GPU.
    """
    tasks = alfworld_games("train", limit=limit)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load(model, dtype=torch.bfloat16, device=device, lora=LoRA(rank=rank) if rank else None)
    collector = EpisodeCollector(1, SamplingParams(512), history)
    if planning:
        collector = PlanExecuteCollector(1, SamplingParams(512), history, render_plan=with_instructions)
    return PlanAgent(policy, tasks, VLLMEngine(policy), collector)


def train_plan_agent(
    agent: PlanAgent,
    estimator: Callable[..., torch.Tensor],
    settings: PolicySettings,
    *,
    readout: Readout | None = None,
    critic: CriticSettings | None = None,
    iterations: int,
    tokens: int | None = None,
    group_size: int = 4,
    seed: int = 0,
    episodes: int = 8,
    folder: Path | None = None,
    report: Callable[..., Any] | None = None,
) -> dict[str, float | list[float]]:
    """Train an agent; its policy changes in place.

    Args:
        agent: where to start from.
        estimator: any function of columns that returns advantages, such as `hiper`, `turn_gae` or `gigpo`.
        settings: how the policy is updated.
        readout: of a critic that begins as the policy, such as `PlanValues` or `TurnValues`; None for none.
        critic: how it learns.
        iterations: how often.
        tokens: stop earlier, once so many have been generated.
        group_size: episodes of each task.
        seed: of task order and sampling.
        episodes: of each task in the final evaluation, at temperature 0.4.
        folder: where to keep a checkpoint, to go on from if killed.
        report: called as `report(done, iterations, success=...)`.

    Returns:
        Numbers: `auc` (mean success over the iterations), `final` (success of the final evaluation), `overhead` (the estimator's share
        of the seconds). Curves, one entry an iteration: `updates`, `success`, `turns` and `tokens` (spent so far), `valid`,
        `gradient_norm` (0 while only the critic learns), with plans `switch_share` (of the turns), `segment_turns` (mean length) and
        `subgoals` (different ones), with a critic `{head}_error` and `{head}_explained` (see `Critic.update`).
    """
    made = Critic(value_model(agent.policy, readout.heads), readout, critic) if readout else None
    trainer = PolicyTrainer(
        agent.policy,
        agent.tasks,
        replace(agent.collector, group_size=group_size),
        estimator,
        settings,
        critic=made,
        engine=agent.engine,
        seed=seed,
        folder=folder,
        measure=plan_lengths,
        report=(lambda record: report(record["iteration"], iterations, success=record["success"])) if report else None,
    )
    records = trainer.fit(iterations, tokens=tokens)
    test = replace(agent.collector, group_size=episodes, params=replace(agent.collector.params, temperature=EVALUATION))
    final = evaluate(agent.engine, agent.tasks, test, generator(seed, "final"))
    return {"final": final["success"], **_numbers(records)}


def plan_lengths(rollouts: Rollouts) -> dict[str, float]:
    """How often plans change: share of turns that ask for it, mean turns a segment, number of different subgoals."""
    if "switch" not in rollouts:
        return {}
    segments = int(estimate(rollouts, boundaries).sum())
    return {
        "switch_share": float(rollouts["switch"].float().mean()),
        "segment_turns": len(rollouts) / segments,
        "subgoals": len(set(rollouts["subgoal"])),
    }


def _numbers(history: list[dict[str, float]]) -> dict[str, float | list[float]]:
    """What `train_plan_agent` returns of the trainer's records."""
    every = list(dict.fromkeys(name for record in history for name in record))
    columns = {name: [record.get(name, 0.0) for record in history] for name in every}
    seconds = sum(sum(columns[name]) for name in ("seconds_collect", "seconds_estimate", "seconds_update"))
    kept = ("success", "valid", "gradient_norm", "switch_share", "segment_turns", "subgoals")
    learnt = [name for name in every if name.endswith(("_error", "_explained"))]
    return {
        "auc": sum(columns["success"]) / len(history),
        "overhead": sum(columns["seconds_estimate"]) / seconds,
        "updates": columns["iteration"],
        "turns": np.cumsum(columns["rows"]).tolist(),
        "tokens": np.cumsum(columns["generated_tokens"]).tolist(),
        **{name: columns[name] for name in (*kept, *learnt) if name in columns},
    }
