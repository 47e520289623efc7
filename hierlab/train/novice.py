"""Novices: tiny models that have watched an expert play text games, and now win some of the games they have never seen.

The expert sees through closed doors, so what a novice learns is how commands are written and what is worth doing where something
can be seen; how to search it has to find out by reward. Houses for the demonstrations are drawn by the thousand, and their games
predicted (`hierlab.envs.house_graph`); names and places recur in all combinations, so that names are learnt as names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hierlab.envs import environment, house, house_graph, state_graph, text_games
from hierlab.envs.house import WORDS, GameSettings, draw_house
from hierlab.envs.house_graph import predict
from hierlab.envs.state_graph import StateGraph
from hierlab.envs.text_games import Rules
from hierlab.envs.textworld import TextWorldTask
from hierlab.models import LanguageModel, TinySize, load, tiny
from hierlab.rollout import EpisodeCollector, collect, prompts
from hierlab.rollout.collect import Demonstration
from hierlab.seeds import derive_seed
from hierlab.sources import source_digest
from hierlab.train.imitation import ImitationSettings, warm_start


@dataclass(frozen=True)
class NoviceSettings:
    """What a novice has seen.

    Attributes:
        games: the kind of games.
        houses: how many of them; one episode each.
        detour: probability that a turn of the expert is replaced by a random command.
        strays: whether these detours are learnt too, so that the novice strays as often as whom it has watched, which reward soon
            cures it of; else they are acted out but not learnt from.
        size: of the model.
        imitation: how it is trained.
    """

    games: GameSettings = field(default_factory=GameSettings)
    houses: int = 2000
    detour: float = 0.3
    strays: bool = False
    size: TinySize = field(default_factory=lambda: TinySize(hidden=64, layers=2, heads=4, inner=192, context=256))
    imitation: ImitationSettings = field(default_factory=lambda: ImitationSettings(steps=1200, batch=32, rate=6e-3))

    def __post_init__(self):
        if self.houses < 1 or not 0 <= self.detour < 1:
            raise ValueError(f"houses must be at least 1 and detour in [0, 1), got {self.houses} and {self.detour}")


def novice(
    settings: NoviceSettings, collector: EpisodeCollector, *, seed: int = 0, report: Callable[[int, float], None] | None = None
) -> LanguageModel:
    """A tiny model that has imitated an expert; trained once, then loaded from the cache.

    Args:
        settings: what it has seen.
        collector: whose prompts it learns to read (`history` and `render`).
        seed: of the model's weights, the houses, the detours and the batches.
        report: called with each step of the imitation and its loss, if there is training.

    Raises:
        ValueError: if `collector.render` is not a plain function, whose code can be part of the cache's name.
    """
    if not inspect.isfunction(collector.render):
        raise ValueError(f"a novice is cached by the code of its prompts, so render must be a plain function, got {collector.render!r}")
    policy = load("tiny", vocabulary=WORDS, size=settings.size, seed=seed)
    modules = (environment, house, house_graph, state_graph, text_games, tiny, collect, prompts)
    recipe = {
        "settings": asdict(settings),
        "history": collector.history,
        "render": inspect.getsource(collector.render),
        "code": [source_digest(*modules), inspect.getsource(inspect.getmodule(novice))],
        "versions": {name: version(name) for name in ("numpy", "tokenizers", "transformers")},
    }
    return warm_start(policy, lambda: watch(settings, collector, policy, seed), settings.imitation, recipe=recipe, seed=seed, report=report)


def watch(settings: NoviceSettings, collector: EpisodeCollector, policy: LanguageModel, seed: int) -> list[Demonstration]:
    """The expert's commands in one episode of each house, with the detours or without."""
    rng = np.random.default_rng(derive_seed("novice", seed))
    seen: list[Demonstration] = []
    for i in range(settings.houses):
        drawn = draw_house(settings.games, derive_seed("novice", seed, i))
        graph = predict(drawn)
        acts = wander(graph, settings.detour, rng, turns=4 * settings.games.quest_length)
        task = TextWorldTask(drawn, graph, Path(), Rules(turns=len(acts)))
        pairs = collector.demonstrate(policy.tokenizer, task, [command for command, _ in acts])
        seen += [pair for pair, (_, expert) in zip(pairs, acts, strict=True) if expert or settings.strays]
    return seen


def wander(graph: StateGraph, detour: float, rng: np.random.Generator, *, turns: int) -> list[tuple[str, bool]]:
    """An expert's walk to the goal, with detours: at most `turns` commands, each with whether the expert chose it."""
    acts: list[tuple[str, bool]] = []
    state = 0
    while len(acts) < turns and (best := graph.best_commands(state)):
        astray = rng.random() < detour
        choices = tuple(graph.moves[state]) if astray else best
        command = choices[rng.integers(len(choices))]
        acts.append((command, not astray))
        state = graph.moves[state][command]
    return acts
