"""Open Bandit: what a fashion shop's recommender showed, in which of three places, and whether it was clicked.

The small release of ZOZO's Open Bandit data lies in the wheel of `obp` 0.4.1 (Apache-2.0): 10,000 impressions for each of three
campaigns under each of two policies. It is read from the installed package, whose code is not imported, and held to the checksums
of that release. The full data (26 million impressions) is a download of its owners and has the same columns.

Source: Saito et al., arXiv 2008.07146; st-tech/zr-obp, `obp/dataset/obd/`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import numpy as np

from hierlab.checks import check_choice, check_range

Policy = Literal["random", "bts"]
Campaign = Literal["all", "men", "women"]

PACKAGE, VERSION, LICENCE = "obp", "0.4.1", "Apache-2.0"
CHECKSUMS = {
    ("random", "all"): "7168295b6e0a9eabcf3392320a5dd434e542b68e705d5cd9491499af589812f1",
    ("random", "men"): "ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb",
    ("random", "women"): "e65f3bd3beb17664fa69cc129bf7bf852a775f8ffa630506e505fc905315bb34",
    ("bts", "all"): "0ad874e4dbf6902f0845dd478ad8dde5ef6903583d3ffaace78411bdad064106",
    ("bts", "men"): "db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527",
    ("bts", "women"): "e5d1b49a39b608585a2f3014a3f54970430cd37a495c1b73fceb85cdf428a5b8",
}
"""SHA-256 of the tables in the wheel of `VERSION`, by policy and campaign."""
USER_FEATURES = 4


@dataclass(frozen=True)
class Impressions:
    """Logged impressions, one row each, in the order of time.

    Attributes:
        campaign: which part of the shop: "all", "men" or "women".
        policy: what chose the items: "random" uniformly, "bts" by Bernoulli Thompson sampling.
        items: how many items there are, numbered from 0.
        positions: how many places an answer has: 3, numbered from 0.
        time: [N] datetime64, UTC.
        item: [N] the item shown.
        position: [N] the place it was shown in.
        click: [N] bool.
        propensity: [N] probability with which the policy chose the item for the place.
        user: [N, 4] the user's four features, each numbered by its sorted hashed values.
        affinity: [N, items] how often the user had clicked on each item before (the data's "user-item affinity").
    """

    campaign: Campaign
    policy: Policy
    items: int
    positions: int
    time: np.ndarray
    item: np.ndarray
    position: np.ndarray
    click: np.ndarray
    propensity: np.ndarray
    user: np.ndarray
    affinity: np.ndarray

    def __len__(self) -> int:
        return len(self.item)


def load_open_bandit(campaign: Campaign = "all", policy: Policy = "random", *, folder: Path | str | None = None) -> Impressions:
    """The logged impressions of one campaign under one policy.

    Args:
        campaign: "all" (80 items), "men" (34) or "women" (46).
        policy: "random" or "bts".
        folder: where the data was unpacked, if not the copy in the wheel: a folder with `<policy>/<campaign>/<campaign>.csv`. Its
            checksum is its owner's affair.

    Raises:
        ValueError: if campaign or policy are unknown, the wheel's table is not that of the release, or a table lacks a column.
        FileNotFoundError: if there is no data; the message says how to get it.
    """
    return _read(log_file(campaign, policy, folder=folder), campaign, policy)


def log_file(campaign: Campaign = "all", policy: Policy = "random", *, folder: Path | str | None = None) -> Path:
    """Where the table is that `load_open_bandit` would read, without reading it.

    Raises:
        ValueError, FileNotFoundError: as `load_open_bandit`.
    """
    check_choice("campaign", campaign, Campaign)
    check_choice("policy", policy, Policy)
    if folder is None:
        return _packaged(campaign, policy)
    path = Path(folder) / policy / campaign / f"{campaign}.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}; unpack https://research.zozo.com/data_release/open_bandit_dataset.zip and name its folder, or name none for the "
            f"small release in {PACKAGE}=={VERSION}"
        )
    return path


def click_rates(log: Impressions, *, strength: float = 100.0) -> np.ndarray:
    r"""Click rates of every item in every place, shrunk towards what item and place have on their own.

    With few clicks a raw rate is mostly noise. Each cell is $\frac{c_{ij}+s\,q_{ij}}{n_{ij}+s}$ with
    $q_{ij}=\overline{p}_i\,\overline{p}_j/\overline{p}$, where the item's rate $\overline{p}_i$ is itself shrunk towards the overall
    rate $\overline{p}$ in the same way.

    Args:
        log: impressions; of a policy that shows items unevenly, rates are those of its own audience.
        strength: $s$, how many impressions the prior weighs.

    Returns:
        [items, positions], each in (0, 1).

    Raises:
        ValueError: if the strength is not positive, or nothing was clicked.
    """
    check_range("strength", strength, 1e-9)
    shape = (log.items, log.positions)
    shown, clicked = np.zeros(shape), np.zeros(shape)
    np.add.at(shown, (log.item, log.position), 1)
    np.add.at(clicked, (log.item, log.position), log.click)
    if not clicked.sum():
        raise ValueError(f"none of the {len(log)} impressions was clicked: there are no click rates to estimate")
    overall = clicked.sum() / shown.sum()
    of_item = (clicked.sum(1) + strength * overall) / (shown.sum(1) + strength)
    of_position = (clicked.sum(0) + strength * overall) / (shown.sum(0) + strength)
    prior = np.minimum(of_item[:, None] * of_position / overall, 0.5)
    return (clicked + strength * prior) / (shown + strength)


def _packaged(campaign: str, policy: str) -> Path:
    """The table in the installed wheel, if it is the release's."""
    get = f"run: pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        raise FileNotFoundError(f"the Open Bandit data ({LICENCE}) ships in {PACKAGE} {VERSION}, which is not installed; {get}") from None
    path = Path(str(found.locate_file(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv")))
    if not path.is_file():
        raise FileNotFoundError(f"{PACKAGE} {found.version} is installed without its data, {path}; {get}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != CHECKSUMS[policy, campaign]:
        raise ValueError(f"{path} ({PACKAGE} {found.version}) is not the table of {PACKAGE} {VERSION}; {get}")
    return path


def _read(path: Path, campaign: Campaign, policy: Policy) -> Impressions:
    import pandas as pd

    table = pd.read_csv(path)
    users = [f"user_feature_{number}" for number in range(USER_FEATURES)]
    wanted = ["timestamp", "item_id", "position", "click", "propensity_score", *users]
    if missing := [name for name in wanted if name not in table]:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns[:12])}, ...")
    table = table.sort_values("timestamp", kind="stable")
    affinity = [name for name in table.columns if name.startswith("user-item_affinity_")]
    items = max(len(affinity), int(table["item_id"].max()) + 1)
    return Impressions(
        campaign,
        policy,
        items,
        int(table["position"].max()),
        pd.to_datetime(table["timestamp"], utc=True, format="ISO8601").dt.tz_convert(None).to_numpy(),
        table["item_id"].to_numpy(dtype=np.int64),
        table["position"].to_numpy(dtype=np.int64) - 1,
        table["click"].to_numpy() == 1,
        table["propensity_score"].to_numpy(dtype=np.float64),
        np.stack([np.unique(table[name], return_inverse=True)[1] for name in users], axis=1),
        table[affinity].to_numpy(dtype=np.float64),
    )
