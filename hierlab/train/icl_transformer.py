r"""Train small transformers on in-context tasks, and keep what they predict along the way (arXiv 2506.17859).

A network reads a sequence of one of the settings of `hierlab.theory` and predicts, at each position, the next item. It is trained
on sequences of D tasks and evaluated at checkpoints evenly spaced in $\sqrt{\mathrm{step}}$, on training tasks and on fresh ones.
Runs are resumable to the bit: every batch has a generator of its own, and outputs and weights are written atomically.

The network is that of the paper as far as it matters: pre-norm blocks with a sequential residual, rotary positions on a quarter of
each head, no attention bias, GELU, untied read-out. Source: DanielWurgaft/rational-icl@7fcd0a6 `src/code/{config,models,train}.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hierlab.checks import check_range
from hierlab.files import digest, replacing
from hierlab.seeds import derive_seed, generator
from hierlab.theory import BallsAndUrns, Classification, LinearRegression
from hierlab.theory.sizes import check_sizes
from hierlab.train.checkpoint import load_checkpoint, save_checkpoint

Setting = BallsAndUrns | LinearRegression | Classification


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network; the paper's has hidden 64, one head, and 1 layer (linear regression: 8).

    Attributes:
        hidden: width of the residual stream; even, and a multiple of `heads`.
        layers: number of blocks.
        heads: attention heads.
        mlp_factor: width of the MLP in units of `hidden`; the paper's "expansion factor".

    Raises:
        ValueError: if a size is not a whole number of at least 1, or they do not fit together.
    """

    hidden: int = 64
    layers: int = 1
    heads: int = 1
    mlp_factor: float = 4.0

    def __post_init__(self):
        check_sizes(hidden=self.hidden, layers=self.layers, heads=self.heads)
        check_range("mlp_factor", self.mlp_factor, 1 / self.hidden)
        if self.hidden % self.heads or (self.hidden // self.heads) % 8:
            raise ValueError(f"hidden must be 8 times a multiple of heads, got {self.hidden} and {self.heads} heads")


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained; the paper's values are the defaults.

    Attributes:
        steps: optimiser steps.
        checkpoints: how many evaluations; fewer if steps coincide.
        first_checkpoint: step of the first of them.
        batch: sequences a step (paper: 64, linear regression 128).
        learning_rate: of AdamW without weight decay.
        warmup: steps over which the rate rises to its constant value (classification: 0).
        clip: largest length of the gradient.
        sequences: number of sequences that it is evaluated on.
        fresh_tasks: number of tasks from the prior that it has never seen.

    Raises:
        ValueError: if a number is out of range.
    """

    steps: int = 100_000
    checkpoints: int = 100
    first_checkpoint: int = 20
    batch: int = 64
    learning_rate: float = 5e-4
    warmup: int = 5000
    clip: float = 1.0
    sequences: int = 500
    fresh_tasks: int = 500

    def __post_init__(self):
        names = ("steps", "checkpoints", "first_checkpoint", "batch", "sequences", "fresh_tasks")
        check_sizes(**{name: getattr(self, name) for name in names})
        check_sizes(0, warmup=self.warmup)
        check_range("learning_rate", self.learning_rate, 0)
        check_range("clip", self.clip, 0)
        if self.first_checkpoint > self.steps:
            raise ValueError(f"the first checkpoint, {self.first_checkpoint}, lies behind the last step, {self.steps}")


def checkpoint_steps(steps: int, checkpoints: int, first: int = 20) -> list[int]:
    r"""Steps evenly spaced in $\sqrt{\mathrm{step}}$ from `first` to `steps`, each once, the last among them.

    Raises:
        ValueError: if `first` lies behind `steps` or a number is not positive.
    """
    check_sizes(steps=steps, checkpoints=checkpoints, first=first)
    if first > steps:
        raise ValueError(f"the first checkpoint, {first}, lies behind the last step, {steps}")
    if checkpoints == 1:
        return [steps]
    low, high = math.sqrt(first), math.sqrt(steps)
    roots = [low + (high - low) * i / (checkpoints - 1) for i in range(checkpoints)]
    return sorted({*(int(root * root + 1e-9) for root in roots[:-1]), steps})


class SequenceNetwork(nn.Module):
    """A causal transformer that reads one setting's sequences.

    Args:
        setting: decides how items are read in and what is read out.
        size: of the network.
        seed: of the initial weights.
    """

    def __init__(self, setting: Setting, size: NetworkSize, seed: int):
        super().__init__()
        self.setting = setting
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("sequence network", seed))
            if isinstance(setting, BallsAndUrns):
                self.read_in, outputs = nn.Embedding(setting.alphabet + 1, size.hidden), setting.alphabet
            elif isinstance(setting, LinearRegression):
                self.read_in, outputs = nn.Linear(setting.dims, size.hidden), 1
            else:
                self.read_in, outputs = nn.Linear(setting.dims + 1, size.hidden), setting.labels
            length = setting.length * (2 if isinstance(setting, LinearRegression) else 1)
            self.blocks = nn.ModuleList(_Block(size, length) for _ in range(size.layers))
            self.norm = nn.LayerNorm(size.hidden)
            self.read_out = nn.Linear(size.hidden, outputs, bias=not isinstance(setting, BallsAndUrns))
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Embedding):
                    nn.init.normal_(module.weight, std=0.02)

    def forward(self, sequences: Any) -> Tensor:
        """Logits [n, C, V] at positions 0 to C - 1 of draws, values [n, C] at each x, or logits [n, labels] of the query."""
        if isinstance(self.setting, BallsAndUrns):
            return self._run(self.read_in(sequences.draws[:, :-1]))
        dtype = self.read_out.weight.dtype
        if isinstance(self.setting, LinearRegression):
            xs = sequences.xs.to(dtype)
            wide = functional.pad(sequences.ys.to(dtype)[..., None], (0, xs.shape[2] - 1))
            items = torch.stack([xs, wide], 2).flatten(1, 2)  # x1, y1, x2, y2, ... [n, 2 C, d]
            return self._run(self.read_in(items))[:, ::2, 0]
        return self._run(self.read_in(sequences.pairs.to(dtype)))[:, -1]

    def _run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.read_out(self.norm(x))

    def predict(self, sequences: Any) -> Tensor:
        """What the strategies predict too: distributions, or values. In single precision, without gradients."""
        with torch.no_grad():
            out = self(sequences)
        return out if isinstance(self.setting, LinearRegression) else out.softmax(-1)


class _Block(nn.Module):
    """Attention, then an MLP, each behind its own norm and added to the stream."""

    def __init__(self, size: NetworkSize, length: int):
        super().__init__()
        inner = max(1, int(size.hidden * size.mlp_factor))
        self.heads = size.heads
        self.norm_1, self.norm_2 = nn.LayerNorm(size.hidden), nn.LayerNorm(size.hidden)
        self.qkv = nn.Linear(size.hidden, 3 * size.hidden, bias=False)
        self.out = nn.Linear(size.hidden, size.hidden, bias=False)
        self.up, self.down = nn.Linear(size.hidden, inner), nn.Linear(inner, size.hidden)
        self.register_buffer("angles", _angles(length, size.hidden // size.heads // 8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, length, hidden = x.shape
        qkv = self.qkv(self.norm_1(x)).view(n, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        q, k = _rotate(qkv[:2], self.angles[:length])
        mixed = functional.scaled_dot_product_attention(q, k, qkv[2], is_causal=True)  # [n, heads, length, head]
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, hidden))
        return x + self.down(functional.gelu(self.up(self.norm_2(x))))


def _angles(length: int, pairs: int) -> Tensor:
    """The turn of each pair of numbers at each position, as cos + i sin. [length, pairs] complex"""
    frequency = 10_000 ** (-torch.arange(pairs) / pairs)
    return torch.polar(torch.ones(length, pairs), torch.arange(length)[:, None] * frequency)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions on the first quarter of each head. [..., length, head]"""
    width = 2 * angles.shape[1]
    turned = torch.view_as_real(torch.view_as_complex(x[..., :width].unflatten(-1, (-1, 2))) * angles).flatten(-2)
    return torch.cat([turned, x[..., width:]], -1)


@dataclass(frozen=True)
class Recorded:
    """What a training run leaves behind.

    Attributes:
        tasks: [D, ...] the training tasks.
        steps: [K] the checkpoints.
        trained: the evaluation sequences of training tasks.
        fresh: those of fresh tasks.
        on_trained: [K, n, ...] predictions for the former.
        on_fresh: [K, n, ...] predictions for the latter.
    """

    tasks: Tensor
    steps: Tensor
    trained: Any
    fresh: Any
    on_trained: Tensor
    on_fresh: Tensor


def train_icl(
    setting: Setting,
    tasks: int,
    size: NetworkSize,
    plan: TrainingPlan,
    *,
    seed: int,
    folder: Path | str | None = None,
    device: str = "cpu",
    report: Callable[[int, int], None] | None = None,
) -> Recorded:
    """Train a network on D tasks.

    With one seed, the tasks of a smaller D are the first of those of a larger one, and networks begin with the same weights.

    Args:
        setting: what is learnt.
        tasks: D, how many tasks are drawn from the prior, once.
        size: of the network.
        plan: of the training.
        seed: of tasks, weights, batches and evaluation.
        folder: where the run is kept; if it was begun there, it goes on. None keeps nothing.
        device: where the network lives.
        report: called after each checkpoint with the steps done and their number.

    Raises:
        ValueError: if a size is out of range, or `folder` holds a run with other settings.
    """
    check_sizes(tasks=tasks)
    table = torch.cat([setting.draw_tasks(1, generator("icl", "task", seed, number)) for number in range(tasks)])
    fresh_table = setting.draw_tasks(plan.fresh_tasks, generator("icl", "fresh tasks", seed))
    trained = setting.draw(table, plan.sequences, generator("icl", "evaluation", seed))
    fresh = setting.draw(fresh_table, plan.sequences, generator("icl", "fresh evaluation", seed))
    run = _Run(setting, table, size, plan, seed, Path(folder) if folder else None, device)
    marks = checkpoint_steps(plan.steps, plan.checkpoints, plan.first_checkpoint)
    outputs = run.resume(marks)
    for mark in marks[len(outputs) :]:
        run.train_to(mark)
        outputs.append(run.keep(mark, _moved(trained, device), _moved(fresh, device)))
        if report:
            report(mark, plan.steps)
    on_trained, on_fresh = (torch.stack(column) for column in zip(*outputs, strict=True))
    return Recorded(table, torch.tensor(marks, dtype=torch.float64), trained, fresh, on_trained, on_fresh)


class _Run:
    """One network, its optimiser, and the folder both are kept in."""

    def __init__(self, setting: Setting, table: Tensor, size: NetworkSize, plan: TrainingPlan, seed: int, folder: Path | None, device: str):
        self.setting, self.table, self.plan, self.seed, self.folder, self.device = setting, table, plan, seed, folder, device
        self.network = SequenceNetwork(setting, size, seed).to(device)
        fused = {"fused": True} if device == "cpu" else {}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=plan.learning_rate, weight_decay=0.0, **fused)
        self.done = 0
        what = {"setting": [setting.name, asdict(setting)], "size": asdict(size), "plan": asdict(plan), "seed": seed, "tasks": len(table)}
        self.settings = digest(what)

    def train_to(self, step: int) -> None:
        """Steps until so many are done."""
        self.network.train()
        for number in range(self.done, step):
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.learning_rate * min(1.0, (number + 1) / max(1, self.plan.warmup))
            batch = _moved(self.setting.draw(self.table, self.plan.batch, generator("icl", "batch", self.seed, number)), self.device)
            self.optimizer.zero_grad(set_to_none=True)
            training_loss(self.setting, self.network(batch), batch).backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
            self.optimizer.step()
        self.done = step

    def keep(self, step: int, trained: Any, fresh: Any) -> tuple[Tensor, Tensor]:
        """Evaluate, and write outputs first and weights last: a kill between the two repeats the evaluation, to the same result."""
        from safetensors.torch import save_file

        self.network.eval()
        outputs = tuple(self.network.predict(sequences).cpu().contiguous() for sequences in (trained, fresh))
        if self.folder:
            with replacing(self.folder / f"outputs-{step}.safetensors") as temporary:
                save_file({"trained": outputs[0], "fresh": outputs[1]}, temporary)
            path = self.folder / "checkpoint.safetensors"
            save_checkpoint(path, {"network": (self.network, self.optimizer)}, {"settings": self.settings, "step": step})
        return outputs

    def resume(self, marks: list[int]) -> list[tuple[Tensor, Tensor]]:
        """The outputs of all checkpoints that are done, with the network as it was after the last of them."""
        from safetensors.torch import load_file

        path = self.folder / "checkpoint.safetensors" if self.folder else None
        if path is None or not path.exists():
            return []
        record = load_checkpoint(path, {"network": (self.network, self.optimizer)}, settings=self.settings)
        self.done = int(record["step"])
        kept = [load_file(self.folder / f"outputs-{mark}.safetensors") for mark in marks if mark <= self.done]
        return [(found["trained"], found["fresh"]) for found in kept]


def training_loss(setting: Setting, out: Tensor, batch: Any) -> Tensor:
    """Cross-entropy of the drawn balls or of the query's label in nats, or mean squared error of the values."""
    if isinstance(setting, BallsAndUrns):
        return functional.cross_entropy(out.flatten(0, 1), batch.draws[:, 1:].flatten())
    if isinstance(setting, LinearRegression):
        return functional.mse_loss(out, batch.ys.to(out.dtype))
    return functional.cross_entropy(out, batch.label)


def _moved(sequences: Any, device: str) -> Any:
    if device == "cpu":
        return sequences
    return type(sequences)(**{name: value.to(device) for name, value in vars(sequences).items()})
