"""Reward models really trained, benchmarked and used: the other half of the lab of RewardBench 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hierlab.envs.reward_questions import benchmark, candidates, demonstrations, preferences, questions, vocabulary
from hierlab.models import LanguageModel, TinySize, load
from hierlab.reward import DOMAINS, Item, RewardModel, best_of_n_value, evaluate, pairwise_accuracy
from hierlab.rollout.prompts import encode_prompts, encode_response
from hierlab.rollout.reward_model import reward_model
from hierlab.train.imitation import ImitationSettings, warm_start
from hierlab.train.pairs import tokenise
from hierlab.train.reward import RewardSettings, RewardTrainer

SIZE = TinySize(hidden=64, layers=2, heads=4, inner=192, context=64)
_DEMONSTRATIONS = 6000


@dataclass(frozen=True)
class Recipe:
    """What one trained reward model is made with, beside its learning rate.

    Attributes:
        epochs: passes over the pairs; 0 leaves the head as it was drawn.
        pairs: preferences it learns from, as a multiple of the lab's number.
    """

    epochs: int
    pairs: int = 1


def base_model(steps: int, *, batch: int = 64) -> LanguageModel:
    """A tiny language model that has read right answers to the questions that are not held out, as a pretrained one has read the world.

    It is trained once on a machine and then kept (`hierlab.train.imitation.warm_start`).

    Args:
        steps: of imitation.
        batch: demonstrations a step.
    """
    model = load("tiny", vocabulary=vocabulary(), size=SIZE)
    number = min(_DEMONSTRATIONS, steps * batch)

    def demonstrate():
        texts = demonstrations(number)
        prompts = encode_prompts(model.tokenizer, [prompt for prompt, _ in texts])
        return [(prompt, encode_response(model.tokenizer, answer)) for prompt, (_, answer) in zip(prompts, texts, strict=True)]

    recipe = {"demonstrations": number, "questions": [q.prompt for domain in DOMAINS for q in questions(domain)]}
    return warm_start(model, demonstrate, ImitationSettings(steps=steps, batch=batch, rate=3e-3), recipe=recipe)


def train_reward_model(
    recipe: Recipe,
    *,
    rate: float,
    seed: int,
    base_steps: int,
    pairs: int,
    flips: float,
    prompts: int,
    used: int,
    folder: Path | str | None = None,
    report: Callable[..., None] | None = None,
) -> dict[str, float | list[float]]:
    """Train one reward model and measure what it is worth.

    Args:
        recipe: epochs and amount of data.
        rate: learning rate.
        seed: of preferences, order, benchmark and candidates; models of one seed are measured by the same items.
        base_steps: imitation steps of the language model it begins as.
        pairs: preferences that a recipe counts in.
        flips: share of preferences that are the wrong way round.
        prompts: of each of the benchmark's domains.
        used: prompts of each domain but Ties on which it chooses among 16 candidates.
        folder: for its checkpoint; None keeps none.
        report: called with (done, total, **values).

    Returns:
        What `measure` gives, `fit` (accuracy on its own pairs in the last epoch, 1/2 without any), and the curves `epochs` and
        `score_curve`.
    """
    reward = reward_model(base_model(base_steps), seed=seed)
    items = benchmark(prompts, seed=seed)
    curve = {0: evaluate(reward, items).final}
    fit = 0.5
    if recipe.epochs:
        drawn = preferences(recipe.pairs * pairs, seed=seed, flips=flips)
        ids = tokenise(reward.tokenizer, [p.prompt for p in drawn], [p.chosen for p in drawn], [p.rejected for p in drawn])
        settings = RewardSettings(epochs=recipe.epochs, learning_rate=rate, batch=16, micro_batch=16)
        trainer = RewardTrainer(
            reward,
            ids,
            settings,
            seed=seed,
            folder=folder,
            evaluate=lambda model: {"score": evaluate(model, items).final},
            report=(lambda r: report(r["step"], trainer.total_steps, loss=r["loss"])) if report else None,
        )
        history = trainer.fit()
        curve |= {round(record["epoch"]): record["score"] for record in history if "score" in record}
        fit = float(np.mean([record["accuracy"] for record in history[-trainer.steps_an_epoch :]]))
    curves = {"epochs": [float(epoch) for epoch in curve], "score_curve": list(curve.values())}
    return {**measure(reward, items, seed=seed, used=used), "fit": fit, **curves}


def measure(reward: RewardModel, items: Sequence[Item], *, seed: int, used: int) -> dict[str, float]:
    """The scores of a reward model on a benchmark, and what it is worth when it chooses among 16 candidates.

    Args:
        reward: the model.
        items: of all six domains.
        seed: of the candidates.
        used: prompts of each domain but Ties.

    Returns:
        `score` and the domains' scores; `four_accuracy` (the five domains of best-of-4, together) and `pairs_accuracy` (their items as
        pairs); and `best_of_16`, the share of right answers among its favourites.
    """
    report = evaluate(reward, items)
    groups = [report.scores[item.domain, item.id] for item in items if item.domain != "Ties"]
    offered = candidates(used, 16, seed=seed)
    flat = reward.score([c.prompt for c in offered for _ in c.responses], [r for c in offered for r in c.responses])
    chosen = best_of_n_value(flat.reshape(len(offered), 16), [c.right for c in offered])
    return {
        "score": report.final,
        **dict(report.domains),
        "pairs_accuracy": pairwise_accuracy(groups),
        "four_accuracy": float(np.mean([report.domains[domain] for domain in DOMAINS[:-1]])),
        "best_of_16": float(chosen.mean()),
    }
