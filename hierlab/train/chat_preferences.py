r"""Preferences on what a real language model writes: its own answers, compared by a known utility; or comparisons from a file.

`chat_task` samples answers of a chat model to short requests and has a rater compare them by a utility that anyone can recompute: an
answer is worth more if it names its subject, repeats itself little, ends a sentence, has commas and has no digits. `file_task` reads
comparisons that people made. Either way the likelihoods are the model's own, and so are the difficulties $c$ that decide what DPO can
flip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hierlab.models import LanguageModel, load
from hierlab.preference import difficulty, ideal_accuracies, ideal_margin, ranked_right, ranking_changes
from hierlab.rollout import SamplingParams, TransformersEngine
from hierlab.seeds import generator
from hierlab.train.pairs import Pair, score_pairs, tokenise
from hierlab.train.preference import Loss, PreferenceSettings, PreferenceTrainer

SUBJECTS = (
    *("rain", "bread", "music", "running", "winter", "trains", "coffee", "forests", "bicycles", "chess", "rivers", "libraries"),
    *("cats", "the moon", "football", "cheese", "islands", "painting", "clocks", "gardens", "bridges", "horses", "soup", "mountains"),
)
"""What the requests are about."""
STAKES = 1.5
"""By how much a unit of utility moves a rater, in nats of odds."""


@dataclass
class ChatTask:
    """Comparisons of answers, as token ids, with their reference.

    Attributes:
        policy: the model that is trained; until then it is the reference.
        prompt: [N] which request each pair belongs to.
        pairs: [N] the comparisons.
        agreement: [N] float64, the probability, or share, of raters who prefer the chosen answer.
        reference: the reference's log-probabilities of the chosen and the rejected answers, [N] each.
    """

    policy: LanguageModel
    prompt: list[int]
    pairs: list[Pair]
    agreement: Tensor
    reference: tuple[Tensor, Tensor]

    @property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """Lengths of the chosen and the rejected answers, [N] each."""
        return torch.tensor([len(p.chosen) for p in self.pairs]), torch.tensor([len(p.rejected) for p in self.pairs])


def answer_utility(subject: str, answer: str) -> float:
    """What an answer is worth.

    1 for naming its subject, 2 times its share of distinct words, 1 for ending a sentence, half a point for each of at most two commas,
    and minus 1 for a digit; 0 for an answer without words.
    """
    words = re.findall(r"[^\W\d_]+", answer.lower())
    if not words:
        return 0.0
    named = subject.removeprefix("the ") in answer.lower()
    ended = answer.rstrip().endswith((".", "!", "?"))
    commas, digit = min(2, answer.count(",")), any(letter.isdigit() for letter in answer)
    return named + 2 * len(set(words)) / len(words) + ended + 0.5 * commas - digit


def chat_task(name: str = "smollm2-135m", *, prompts: int = 24, samples: int = 4, tokens: int = 24, seed: int = 0) -> ChatTask:
    """Sample answers of a chat model, and have a rater compare them two by two.

    Args:
        name: a chat model, as `hierlab.models.load` takes it.
        prompts: requests, at most as many as there are `SUBJECTS`; which ones depends on the seed.
        samples: answers to each, an even number: the first is compared with the second, the third with the fourth.
        tokens: an answer is cut after so many.
        seed: draws subjects, answers and the raters' words.

    Raises:
        ValueError: if a number is out of range, or the model has no chat template.
    """
    if not 1 <= prompts <= len(SUBJECTS) or samples < 2 or samples % 2:
        raise ValueError(f"prompts must be 1 to {len(SUBJECTS)} and samples an even number, got {prompts} and {samples}")
    policy = load(name, device=_device())
    if not policy.tokenizer.chat_template:
        raise ValueError(f"{name!r} has no chat template: it is no chat model")
    chosen_subjects = torch.randperm(len(SUBJECTS), generator=generator(seed, "subjects"))[:prompts].tolist()
    requests = [_request(policy, SUBJECTS[i]) for i in chosen_subjects]
    rows = [number for number in range(prompts) for _ in range(samples)]
    limit = SamplingParams(max_new_tokens=tokens)
    drawn = TransformersEngine(policy).generate([requests[i] for i in rows], limit, generator(seed, "answers"))
    answers = [tuple(ids[mask].tolist()) for ids, mask in zip(drawn.response_ids, drawn.response_mask, strict=True)]
    texts = policy.tokenizer.batch_decode(answers, skip_special_tokens=True)
    utility = [answer_utility(SUBJECTS[chosen_subjects[i]], text) for i, text in zip(rows, texts, strict=True)]
    first = [i for i in range(0, len(rows), 2) if answers[i] != answers[i + 1]]
    gap = STAKES * torch.tensor([utility[i] - utility[i + 1] for i in first], dtype=torch.float64)
    won = torch.rand(len(first), generator=generator(seed, "raters"), dtype=torch.float64) < gap.sigmoid()
    pairs = [Pair(tuple(requests[rows[i]]), answers[i + (not w)], answers[i + bool(w)]) for i, w in zip(first, won.tolist(), strict=True)]
    agreement = torch.where(won, gap, -gap).sigmoid()
    return ChatTask(policy, [rows[i] for i in first], pairs, agreement, _scores(policy, pairs))


def file_task(name: str, path: Path | str, *, most: int = 1000, max_length: int = 512) -> ChatTask:
    """Comparisons from a file, as the paper reads them: prompt, a space and the answer, without a chat template.

    Args:
        name: a model, as `hierlab.models.load` takes it.
        path: a file of JSON lines with the texts `prompt`, `chosen` and `rejected`, and perhaps the number `agreement`, the share of
            raters who prefer `chosen` (the released code supposes 0.75 where it is not known).
        most: read at most so many.
        max_length: leave out pairs with more tokens.

    Raises:
        ValueError: as `read_comparisons`, or if no pair is short enough.
    """
    rows = read_comparisons(path)[:most]
    policy = load(name, device=_device())
    kept: list[tuple[int, Pair]] = []
    for number, row in enumerate(rows):
        answers = [f" {row['chosen']}"], [f" {row['rejected']}"]
        pair = tokenise(policy.tokenizer, [row["prompt"]], *answers)[0]
        if len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) <= max_length:
            kept.append((number, pair))
    if not kept:
        raise ValueError(f"none of the {len(rows)} pairs in {path} has at most {max_length} tokens")
    prompt, pairs = [number for number, _ in kept], [pair for _, pair in kept]
    agreement = torch.tensor([rows[number]["agreement"] for number in prompt], dtype=torch.float64)
    return ChatTask(policy, prompt, pairs, agreement, _scores(policy, pairs))


def read_comparisons(path: Path | str) -> list[dict]:
    """The comparisons of a file of JSON lines; `agreement` is 0.75 where it is not given.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line is not JSON, or lacks a text; the message names the line. Also if there is none.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of {path} is not JSON: {error}") from error
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key] for key in ("prompt", "chosen", "rejected")):
            raise ValueError(f"line {number} of {path} must have the texts prompt, chosen and rejected")
        agreement = row.get("agreement", 0.75)
        if isinstance(agreement, bool) or not isinstance(agreement, int | float) or not 0 <= agreement <= 1:
            raise ValueError(f"line {number} of {path}: agreement is a share of raters, in [0, 1], got {agreement!r}")
        rows.append({**row, "agreement": float(agreement)})
    if not rows:
        raise ValueError(f"{path} holds no comparisons")
    return rows


def train_on_chat(
    task: ChatTask,
    loss: Loss,
    *,
    rate: float = 2e-6,
    epochs: float = 1,
    batch: int = 4,
    beta: float = 0.1,
    seed: int = 0,
    report: Callable[..., None] | None = None,
    folder: Path | str | None = None,
) -> dict[str, float | list[float]]:
    """Train the task's policy on its pairs, and say what became of their ranking.

    Args:
        task: a task whose policy is still the reference; it is trained in place.
        loss: a pair loss of `hierlab.preference`.
        rate: learning rate of RMSprop.
        epochs: passes over the pairs; 0 measures the reference alone.
        batch: pairs an optimiser step.
        beta: of the DPO loss by which the pairs are measured.
        seed: of the order of pairs.
        report: called with steps done, steps in all, and the loss.
        folder: where the trainer keeps its checkpoint.

    Returns:
        Numbers; lists with one entry a pair: difficulty, margin after training, agreement; and lists with one entry a request: the shares
        of its pairs that the policy, its reference and the perfect optimum rank correctly.
    """
    trainer = PreferenceTrainer(
        task.policy,
        task.pairs,
        loss,
        PreferenceSettings(learning_rate=rate, batch=batch, micro_batch=batch, warmup=0),
        reference=task.reference,
        seed=seed,
        folder=folder,
        report=None if report is None else lambda record: report(record["step"], steps, loss=record.get("loss", 0.0)),
    )
    steps = trainer.steps(epochs)
    history = trainer.fit(steps)
    chosen, rejected = _scores(task.policy, task.pairs) if steps else task.reference
    changes = ranking_changes(chosen, rejected, *task.reference)
    reference = tuple(x.double() for x in task.reference)
    c, tokens = difficulty(*reference), task.tokens
    per_token = ranked_right(task.reference[0] / tokens[0], task.reference[1] / tokens[1])
    return {
        "reference_accuracy": changes.reference_accuracy,
        "per_token_reference_accuracy": float(per_token.double().mean()),
        "difficulty_deviation": float(c.std()) if len(c) > 1 else 0.0,
        "beyond_10_nats": float((c.abs() > 10).double().mean()),
        "ranking_accuracy": changes.accuracy,
        "reward_accuracy": changes.reward_accuracy,
        "flipped": 0.0 if changes.flipped != changes.flipped else changes.flipped,
        "unlearned": 0.0 if changes.unlearned != changes.unlearned else changes.unlearned,
        "first_loss": history[0]["loss"] if history else float(torch.tensor(2.0).log()),
        "last_loss": float(torch.nn.functional.softplus(-beta * ((chosen - rejected).double() + c)).mean()),
        "difficulty": c.tolist(),
        "margin": (chosen - rejected).double().tolist(),
        "agreement": task.agreement.tolist(),
        "right_of_request": by_request(task.prompt, ranked_right(chosen, rejected)),
        "reference_right_of_request": by_request(task.prompt, c <= 0),
        "ideal_of_request": by_request(task.prompt, ideal_margin(*reference, task.agreement, beta=beta) > 0),
        **{f"ideal_at_{b:g}": value for b, value in ideal_accuracies(reference, task.agreement).items()},
        **{f"ideal_per_token_at_{b:g}": value for b, value in ideal_accuracies(reference, task.agreement, tokens).items()},
    }


def by_request(prompt: Sequence[int], right: Tensor) -> list[float]:
    """The mean over each request's pairs, in the order in which requests first appear."""
    values: dict[int, list[float]] = {}
    for request, value in zip(prompt, right.double().tolist(), strict=True):
        values.setdefault(request, []).append(value)
    return [sum(found) / len(found) for found in values.values()]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _scores(policy: LanguageModel, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    chosen, rejected = score_pairs(policy.model, pairs, batch=16)
    return chosen.cpu(), rejected.cpu()


def _request(policy: LanguageModel, subject: str) -> list[int]:
    message = [{"role": "user", "content": f"Tell me something about {subject}, in one sentence."}]
    return list(policy.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True, return_dict=False))
