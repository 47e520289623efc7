r"""Where a user starts, read off the clicks: the amortised posterior of $h_0$.

Instead of a mean and a deviation for each of millions of users, both are functions of the user's own training clicks. The clicks are
weighted by $w_t\propto 1/n_t^{4}$, $n_t$ being the number of clicks so far, so that the first click has nearly all the weight; the mean is
$\sum_tw_tv_{c_t}$. The deviation is a learned factor (0.2, in [0.001, 5]) times the spread of the clicked items' vectors.

`variant="official"` follows the released code to the letter:

* it counts ids *above* 3 as clicks, so that the first real item, 3, never counts;
* the spread is taken around the mean vector of **all** T entries, those of padding and of no click included, and so depends on how much
  padding there is;
* the spread counts every click, those held out for testing too, where the mean counts training clicks only.

`variant="repaired"` counts item 3, centres on the clicked items alone, and leaves out what is held out. The paper's own definition was not
accessible to us.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `MeanFieldGuide.h0_amortization_func`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding

from hierlab.checks import check_choice, check_range
from hierlab.recommendation.slates import FIRST_ITEM
from hierlab.trace import show

Variant = Literal["official", "repaired"]


def amortised_state(
    click: Tensor,
    item_vectors: Tensor,
    mask: Tensor | None = None,
    *,
    decay: float = 4.0,
    factor: Tensor | float = 0.2,
    variant: Variant = "official",
) -> tuple[Tensor, Tensor]:
    r"""Mean and deviation of $h_0$ given the clicks.

    Args:
        click: [..., T] ids.
        item_vectors: [I, d], the posterior means of the item vectors.
        mask: [..., T] bool, the steps that may be used; all if None.
        decay: the exponent: 0 weighs all clicks alike.
        factor: of the deviation.
        variant: "official" or "repaired", see above.

    Returns:
        [..., d] mean, [..., d] deviation. A user without clicks has mean 0 and deviation factor * 0.001.

    Raises:
        ValueError: if shapes do not fit, an id has no vector, or a number is out of range.
    """
    check_choice("variant", variant, Variant)
    check_range("decay", decay, 0)
    check_range("factor", float(factor.detach() if isinstance(factor, Tensor) else factor), 0)
    if click.dtype != torch.long or click.dim() < 1:
        raise ValueError(f"click must be int64 of shape [..., T], got {click.dtype} of shape {tuple(click.shape)}")
    if click.numel() and not 0 <= int(click.min()) <= int(click.max()) < len(item_vectors):
        raise ValueError(f"clicks must be ids from 0 to {len(item_vectors) - 1}, got {int(click.min())} to {int(click.max())}")
    usable = torch.ones_like(click, dtype=torch.bool) if mask is None else mask.bool()
    if usable.shape != click.shape:
        raise ValueError(f"mask must have shape {tuple(click.shape)}, got {tuple(usable.shape)}")
    counts = click > FIRST_ITEM if variant == "official" else (click >= FIRST_ITEM) & usable

    def to_float(x: Tensor) -> Tensor:
        return x.to(item_vectors.dtype)

    so_far = to_float(counts.cumsum(-1))
    weight = to_float(counts) / (so_far**decay + 1e-5) * to_float(usable)
    weight = weight / (weight.sum(-1, keepdim=True) + 1e-5)
    show("weight of each click", weight, r"w_t\propto n_t^{-4}")
    vectors = embedding(click, item_vectors)
    mean = show("mean of the start", (vectors * weight.unsqueeze(-1)).sum(-2), r"\sum_tw_tv_{c_t}")

    share = to_float(counts)
    share = share / (share.sum(-1, keepdim=True) + 1e-5)
    centre = vectors.mean(-2, keepdim=True) if variant == "official" else (vectors * share.unsqueeze(-1)).sum(-2, keepdim=True)
    spread = ((vectors - centre).square() * share.unsqueeze(-1)).sum(-2)
    return mean, show("deviation of the start", factor * (spread + 1e-6).sqrt(), r"0.2\sqrt{\text{spread}+10^{-6}}")
