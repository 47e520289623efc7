"""Load a language model by name, save one to a folder.

Weights are read and written as safetensors only, and no code that comes with a model is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hierlab.models.folders import build_folder
from hierlab.models.language_model import LanguageModel
from hierlab.models.lora import LoRA, base_weights, with_adapters
from hierlab.models.smollm2 import smollm2_folder
from hierlab.models.tiny import TinySize, tiny_model, word_tokenizer

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_ADAPTER = "adapter"  # subfolder of a saved model that has adapters
_HUB_ID = r"\w[\w.-]*/\w[\w.-]*"
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]


def load(
    name: str | Path,
    *,
    vocabulary: Iterable[str] | None = None,
    size: TinySize | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    lora: LoRA | None = None,
) -> LanguageModel:
    """A language model with its tokenizer, ready to train.

    Args:
        name: "tiny", "smollm2-135m", a folder, or the id of a model on the Hugging Face hub ("owner/model"); only the last uses
            the network, unless the model has been downloaded before.
        vocabulary: the words, or texts, of a tiny model.
        size: of a tiny model.
        seed: of a tiny model's weights and of the adapters.
        dtype: of the weights.
        device: where the model is wanted.
        lora: train low-rank adapters only; None trains all weights.

    Raises:
        ValueError: if the name is unknown, or `vocabulary` or `size` is given for a model that has its own.
        ModuleNotFoundError: if the package with the weights is missing.
        FileNotFoundError: if a model cannot be found or fetched, or is incomplete. The message says what to do.
    """
    name = str(name)
    if name != "tiny" and (vocabulary is not None or size is not None):
        raise ValueError(f"vocabulary and size belong to 'tiny'; {name!r} has its own")
    if name == "tiny":
        tokenizer = word_tokenizer(vocabulary or (), context=(size or TinySize()).context)
        model = tiny_model(len(tokenizer), size or TinySize(), seed)
    else:
        model, tokenizer = _read(_folder(name), name, dtype)
    model = model.to(device=device, dtype=dtype)
    return LanguageModel(with_adapters(model, lora, seed) if lora else model, tokenizer, name)


def save(language_model: LanguageModel, folder: Path | str) -> None:
    """Write weights, configuration and tokenizer; `load(folder)` brings them back bit by bit. The folder appears whole or not at all.

    Adapters are kept apart from the weights they adapt, in a subfolder, and are trainable again when loaded.

    Raises:
        FileExistsError: if the folder exists and is not empty.
        OSError: if it cannot be written or the disk is full.
    """
    model = language_model.model
    with build_folder(folder) as temporary:
        if hasattr(model, "peft_config"):
            model.save_pretrained(temporary / _ADAPTER)
            model.get_base_model().save_pretrained(temporary, state_dict=dict(base_weights(model)))
        else:
            model.save_pretrained(temporary)
        language_model.tokenizer.save_pretrained(temporary)


def _folder(name: str) -> Path:
    """The local folder of a model."""
    if name == "smollm2-135m":
        return smollm2_folder()
    if name and (path := Path(name).expanduser()).is_dir():
        return path
    if re.fullmatch(_HUB_ID, name):
        return _from_hub(name)
    raise ValueError(f"unknown model {name!r}: give 'tiny', 'smollm2-135m', a folder, or a hub id such as 'Qwen/Qwen2.5-1.5B-Instruct'")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:  # every failure of the hub client is one of these, the network's included
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = f"where there is a network, run `hf download {name}` (after `hf auth login` if it is gated), or give the folder of a copy"
        raise FileNotFoundError(
            f"{name!r} is neither a folder here nor in the local cache, and cannot be fetched: {reason}; {advice}"
        ) from error


def _read(folder: Path, name: str, dtype: torch.dtype) -> tuple[PreTrainedModel | PeftModel, object]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safely = {"local_files_only": True, "trust_remote_code": False}  # said aloud: left out, a model with code would prompt for it
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, **safely)
        tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        wanted = "config.json, *.safetensors and a tokenizer"
        raise FileNotFoundError(f"{name!r}: {folder} holds no complete model that needs no code of its own ({wanted}): {error}") from error
    if (folder / _ADAPTER).is_dir():
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder / _ADAPTER, is_trainable=True)
    return model, tokenizer
