"""A tiny model that answers digit questions in words, after it has watched somebody plan and compute with some luck.

`digit_solver` is to questions whose answers plan what `hierlab.train.solver.chain_sum_solver` is to chain sums: it trains in seconds on
a core, with `hierlab.train.solver.train_solver`. `right_answers` is the corpus that its planning phrases are found in.
"""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, field
from math import log

from hierlab.envs import digit_questions as questions
from hierlab.envs.digit_questions import WORDS, DigitQuestion, Pupil, digit_questions
from hierlab.models import LanguageModel, TinySize, load, tiny
from hierlab.rollout import GroupCollector, Rollouts, SamplingParams, TransformersEngine, collect, prompts
from hierlab.rollout.collect import Demonstration
from hierlab.seeds import generator
from hierlab.sources import source_digest
from hierlab.train.imitation import ImitationSettings, warm_start
from hierlab.train.solver import Solver

WORDS_OF_PLANS = 10
"""There is room for so many words beside the digits before an answer is cut; two phrases and the end mark are nine."""


@dataclass(frozen=True)
class DigitSettings:
    """A tiny model, its questions, and how well it answers them before it is trained.

    Attributes:
        steps: digits that a question asks for.
        pupil: whom the model has watched.
        demonstrations: how many answers it has seen.
        tests: how often each question is asked in a test.
        size: of the model.
        imitation: how the model is taught.
    """

    steps: int = 4
    pupil: Pupil = field(default_factory=Pupil)
    demonstrations: int = 4000
    tests: int = 3
    size: TinySize = field(default_factory=lambda: TinySize(hidden=64, layers=2, heads=4, inner=192, context=64))
    imitation: ImitationSettings = field(default_factory=lambda: ImitationSettings(steps=500, batch=32, rate=6e-3))

    def __post_init__(self):
        for name in ("demonstrations", "tests"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def digit_solver(settings: DigitSettings | None = None, *, report: Callable[[int, float], None] | None = None) -> Solver:
    """A tiny model that answers digit questions. Its weights come from the cache once they have been made.

    There are so few questions that none is held out: the model is tested on those it is trained on, each several times.

    Args:
        settings: the model and its questions.
        report: called with each step of the warm start and its loss, if there is training.
    """
    settings = settings or DigitSettings()
    tasks = digit_questions(settings.steps)
    policy = load("tiny", vocabulary=WORDS, size=settings.size)
    recipe = {
        "settings": {name: value for name, value in asdict(settings).items() if name != "tests"},
        "code": [source_digest(questions, tiny, collect, prompts), inspect.getsource(_demonstrations)],
    }
    warm_start(policy, lambda: _demonstrations(policy, tasks, settings), settings.imitation, recipe=recipe, report=report)
    return Solver(policy, TransformersEngine(policy), tasks, settings.tests * tasks, SamplingParams(WORDS_OF_PLANS + 2 * settings.steps))


def right_answers(settings: DigitSettings, number: int, seed: int = 0) -> list[str]:
    """So many right answers, from somebody like the one whom the model has watched.

    Args:
        settings: whom the model has watched, and the questions.
        number: how many.
        seed: of the answers.

    Raises:
        ValueError: if the pupil is hardly ever right.
    """
    draw = generator("digit solver", "right answers", seed)
    tasks, found = digit_questions(settings.steps), []
    for _ in range(1 + 100 * number // len(tasks)):
        answers = [(task, settings.pupil(task, draw)) for task in tasks]
        found += [answer for task, answer in answers if task.verify(answer)]
        if len(found) >= number:
            return found[:number]
    raise ValueError(f"this pupil gave only {len(found)} right answers, {number} are wanted: {settings.pupil}")


def outcomes(rollouts: Rollouts, tasks: Sequence[DigitQuestion]) -> dict[str, float]:
    """How answers to digit questions failed, and how many ways of planning were tried: both known exactly here.

    Args:
        rollouts: with the columns `response` and `success`.
        tasks: the questions that were asked, and perhaps others.

    Returns:
        planning_errors, execution_errors: share of the answers that failed by their plan, or by how they carried out a right one.
        plan_variety: entropy in nats of the plans (both phrases' words) among the answers to one question, mean over questions.
        solved_groups: share of the questions with a right answer, which is pass@k for groups of k.
    """
    asked = {task.id: task for task in tasks}
    rows = list(zip(rollouts.task, rollouts["response"], strict=True))
    found = Counter(asked[name].outcome(response) for name, response in rows)
    plans: dict[Hashable, Counter] = defaultdict(Counter)
    for name, response in rows:
        plans[name][" ".join(word for word in response.split() if not word.isdigit())] += 1
    solved = {name for name, right in zip(rollouts.task, rollouts["success"], strict=True) if right}
    return {
        "planning_errors": found["planning"] / len(rows),
        "execution_errors": found["execution"] / len(rows),
        "plan_variety": sum(map(_entropy, plans.values())) / len(plans),
        "solved_groups": len(solved) / len(plans),
    }


def _entropy(counts: Counter) -> float:
    total = counts.total()
    return -sum(count / total * log(count / total) for count in counts.values()) + 0.0


def _demonstrations(policy: LanguageModel, tasks: list[DigitQuestion], settings: DigitSettings) -> list[Demonstration]:
    """What the pupil reads and writes; each question in turn."""
    draw = generator("digit solver", "demonstrations")
    collector = GroupCollector(1, SamplingParams(1))
    shown = [tasks[i % len(tasks)] for i in range(settings.demonstrations)]
    return [collector.demonstrate(policy.tokenizer, task, settings.pupil(task, draw)) for task in shown]
