r"""A marketplace whose users are known: what every item is worth to every user at every moment, and how a click moves them.

Items lie in groups, $v_i=\mu_{g(i)}+\text{spread}\cdot\varepsilon$. A user stands at $z$, is worth $u_i=-m\lVert z-v_i\rVert$ to an item,
clicks one entry of a slate by a softmax over what is shown and "nothing" (worth $b$), and moves with the click: a share of the way to the
clicked item ("linear"), or by a GRU with random weights ("gru").

Logged slates are a mix, as on a marketplace: some come from *search*, items drawn near the user, the others are items at random.

A slate is clicked with the probability

$$P(\text{click})=\frac{\sum_{i\in\text{slate}}e^{u_i}}{e^b+\sum_{i\in\text{slate}}e^{u_i}},$$

which grows with every $u_i$. So the best slate holds the K most useful items, and click rates and regrets of any recommender are computed,
not sampled. The world is ours: the paper's simulator is not in its repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import check_choice, check_range
from hierlab.recommendation.slate_likelihood import score_all
from hierlab.recommendation.slates import FIRST_ITEM, NO_CLICK, SlateLog
from hierlab.recommendation.thompson import top_items
from hierlab.recommendation.user_state import gru_shapes, user_path
from hierlab.seeds import generator as named_generator

Rule = Literal["linear", "gru"]


@dataclass(frozen=True)
class SlateWorld:
    """Items and users as they are.

    Attributes:
        item_vectors: [I, d] a row for every id; those of the special ids are 0.
        item_group: [I] the group of every id; the special ids share the first item's.
        start: [N, d] where users stand in the beginning.
        rule: how users move.
        latents: what the rule needs: "gamma", or the matrices of a GRU.
        sharpness: m, the inverse temperature of the choice.
        no_click: b, what clicking nothing is worth.
    """

    item_vectors: Tensor
    item_group: Tensor
    start: Tensor
    rule: Rule
    latents: Mapping[str, Tensor] = field(repr=False)
    sharpness: float
    no_click: float

    @property
    def num_items(self) -> int:
        """Number of ids, the special ones included."""
        return len(self.item_vectors)

    def positions(self, click: Tensor) -> Tensor:
        """[N, T + 1, d] where users stand before each step and at the end, given what they clicked, [N, T]."""
        return user_path(self.rule, click, self.item_vectors, self.start, self.latents)

    def worth(self, position: Tensor) -> Tensor:
        """[N, I] what every item is worth to users who stand at `position` [N, d]; minus infinity for the special ids."""
        worth = self.sharpness * score_all(position, self.item_vectors)
        worth[:, :FIRST_ITEM] = -torch.inf
        return worth

    def click_rate(self, slates: Tensor, worth: Tensor) -> Tensor:
        """[N] the exact probability that anything in the slate is clicked.

        Args:
            slates: [N, K] different items.
            worth: [N, I] from `worth`.
        """
        shown = worth.gather(1, slates).logsumexp(1)
        return torch.sigmoid(shown - self.no_click)

    def best_slates(self, worth: Tensor, k: int) -> Tensor:
        """[N, k] the slate with the highest click rate for every user."""
        return top_items(worth, k)

    def respond(self, slates: Tensor, worth: Tensor, generator: torch.Generator) -> SlateLog:
        """One step: users see the slates and click, or not.

        Each user's taste of the moment is drawn for *every* item, whatever is shown. Two recommenders with equal generators therefore
        meet the same moods, which makes their comparison a paired one.

        Args:
            slates: [N, K] different items.
            worth: [N, I] from `worth`.
            generator: what draws the moods.

        Returns:
            A log of one step.
        """
        uniform = torch.rand(worth.shape, generator=generator, dtype=torch.float64).clamp(1e-300, 1 - 1e-16)
        mood = -(-uniform.log()).log()  # Gumbel: the largest of worth + mood is a softmax choice
        mood = mood.to(worth.dtype)
        shown = (worth + mood).gather(1, slates)
        nothing = self.no_click + mood[:, NO_CLICK : NO_CLICK + 1]
        position = torch.cat([nothing, shown], 1).argmax(1)
        slate = torch.cat([torch.full_like(slates[:, :1], NO_CLICK), slates], 1)
        click = slate.gather(1, position[:, None])
        return SlateLog(slate[:, None], click, position[:, None])

    def logged(self, steps: int, k: int, search_share: float, generator: torch.Generator, *, nearness: float = 1.0) -> SlateLog:
        """What users saw and clicked before there was a recommender.

        Args:
            steps: T.
            k: items a slate.
            search_share: the probability that a slate comes from search.
            generator: what draws slates and clicks.
            nearness: how close to the user a search looks: its items are drawn without replacement in proportion to
                exp(nearness * worth).

        Returns:
            A log of `steps` steps, each slate k items and the no-click token.

        Raises:
            ValueError: if there are no steps or a number is out of range.
        """
        if steps < 1:
            raise ValueError(f"a log needs at least one step, got {steps}")
        check_range("search_share", search_share, 0, 1)
        check_range("nearness", nearness, 0)
        log: SlateLog | None = None
        position = self.start
        for _ in range(steps):
            worth = self.worth(position)
            uniform = torch.rand(worth.shape, generator=generator, dtype=torch.float64).clamp(1e-300, 1 - 1e-16)
            search = torch.rand(len(worth), 1, generator=generator) < search_share
            slates = top_items(torch.where(search, nearness * worth, torch.zeros_like(worth)) - (-uniform.log()).log(), k)
            step = self.respond(slates, worth, generator)
            log = step if log is None else log.then(step)
            position = self.positions(log.click)[:, -1]
        return log


def slate_world(
    seed: int = 0,
    *,
    users: int = 300,
    items: int = 300,
    groups: int = 20,
    dim: int = 8,
    spread: float = 0.3,
    rule: Rule = "linear",
    keep: float = 0.8,
    sharpness: float = 3.0,
    no_click: float = -4.0,
) -> SlateWorld:
    r"""A random world.

    Args:
        seed: what all of it is derived from.
        users: N.
        items: number of real items; ids are three more.
        groups: number of groups; their means are standard normal, and items belong to groups at random.
        dim: d.
        spread: deviation of items around their group's mean, and of users around the mean of the group where they start.
        rule: how users move.
        keep: $\gamma$ of the linear rule.
        sharpness: m.
        no_click: b.

    Raises:
        ValueError: if a number is out of range or the rule is unknown.
    """
    check_choice("rule", rule, Rule)
    for name, value in (("users", users), ("items", items), ("groups", groups), ("dim", dim)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    check_range("spread", spread, 0)
    check_range("keep", keep, 0, 1)
    check_range("sharpness", sharpness, 0)
    generator = named_generator("slate world", seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    centres = normal(groups, dim)
    item_group = torch.randint(groups, (items + FIRST_ITEM,), generator=generator)
    item_group[:FIRST_ITEM] = item_group[FIRST_ITEM]
    vectors = centres[item_group] + spread * normal(len(item_group), dim)
    vectors[:FIRST_ITEM] = 0
    start = centres[torch.randint(groups, (users,), generator=generator)] + spread * normal(users, dim)
    if rule == "linear":
        latents = {"gamma": torch.tensor(keep)}
    else:
        latents = {name: normal(*shape) / dim**0.5 for name, shape in gru_shapes(dim, dim).items()}
        latents["W_z"] = latents["W_z"] * 2  # hidden states lie in (-1, 1), items spread further
    return SlateWorld(vectors, item_group, start, rule, latents, sharpness, no_click)
