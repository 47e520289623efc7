r"""A recommender from slates: item vectors, a moving user, and a posterior over all of it.

    model = SlateModel(user="gru", dim=8, steps=300, rate=0.03, random_state=0).fit(log, item_group)
    slates = model.recommend(log, k=10, how="in-slate", generator=generator)

The likelihood is that of the slates that were shown, or of clicked items among uniform candidates. Fitting follows the released code where
it is not plainly tied to its own scale: mean-field normals, an amortised start for every user, a tempered likelihood, several
particles, and for a GRU two phases: first the items under a linear user, then the GRU with the items frozen.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/{models,pyrotrainer,train}.py and config_default.yml. Ours: the entropy is
exact instead of sampled; there is no early stopping, so each phase has half of the steps and starts from where the one before ended; Adam's
betas are (0.9, 0.999) by default, the code's (0.1, 0.1) is `FINN_BETAS`; one gradient norm is clipped, not one a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.recommendation.amortised_state import Variant, amortised_state
from hierlab.recommendation.item_prior import check_groups
from hierlab.recommendation.slate_joint import (
    CLICKS,
    MARKOV,
    ItemModel,
    Joint,
    Priors,
    latent_names,
    latent_shapes,
    log_joint,
    used_vectors,
)
from hierlab.recommendation.slate_likelihood import Score, score_all
from hierlab.recommendation.slate_posterior import MeanField, elbo, from_free, normal_entropy, to_free
from hierlab.recommendation.slates import SlateLog, uniform_candidates
from hierlab.recommendation.thompson import merge_in_slate, top_items
from hierlab.recommendation.user_state import GRU_WEIGHTS, UserModel, user_path
from hierlab.seeds import generator as named_generator

Likelihood = Literal["slate", "uniform"]
How = Literal["greedy", "thompson", "in-slate"]
FINN_BETAS = (0.1, 0.1)
ITEM_LATENTS = ("group_vectors", "group_scales", "item_vectors")
MAX_MEAN = 5.0  # means of biases and matrices stay inside (-5, 5)
FACTOR_RANGE = (0.001, 5.0)
_MOST_SCORES = 50_000_000  # numbers in one table of users by items
_PRIOR_DRAWS = 50  # the code starts each mean at the median of 50 prior draws


class SlateModel:
    """Item vectors, user model and their posterior, fitted to a log of slates.

    Args:
        user: how users move: "gru", "linear", "lin-gru" or "markov".
        items: the prior of item vectors: "hierarchical", "one group" or "flat".
        likelihood: "slate", what was shown competes; "uniform", clicked items compete with items drawn at random, anew in every step.
        score: "l2" or "dot".
        dim: length of item vectors, and of the hidden state.
        priors: their deviations; None: the code's.
        likelihood_temperature: the likelihood is divided by it. The code's 0.01 makes a posterior that is far too sure; 1 is Bayes' rule.
        prior_temperature: the same for all priors.
        steps: gradient steps.
        rate: Adam's learning rate.
        betas: Adam's betas.
        particles: posterior draws a step.
        batch_users: users a step; None: all.
        clip_norm: length to which the gradient is clipped.
        max_scale: posterior deviations stay below.
        phases: 2 learns a GRU with the items frozen after they were learned under a linear user; 1 learns all together. Without a GRU,
            both are the same.
        start_decay: the exponent of the amortised start.
        start_variant: "official" or "repaired", as in `amortised_state`.
        random_state: what all chance is derived from.

    Attributes:
        posterior_: the fitted `MeanField`.
        start_factor_: learned factor of the start's deviation.
        item_group_: [I] the group of every id.
        history_: the ELBO of every step, with what it is made of: "elbo", "clicks" (tempered), "log_prior", "entropy".
    """

    def __init__(
        self,
        *,
        user: UserModel = "gru",
        items: ItemModel = "hierarchical",
        likelihood: Likelihood = "slate",
        score: Score = "l2",
        dim: int = 25,
        priors: Priors | None = None,
        likelihood_temperature: float = 0.01,
        prior_temperature: float = 1.0,
        steps: int = 400,
        rate: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        particles: int = 4,
        batch_users: int | None = None,
        clip_norm: float = 100.0,
        max_scale: float = 0.1,
        phases: int = 2,
        start_decay: float = 4.0,
        start_variant: Variant = "official",
        random_state: int = 0,
    ):
        self.user = user
        self.items = items
        self.likelihood = likelihood
        self.score = score
        self.dim = dim
        self.priors = priors
        self.likelihood_temperature = likelihood_temperature
        self.prior_temperature = prior_temperature
        self.steps = steps
        self.rate = rate
        self.betas = betas
        self.particles = particles
        self.batch_users = batch_users
        self.clip_norm = clip_norm
        self.max_scale = max_scale
        self.phases = phases
        self.start_decay = start_decay
        self.start_variant = start_variant
        self.random_state = random_state

    def fit(self, log: SlateLog, item_group: Tensor) -> SlateModel:
        """Fit the posterior to the training steps of a log.

        Args:
            log: what users saw and clicked.
            item_group: [I] the group of every id, the three special ones included, numbered from 0.

        Returns:
            The model itself.

        Raises:
            ValueError: if a setting is unknown or out of range, an id has no group, or no step may be learned from.
        """
        self._check(log, item_group)
        self.item_group_ = item_group.to(log.slate.device)
        self.history_: list[dict[str, float]] = []
        self._batches = 0
        self._begin(log)
        return self.partial_fit(log, self.steps)

    def partial_fit(self, log: SlateLog, steps: int) -> SlateModel:
        """Go on fitting, to this log, from where the posterior stands; slates must not be longer than those it was begun with.

        Raises:
            ValueError: as `fit`; or if the model was never fitted.
        """
        self._check_fitted()
        self._check(log, self.item_group_)
        two = self.phases == 2 and self.user in ("gru", "lin-gru")
        first = steps // 2 if two else 0
        self._optimise(log, "linear", first, frozen=GRU_WEIGHTS)
        self._optimise(log, self.user, steps - first, frozen=ITEM_LATENTS if two else ())
        return self

    def latents(self, generator: torch.Generator | None = None, *, temperature: float = 1.0) -> dict[str, Tensor]:
        """The posterior means, or one draw if there is a generator; `temperature` multiplies the deviations."""
        self._check_fitted()
        with torch.no_grad():
            return self.posterior_.draw(generator, temperature=temperature) if generator else self.posterior_.means()

    @torch.no_grad()
    def start(self, log: SlateLog, generator: torch.Generator | None = None, *, temperature: float = 1.0) -> Tensor:
        """[N, d] where users start: the amortised mean, or a draw if there is a generator."""
        self._check_fitted()
        mean, scale = self._amortised(log, frozen=True)
        if generator is None:
            return mean
        return mean + temperature * scale * torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)

    @torch.no_grad()
    def scores(self, log: SlateLog, latents: Mapping[str, Tensor], start: Tensor, *, at: int = -1) -> Tensor:
        """[N, I] the score of every item for every user.

        Args:
            log: what the users did; their clicks before step `at` move them.
            latents: from `latents`.
            start: [N, d] from `start`.
            at: the step that is to come, 0 to T; -1: after the last one.
        """
        steps = log.click.shape[1]
        if not -1 <= at <= steps:
            raise ValueError(f"at must be a step from 0 to {steps}, or -1 for the end, got {at}")
        click = log.click if at == -1 else log.click[:, :at]
        vectors = used_vectors(latents["item_vectors"], self.items)
        return score_all(user_path(self.user, click, vectors, start, latents)[:, -1], vectors, self.score)

    def recommend(
        self,
        log: SlateLog,
        k: int,
        how: How = "greedy",
        generator: torch.Generator | None = None,
        *,
        at: int = -1,
        temperature: float = 1.0,
    ) -> Tensor:
        """Slates of k items for every user.

        Args:
            log: what the users did.
            k: places.
            how: "greedy" (posterior means), "thompson" (one joint draw) or "in-slate" (one for every place).
            generator: what draws; needed by all but "greedy".
            at: as in `scores`.
            temperature: multiplies posterior deviations.

        Returns:
            [N, k] ids.

        Raises:
            ValueError: if `how` is unknown, the generator is missing, or there are fewer than k items.
        """
        check_choice("how", how, How)
        if how != "greedy" and generator is None:
            raise ValueError(f"how={how!r} draws from the posterior: give it a generator")
        if how == "greedy":
            return self._ranking(log, k, self.latents(), self.start(log), at)

        def drawn() -> Tensor:
            latents = self.latents(generator, temperature=temperature)
            return self._ranking(log, k, latents, self.start(log, generator, temperature=temperature), at)

        return drawn() if how == "thompson" else merge_in_slate(torch.stack([drawn() for _ in range(k)]))

    def _ranking(self, log: SlateLog, k: int, latents: Mapping[str, Tensor], start: Tensor, at: int) -> Tensor:
        """[N, k] the best items for each user, some users at a time, since all users by all items may not fit."""
        size = max(1, _MOST_SCORES // len(self.item_group_))
        parts = [slice(row, row + size) for row in range(0, len(log), size)]
        return torch.cat([top_items(self.scores(log.users(part), latents, start[part], at=at), k) for part in parts])

    @torch.no_grad()
    def joint(self, log: SlateLog, latents: Mapping[str, Tensor] | None = None, *, tempered: bool = False) -> Joint:
        """What the model says about a log, at the posterior means or at a draw; only `log.train` counts, for the start as well."""
        latents = latents or self.latents()
        return log_joint(log, {**latents, "start": self.start(log)}, user=self.user, **self._model(tempered))

    @torch.no_grad()
    def log_likelihood(self, log: SlateLog, steps: Tensor) -> float:
        """The mean log-probability of the clicks in some steps, at the posterior means; the start knows only `log.train`.

        Args:
            log: what users saw and clicked.
            steps: [N, T] bool, which steps to look at.

        Raises:
            ValueError: if none of the steps is observed.
        """
        counted = steps & log.observed
        if not counted.any():
            raise ValueError("none of the steps has an observed click or no-click")
        latents = {**self.latents(), "start": self.start(log)}
        joint = log_joint(log.masked(steps), latents, user=self.user, **self._model(tempered=False))
        return float(joint.log_likelihood.sum() / counted.sum())

    def _model(self, tempered: bool = True) -> dict:
        temperatures = {"likelihood_temperature": self.likelihood_temperature, "prior_temperature": self.prior_temperature}
        shape = {"item_group": self.item_group_, "items": self.items, "score": self.score, "priors": self.priors}
        return shape | (temperatures if tempered else {})

    def _begin(self, log: SlateLog) -> None:
        """Means at medians of prior draws (items at a hundredth of them, group scales a tenth of their prior's deviation above that),
        deviations at 0.05 (items 0.01)."""
        device, priors = log.slate.device, self.priors or Priors()
        generator = named_generator("slate model", self.random_state, "start", device=device)
        sizes = {"ids": len(self.item_group_), "groups": int(self.item_group_.max()) + 1, "dim": self.dim, "longest": log.slate.shape[2]}
        shapes = latent_shapes(self.user, self.items, **sizes, priors=priors)
        if "gamma" not in shapes and self.phases == 2 and self.user == "gru":
            shapes["gamma"] = ()  # the linear user under whom the items are learned
        prior = {"no_click_bias": (0.0, priors.bias), "gamma": priors.gamma, "multiplier": (1.0, priors.multiplier)}
        prior |= {"group_vectors": (0.0, priors.group_vector), "group_scales": (0.0, priors.group_scale)}
        prior |= {"item_vectors": (0.0, priors.group_vector)} | dict.fromkeys(GRU_WEIGHTS, (0.0, priors.gru))
        means, scales = {}, {}
        for name, shape in shapes.items():
            centre, deviation = prior[name]
            draws = centre + deviation * torch.randn((_PRIOR_DRAWS, *shape), generator=generator, device=device)
            means[name] = draws.median(0).values * (0.01 if name in ITEM_LATENTS else 1.0)
            if name == "group_scales":  # near 0, where the code starts them, a draw can make the items' prior arbitrarily narrow
                means[name] = means[name] + 0.1 * priors.group_scale
            scales[name] = min(0.01 if name in ITEM_LATENTS else 0.05, self.max_scale / 2)
        bounds = dict.fromkeys(("no_click_bias", *GRU_WEIGHTS), (-MAX_MEAN, MAX_MEAN)) | {"gamma": (0.0, 1.0)}
        for name, (low, high) in bounds.items():
            if name in means:
                means[name] = means[name].clamp(low + 0.01, high - 0.01)
        self.posterior_ = MeanField(means, scales, max_scale=self.max_scale, bounds={n: b for n, b in bounds.items() if n in means})
        self._raw_factor = to_free(torch.tensor(0.2, device=device), *FACTOR_RANGE).requires_grad_()

    @property
    def start_factor_(self) -> float:
        """Learned factor of the start's deviation."""
        self._check_fitted()
        return float(from_free(self._raw_factor.detach(), *FACTOR_RANGE))

    def _optimise(self, log: SlateLog, user: UserModel, steps: int, frozen: tuple[str, ...]) -> None:
        if not steps:
            return
        used = (*latent_names(user, self.items, self.priors), "start")
        idle = {*self.posterior_.raw_mean} - {*used} | {*frozen}
        items_frozen = "item_vectors" in frozen
        parameters = self.posterior_.parameters(idle) + ([] if items_frozen or user == MARKOV else [self._raw_factor])
        optimiser = torch.optim.Adam(parameters, lr=self.rate, betas=self.betas, foreach=True)
        generator = named_generator("slate model", self.random_state, "optimise", self._batches, device=log.slate.device)
        self._batches += 1
        for _ in range(steps):
            batch = self._batch(log, generator)
            value = self._elbo(batch, len(log), user, idle, items_frozen, generator)
            optimiser.zero_grad(set_to_none=True)
            (-value).backward()
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            optimiser.step()

    def _batch(self, log: SlateLog, generator: torch.Generator) -> SlateLog:
        if self.batch_users is not None and self.batch_users < len(log):
            log = log.users(torch.randperm(len(log), generator=generator, device=log.slate.device)[: self.batch_users])
        return uniform_candidates(log, len(self.item_group_), generator) if self.likelihood == "uniform" else log

    def _elbo(
        self, log: SlateLog, num_users: int, user: UserModel, idle: set[str], items_frozen: bool, generator: torch.Generator
    ) -> Tensor:
        mean, scale = self._amortised(log, frozen=items_frozen)
        particles = []
        for _ in range(self.particles):
            latents = self.posterior_.draw(generator, frozen=idle)
            start = mean + scale * torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
            particles.append(log_joint(log, {**latents, "start": start}, user=user, num_users=num_users, **self._model()).terms)
        entropy = self.posterior_.entropy(idle)
        if user != MARKOV:
            entropy = entropy + normal_entropy(scale) * (num_users / len(log))
        value = elbo(particles, entropy)
        if not value.isfinite():
            raise ValueError(f"the ELBO became {float(value)} in step {len(self.history_)}: try a smaller rate")
        clicks = sum(float(p[CLICKS].detach()) for p in particles) / self.particles
        found = {"elbo": float(value.detach()), "clicks": clicks, "entropy": float(entropy.detach())}
        self.history_.append(found | {"log_prior": found["elbo"] - clicks - found["entropy"]})
        return value

    def _amortised(self, log: SlateLog, *, frozen: bool) -> tuple[Tensor, Tensor]:
        vectors = self.posterior_.mean("item_vectors")
        factor = from_free(self._raw_factor, *FACTOR_RANGE)
        if frozen:
            vectors, factor = vectors.detach(), factor.detach()
        clicks = log.click
        return amortised_state(clicks, vectors, log.train, decay=self.start_decay, factor=factor, variant=self.start_variant)

    def _check_fitted(self) -> None:
        if not hasattr(self, "posterior_"):
            raise ValueError("this SlateModel is not fitted yet: call fit(log, item_group)")

    def _check(self, log: SlateLog, item_group: Tensor) -> None:
        for name, kind in (("user", UserModel), ("items", ItemModel), ("likelihood", Likelihood), ("score", Score)):
            check_choice(name, getattr(self, name), kind)
        for name, least in (("dim", 1), ("steps", 1), ("particles", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        if self.batch_users is not None and self.batch_users < 1:
            raise ValueError(f"batch_users must be at least 1, or None for all, got {self.batch_users}")
        if self.phases not in (1, 2):
            raise ValueError(f"phases must be 1 or 2, got {self.phases!r}")
        for name in ("rate", "likelihood_temperature", "prior_temperature", "clip_norm", "max_scale"):
            check_range(name, getattr(self, name), 1e-12)
        check_groups(item_group, len(item_group), int(item_group.max()) + 1 if item_group.numel() else 0)
        if int(log.slate.max()) >= len(item_group):
            raise ValueError(f"item_group needs an entry for each id up to {int(log.slate.max())}, got {len(item_group)}")
        if not (log.train & log.observed).any():
            raise ValueError("no step of the log may be learned from: all are masked, padded or unknown")
