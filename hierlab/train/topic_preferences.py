r"""Preference learning in a language whose utilities are known (`hierlab.envs.topic_corpus`): a tiny model, its reference, any loss.

The reference is the tiny model fine-tuned on the preferred answers, as in arXiv 2405.19534. What becomes of its rankings is measured on
held-out pairs all along the training: ranking accuracy beside reward accuracy, the four groups, how good the policy's own texts are, and
how far its weights have gone. The checkpoint that counts is the one of the lowest held-out loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hierlab.envs.topic_corpus import TOPICS, WORDS, Comparisons, Text, TopicCorpus, as_text
from hierlab.models import LanguageModel, TinySize, load
from hierlab.preference import difficulty, four_groups, idealised_ranking_accuracy, ranked_right, ranking_changes
from hierlab.preference.ranking_accuracy import SOLVED_LOSS
from hierlab.rollout import SamplingParams, TransformersEngine, token_logp
from hierlab.seeds import generator
from hierlab.train.batches import Record
from hierlab.train.imitation import ImitationSettings, warm_start
from hierlab.train.pairs import Pair, collate, score_pairs, tokenise
from hierlab.train.preference import Loss, PreferenceSettings, PreferenceTrainer, pair_columns, pair_losses

GROUPS = ("right_right", "right_wrong", "wrong_right", "wrong_wrong")
"""Pairs by whether the reference ranks them correctly, and whether the policy now does."""
_SCORED = 256  # pairs a forward pass when nothing is trained


@dataclass(frozen=True)
class TopicSettings:
    """How large everything is.

    Attributes:
        pairs: comparisons to train on.
        held_out: comparisons to measure on.
        hidden: width of the model's one layer.
        imitation_steps: optimiser steps of the fine-tuning that makes the reference.
        texts: texts that policy and reference write about each topic whenever they are compared.
        batch: pairs an optimiser step.
        beta: of the DPO loss by which every arm's pairs are measured, and at which the optimum is idealised.
    """

    pairs: int = 1000
    held_out: int = 400
    hidden: int = 64
    imitation_steps: int = 200
    texts: int = 64
    batch: int = 64
    beta: float = 0.1

    def __post_init__(self):
        for name in ("pairs", "held_out", "texts", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass
class TopicTask:
    """One seed's language, comparisons and reference.

    Attributes:
        corpus: the language and its utilities.
        train: comparisons to train on, and `train_pairs` as token ids.
        held_out: comparisons to measure on, and `held_out_pairs` as token ids.
        policy: the reference, to be trained.
        reference: its log-probabilities of the held-out answers, [N] each.
        train_reference: of the answers to train on.
        settings: how large everything is.
        seed: what all of it is drawn from.
    """

    corpus: TopicCorpus
    train: Comparisons
    train_pairs: list[Pair]
    held_out: Comparisons
    held_out_pairs: list[Pair]
    policy: LanguageModel
    reference: tuple[Tensor, Tensor]
    train_reference: tuple[Tensor, Tensor]
    settings: TopicSettings
    seed: int

    @property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """Lengths of the held-out answers, the chosen and the rejected, [N] each."""
        return tuple(torch.tensor([len(getattr(p, name)) for p in self.held_out_pairs]) for name in ("chosen", "rejected"))


def topic_task(settings: TopicSettings, seed: int) -> TopicTask:
    """Draw a language and its comparisons, and fine-tune the reference (once; its weights are kept).

    Args:
        settings: how large everything is.
        seed: draws the language, the texts, the raters' words and the model.
    """
    task = _prepared(settings, seed)
    model = copy.deepcopy(task.policy.model)
    return replace(task, policy=replace(task.policy, model=model))


@lru_cache(maxsize=2)
def _prepared(settings: TopicSettings, seed: int) -> TopicTask:
    """A task whose policy nobody trains: all arms of a seed begin with a copy of it."""
    corpus = TopicCorpus(seed)
    train = corpus.compare(settings.pairs, generator(seed, "topic pairs", "train"))
    held_out = corpus.compare(settings.held_out, generator(seed, "topic pairs", "held out"))
    size = TinySize(hidden=settings.hidden, layers=1, heads=4, inner=2 * settings.hidden, context=2 * corpus.longest)
    policy = load("tiny", vocabulary=[*TOPICS, *WORDS], size=size, seed=seed)
    train_pairs, held_out_pairs = (as_pairs(policy, comparisons) for comparisons in (train, held_out))
    warm_start(
        policy,
        lambda: [(list(pair.prompt), list(pair.chosen)) for pair in train_pairs],
        ImitationSettings(steps=settings.imitation_steps, batch=settings.batch, rate=3e-3),
        recipe={"topic corpus": asdict(settings)},
        seed=seed,
    )
    references = [score_pairs(policy.model, pairs, batch=_SCORED) for pairs in (held_out_pairs, train_pairs)]
    return TopicTask(corpus, train, train_pairs, held_out, held_out_pairs, policy, *references, settings, seed)


def as_pairs(policy: LanguageModel, comparisons: Comparisons) -> list[Pair]:
    """Comparisons as token ids: the topic's name is the prompt, and every answer ends."""
    names = list(TOPICS)
    prompts = [names[topic] for topic in comparisons.topic]
    return tokenise(policy.tokenizer, prompts, *([as_text(t) for t in texts] for texts in (comparisons.chosen, comparisons.rejected)))


class Observer:
    """Measures a policy on the held-out pairs; called with the model.

    Args:
        task: where the policy came from; its model is still the reference.
        loss: the arm's own loss, by which its checkpoint is chosen.

    Attributes:
        margins: the policy's log-ratios of the two answers, [N] float64, one entry a call.
    """

    def __init__(self, task: TopicTask, loss: Loss):
        self.task, self.loss = task, loss
        self.columns = pair_columns(task.held_out_pairs, task.reference)
        self.tokens = self.columns["chosen_tokens"], self.columns["rejected_tokens"]
        self._start = [weight.detach().clone() for weight in task.policy.model.parameters()]
        self._reference_utility = self._utility()
        self.margins: list[Tensor] = []

    def __call__(self, model: nn.Module) -> Record:
        """Numbers about the policy as it is now."""
        task = self.task
        chosen, rejected = score_pairs(model, task.held_out_pairs, batch=_SCORED)
        self.margins.append((chosen - rejected).double())
        changes = ranking_changes(chosen, rejected, *task.reference)
        per_token = ranked_right(chosen / self.tokens[0], rejected / self.tokens[1])
        return {
            "held_out_loss": float(pair_losses(self.loss, chosen, rejected, self.columns).mean()),
            "ranking_accuracy": changes.accuracy,
            "per_token_accuracy": float(per_token.float().mean()),
            "held_out_reward_accuracy": changes.reward_accuracy,
            "flipped": _share(changes.flipped),
            "unlearned": _share(changes.unlearned),
            "win_rate": self.win_rate(),
            "distance": self.distance(model),
            **self._groups(chosen, rejected),
        }

    def distance(self, model: nn.Module) -> float:
        r"""$\lVert\theta-\theta_\text{ref}\rVert^2$."""
        weights = zip(model.parameters(), self._start, strict=True)
        return float(sum((weight.detach() - start).square().sum() for weight, start in weights))

    def win_rate(self) -> float:
        """The probability that a rater prefers the policy's text to the reference's on one topic, over all pairs of the texts drawn."""
        mine = self._utility()
        return float((mine[:, :, None] - self._reference_utility[:, None, :]).sigmoid().mean())

    def _utility(self) -> Tensor:
        """What the policy's texts are worth, [topic, text]; policy and reference write with the same random numbers."""
        task, number = self.task, self.task.settings.texts
        topics = [topic for topic in range(len(TOPICS)) for _ in range(number)]
        prompts = [task.policy.tokenizer(name)["input_ids"] for name in TOPICS for _ in range(number)]
        limit = SamplingParams(max_new_tokens=task.corpus.longest + 1)
        samples = TransformersEngine(task.policy).generate(prompts, limit, generator(task.seed, "texts"))
        words = {task.policy.tokenizer.convert_tokens_to_ids(word): place for place, word in enumerate(WORDS)}
        texts: list[Text] = [
            tuple(words[i] for i in row[mask].tolist() if i in words)
            for row, mask in zip(samples.response_ids, samples.response_mask, strict=True)
        ]
        return task.corpus.utility(topics, texts).reshape(len(TOPICS), number)

    def _groups(self, chosen: Tensor, rejected: Tensor) -> Record:
        groups = four_groups(chosen, rejected, *self.task.reference, beta=self.task.settings.beta)
        record: Record = {}
        for name, group in zip(GROUPS, groups, strict=True):
            record |= {f"{name}_share": group.share, f"{name}_margin": group.margin, f"{name}_loss": group.loss}
        return record


def _share(value: float) -> float:
    """A share of no pairs counts as none."""
    return 0.0 if value != value else value


@dataclass
class TopicRun:
    """One training.

    Attributes:
        task: what was trained on; its policy is the trained one.
        seen: the evaluations, the first of the reference.
        margins: held-out log-ratios at each evaluation, [N] float64.
        best: which evaluation has the lowest held-out loss.
    """

    task: TopicTask
    seen: list[Record]
    margins: list[Tensor]
    best: int


def train_on_topics(
    task: TopicTask,
    loss: Loss,
    *,
    rate: float,
    epochs: float = 2,
    evaluations: int = 8,
    report: Callable[..., None] | None = None,
    **trainer: Any,
) -> TopicRun:
    """Train the task's policy by one loss, and watch its rankings.

    Args:
        task: a task whose policy is still the reference; it is trained in place.
        loss: a pair loss of `hierlab.preference`.
        rate: learning rate of RMSprop.
        epochs: passes over the pairs.
        evaluations: how often to measure after the start, at equal distances.
        report: called with steps done, steps in all, and a few numbers.
        **trainer: further arguments of `PreferenceTrainer`, such as `folder`.

    Raises:
        ValueError: as `PreferenceTrainer`, or if `evaluations` is below 1.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations must be at least 1, got {evaluations}")
    settings = PreferenceSettings(learning_rate=rate, batch=task.settings.batch, micro_batch=task.settings.batch, warmup=5)
    observer = Observer(task, loss)
    preference = PreferenceTrainer(
        task.policy,
        task.train_pairs,
        loss,
        settings,
        reference=task.train_reference,
        seed=task.seed,
        evaluate=observer,
        report=None if report is None else lambda record: report(record["step"], steps, loss=record.get("loss", 0.0)),
        **trainer,
    )
    steps = preference.steps(epochs)
    preference.evaluate_every = max(1, -(-steps // evaluations))
    seen = [record for record in preference.fit(steps) if "held_out_loss" in record]
    best = min(range(len(seen)), key=lambda i: seen[i]["held_out_loss"])
    return TopicRun(task, seen, observer.margins, best)


def topic_values(run: TopicRun) -> dict[str, float | list[float]]:
    """What an experiment keeps of a run: numbers at its best checkpoint and at its end (`end_`), and curves over its evaluations."""
    best, last, margin = run.seen[run.best], run.seen[-1], run.margins[run.best]
    c = difficulty(*run.task.reference).double()
    beta = run.task.settings.beta
    right, hard = margin >= 0, hard_pairs(run.task)
    values: dict[str, float | list[float]] = {
        "held_out_loss": best["held_out_loss"],
        "ranking_accuracy": best["ranking_accuracy"],
        "per_token_accuracy": best["per_token_accuracy"],
        "reward_accuracy": best["held_out_reward_accuracy"],
        "flipped": best["flipped"],
        "unlearned": best["unlearned"],
        "win_rate": best["win_rate"],
        "distance": best["distance"],
        "auc_difficulty": area_under_curve(-c, right),
        "auc_loss": area_under_curve(beta * (margin + c), right),
        "end_ranking_accuracy": last["ranking_accuracy"],
        "end_flipped": last["flipped"],
        "end_unlearned": last["unlearned"],
        "end_win_rate": last["win_rate"],
        "reference_accuracy": run.seen[0]["ranking_accuracy"],
        "grown_margins": min([best[f"{name}_margin"] for name in GROUPS if name != "right_wrong" and best[f"{name}_share"]]),
        "solved_but_wrong": solved_but_wrong(margin, c, beta),
        "ideal_accuracy": idealised_ranking_accuracy(*(x.double() for x in run.task.reference), run.task.held_out.agreement, beta=beta),
        **{f"{kind}_{name}": value for name, both in hard.items() for kind, value in zip(("hard", "other"), both, strict=True)},
        **near_and_far(run.seen),
    }
    curves = {"steps": "step", "accuracy": "ranking_accuracy", "rewarded": "held_out_reward_accuracy", "flips": "flipped"}
    curves |= {"won": "win_rate", "moved": "distance"}
    return values | {name: [float(record[key]) for record in run.seen] for name, key in curves.items()}


def near_and_far(seen: Sequence[Record]) -> dict[str, float]:
    """How ranking accuracy and win rate go together in the nearer and in the farther half of a training.

    Args:
        seen: evaluations with `distance`, `ranking_accuracy` and `win_rate`.

    Returns:
        Pearson's correlation over the evaluations up to the median distance and from it on, `together_near` and `together_far`; 0 where one
        of the two does not vary.
    """
    names = ("distance", "ranking_accuracy", "win_rate")
    distance, accuracy, won = (torch.tensor([record[name] for record in seen]).double() for name in names)
    halves = {"together_near": distance <= distance.median(), "together_far": distance >= distance.median()}
    return {name: _correlation(accuracy[half], won[half]) for name, half in halves.items()}


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else 0.0


def solved_but_wrong(margin: Tensor, c: Tensor, beta: float, loss: float = SOLVED_LOSS) -> float:
    """The share of pairs ranked correctly by the reference, with a DPO loss of at most `loss`, and ranked wrongly: theory has 0."""
    solved = (c <= 0) & (softplus(-beta * (margin + c)) <= loss)
    return float((solved & (margin < 0)).double().mean())


def area_under_curve(score: Tensor, positive: Tensor) -> float:
    """The probability that a positive has a larger score than a negative, ties counting half; 0.5 if there is only one kind."""
    above, below = score[positive], score[~positive]
    if not len(above) or not len(below):
        return 0.5
    difference = above[:, None] - below
    return float((difference > 0).double().mean() + 0.5 * (difference == 0).double().mean())


def hard_pairs(task: TopicTask) -> Mapping[str, tuple[float, float]]:
    """Held-out pairs of the hardest quarter beside the others: mean length of both answers, and how far raters disagree, min(α, 1 - α)."""
    c = difficulty(*task.reference)
    hard = c >= c.quantile(0.75)
    length = torch.tensor([len(a) + len(b) for a, b in zip(task.held_out.chosen, task.held_out.rejected, strict=True)]).double()
    doubt = torch.minimum(task.held_out.agreement, 1 - task.held_out.agreement)
    return {name: (float(x[hard].mean()), float(x[~hard].mean())) for name, x in {"length": length, "disagreement": doubt}.items()}


@torch.no_grad()
def token_scores(model: nn.Module, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """The log-probability of every token of the chosen and of the rejected answers, [N, T] each, NaN behind an answer's end."""
    batch = collate(pairs)
    scores = token_logp(model, *batch.answers())
    return tuple(torch.where(mask, x, torch.nan) for x, mask in zip(scores.chunk(2), (batch.chosen_mask, batch.rejected_mask), strict=True))
