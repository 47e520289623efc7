"""Value heads: a language model that says what a state is worth instead of which token comes next.

A critic for PPO is the policy's own architecture with its output layer replaced by one or several scalar heads. As in verl, TRL and
HiPER-agent, it has a backbone of its own, which begins as the policy is when the critic is made; it may also read the policy's hidden
states, which then costs no second model, and leaves them as the policy makes them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hierlab.files import replacing
from hierlab.seeds import derive_seed

if TYPE_CHECKING:
    from hierlab.models.language_model import LanguageModel


class ValueOutput(NamedTuple):
    """What a value model says.

    Attributes:
        logits: [N, L, H] float32, one value a position and head, under the name that language models use for their output.
        past_key_values: the backbone's cache; None without `use_cache`.
    """

    logits: Tensor
    past_key_values: Any


class ValueModel(nn.Module):
    """A backbone with named scalar heads; called like a causal language model, so that it is read like one.

    `hierlab.rollout.logp.response_outputs` of it gives, at each response token, the values of the state before that token.

    Args:
        backbone: gives hidden states, such as a `LlamaModel`.
        heads: a name for each head.
        width: of the hidden states.
        shared: the backbone belongs to the policy: its weights are none of this model's, and no gradient reaches them.
        std: standard deviation of the heads' initial weights; 0 makes every value 0 at first.
        seed: of the heads' initial weights.

    Raises:
        ValueError: if there is no head, or a name comes twice.
    """

    def __init__(self, backbone: nn.Module, heads: Sequence[str], width: int, *, shared: bool = False, std: float = 0.0, seed: int = 0):
        super().__init__()
        if not heads or len(set(heads)) < len(heads):
            raise ValueError(f"a value model needs at least one head, and no name twice, got {list(heads)}")
        self.heads, self.shared = tuple(heads), shared
        self._policy = (backbone,) if shared else ()  # in a tuple, so that it is not registered as a part
        if not shared:
            self.own_backbone = backbone
        device = next(backbone.parameters()).device
        self.output = nn.utils.skip_init(nn.Linear, width, len(self.heads), device=device, dtype=torch.float32)
        drawn = torch.randn(len(self.heads), width, generator=torch.Generator().manual_seed(derive_seed(seed, "value heads")))
        with torch.no_grad():
            self.output.weight.copy_(std * drawn)
            self.output.bias.zero_()

    @property
    def backbone(self) -> nn.Module:
        """What gives the hidden states."""
        return self._policy[0] if self.shared else self.own_backbone

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether the backbone keeps no cache while it is trained."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.backbone.modules())

    def forward(self, *, logits_to_keep: int = 0, **inputs: Any) -> ValueOutput:
        """Values at the last `logits_to_keep` positions (0: at all), with whatever else the backbone takes."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.shared):
            output = self.backbone(**inputs)
        hidden = output.last_hidden_state[:, -logits_to_keep:]
        return ValueOutput(self.output(hidden.float()), output.past_key_values)


def value_model(
    policy: LanguageModel, heads: Sequence[str] = ("values",), *, share: bool = False, std: float = 0.0, seed: int = 0
) -> ValueModel:
    """A critic for this policy.

    Args:
        policy: a transformers model, with adapters or without.
        heads: a name for each head.
        share: read the policy's hidden states, now and as they become; the heads alone are trained. Otherwise the backbone is a copy,
            trained where the policy is: all of it, or adapters that begin as the policy's, on frozen weights that both share.
        std: standard deviation of the heads' initial weights; 0 makes every value 0 at first.
        seed: of the heads' initial weights.

    Raises:
        ValueError: if there is no head, or a name comes twice.
    """
    causal = policy.model.get_base_model() if hasattr(policy.model, "peft_config") else policy.model
    backbone = causal.base_model
    if not share:
        frozen = {id(weight): weight for weight in backbone.parameters() if not weight.requires_grad}
        backbone = copy.deepcopy(backbone, frozen)
    width = causal.config.get_text_config().hidden_size
    return ValueModel(backbone, heads, width, shared=share, std=std, seed=seed)


def save_values(model: ValueModel, path: Path | str) -> None:
    """Write the trained weights as safetensors, in one step; frozen ones are the policy's and stay with it.

    Raises:
        OSError: if the folder cannot be written or the disk is full.
    """
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters() if weight.requires_grad}
    with replacing(Path(path)) as temporary:
        save_file(weights, temporary, metadata={"heads": json.dumps(model.heads)})


def load_values(model: ValueModel, path: Path | str) -> ValueModel:
    """Put weights back that `save_values` wrote, into a value model of the same policy.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, or is of a model with other heads or other weights.
    """
    try:
        with safe_open(path, framework="pt") as file:
            heads = tuple(json.loads((file.metadata() or {})["heads"]))
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is truncated, or holds no value heads ({error})") from error
    if heads != model.heads:
        raise ValueError(f"{path} has the heads {', '.join(heads)}, the model has {', '.join(model.heads)}")
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    shapes = [{name: tuple(weight.shape) for name, weight in side.items()} for side in (found, weights)]
    if shapes[0] != shapes[1]:
        differ = sorted(name for name in found.keys() | weights.keys() if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(f"{path} is of another backbone: {differ[0]} and {len(differ) - 1} more weights differ")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(found[name])
    return model
