r"""A mean-field posterior: every number of every latent an independent normal, fitted by stochastic gradients.

Means may be confined to an interval and deviations to $(0, s_{\max})$, both by a sigmoid, as the released code's guide does.

Source: finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/models.py, `MeanFieldGuide`; in plain torch instead of Pyro.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from hierlab.checks import check_range


class MeanField:
    """Independent normals for named arrays.

    Args:
        means: where each array's means start.
        scales: where its deviations start, by name.
        max_scale: deviations stay below.
        bounds: (low, high) between which the means of an array stay; those not named are free.

    Raises:
        ValueError: if a start lies outside its interval.
    """

    def __init__(
        self,
        means: Mapping[str, Tensor],
        scales: Mapping[str, float],
        *,
        max_scale: float,
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ):
        check_range("max_scale", max_scale, 1e-12)
        self.bounds, self.max_scale = dict(bounds or {}), max_scale
        self.raw_mean = {name: self._free(name, value).requires_grad_() for name, value in means.items()}
        self.raw_scale = {
            name: to_free(torch.full_like(value, scales[name]), 0.0, max_scale, f"deviation of {name}").requires_grad_()
            for name, value in means.items()
        }

    def mean(self, name: str) -> Tensor:
        """The posterior mean of an array."""
        raw = self.raw_mean[name]
        return from_free(raw, *self.bounds[name]) if name in self.bounds else raw

    def scale(self, name: str) -> Tensor:
        """The posterior deviation of an array."""
        return from_free(self.raw_scale[name], 0.0, self.max_scale)

    def means(self) -> dict[str, Tensor]:
        """All posterior means, detached."""
        return {name: self.mean(name).detach() for name in self.raw_mean}

    def draw(
        self, generator: torch.Generator | None = None, *, frozen: Collection[str] = (), temperature: float = 1.0
    ) -> dict[str, Tensor]:
        """One draw of everything; arrays in `frozen` pass no gradient on, and deviations are multiplied by `temperature`."""
        drawn = {}
        for name in self.raw_mean:
            mean, scale = self.mean(name), self.scale(name)
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
            value = mean + temperature * scale * noise
            drawn[name] = value.detach() if name in frozen else value
        return drawn

    def entropy(self, frozen: Collection[str] = ()) -> Tensor:
        """The entropy of all arrays together, in nats; that of frozen ones counts, without a gradient."""
        parts = [normal_entropy(self.scale(name).detach() if name in frozen else self.scale(name)) for name in self.raw_mean]
        return torch.stack(parts).sum()

    def parameters(self, frozen: Collection[str] = ()) -> list[Tensor]:
        """What an optimiser moves."""
        return [raw[name] for name in self.raw_mean if name not in frozen for raw in (self.raw_mean, self.raw_scale)]

    def _free(self, name: str, value: Tensor) -> Tensor:
        value = value.detach().clone()
        return to_free(value, *self.bounds[name], f"mean of {name}") if name in self.bounds else value


def normal_entropy(scale: Tensor) -> Tensor:
    """The entropy of independent normals with these deviations, summed, in nats."""
    return scale.log().sum() + 0.5 * scale.numel() * math.log(2 * math.pi * math.e)


def from_free(raw: Tensor, low: float, high: float) -> Tensor:
    """A free number as one in (low, high)."""
    return low + (high - low) * raw.sigmoid()


def to_free(value: Tensor, low: float, high: float, what: str = "value") -> Tensor:
    """The inverse of `from_free`.

    Raises:
        ValueError: if a value is not inside (low, high).
    """
    if value.numel() and not (low < float(value.min()) and float(value.max()) < high):
        raise ValueError(f"{what} must start inside ({low:g}, {high:g}), got {float(value.min()):g} to {float(value.max()):g}")
    return ((value - low) / (high - low)).logit()


def elbo(terms: Iterable[Mapping[str, Tensor]], entropy: Tensor) -> Tensor:
    """The evidence lower bound: the mean over particles of all log-densities, plus the posterior's entropy."""
    particles = [torch.stack(list(particle.values())).sum() for particle in terms]
    return torch.stack(particles).mean() + entropy
