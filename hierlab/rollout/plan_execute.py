"""Plan-then-act episodes: each turn the policy writes whether it changes its subgoal, the subgoal, and a command.

    <switch>SWITCH</switch><subgoal>take cup</subgoal><action>open box</action>

The format, and what its fields mean where one is missing, is that of `hierlab.credit.plan_execute`. The policy reads the subgoal it
follows before what it sees; the environment gets the action alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hierlab.credit.hae import boundaries
from hierlab.credit.hiper import decision_masks
from hierlab.credit.plan_execute import TAGS, Plan, parse_plans, read_plan
from hierlab.envs.environment import EpisodicTask
from hierlab.rollout.collect import Episode, EpisodeCollector
from hierlab.rollout.engine import Engine
from hierlab.rollout.rollouts import Rollouts, estimate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RenderPlan = Callable[[str, str], str]
"""The text that a policy reads, of what it would read without a plan, and the subgoal it follows (empty: none yet)."""

NO_SUBGOAL = "none"
FORMAT_WORDS = (*TAGS, "KEEP", "SWITCH", "subgoal", NO_SUBGOAL, ":", ".")
"""Every word that the format adds to what a tiny policy reads and writes."""


def with_subgoal(prompt: str, subgoal: str) -> str:
    """A prompt for a policy that has been shown the format.

    >>> with_subgoal("hall. box closed >", "take cup")
    'subgoal: take cup. hall. box closed >'
    """
    return f"subgoal: {subgoal or NO_SUBGOAL}. {prompt}"


def with_instructions(prompt: str, subgoal: str) -> str:
    """A prompt for a policy that has to be told the format: an instruction-tuned model that has never seen it."""
    return (
        f"{prompt}\n\nYou act towards a subgoal: a short step on the way to the goal. Your present subgoal: {subgoal or NO_SUBGOAL}.\n"
        "If it is still worth following, keep it; if it is reached or hopeless, switch to a new one. Then give one admissible command.\n"
        "Answer in exactly this form, without anything else:\n"
        "<switch>KEEP or SWITCH</switch><subgoal>the subgoal you follow now</subgoal><action>your command</action>"
    )


@dataclass(frozen=True)
class PlanExecuteCollector(EpisodeCollector):
    """Episodes in the plan-execute format.

    Attributes:
        render_plan: how the subgoal enters the prompt.
        decisions_only: whether the loss looks only at the tokens of a decision (HiPER), or at the whole response (the flat baselines
            with the same prompts).
    """

    render_plan: RenderPlan = with_subgoal
    decisions_only: bool = True

    def __call__(self, policy: Engine, tasks: Sequence[EpisodicTask], generator: torch.Generator) -> Rollouts:
        """As `EpisodeCollector`, with the columns that `hierlab.credit.hiper` and a critic need.

        Further optional columns: `switch`, `switch_mask`, `subgoal_mask`, `action_mask` and `plan_end` as `parse_plans` gives them,
        `subgoal` (the one followed in the turn), and with `decisions_only` the `loss_mask`.

        Raises:
            ValueError: if there are no tasks, or a prompt cannot be answered (`Engine.generate`).
        """
        rollouts = super().__call__(policy, tasks, generator)
        pieces = response_pieces(policy.tokenizer, rollouts.response_ids, rollouts.response_mask)
        plans = parse_plans(pieces, rollouts.response_mask)
        rollouts = rollouts.with_columns(**plans._asdict(), subgoal=_subgoals(rollouts))
        if not self.decisions_only:
            return rollouts
        boundary = estimate(rollouts, boundaries)
        fields = (rollouts.response_mask, plans.action_mask, plans.subgoal_mask, plans.switch_mask)
        return rollouts.with_columns(loss_mask=torch.stack(decision_masks(boundary, *fields)).any(0))

    def prompt(self, episode: Episode) -> str:
        """What the policy reads: its subgoal, and what it would read without."""
        return self.render_plan(super().prompt(episode), episode.note)

    def command(self, episode: Episode, response: str) -> str:
        """The action; the episode goes on with the subgoal of the response."""
        plan = read_plan(response)
        episode.note = followed(episode.note, plan)
        return plan.action


def followed(subgoal: str, plan: Plan) -> str:
    """The subgoal that is followed from now on: the new one where the plan starts one, and names it.

    A policy that keeps a subgoal it does not have yet starts one; one that switches without naming a subgoal goes on with the last.
    """
    return plan.subgoal or subgoal if plan.switch or not subgoal else subgoal


def response_pieces(tokenizer: PreTrainedTokenizerBase, response_ids: Tensor, response_mask: Tensor) -> list[list[str]]:
    """The text that each response token adds, special tokens none.

    What a token adds is what two tokens say beyond the first, so that blanks between words count whether the tokenizer keeps them in
    its tokens (byte-level) or makes them when it decodes (words, SentencePiece). Blanks beside a tag of the format, which only the
    latter make, are left out: joined, the pieces are the response as it was meant.

    Args:
        tokenizer: of the policy.
        response_ids: [N, T] int64.
        response_mask: [N, T] bool.

    Returns:
        N lists, as long as the responses.
    """
    special = set(tokenizer.all_special_ids)

    @cache
    def text(*tokens: int) -> str:
        return tokenizer.decode(tokens, skip_special_tokens=True)

    @cache
    def added(before: int | None, token: int) -> str:
        if token in special:
            return ""
        if before is None or before in special:
            return text(token)
        both, first = text(before, token), text(before)
        piece = both.removeprefix(first) if both.startswith(first) else text(token)
        return piece.lstrip() if piece.lstrip() in TAGS or first in TAGS else piece

    rows = [ids[mask].tolist() for ids, mask in zip(response_ids.cpu(), response_mask.cpu(), strict=True)]
    return [[added(before, token) for before, token in pairwise([None, *row])] for row in rows]


def _subgoals(rollouts: Rollouts) -> list[str]:
    """The subgoal followed in each turn; the rows of a trajectory stand together, in the order of its turns."""
    subgoals: list[str] = []
    for turn, response in zip(rollouts.turn.tolist(), rollouts["response"], strict=True):
        subgoals.append(followed(subgoals[-1] if turn else "", read_plan(response)))
    return subgoals
