r"""The plan-execute format: a response that says whether to change the subgoal, the subgoal, and the action (HiPER, arXiv 2602.16165).

    <switch>SWITCH</switch><subgoal>find the key</subgoal><action>go east</action>

An agent that writes so is planner and executor in one. Here its responses are taken apart: which tokens belong to which decision,
whether the turn starts a new subgoal, and where a critic's values are read.

Rules, as in the released code (JonP07/HiPER-agent, `hiper_hae/hier_mask.py` and `core_hae.py`), pinned by its reference vectors:

* A field runs from the first occurrence of its opening tag to the nearest closing tag. Tags are case-sensitive. A `]`, `.` or `)` right
  before the closing tag of a subgoal or an action belongs to the tag.
* The text is searched, not the tokens: a tag may straddle tokens, and a token belongs to a field if any part of it does.
* A switch field that is missing, not closed or empty means KEEP; any text but KEEP, upper-cased and stripped, means SWITCH.
* Without an action field the whole response counts as the action.

Shapes: N turns, T response positions. The text of each token comes from the caller, so that no tokenizer is needed here.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_rows

TAGS = ("<switch>", "</switch>", "<subgoal>", "</subgoal>", "<action>", "</action>")
"""Every tag of the format."""

_FIELDS = {
    "switch": re.compile(r"<switch>(?P<content>.*?)(?P<close></switch>)", re.DOTALL),
    "subgoal": re.compile(r"<subgoal>(?P<content>.*?)(?P<close>[\].)]?</subgoal>)", re.DOTALL),
    "action": re.compile(r"<action>(?P<content>.*?)(?P<close>[\].)]?</action>)", re.DOTALL),
}


class Plans(NamedTuple):
    """Responses, taken apart.

    Attributes:
        switch: [N] bool, whether the turn asks for a new subgoal.
        switch_mask: [N, T] bool, the tokens of the decision to keep or switch.
        subgoal_mask: [N, T] bool, the tokens of the subgoal.
        action_mask: [N, T] bool, the tokens of the action.
        plan_end: [N] int64, the first token behind the subgoal: behind its closing tag, else behind that of the switch, else 0.
    """

    switch: Tensor
    switch_mask: Tensor
    subgoal_mask: Tensor
    action_mask: Tensor
    plan_end: Tensor


class ValueMasks(NamedTuple):
    """The token at which each value is read and learnt, at most one in a row.

    Attributes:
        low: [N, T] bool, the value once the subgoal is fixed: right behind the subgoal.
        high: [N, T] bool, the value before a subgoal is chosen: the first token, of turns that choose one.
        switch: [N, T] bool, the value before the decision to keep or switch: the first token of every turn.
    """

    low: Tensor
    high: Tensor
    switch: Tensor


class Plan(NamedTuple):
    """What one response says.

    Attributes:
        switch: whether it asks for a new subgoal.
        subgoal: the subgoal; empty if the field is not there.
        action: the action; without such a field, the whole response.
    """

    switch: bool
    subgoal: str
    action: str


def read_plan(response: str, *, keep: Sequence[str] = ("KEEP",), missing: str = "KEEP") -> Plan:
    """What a response says, by the rules of `parse_plans`, without blanks at the ends.

    Args:
        response: the text.
        keep: as in `parse_plans`.
        missing: as in `parse_plans`.
    """
    said = {name: found["content"].strip() if (found := field.search(response)) else None for name, field in _FIELDS.items()}
    action = response.strip() if said["action"] is None else said["action"]
    return Plan(_switches(said["switch"] or "", keep, missing), said["subgoal"] or "", action)


def write_plan(plan: Plan) -> str:
    """A response in the plan-execute format, which `read_plan` reads back.

    >>> write_plan(Plan(True, "find the key", "go east"))
    '<switch>SWITCH</switch><subgoal>find the key</subgoal><action>go east</action>'
    """
    return f"<switch>{'SWITCH' if plan.switch else 'KEEP'}</switch><subgoal>{plan.subgoal}</subgoal><action>{plan.action}</action>"


def token_pieces(response_ids: Tensor, response_mask: Tensor, decode: Callable[[int], str]) -> list[list[str]]:
    """The text of each response token, decoded one by one.

    Args:
        response_ids: [N, T] int64.
        response_mask: [N, T] bool, the tokens that count.
        decode: the text of a token id, special tokens included; called once for each id that occurs.

    Returns:
        N lists, as long as the responses.
    """
    rows = [ids[mask].tolist() for ids, mask in zip(response_ids.cpu(), response_mask.cpu().bool(), strict=True)]
    text = {token: decode(token) for token in {token for row in rows for token in row}}
    return [[text[token] for token in row] for row in rows]


def parse_plans(
    pieces: Sequence[Sequence[str]],
    response_mask: Tensor,
    *,
    include_tags: bool = True,
    keep: Sequence[str] = ("KEEP",),
    missing: str = "KEEP",
    whole_response: bool = True,
) -> Plans:
    """Find the fields of each response.

    Args:
        pieces: N lists with the text of each response token; joined, they are the response.
        response_mask: [N, T] the response tokens, padded on the right.
        include_tags: whether the masks cover the tags too (the released scripts do).
        keep: what a switch field says to go on with the subgoal, in any case.
        missing: what a missing or empty switch field says.
        whole_response: whether a response without an action is all action; else it has none.

    Returns:
        Masks and decisions, on the device of `response_mask`.

    Raises:
        ValueError: if a row has not as many pieces as response tokens, or its mask is not one run from the first position.
    """
    check_rows(pieces=pieces, response_mask=response_mask)
    mask = as_mask("response_mask", response_mask, response_mask.shape)
    _check_pieces(pieces, mask)
    responses = [_Response(row) for row in pieces]
    spans = {name: [response.tokens(name, include_tags) for response in responses] for name in _FIELDS}
    if whole_response:
        spans["action"] = [span or (0, len(row)) for span, row in zip(spans["action"], pieces, strict=True)]
    masks = {f"{name}_mask": _filled(found, mask) for name, found in spans.items()}
    switch = [_switches(response.content("switch"), keep, missing) for response in responses]
    return Plans(
        switch=torch.tensor(switch, dtype=torch.bool, device=mask.device),
        plan_end=torch.tensor([response.plan_end() for response in responses], dtype=torch.int64, device=mask.device),
        **masks,
    )


def value_masks(plan_end: Tensor, boundary: Tensor, response_mask: Tensor) -> ValueMasks:
    """Where the three values are read.

    Args:
        plan_end: [N] int64, as `parse_plans` gives it.
        boundary: [N] bool, the turns that choose a subgoal, as `hierlab.credit.hiper.boundaries` gives them.
        response_mask: [N, T] the response tokens.

    Returns:
        Masks, empty in a row without response.
    """
    mask = as_mask("response_mask", response_mask, response_mask.shape)
    first = mask & (mask.cumsum(1) == 1)
    position = torch.arange(mask.shape[1], device=mask.device)
    return ValueMasks(low=mask & (position == plan_end[:, None]), high=first & boundary[:, None], switch=first)


def read_values(values: Tensor, value_mask: Tensor, response_mask: Tensor) -> Tensor:
    """The value of each turn: at the masked token, or at the last response token if none is.

    Args:
        values: [N, T] what a value head says at each token.
        value_mask: [N, T] where to read, as `value_masks` gives it; of several tokens, the first.
        response_mask: [N, T] the response tokens.

    Returns:
        [N].

    Raises:
        ValueError: if the shapes differ.
    """
    mask = as_mask("response_mask", response_mask, values.shape)
    read = as_mask("value_mask", value_mask, values.shape) & mask
    position = torch.arange(values.shape[1], device=values.device)
    last = torch.where(mask, position, 0).amax(1, keepdim=True)
    first = torch.where(read, position, values.shape[1]).amin(1, keepdim=True)
    return values.gather(1, torch.where(read.any(1, keepdim=True), first, last)).squeeze(1)


def _switches(content: str, keep: Sequence[str], missing: str) -> bool:
    """Whether what stands in a switch field asks for a new subgoal."""
    return (content.strip() or missing).strip().upper() not in {value.strip().upper() for value in keep}


class _Response:
    """The text of a response, and which characters each token covers."""

    def __init__(self, pieces: Sequence[str]):
        text = "".join(pieces)
        self.ends = list(accumulate(map(len, pieces)))
        self.starts = [0, *self.ends[:-1]]
        self.found = {name: field.search(text) for name, field in _FIELDS.items()}

    def content(self, name: str) -> str:
        """What stands between the tags; empty if the field is not there."""
        return self.found[name]["content"] if self.found[name] else ""

    def tokens(self, name: str, include_tags: bool) -> tuple[int, int] | None:
        """The field's first token and the one behind its last; None if it covers none."""
        if not self.found[name]:
            return None
        start, stop = self.found[name].span(0 if include_tags else "content")
        span = bisect_right(self.ends, start), self._behind(stop)
        return span if start < stop and span[0] < span[1] else None

    def plan_end(self) -> int:
        """The first token behind the plan; 0 if there is no plan or nothing behind it."""
        ends = (self._behind(self.found[name].end()) for name in ("subgoal", "switch") if self.found[name])
        return next((end for end in ends if end < len(self.ends)), 0)

    def _behind(self, character: int) -> int:
        """The first token that starts at this character or behind it."""
        return bisect_left(self.starts, character)


def _check_pieces(pieces: Sequence[Sequence[str]], mask: Tensor) -> None:
    """Refuse rows whose pieces and mask do not match."""
    resumes = (mask[:, 1:] & ~mask[:, :-1]).any(1) | (mask.any(1) & ~mask[:, :1].all(1))
    if resumes.any():
        raise ValueError(f"response_mask must be one run of tokens from the first position, but row {int(resumes.nonzero()[0])} is not")
    for row, (texts, length) in enumerate(zip(pieces, mask.sum(1).tolist(), strict=True)):
        if len(texts) != length:
            raise ValueError(f"pieces must have one text per response token, but row {row} has {len(texts)} texts and {length} tokens")


def _filled(spans: Sequence[tuple[int, int] | None], mask: Tensor) -> Tensor:
    """The tokens inside the spans. N pairs -> [N, T] bool"""
    bounds = torch.tensor([span or (0, 0) for span in spans], dtype=torch.int64, device=mask.device).reshape(-1, 2)
    position = torch.arange(mask.shape[1], device=mask.device)
    return mask & (position >= bounds[:, :1]) & (position < bounds[:, 1:])
