r"""The whole model: what it says about slates, clicks and every latent together.

Latents go by name: "item_vectors" [I, d], "group_vectors" and "group_scales" [G, d], "no_click_bias" [L], "start" ($h_0$, [N, H]),
"gamma" (a scalar) and the matrices of `GRU_WEIGHTS` (as far as the user model has them), and "multiplier" (a scalar) where the choice's
inverse temperature is learned. `log_joint` gives the log-density of each and of the clicks, a term each.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `PyroRecommender._compute`, pinned by its reference vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.recommendation.item_prior import flat_log_prior, hierarchical_log_prior, normal_log_density
from hierlab.recommendation.slate_likelihood import Score, slate_log_likelihood, slate_scores
from hierlab.recommendation.slates import SlateLog
from hierlab.recommendation.user_state import GRU_WEIGHTS, UserModel, gru_shapes, user_path

ItemModel = Literal["hierarchical", "one group", "flat"]
CLICKS = "clicks"
MARKOV = "markov"


@dataclass(frozen=True)
class Priors:
    r"""Deviations of the zero-mean normal priors; the defaults are those in force in the code.

    Its `prior_rnn_scale` of 5 never is: the matrices of the GRU get N(0, 1) when they are built, and what should replace it finds no
    parameters left. The reference vectors show it.

    Attributes:
        group_vector: $\kappa_g$, of group means.
        group_scale: $\kappa_s$, of group scales; of the item vectors themselves under "flat".
        start: of $h_0$.
        bias: of the no-click biases.
        gru: of the entries of the GRU's matrices.
        gamma: mean and deviation of $\gamma$.
        multiplier: deviation of $m$ around 1; 0: $m$ is 1 and no latent.
    """

    group_vector: float = 5.0
    group_scale: float = 5.0
    start: float = 0.5
    bias: float = 1.0
    gru: float = 1.0
    gamma: tuple[float, float] = (0.5, 0.3)
    multiplier: float = 0.0

    def __post_init__(self):
        for name in ("group_vector", "group_scale", "start", "bias", "gru"):
            check_range(name, getattr(self, name), 1e-12)
        check_range("gamma's deviation", self.gamma[1], 1e-12)
        check_range("multiplier", self.multiplier, 0)


@dataclass(frozen=True)
class Joint:
    """What the model says.

    Attributes:
        terms: the log-density of each latent and of the clicks ("clicks"), summed, tempered as asked.
        positions: [N, T + 1, d] where users stand before each step, and at the end.
        scores: [N, T, S] of the entries of every slate.
        log_likelihood: [N, T] of each click, neither tempered nor scaled; 0 where it does not count.
    """

    terms: Mapping[str, Tensor]
    positions: Tensor
    scores: Tensor
    log_likelihood: Tensor


def used_vectors(item_vectors: Tensor, items: ItemModel) -> Tensor:
    """The vectors by which items are scored: the latents themselves, or for "flat" their tanh."""
    return item_vectors.tanh() if items == "flat" else item_vectors


def latent_names(user: UserModel, items: ItemModel, priors: Priors | None = None) -> tuple[str, ...]:
    """The latents of a model, those of the users left out."""
    check_choice("user", user, UserModel)
    check_choice("items", items, ItemModel)
    names = ["item_vectors"] if items == "flat" else ["group_vectors", "group_scales", "item_vectors"]
    names += ["no_click_bias"]
    names += ["gamma"] if user in ("linear", "lin-gru") else []
    names += list(GRU_WEIGHTS) if user in ("gru", "lin-gru") else []
    return (*names, "multiplier") if priors and priors.multiplier > 0 else tuple(names)


def latent_shapes(
    user: UserModel, items: ItemModel, *, ids: int, groups: int, dim: int, longest: int, priors: Priors | None = None
) -> dict[str, tuple[int, ...]]:
    """The shape of each latent, for `ids` ids in `groups` groups, vectors of length `dim`, and slates of up to `longest` entries."""
    groups = 1 if items == "one group" else groups
    shapes = {"item_vectors": (ids, dim), "group_vectors": (groups, dim), "group_scales": (groups, dim)}
    shapes |= {"no_click_bias": (longest + 1,), "gamma": (), "multiplier": ()} | gru_shapes(dim, dim)
    return {name: shapes[name] for name in latent_names(user, items, priors)}


def log_joint(
    log: SlateLog,
    latents: Mapping[str, Tensor],
    *,
    item_group: Tensor,
    user: UserModel = "gru",
    items: ItemModel = "hierarchical",
    score: Score = "l2",
    priors: Priors | None = None,
    likelihood_temperature: float = 1.0,
    prior_temperature: float = 1.0,
    num_users: int | None = None,
) -> Joint:
    r"""The log-density of clicks and latents.

    Args:
        log: what N users saw and clicked; only steps in `log.train` whose outcome is known count.
        latents: by name, see above.
        item_group: [I] the group of every id; looked at by "hierarchical" only.
        user: how users move: "gru", "linear", "lin-gru", "markov".
        items: "hierarchical"; "one group", the hierarchical prior with all items together, which the authors' logs call flat; "flat".
        score: "l2" or "dot".
        priors: their deviations.
        likelihood_temperature: the likelihood is divided by it; below 1 makes a posterior that is too sure ("cold").
        prior_temperature: the same for all priors.
        num_users: how many users the log is a sample of: likelihood and prior of $h_0$ count for that many; None: it is no sample.

    Returns:
        Its terms, positions and scores.

    Raises:
        ValueError: if a latent is missing, shapes do not fit, or a number is out of range.

    Source: see the module. The code scales the likelihood to all users, but not the prior of $h_0$; on whole logs there is no difference.
    """
    priors = priors or Priors()
    needed = {*latent_names(user, items, priors), *(() if user == MARKOV else ("start",))}
    if missing := sorted(needed - latents.keys()):
        raise ValueError(f"user {user!r} with items {items!r} has the latents {', '.join(sorted(needed))}; missing: {', '.join(missing)}")
    check_range("likelihood_temperature", likelihood_temperature, 1e-12)
    check_range("prior_temperature", prior_temperature, 1e-12)
    weight = 1.0 if num_users is None else num_users / len(log)
    vectors = used_vectors(latents["item_vectors"], items)
    positions = user_path(user, log.click, vectors, latents.get("start"), latents)
    multiplier = latents["multiplier"] if priors.multiplier > 0 else 1.0
    scores = slate_scores(log.slate, positions[:, :-1], vectors, latents["no_click_bias"], kind=score, multiplier=multiplier)
    likelihood = slate_log_likelihood(scores, log.click_position, log.observed & log.train)
    terms = {name: value / prior_temperature for name, value in _log_priors(latents, needed, item_group, items, priors).items()}
    if "start" in terms:
        terms["start"] = terms["start"] * weight
    terms[CLICKS] = likelihood.sum() * weight / likelihood_temperature
    return Joint(terms, positions, scores, likelihood)


def _log_priors(
    latents: Mapping[str, Tensor], names: set[str], item_group: Tensor, items: ItemModel, priors: Priors
) -> Mapping[str, Tensor]:
    if items == "flat":
        terms = dict(flat_log_prior(latents["item_vectors"], scale=priors.group_scale))
    else:
        groups = torch.zeros_like(item_group) if items == "one group" else item_group
        scales = {"vector_scale": priors.group_vector, "scale_scale": priors.group_scale}
        vectors = (latents[name] for name in ("item_vectors", "group_vectors", "group_scales"))
        terms = dict(hierarchical_log_prior(*vectors, groups, **scales))
    shapes = {
        "no_click_bias": (0.0, priors.bias),
        "start": (0.0, priors.start),
        "gamma": priors.gamma,
        "multiplier": (1.0, priors.multiplier),
    }
    shapes |= dict.fromkeys(GRU_WEIGHTS, (0.0, priors.gru))
    return terms | {name: normal_log_density(latents[name], *shapes[name]).sum() for name in shapes if name in names}
