"""An engine that answers from a list, and a problem to go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from hierlab.models import LanguageModel, TinySize, load
from hierlab.rollout.sampling import Samples, pad_left, pad_right

WORDS = ["ask", "a", "b", "c", "d"]
END = "."


def tiny(seed: int = 0, sharpen: float = 6.0) -> LanguageModel:
    """A tiny model that knows a few words, its weights enlarged so that what it reads matters."""
    made = load("tiny", vocabulary=WORDS, size=TinySize(hidden=32, layers=2, heads=2, inner=48, context=64), seed=seed)
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if weight.dim() == 2 and "embed" not in name:
                weight *= sharpen
    return made


@dataclass
class Scripted:
    """Answers each call by the next line of the script, one text a prompt; "." is the end token.

    It remembers what it read, and how many tokens it was allowed.
    """

    tokenizer: object
    script: list[Sequence[str]]
    logp: float = -0.5
    read: list[list[str]] = field(default_factory=list)
    limits: list[list[int] | None] = field(default_factory=list)

    @property
    def end_ids(self) -> tuple[int, ...]:
        return (self.tokenizer.eos_token_id,)

    def generate(self, prompts, params, generator, limits=None):
        self.read.append([self.tokenizer.decode(p, skip_special_tokens=True) for p in prompts])
        self.limits.append(limits)
        answers = self.script.pop(0)
        assert len(answers) == len(prompts)
        ids, mask = pad_right([self._ids(text) for text in answers], 0)
        return Samples(ids, mask, self.logp * mask.float(), *pad_left(prompts, 0))

    def _ids(self, text: str) -> list[int]:
        return [self.tokenizer.eos_token_id if word == END else self.tokenizer.convert_tokens_to_ids(word) for word in text.split()]

    def sync(self, model):
        pass


@dataclass(frozen=True)
class Ask:
    """A problem whose right answers are given."""

    id: str
    right: tuple[str, ...] = ()
    worth: float = 1.0
    prompt: str = "ask"

    def verify(self, response: str) -> float:
        return self.worth if response in self.right else 0.0
