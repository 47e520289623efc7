r"""Which entry of a slate is clicked: a softmax over what was shown, "nothing" included.

With the user at $z$ and item vectors $v_i$, an item scores $m\,\mathrm{score}(z,v_i)$, and the entry for no click a bias $b_{len}$ that
depends on how many entries the slate has, itself included. Padding and unknown items score $-100$; scores are clamped to $[-100,20]$.

$$P(c=k)=\frac{e^{s_k}}{\sum_{j\in\text{slate}}e^{s_j}}$$

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `PyroRecommender._compute`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding

from hierlab.checks import check_choice
from hierlab.recommendation.slates import NO_CLICK, PAD, UNKNOWN
from hierlab.trace import show

Score = Literal["l2", "dot"]
HIDDEN, HIGHEST = -100.0, 20.0


def score(user: Tensor, item: Tensor, kind: Score = "l2") -> Tensor:
    r"""How much a user at $z$ likes an item at $v$: $-\lVert z-v\rVert_2$, or $z^\top v$.

    Args:
        user: [..., d].
        item: [..., d], of a shape that goes with it.
        kind: "l2" (the code's default) or "dot" (its example notebook).

    Returns:
        [...] scores. For "l2" the squared distance is at least $10^{-10}$, so that the gradient at distance 0 is finite.

    Raises:
        ValueError: if the last dimensions differ, or the kind is unknown.
    """
    check_choice("score", kind, Score)
    if user.shape[-1:] != item.shape[-1:]:
        raise ValueError(f"user and item vectors must have one length, got {user.shape[-1]} and {item.shape[-1]}")
    if kind == "dot":
        return (user * item).sum(-1)
    return -(user - item).square().sum(-1).clamp_min(1e-10).sqrt()


def score_all(user: Tensor, item_vectors: Tensor, kind: Score = "l2") -> Tensor:
    """The score of every item for every user.

    Args:
        user: [N, d].
        item_vectors: [I, d].
        kind: as in `score`.

    Returns:
        [N, I] scores, those of the special ids among them.
    """
    check_choice("score", kind, Score)
    if kind == "dot":
        return user @ item_vectors.T
    return -torch.cdist(user, item_vectors, compute_mode="donot_use_mm_for_euclid_dist").clamp_min(1e-5)


def slate_scores(
    slate: Tensor,
    user: Tensor,
    item_vectors: Tensor,
    no_click_bias: Tensor,
    *,
    kind: Score = "l2",
    multiplier: Tensor | float = 1.0,
) -> Tensor:
    r"""The score $s$ of every entry of every slate.

    Args:
        slate: [..., S] ids.
        user: [..., d] where the user stands before each slate.
        item_vectors: [I, d], a row for every id.
        no_click_bias: [L], $b$ by number of entries; L must exceed the largest number.
        kind: as in `score`.
        multiplier: $m$, the inverse temperature of the choice; its absolute value is taken.

    Returns:
        [..., S] scores. Entry 0 is $b_{len}$ if it is the no-click token and else 0, whatever stands there.

    Raises:
        ValueError: if a slate is longer than the biases go, or an id has no vector.
    """
    lengths = (slate != PAD).sum(-1)
    if int(lengths.max()) >= len(no_click_bias):
        raise ValueError(
            f"no_click_bias needs an entry for each length up to {int(lengths.max())}, got {len(no_click_bias)} entries (from 0 on)"
        )
    if int(slate.max()) >= len(item_vectors):
        raise ValueError(f"item_vectors needs a row for each id up to {int(slate.max())}, got {len(item_vectors)} rows")
    values = score(user.unsqueeze(-2), embedding(slate, item_vectors), kind)
    values = values * abs(multiplier)
    values = torch.where(slate <= UNKNOWN, torch.full_like(values[..., :1], HIDDEN), values)
    bias = no_click_bias[lengths] * (slate[..., 0] == NO_CLICK)
    values = torch.cat([bias.unsqueeze(-1).to(values.dtype), values[..., 1:]], dim=-1).clamp(HIDDEN, HIGHEST)
    return show("score of every entry", values, r"s_i=m\,\text{score}(z_t,v_i);\ s_0=b_{len}")


def slate_log_likelihood(scores: Tensor, click_position: Tensor, mask: Tensor | None = None) -> Tensor:
    """The log-probability of every click.

    Args:
        scores: [..., S] from `slate_scores`.
        click_position: [...] the entry that was chosen; 0 for no click.
        mask: [...] bool, the steps that count; all if None.

    Returns:
        [...] log-probabilities, 0 where the mask is False.

    Raises:
        ValueError: if shapes do not fit.
    """
    if scores.shape[:-1] != click_position.shape:
        raise ValueError(f"scores of shape {tuple(scores.shape)} do not go with click_position of shape {tuple(click_position.shape)}")
    log_p = scores.log_softmax(-1)
    show("probability of a click", log_p.exp(), r"P(c_t=k)=\frac{e^{s_k}}{\sum_je^{s_j}}")
    chosen = log_p.gather(-1, click_position.unsqueeze(-1)).squeeze(-1)
    if mask is None:
        return chosen
    if mask.shape != chosen.shape:
        raise ValueError(f"mask must have shape {tuple(chosen.shape)}, got {tuple(mask.shape)}")
    return torch.where(mask.bool(), chosen, torch.zeros_like(chosen))
