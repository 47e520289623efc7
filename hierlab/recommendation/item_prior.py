r"""Priors of item vectors: drawn around their group's mean, or all around zero.

*Hierarchical*: an item of group $g$ has $v_i\sim N(\mu_g,\max(|\sigma_g|,0.001)^2)$ in every coordinate, with
$\mu_g\sim N(0,\kappa_g^2)$ and $\sigma_g\sim N(0,\kappa_s^2)$, so that an item nobody has clicked stands where its group stands, and how
firmly depends on how much its group's items differ. *Flat*: $v_i\sim N(0,\kappa_s^2)$, passed through tanh before use.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `ItemHier` and `ItemFlat`. The rows of the special ids have a
prior too. The run that the authors' logs call flat is the hierarchical model with all items in one group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

LEAST_SCALE = 1e-3


def normal_log_density(x: Tensor, mean: Tensor | float, scale: Tensor | float) -> Tensor:
    """The log-density of independent normals, of the shape the three broadcast to; `scale` is the deviation, above 0."""
    scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
    if not (scale > 0).all():
        raise ValueError(f"scale must be above 0, got {float(scale.min()):g}")
    return -0.5 * ((x - mean) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def group_deviation(group_scales: Tensor) -> Tensor:
    r"""$\max(|\sigma_g|,0.001)$: the deviation of items around their group's mean."""
    return group_scales.abs().clamp(min=LEAST_SCALE)


def hierarchical_log_prior(
    item_vectors: Tensor,
    group_vectors: Tensor,
    group_scales: Tensor,
    item_group: Tensor,
    *,
    vector_scale: float = 5.0,
    scale_scale: float = 5.0,
) -> Mapping[str, Tensor]:
    r"""The log-densities of all item latents under the hierarchical prior, summed.

    Args:
        item_vectors: [I, d] a row for every id.
        group_vectors: [G, d], $\mu$.
        group_scales: [G, d], $\sigma$, of any sign.
        item_group: [I] the group of every id, 0 to G - 1.
        vector_scale: $\kappa_g$.
        scale_scale: $\kappa_s$.

    Returns:
        By name: "group_vectors", "group_scales", "item_vectors".

    Raises:
        ValueError: if shapes do not fit, a group is out of range, or a scale is not above 0.
    """
    check_groups(item_group, len(item_vectors), len(group_vectors))
    if group_vectors.shape != group_scales.shape or group_vectors.shape[1:] != item_vectors.shape[1:]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (item_vectors, group_vectors, group_scales))
        raise ValueError(f"item_vectors, group_vectors and group_scales must be [I, d], [G, d] and [G, d], got {shapes}")
    deviation = group_deviation(group_scales)[item_group]
    return {
        "group_vectors": normal_log_density(group_vectors, 0.0, vector_scale).sum(),
        "group_scales": normal_log_density(group_scales, 0.0, scale_scale).sum(),
        "item_vectors": normal_log_density(item_vectors, group_vectors[item_group], deviation).sum(),
    }


def flat_log_prior(item_vectors: Tensor, *, scale: float = 5.0) -> Mapping[str, Tensor]:
    r"""The log-density of all item latents under the flat prior $N(0,\kappa_s^2)$, before tanh, summed; by name: "item_vectors"."""
    return {"item_vectors": normal_log_density(item_vectors, 0.0, scale).sum()}


def check_groups(item_group: Tensor, items: int, groups: int) -> None:
    """Refuse groups that do not go with the items.

    Raises:
        ValueError: if there is not one group an id, or a group is out of range.
    """
    if item_group.dtype != torch.long or item_group.shape != (items,):
        raise ValueError(
            f"item_group must be int64 with one group for each of {items} ids, got {item_group.dtype} of shape {tuple(item_group.shape)}"
        )
    if item_group.min() < 0 or item_group.max() >= groups:
        raise ValueError(f"groups must be 0 to {groups - 1}, got {int(item_group.min())} to {int(item_group.max())}")
