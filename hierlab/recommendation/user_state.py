r"""How a user moves with every click: a GRU without biases, an average, the last click, or the mean of two.

With $v$ the vector of the clicked item,

* GRU: $r=\sigma(W_{ir}v+W_{hr}h)$, $d=\sigma(W_{id}v+W_{hd}h)$, $n=\tanh(W_{in}v+r\odot W_{hn}h)$, $h'=(1-d)\odot n+d\odot h$, and the
  user stands at $z=W_zh$;
* linear: $z'=\gamma z+(1-\gamma)v$;
* Markov: $z'=v$, from $z_0=0$;
* lin-GRU: the mean of GRU and linear.

Where nothing was clicked (ids below 3) the state does not move. A path has T + 1 positions: $Z_t$ is where the user stands before step t.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `Gru`, `UserGRU`, `UserLinear`, `UserMarkov` (as checked in it
uses a name it does not define) and `UserLinearGru`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding

from hierlab.recommendation.slates import FIRST_ITEM
from hierlab.trace import recording, show

UserModel = Literal["gru", "linear", "lin-gru", "markov"]
GRU_WEIGHTS = ("W_z", "W_ir", "W_hr", "W_id", "W_hd", "W_in", "W_hn")
"""Names of the matrices, each [out, in]: W_z from the hidden state to the position, W_i. from the item, W_h. from the hidden state."""


def gru_shapes(dim: int, hidden: int) -> dict[str, tuple[int, int]]:
    """The shape of each matrix for item vectors of length `dim` and a hidden state of length `hidden`."""
    into = {"z": (dim, hidden), "i": (hidden, dim), "h": (hidden, hidden)}
    return {name: into[name[2]] for name in GRU_WEIGHTS}


def gru_step(item: Tensor, hidden: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The hidden state after one click.

    Args:
        item: [..., d] vector of the clicked item.
        hidden: [..., H] state before.
        weights: the matrices of `GRU_WEIGHTS`.

    Returns:
        [..., H]

    Raises:
        ValueError: if a matrix is missing or has another shape.
    """
    check_gru(weights, item.shape[-1], hidden.shape[-1])
    inputs = item @ torch.cat([weights["W_ir"], weights["W_id"], weights["W_in"]]).T
    return _gate(inputs, hidden, torch.cat([weights["W_hr"], weights["W_hd"], weights["W_hn"]]))[0]


def gru_path(click: Tensor, item_vectors: Tensor, start: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    r"""Where users with a GRU inside stand before each step, and at the end.

    Args:
        click: [..., T] ids.
        item_vectors: [I, d].
        start: [..., H], $h_0$.
        weights: the matrices of `GRU_WEIGHTS`.

    Returns:
        [..., T + 1, d] positions $Z$.

    Raises:
        ValueError: if shapes do not fit.
    """
    check_gru(weights, item_vectors.shape[1], start.shape[-1])
    _check_start(click, start)
    inputs = embedding(click, item_vectors) @ torch.cat([weights["W_ir"], weights["W_id"], weights["W_in"]]).T
    recurrent = torch.cat([weights["W_hr"], weights["W_hd"], weights["W_hn"]])
    moves = (click >= FIRST_ITEM).unsqueeze(-1)
    states, gates = [start], []
    for inputs_t, moves_t in zip(inputs.unbind(-2), moves.unbind(-2), strict=True):
        after, reset, update = _gate(inputs_t, states[-1], recurrent)
        states.append(torch.where(moves_t, after, states[-1]))
        gates.append((reset, update))
    if recording() and gates:
        show("reset gate", torch.stack([r for r, _ in gates], dim=-2), r"r=\sigma(W_{ir}v+W_{hr}h)")
        show("update gate", torch.stack([d for _, d in gates], dim=-2), r"d=\sigma(W_{id}v+W_{hd}h)")
    hidden = show("hidden state", torch.stack(states, dim=-2), r"h'=(1-d)n+d\,h,\text{ frozen without a click}")
    return show("position of the user", hidden @ weights["W_z"].T, r"z=W_zh")


def linear_path(click: Tensor, item_vectors: Tensor, start: Tensor, keep: Tensor | float) -> Tensor:
    r"""The same for a user who moves a fixed share of the way to every clicked item.

    Args:
        click: [..., T] ids.
        item_vectors: [I, d].
        start: [..., d], $z_0$.
        keep: $\gamma$, the share of the old position that is kept; prior $N(0.5, 0.3^2)$ in the model, and not bounded here.

    Returns:
        [..., T + 1, d]

    Raises:
        ValueError: if shapes do not fit.
    """
    _check_start(click, start)
    if start.shape[-1] != item_vectors.shape[1]:
        raise ValueError(f"a linear user starts among the items: start must be [..., {item_vectors.shape[1]}], got {tuple(start.shape)}")
    keep = torch.as_tensor(keep, dtype=item_vectors.dtype, device=item_vectors.device)
    share = torch.where(click >= FIRST_ITEM, keep, torch.ones_like(keep)).unsqueeze(-1)
    pull = (1 - share) * embedding(click, item_vectors)
    states = [start]
    for share_t, pull_t in zip(share.unbind(-2), pull.unbind(-2), strict=True):
        states.append(torch.addcmul(pull_t, share_t, states[-1]))
    return show("position of the user", torch.stack(states, dim=-2), r"z'=\gamma z+(1-\gamma)v,\text{ frozen without a click}")


def markov_path(click: Tensor, item_vectors: Tensor) -> Tensor:
    """The same for a user who stands at the last clicked item, and before the first at 0. [..., T + 1, d]"""
    start = item_vectors.new_zeros(*click.shape[:-1], item_vectors.shape[1])
    return linear_path(click, item_vectors, start, 0.0)


def user_path(model: UserModel, click: Tensor, item_vectors: Tensor, start: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
    """The path under a user model by name.

    Args:
        model: "gru", "linear", "lin-gru" or "markov".
        click: [..., T] ids.
        item_vectors: [I, d].
        start: [..., H] for "gru", else [..., d].
        latents: "gamma" and the matrices of `GRU_WEIGHTS`, as far as the model has them.

    Returns:
        [..., T + 1, d]

    Raises:
        ValueError: if the model is unknown or shapes do not fit.
    """
    if model == "markov":
        return markov_path(click, item_vectors)
    if model == "linear":
        return linear_path(click, item_vectors, start, latents["gamma"])
    if model == "gru":
        return gru_path(click, item_vectors, start, latents)
    if model == "lin-gru":
        return (gru_path(click, item_vectors, start, latents) + linear_path(click, item_vectors, start, latents["gamma"])) / 2
    raise ValueError(f"user model must be one of 'gru', 'linear', 'lin-gru', 'markov', got {model!r}")


def check_gru(weights: Mapping[str, Tensor], dim: int, hidden: int) -> None:
    """Refuse matrices that do not go with each other.

    Raises:
        ValueError: naming the matrix, its shape and the right one.
    """
    for name, shape in gru_shapes(dim, hidden).items():
        if name not in weights:
            raise ValueError(f"the GRU needs the matrices {', '.join(GRU_WEIGHTS)}; {name} is missing")
        if tuple(weights[name].shape) != shape:
            raise ValueError(f"{name} must be [out, in] of shape {shape}, got {tuple(weights[name].shape)}")


def _gate(inputs: Tensor, hidden: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The next state, reset and update gate; the three recurrent products, and those of the input, are one matrix each."""
    sizes = (2 * hidden.shape[-1], hidden.shape[-1])
    (gates_in, new_in), (gates_inner, new_inner) = inputs.split(sizes, -1), (hidden @ recurrent.T).split(sizes, -1)
    reset, update = torch.sigmoid(gates_in + gates_inner).chunk(2, -1)
    new = torch.tanh(torch.addcmul(new_in, reset, new_inner))
    return torch.lerp(new, hidden, update), reset, update


def _check_start(click: Tensor, start: Tensor) -> None:
    if click.dtype != torch.long or click.dim() < 1 or start.shape[:-1] != click.shape[:-1]:
        got = f"{click.dtype} {tuple(click.shape)} and {tuple(start.shape)}"
        raise ValueError(f"click must be int64 [..., T] and start [..., H] for the same users, got {got}")
