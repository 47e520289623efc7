"""Low-rank adapters: train a few per cent of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hierlab.seeds import derive_seed

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters on linear layers (Hu et al., arXiv 2106.09685), through peft.

    Attributes:
        rank: of each update.
        alpha: the update is scaled by alpha / rank.
        target: names of the layers, such as ("q_proj", "v_proj"); "all-linear" for every linear layer but the output.
        dropout: on the adapters' input, while training.
    """

    rank: int = 8
    alpha: float = 16
    target: str | Sequence[str] = "all-linear"
    dropout: float = 0.0

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


def with_adapters(model: PreTrainedModel, lora: LoRA, seed: int) -> PeftModel:
    """The model with fresh adapters, which leave its output as it is; only they are trainable.

    Raises:
        ValueError: if no layer has a name in `lora.target`.
    """
    from peft import LoraConfig, get_peft_model

    target = lora.target if isinstance(lora.target, str) else list(lora.target)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=target, lora_dropout=lora.dropout, task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "adapters"))
        return get_peft_model(model, config)


def base_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A model's weights under the names that the plain architecture has, adapters left out."""
    if not hasattr(model, "peft_config"):
        yield from model.state_dict().items()
        return
    for name, weight in model.get_base_model().state_dict().items():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight


@torch.no_grad()
def merged_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights of the plain architecture that computes what the model with its adapters does; the model stays as it is."""
    updates = {}
    if hasattr(model, "peft_config"):
        for path, layer in model.get_base_model().named_modules():
            if hasattr(layer, "get_delta_weight"):
                updates[f"{path}.weight"] = [(layer, adapter) for adapter in layer.active_adapters if adapter in layer.lora_A]
    for name, weight in base_weights(model):
        yield name, weight + sum(layer.get_delta_weight(adapter) for layer, adapter in updates[name]) if updates.get(name) else weight
