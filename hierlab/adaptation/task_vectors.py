r"""Task vectors: what fine-tuning changed, as one flat vector a task, and merging as adding some of each.

$$v_n=\theta_{ft}^n-\theta_{pre},\qquad\theta(c)=\theta_{pre}+\sum_n c_n v_n$$

Everything works on flat parameters, one row a model; `flatten` and `unflatten` are the way from and to a state dictionary. With one
shared scale for all tasks this is *task arithmetic* (Ilharco et al., arXiv 2212.04089).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hierlab.trace import show

State = Mapping[str, Tensor]


def flatten(state: State) -> Tensor:
    """All floating-point entries of a state dictionary as one vector, in the dictionary's order.

    Counters and other integers are left out: adding a share of a difference to them means nothing.

    Returns:
        [d] a copy.

    Raises:
        ValueError: if there are no floating-point entries, or they differ in dtype or device.
    """
    weights = {name: weight for name, weight in state.items() if weight.is_floating_point()}
    if not weights:
        raise ValueError("the state dictionary has no floating-point entries")
    if len(kinds := {(weight.dtype, weight.device) for weight in weights.values()}) > 1:
        raise ValueError(f"all floating-point entries must share dtype and device, got {', '.join(sorted(map(str, kinds)))}")
    return torch.cat([weight.detach().reshape(-1) for weight in weights.values()])


def unflatten(flat: Tensor, like: State) -> dict[str, Tensor]:
    """A state dictionary with the names and shapes of `like` and the numbers of `flat`; other entries are those of `like`.

    Args:
        flat: [..., d] one or several models; leading dimensions stand in front of every shape.
        like: a state dictionary with d floating-point numbers.

    Raises:
        ValueError: if the number of parameters differs.
    """
    sizes = [weight.numel() for weight in like.values() if weight.is_floating_point()]
    if flat.dim() < 1 or flat.shape[-1] != sum(sizes):
        raise ValueError(f"flat has {flat.shape[-1] if flat.dim() else 0} parameters, the state dictionary {sum(sizes)}")
    pieces = iter(flat.split(sizes, -1))
    return {
        name: next(pieces).reshape(*flat.shape[:-1], *weight.shape) if weight.is_floating_point() else weight
        for name, weight in like.items()
    }


def task_vectors(base: State | Tensor, finetuned: Sequence[State | Tensor]) -> Tensor:
    """What each fine-tuning changed.

    Args:
        base: the pre-trained model, as a state dictionary or flat, [d].
        finetuned: [N] models trained from it, in the same form.

    Returns:
        [N, d] one task vector a row.

    Raises:
        ValueError: if there are no models, or their names or shapes differ from the base's.
    """
    if not len(finetuned):
        raise ValueError("there are no fine-tuned models")
    for number, model in enumerate(finetuned):
        _check_same_form(base, model, number)
    start = base if isinstance(base, Tensor) else flatten(base)
    return torch.stack([(model if isinstance(model, Tensor) else flatten(model)) - start for model in finetuned])


def merge(base: Tensor, vectors: Tensor, scales: Tensor | Sequence[float]) -> Tensor:
    r"""$\theta(c)=\theta_{pre}+\sum_n c_n v_n$.

    Args:
        base: [d] the pre-trained parameters.
        vectors: [N, d] task vectors.
        scales: [N] one scale a task, or [K, N] for K merged models.

    Returns:
        [d] or [K, d].

    Raises:
        ValueError: if the shapes do not fit or a scale is not finite.
    """
    if vectors.dim() != 2 or base.shape != vectors.shape[1:]:
        raise ValueError(f"base must be [d] and vectors [N, d], got {tuple(base.shape)} and {tuple(vectors.shape)}")
    c = torch.as_tensor(scales, dtype=base.dtype, device=base.device)
    if c.dim() not in (1, 2) or c.shape[-1] != len(vectors):
        raise ValueError(f"scales must be [{len(vectors)}] or [K, {len(vectors)}], one a task vector, got {tuple(c.shape)}")
    if not c.isfinite().all():
        raise ValueError("scales must be finite")
    return show("merged parameters", base + c @ vectors, r"\theta(c)=\theta_{pre}+\sum_n c_n v_n")


def relative_norms(base: Tensor, vectors: Tensor) -> Tensor:
    r"""How far each fine-tuning went, beside where it started: $\|v_n\|/\|\theta_{pre}\|$.

    Args:
        base: [d], not all 0.
        vectors: [N, d].

    Returns:
        [N]

    Raises:
        ValueError: if the base is all 0.
    """
    length = base.norm()
    if length == 0:
        raise ValueError("base is all 0: nothing can be small beside it")
    return show("relative norms", vectors.norm(dim=1) / length, r"\|v_n\|/\|\theta_{pre}\|")


def cosines(vectors: Tensor) -> Tensor:
    """The cosine between every two task vectors; 0 where one is all 0.

    Args:
        vectors: [N, d].

    Returns:
        [N, N] with ones on the diagonal, except of vectors that are all 0.
    """
    length = vectors.norm(dim=1, keepdim=True)
    units = torch.where(length > 0, vectors / length, 0)
    return show("cosines of task vectors", (units @ units.T).clamp(-1, 1), r"\frac{v_n\cdot v_m}{\|v_n\|\|v_m\|}")


def _check_same_form(base: State | Tensor, model: State | Tensor, number: int) -> None:
    if isinstance(base, Tensor) or isinstance(model, Tensor):
        shapes = [tuple(m.shape) if isinstance(m, Tensor) else "a state dictionary" for m in (base, model)]
        if shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise ValueError(f"base and model {number} must both be flat [d], or both state dictionaries, got {shapes[0]} and {shapes[1]}")
        return
    if list(base) != list(model):
        odd = sorted(set(base) ^ set(model)) or ["their order"]
        raise ValueError(f"model {number} and base must have the same entries in the same order; they differ in {', '.join(odd[:3])}")
    if bad := [name for name in base if base[name].shape != model[name].shape]:
        raise ValueError(f"entry {bad[0]!r} of model {number} has shape {tuple(model[bad[0]].shape)}, base {tuple(base[bad[0]].shape)}")
