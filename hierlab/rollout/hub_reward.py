"""Reward models as they are published: a sequence classifier with one output, from a hub id or a folder.

Weights are read as safetensors only, and no code that comes with a model is ever run; models that need their own code are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.checks import check_rows
from hierlab.rollout.sampling import pad_right

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ClassifierReward:
    """A sequence classifier with one output, read as a reward model. A `ReadableRewardModel`.

    Args:
        model: a transformers model for sequence classification.
        tokenizer: with a chat template, through which every prompt and response goes as a user's and an assistant's message.
        batch: sequences a forward pass.

    Raises:
        ValueError: if the model has more outputs than one, or the tokenizer has no chat template.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch: int = 8):
        if model.config.num_labels != 1:
            raise ValueError(f"a reward model has one output, this classifier has {model.config.num_labels}")
        if not tokenizer.chat_template:
            raise ValueError("this tokenizer has no chat template: without it the model would read texts unlike those it was trained on")
        self.model, self.tokenizer, self.batch = model.eval(), tokenizer, batch
        self.model.config.pad_token_id = self._pad_id  # from it the classifier tells where a row ends

    @property
    def _pad_id(self) -> int:
        return self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """One number for each response. [N] float32, on the CPU"""
        return self._read(prompts, responses, hidden=False)

    def last_hidden(self, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
        """The last layer's hidden state at each last token. [N, D] float32, on the CPU"""
        return self._read(prompts, responses, hidden=True)

    @torch.no_grad()
    def _read(self, prompts: Sequence[str], responses: Sequence[str], *, hidden: bool) -> Tensor:
        check_rows(prompts=prompts, responses=responses)
        sequences = [self._encode(*pair) for pair in zip(prompts, responses, strict=True)]
        found = []
        for start in range(0, len(sequences), self.batch):
            ids, mask = pad_right(sequences[start : start + self.batch], self._pad_id, self.model.device)
            output = self.model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=hidden)
            last = mask.sum(dim=1) - 1
            found.append(output.hidden_states[-1][torch.arange(len(ids), device=ids.device), last] if hidden else output.logits[:, 0])
        width = (self.model.config.get_text_config().hidden_size,) if hidden else ()
        return torch.cat(found).float().cpu() if found else torch.zeros(0, *width)

    def _encode(self, prompt: str, response: str) -> list[int]:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        return self.tokenizer.apply_chat_template(messages, return_dict=False)


def load_classifier(
    name: str | Path, *, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu", batch: int = 8
) -> ClassifierReward:
    """A published reward model.

    Args:
        name: a hub id, which uses the network unless it was fetched before, or a folder.
        dtype: of the weights.
        device: where the model is wanted.
        batch: sequences a forward pass.

    Raises:
        FileNotFoundError: if it cannot be found or fetched, is incomplete, or needs code of its own.
        ValueError: as `ClassifierReward`.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model = AutoModelForSequenceClassification.from_pretrained(name, dtype=dtype, use_safetensors=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileNotFoundError(
            f"{str(name)!r} holds no reward model that needs no code of its own, or cannot be fetched: {reason}; "
            f"where there is a network, run `hf download {name}`, or give the folder of a copy"
        ) from error
    return ClassifierReward(model.to(device), tokenizer, batch=batch)
