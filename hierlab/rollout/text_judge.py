"""A language model as a judge: it reads a prompt of `hierlab.reward.judge` as a user's message and replies."""

from __future__ import annotations

from collections.abc import Sequence

from hierlab.models import LanguageModel
from hierlab.rollout.engine import Engine, TransformersEngine
from hierlab.rollout.prompts import encode_prompts
from hierlab.rollout.sampling import SamplingParams
from hierlab.seeds import generator


class TextJudge:
    """Implements `hierlab.reward.judge.Judge` with any engine.

    Args:
        policy: the language model; None if an engine is given.
        engine: what samples; by default the model itself.
        tokens: the longest reply.
        temperature: 0 for the likeliest reply, as in the released code.
        seed: draws replies at a temperature above 0.
        batch: prompts side by side.

    Raises:
        ValueError: if there is neither a policy nor an engine, or a number is out of range.
    """

    def __init__(
        self,
        policy: LanguageModel | None = None,
        *,
        engine: Engine | None = None,
        tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        batch: int = 16,
    ):
        if policy is None and engine is None:
            raise ValueError("a judge needs a language model, or an engine that samples from one")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.engine = engine or TransformersEngine(policy)
        self.params = SamplingParams(tokens, temperature=temperature)
        self.seed, self.batch = seed, batch

    def reply(self, prompts: Sequence[str]) -> list[str]:
        """One text for each prompt; prompts of similar length are read together."""
        encoded = encode_prompts(self.engine.tokenizer, prompts) if prompts else []
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        replies = [""] * len(encoded)
        draw = generator(self.seed, "judge")
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            samples = self.engine.generate([encoded[row] for row in rows], self.params, draw)
            for row, ids, mask in zip(rows, samples.response_ids, samples.response_mask, strict=True):
                replies[row] = self.engine.tokenizer.decode(ids[mask], skip_special_tokens=True)
        return replies
