"""Open Bandit Dataset: real impressions with clicks and the probability with which each item was shown.

The package obp 0.4.1 (Apache-2.0) ships, for each of two policies ("random" and Bernoulli Thompson sampling, "bts") on three pages of a
fashion shop ("all", "men", "women"), 10,000 logged impressions of one item in one of three places. Read from the installed package, never
copied, and checked against the checksums below. obp itself is not imported.

The rows are a sample of impressions, not of page views: hardly two share a moment and a user, so whole slates cannot be put together
from them, and users have no history. What they do have are true propensities and true clicks, a few dozen in ten thousand.

Source: Saito et al., Open Bandit Dataset and Pipeline (arXiv 2008.07146).
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice
from hierlab.recommendation.slates import FIRST_ITEM, NO_CLICK, SlateLog

Policy = Literal["random", "bts"]
Page = Literal["all", "men", "women"]
PACKAGE, VERSION, LICENCE = "obp", "0.4.1", "Apache-2.0"
CHECKSUMS = {  # SHA-256 of obp/dataset/obd/<policy>/<page>/<page>.csv
    ("random", "all"): "7168295b6e0a9eabcf3392320a5dd434e542b68e705d5cd9491499af589812f1",
    ("random", "men"): "ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb",
    ("random", "women"): "e65f3bd3beb17664fa69cc129bf7bf852a775f8ffa630506e505fc905315bb34",
    ("bts", "all"): "0ad874e4dbf6902f0845dd478ad8dde5ef6903583d3ffaace78411bdad064106",
    ("bts", "men"): "db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527",
    ("bts", "women"): "e5d1b49a39b608585a2f3014a3f54970430cd37a495c1b73fceb85cdf428a5b8",
}


@dataclass(frozen=True)
class Impressions:
    """Logged impressions, one a row, in order of time.

    Attributes:
        item: [N] int64, numbered from 0.
        place: [N] int64, 1 to 3.
        click: [N] bool.
        propensity: [N] probability with which the policy showed this item in this place.
    """

    item: Tensor
    place: Tensor
    click: Tensor
    propensity: Tensor

    def log(self) -> SlateLog:
        """Each impression as a user with one step and a slate of one item; item i has the id i + 3."""
        ids = self.item + FIRST_ITEM
        slate = torch.stack([torch.full_like(ids, NO_CLICK), ids], 1)
        return SlateLog(slate[:, None], torch.where(self.click, ids, NO_CLICK)[:, None], self.click.long()[:, None])

    def value(self, probability: Tensor | None = None) -> tuple[float, float]:
        """The click rate of a policy by self-normalised inverse propensities, and its standard error.

        Args:
            probability: [N] with what probability that policy would have shown each row's item; None: the policy that was logged.

        Raises:
            ValueError: if there is not one probability a row, or all are 0.
        """
        weight = torch.ones_like(self.propensity) if probability is None else probability / self.propensity
        if weight.shape != self.propensity.shape or not (weight >= 0).all() or not weight.any():
            raise ValueError(f"probability must hold one number of at least 0, and not only zeros, for each of {len(self.item)} rows")
        weight = weight / weight.sum()
        click = self.click.to(weight.dtype)
        rate = float((weight * click).sum())
        return rate, float((weight * (click - rate)).square().sum().sqrt())


def read_open_bandit(policy: Policy = "random", page: Page = "all") -> Impressions:
    """The impressions that one policy logged on one page.

    Args:
        policy: "random" or "bts".
        page: "all" (80 items), "men" (34) or "women" (46).

    Raises:
        ValueError: if a name is unknown, or the file is not the one we know.
        FileNotFoundError: if obp is not installed; the message says how to get it.
    """
    check_choice("policy", policy, Policy)
    check_choice("page", page, Page)
    path = _folder() / policy / page / f"{page}.csv"
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != CHECKSUMS[policy, page]:
        raise ValueError(f"{path} is not the file of {PACKAGE} {VERSION}: its SHA-256 is {found}, not {CHECKSUMS[policy, page]}")
    rows = list(csv.DictReader(data.decode("utf-8").splitlines()))

    def column(name: str, dtype: torch.dtype) -> Tensor:
        return torch.tensor([float(row[name]) for row in rows], dtype=torch.float64).to(dtype)

    return Impressions(
        item=column("item_id", torch.long),
        place=column("position", torch.long),
        click=column("click", torch.bool),
        propensity=column("propensity_score", torch.float64),
    )


def _folder() -> Path:
    how = f"run: pip install --no-deps {PACKAGE}=={VERSION} ({LICENCE})"
    try:
        folder = Path(str(distribution(PACKAGE).locate_file("obp/dataset/obd")))
    except PackageNotFoundError:
        raise FileNotFoundError(f"the Open Bandit logs are part of the package {PACKAGE}, which is not installed; {how}") from None
    if not folder.is_dir():
        raise FileNotFoundError(f"the installed {PACKAGE} has no logs in {folder}; {how}")
    return folder
