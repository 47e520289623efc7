"""Logged slates: what was shown, what was clicked, and the option of clicking nothing.

A *slate* is a list of item ids as one user saw it in one step. All slates of a log are padded to one length and start with the token
"no click", so that "nothing" is a choice like any other. Ids 0, 1 and 2 are not items: padding, no click, and an unknown item.

Layout (finn-no/recsys_slates_dataset@b394e52, code_eide_et_al21/dataset.py): N users, T steps, S entries a slate.

    slate           [N, T, S]  1 in entry 0, then items (3 and up), then 0
    click           [N, T]     the clicked id; 1 if none, 0 where the user has no such step
    click_position  [N, T]     its entry in the slate; 0 if none
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

PAD, NO_CLICK, UNKNOWN, FIRST_ITEM = 0, 1, 2, 3


@dataclass(frozen=True)
class SlateLog:
    """Slates and clicks of users over time, checked when made.

    Attributes:
        slate: [N, T, S] ids, see above.
        click: [N, T] ids.
        click_position: [N, T] entries.
        train: [N, T] bool, the steps a model may learn from; all, if None is given.

    Raises:
        ValueError: if shapes do not fit, an id is negative, "no click" stands elsewhere than in entry 0, or a click is not in its slate.
    """

    slate: Tensor
    click: Tensor
    click_position: Tensor
    train: Tensor | None = None

    def __post_init__(self):
        _check_ids(self.slate, self.click, self.click_position)
        train = torch.ones_like(self.click, dtype=torch.bool) if self.train is None else self.train
        if not isinstance(train, Tensor) or train.shape != self.click.shape or train.dtype != torch.bool:
            got = f"{train.dtype} of shape {tuple(train.shape)}" if isinstance(train, Tensor) else type(train).__name__
            raise ValueError(f"train must be bool of shape {tuple(self.click.shape)}, got {got}")
        object.__setattr__(self, "train", train)

    def __len__(self) -> int:
        """The number of users."""
        return len(self.click)

    @property
    def observed(self) -> Tensor:
        """[N, T] bool: the steps whose outcome is known. No click counts, padding and unknown items do not."""
        return (self.click != PAD) & (self.click != UNKNOWN)

    @property
    def lengths(self) -> Tensor:
        """[N, T] entries of each slate, the one for no click included."""
        return (self.slate != PAD).sum(-1)

    def users(self, rows: Tensor | slice) -> SlateLog:
        """The log of some users."""
        return SlateLog(self.slate[rows], self.click[rows], self.click_position[rows], self.train[rows])

    def masked(self, train: Tensor) -> SlateLog:
        """The same log with other steps to learn from."""
        return replace(self, train=train)

    def then(self, later: SlateLog) -> SlateLog:
        """This log with the steps of another one of the same users behind it.

        Raises:
            ValueError: if users or slate sizes differ.
        """
        if len(self) != len(later) or self.slate.shape[2] != later.slate.shape[2]:
            raise ValueError(f"logs must have the same users and entries, got {_sizes(self)} and {_sizes(later)}")
        columns = ("slate", "click", "click_position", "train")
        return SlateLog(*(torch.cat([getattr(self, name), getattr(later, name)], dim=1) for name in columns))

    def to(self, device: torch.device | str) -> SlateLog:
        """The log on another device."""
        return SlateLog(self.slate.to(device), self.click.to(device), self.click_position.to(device), self.train.to(device))


def padded_log(histories: Sequence[Sequence[tuple[Sequence[int], int | None]]]) -> SlateLog:
    """A log from what each user saw and clicked, in order.

    Args:
        histories: for each user, one `(items, clicked)` a step; `clicked` is one of the items, or None.

    Raises:
        ValueError: if there are no steps, an id is not that of an item, or a click is not among the items shown.
    """
    steps = max((len(history) for history in histories), default=0)
    if not steps:
        raise ValueError("a log needs at least one user with at least one step")
    entries = 1 + max(len(items) for history in histories for items, _ in history)
    slate = torch.zeros(len(histories), steps, entries, dtype=torch.long)
    click, position = torch.zeros(2, len(histories), steps, dtype=torch.long)
    for user, history in enumerate(histories):
        for step, (items, clicked) in enumerate(history):
            shown = list(items)
            if low := [i for i in shown if i < FIRST_ITEM]:
                raise ValueError(f"user {user}, step {step}: items have ids from {FIRST_ITEM} on, got {low[0]}")
            if clicked is not None and clicked not in shown:
                raise ValueError(f"user {user}, step {step}: item {clicked} was clicked but not shown")
            slate[user, step, : 1 + len(shown)] = torch.tensor([NO_CLICK, *shown])
            click[user, step] = NO_CLICK if clicked is None else clicked
            position[user, step] = 0 if clicked is None else 1 + shown.index(clicked)
    return SlateLog(slate, click, position)


def uniform_candidates(log: SlateLog, num_items: int, generator: torch.Generator | None = None) -> SlateLog:
    """The log as if each clicked item had been shown among items drawn at random: the all-item likelihood, by sampling.

    Entry 1 holds the clicked item, the others uniform draws with replacement, the clicked item not excluded; where nothing was clicked all
    are draws. Slates have as many entries as before, all filled. Steps without a user stay empty.

    Args:
        log: [N, T, S].
        num_items: number of ids, the three special ones included.
        generator: what draws.

    Raises:
        ValueError: if there are no items, or the log has an item beyond `num_items`.

    Source: `sample_uniform_action` in code_eide_et_al21/dataset.py, which the trainer calls for every batch anew.
    """
    if num_items <= FIRST_ITEM or int(log.slate.max()) >= num_items:
        raise ValueError(f"num_items must exceed {FIRST_ITEM} and every id of the log (largest {int(log.slate.max())}), got {num_items}")
    slate = torch.randint(FIRST_ITEM, num_items, log.slate.shape, generator=generator, device=log.slate.device)
    clicked = log.click >= FIRST_ITEM
    slate[..., 0] = NO_CLICK
    if slate.shape[-1] > 1:
        slate[..., 1] = torch.where(clicked, log.click, slate[..., 1])
    slate = slate * (log.click != PAD)[..., None]
    return SlateLog(slate, log.click, clicked.long(), log.train)


def item_views(log: SlateLog, num_items: int) -> Tensor:
    """[num_items] how often each id was shown in steps that a model may learn from."""
    shown = log.slate[log.train & log.observed]
    return torch.bincount(shown.flatten(), minlength=num_items)


def item_clicks(log: SlateLog, num_items: int) -> Tensor:
    """[num_items] how often each id was clicked in steps that a model may learn from; 0 for the special ids."""
    counts = torch.bincount(log.click[log.train & log.observed], minlength=num_items)
    counts[:FIRST_ITEM] = 0
    return counts


def _sizes(log: SlateLog) -> str:
    return "x".join(map(str, log.slate.shape))


def _check_ids(slate: Tensor, click: Tensor, position: Tensor) -> None:
    for name, ids, dims in (("slate", slate, 3), ("click", click, 2), ("click_position", position, 2)):
        if not isinstance(ids, Tensor) or ids.dtype != torch.long or ids.dim() != dims:
            got = f"{ids.dtype} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise ValueError(f"{name} must be a tensor of int64 with {dims} dimensions, got {got}")
    if not slate.shape[:2] == click.shape == position.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (slate, click, position))
        raise ValueError(f"slate, click and click_position must agree on users and steps, got {shapes}")
    if slate.numel() == 0:
        raise ValueError(f"a log needs users, steps and entries, got slates of shape {tuple(slate.shape)}")
    if slate.min() < 0 or click.min() < 0:
        raise ValueError(f"ids must not be negative, got {min(int(slate.min()), int(click.min()))}")
    if (slate[..., 1:] == NO_CLICK).any():
        user, step = (slate[..., 1:] == NO_CLICK).nonzero()[0, :2].tolist()
        raise ValueError(f"the id {NO_CLICK} (no click) belongs in entry 0 of a slate; user {user}, step {step} has it elsewhere")
    known = (click != PAD) & (click != UNKNOWN)
    if position.min() < 0 or position.max() >= slate.shape[2]:
        raise ValueError(f"click_position must be in 0 to {slate.shape[2] - 1}, got {int(position.min())} to {int(position.max())}")
    at = slate.gather(-1, position[..., None])[..., 0]
    if (wrong := known & (at != click)).any():
        user, step = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"user {user}, step {step}: click {int(click[user, step])} is not what stands in entry {int(position[user, step])} "
            f"of the slate, {int(at[user, step])}"
        )
