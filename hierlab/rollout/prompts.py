"""What a policy reads and writes, as text and as token ids. Collectors and demonstrations share it, so that both look alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hierlab.envs.environment import Observation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = tuple[str, str]
"""What was seen, and the command that was given."""

Render = Callable[[Sequence[Turn], Observation], str]
"""The text that a policy reads: the turns it may remember, oldest first, and what it sees now."""


def transcript(turns: Sequence[Turn], now: Observation) -> str:
    """Remembered turns and the present observation as a transcript, `observation > command`, that ends where a command is due.

    >>> transcript([("hall", "go east")], Observation("kitchen"))
    'hall > go east kitchen >'
    """
    return " ".join([*(f"{seen} > {command}" for seen, command in turns), f"{now.text} >"])


def encode_prompts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts. A model with a chat template reads each as the user's message and is due to answer."""
    distinct = dict.fromkeys(texts)  # the rollouts of a group often read the same
    if tokenizer.chat_template:
        chats = [[{"role": "user", "content": text}] for text in distinct]
        encoded = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=False)
    else:
        encoded = tokenizer(list(distinct), return_attention_mask=False)["input_ids"]
    ids = dict(zip(distinct, encoded, strict=True))
    return [ids[text] for text in texts]


def encode_response(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a response that ends where the text does, the end-of-sequence token included."""
    return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
