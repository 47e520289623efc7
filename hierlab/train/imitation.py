"""Imitation: teach a model by example before it learns by reward.

Reinforcement learning cannot start from a policy that never succeeds, nor learn from one that always does. `imitate` trains on
(prompt, response) pairs by plain teacher forcing; `warm_start` does so once and keeps the weights.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from hierlab.files import cache_folder, digest, locked, replacing
from hierlab.models import LanguageModel
from hierlab.rollout.collect import Demonstration
from hierlab.rollout.logp import token_logp
from hierlab.rollout.sampling import pad_left
from hierlab.seeds import generator
from hierlab.sources import source_digest


@dataclass(frozen=True)
class ImitationSettings:
    """How a model is trained by example.

    Attributes:
        steps: optimiser steps.
        batch: demonstrations a step, drawn with replacement.
        rate: peak learning rate of AdamW; it rises linearly over the first tenth of the steps and falls linearly to 0.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm.
    """

    steps: int = 300
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self):
        if self.steps < 0 or self.batch < 1:
            raise ValueError(f"steps must not be negative and batch at least 1, got {self.steps} and {self.batch}")
        for name in ("rate", "weight_decay", "max_grad_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


def imitate(
    policy: LanguageModel,
    demonstrations: Sequence[Demonstration],
    settings: ImitationSettings,
    *,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Raise the likelihood of the demonstrated responses; the model changes in place.

    Args:
        policy: the model.
        demonstrations: (prompt ids, response ids) pairs.
        settings: how to train.
        seed: draws the batches.
        report: called with each step and its loss.

    Returns:
        The loss of each step: mean negative log-probability of the batch's response tokens, in nats.

    Raises:
        ValueError: if there are no demonstrations, or one has an empty prompt or response.
        FloatingPointError: if the loss is not finite.
    """
    if not demonstrations or not all(len(prompt) and len(response) for prompt, response in demonstrations):
        raise ValueError("imitation needs demonstrations, each with at least one token in its prompt and in its response")
    model = policy.model
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=settings.rate, weight_decay=settings.weight_decay
    )
    draw = generator(seed, "imitation")
    model.train()
    losses = []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * _schedule(step, settings.steps)
        rows = torch.randint(len(demonstrations), (settings.batch,), generator=draw).tolist()
        loss = imitation_loss(model, [demonstrations[row] for row in rows])
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of step {step} is {loss.item()}; lower the learning rate")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if report:
            report(step, losses[-1])
    model.eval()
    return losses


def imitation_loss(model: nn.Module, demonstrations: Sequence[Demonstration]) -> Tensor:
    """Mean negative log-probability of the response tokens; prompts are read, not learnt."""
    device = next(model.parameters()).device
    prompt_ids, prompt_mask = pad_left([prompt for prompt, _ in demonstrations], 0, device)
    lengths = torch.tensor([len(response) for _, response in demonstrations])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(device)
    response_ids = torch.zeros(mask.shape, dtype=torch.int64, device=device)
    response_ids[mask] = torch.tensor([i for _, response in demonstrations for i in response], device=device)
    return -token_logp(model, prompt_ids, prompt_mask, response_ids, mask).sum() / mask.sum()


def _schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: up over the first tenth of the steps, then down to 0 after the last."""
    rise = max(1, steps // 10)
    return min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def warm_start(
    policy: LanguageModel,
    demonstrate: Callable[[], Sequence[Demonstration]],
    settings: ImitationSettings,
    *,
    recipe: Any,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> LanguageModel:
    """Imitate, or load what the same imitation of the same model gave before.

    The weights are kept under a name made of what they depend on: initial weights, settings, seed, recipe, the code of this module,
    and the version of torch. Several processes may ask for one warm start at the same time; one of them trains.

    Args:
        policy: the model; it changes in place.
        demonstrate: makes the demonstrations; called only if they are needed.
        settings: how to train.
        recipe: everything the demonstrations depend on, as JSON values.
        seed: draws the batches.
        report: called with each step and its loss, if there is training.

    Returns:
        `policy`.

    Raises:
        ValueError: as `imitate`.
    """
    path = cache_folder() / "warm" / f"{_content_hash(policy, settings, recipe, seed)}.safetensors"
    if not _load(policy, path):
        with locked(path.with_suffix(".lock")):
            if not _load(policy, path):
                imitate(policy, demonstrate(), settings, seed=seed, report=report)
                with replacing(path) as temporary:
                    save_model(policy.model, str(temporary))
    return policy


def _load(policy: LanguageModel, path: Path) -> bool:
    """Load the weights if they are there and whole."""
    try:
        load_model(policy.model, path)
    except (FileNotFoundError, SafetensorError):
        return False
    policy.model.eval()
    return True


def _content_hash(policy: LanguageModel, settings: ImitationSettings, recipe: Any, seed: int) -> str:
    """Names everything the trained weights depend on."""
    weights = hashlib.sha256()
    for name, weight in sorted(policy.model.state_dict().items()):
        weights.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        weights.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    code = source_digest(sys.modules[__name__])
    content = {"weights": weights.hexdigest(), "settings": asdict(settings), "recipe": recipe, "seed": seed, "code": code}
    return digest({**content, "torch": torch.__version__})[:32]
