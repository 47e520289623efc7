"""Checkpoints: everything a training run needs to go on as if it had never stopped, in one safetensors file.

The file holds the trainable weights, the optimiser's state and a JSON record (counters and history). Random generators need no
place in it: they are derived from the seed and the iteration (`hierlab.seeds`). It is replaced in one step, so a kill at any moment
leaves the previous checkpoint or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from hierlab.files import replacing


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, record: Mapping[str, Any], *, write: bool = True
) -> None:
    """Write a checkpoint. In a distributed run every process must call this, and one of them with `write=True`.

    Raises:
        OSError: if the folder cannot be written or the disk is full; the previous checkpoint is untouched.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights = get_model_state_dict(model, options=options)
    state = get_optimizer_state_dict(model, optimizer, options=options)["state"]
    if not write:
        return
    trained = [name for name in weights if name in state]  # a tied weight stands in the model twice and in the optimiser once
    tensors = {f"model/{name}": weights[name] for name in trained}
    tensors |= {f"optimizer/{name}/{key}": value for name in trained for key, value in state[name].items()}
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata={"record": json.dumps(record)})


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put weights and optimiser state back; hand back the record.

    Raises:
        ValueError: if the file is truncated, is no checkpoint, or was made from a model with other parameters.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"checkpoint {path} is truncated or no checkpoint ({error}); delete it to start again") from error

    weights = _section(tensors, "model/")
    expected = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    found = {name: tuple(w.shape) for name, w in weights.items()}
    if found != expected:
        differ = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(f"checkpoint {path} was made from another model: {differ[0]} and {len(differ) - 1} more parameters differ")

    state: dict[str, dict[str, Tensor]] = {}
    for name, value in _section(tensors, "optimizer/").items():
        parameter, _, key = name.rpartition("/")
        state.setdefault(parameter, {})[key] = value
    options = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
    set_model_state_dict(model, weights, options=options)
    groups = get_optimizer_state_dict(model, optimizer, options=options)["param_groups"]
    set_optimizer_state_dict(model, optimizer, {"state": state, "param_groups": groups}, options=options)
    return record


def _section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
