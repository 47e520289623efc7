"""Checkpoints: everything a training run needs to go on as if it had never stopped, in one safetensors file.

The file holds the trainable weights and the optimiser's state of each model that is trained, such as policy and critic, and a JSON
record (counters and history). Random generators need no place in it: they are derived from the seed and the iteration
(`hierlab.seeds`). It is replaced in one step, so a kill at any moment leaves the previous checkpoint or the new one.
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

Trained = Mapping[str, tuple[nn.Module, torch.optim.Optimizer]]
"""Each model that is trained, with its optimiser, by name."""


def save_checkpoint(path: Path, trained: Trained, record: Mapping[str, Any], *, write: bool = True) -> None:
    """Write a checkpoint. In a distributed run every process must call this, and one of them with `write=True`.

    Args:
        path: of the file.
        trained: the models and optimisers; their names stand in the file.
        record: JSON values; `settings` names the settings of the run (see `load_checkpoint`).
        write: whether this process writes the file.

    Raises:
        OSError: if the folder cannot be written or the disk is full; the previous checkpoint is untouched.
    """
    tensors: dict[str, Tensor] = {}
    for name, (model, optimizer) in trained.items():
        tensors |= {f"{name}/{key}": tensor for key, tensor in _tensors(model, optimizer).items()}
    if not write:
        return
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata={"record": json.dumps(record)})


def load_checkpoint(path: Path, trained: Trained, *, settings: str) -> dict[str, Any]:
    """Put weights and optimiser states back; hand back the record.

    Raises:
        ValueError: if the file is truncated, is no checkpoint, was made with other settings than `settings`, or from models with other
            parameters. Then nothing has been changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"checkpoint {path} is truncated or no checkpoint ({error}); delete it to start again") from error
    for name, (model, _) in trained.items():
        _check_parameters(path, name, model, _section(tensors, f"{name}/model/"))
    if record["settings"] != settings:
        raise ValueError(f"{path} was made with other settings; use another folder, or delete it to start again")
    for name, (model, optimizer) in trained.items():
        _restore(model, optimizer, _section(tensors, f"{name}/"))
    return record


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trained weights and optimiser state; an optimiser that has not made a step has none."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights = get_model_state_dict(model, options=options)
    # Asked for its state, an optimiser without one would begin one, with a step counted that was never made.
    state = get_optimizer_state_dict(model, optimizer, options=options)["state"] if optimizer.state else {}
    trained = [name for name in weights if name in (state or _parameters(model))]  # a tied weight stands in the model twice
    tensors = {f"model/{name}": weights[name] for name in trained}
    return tensors | {f"optimizer/{name}/{key}": value for name in trained if state for key, value in state[name].items()}


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    options = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
    set_model_state_dict(model, _section(tensors, "model/"), options=options)
    state: dict[str, dict[str, Tensor]] = {}
    for name, value in _section(tensors, "optimizer/").items():
        parameter, _, key = name.rpartition("/")
        state.setdefault(parameter, {})[key] = value
    if state:
        groups = get_optimizer_state_dict(model, optimizer, options=options)["param_groups"]
        set_optimizer_state_dict(model, optimizer, {"state": state, "param_groups": groups}, options=options)


def _check_parameters(path: Path, name: str, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    expected = _parameters(model)
    found = {key: tuple(weight.shape) for key, weight in weights.items()}
    if found != expected:
        differ = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        raise ValueError(
            f"checkpoint {path} was made from another model: {differ[0]} and {len(differ) - 1} more parameters of the {name} differ"
        )


def _parameters(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each trainable weight, a tied one once."""
    return {name: tuple(weight.shape) for name, weight in model.named_parameters() if weight.requires_grad}


def _section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
