"""Marks on the tokens of collected responses: which of them plan, and how uncertain the policy was at each.

    collector = MarkedCollector(GroupCollector(8, params), grams, entropy_of=policy)

The columns it adds, `planning_mask` and `entropy`, are what HICRA and its variants ask for; `token_classes` describes a batch by them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hierlab.credit.hicra import most_uncertain
from hierlab.credit.strategic_grams import Gram, planning_mask, semantic_entropy
from hierlab.ops import masked_mean
from hierlab.rollout.engine import Engine
from hierlab.rollout.logp import token_logp
from hierlab.rollout.rollouts import Rollouts
from hierlab.rollout.summary import Collector

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hierlab.models import LanguageModel


@dataclass(frozen=True)
class MarkedCollector:
    """Another collector's rollouts with marks on their tokens.

    Attributes:
        collector: what collects; a single response a row.
        grams: the phrases that plan, as `hierlab.credit.mine_strategic_grams` finds them.
        entropy_of: the policy whose entropy is wanted at every token, at the price of one forward pass; None adds no such column.
        temperature: at which the entropy is taken; that of the sampling.
    """

    collector: Collector
    grams: Collection[Gram]
    entropy_of: LanguageModel | None = None
    temperature: float = 1.0

    def __call__(self, policy: Engine, tasks: Sequence[Any], generator: torch.Generator) -> Rollouts:
        """The rollouts with `planning_mask` [N, T] (bool) and, if wanted, `entropy` [N, T] (in nats, 0 where masked)."""
        rollouts = self.collector(policy, tasks, generator)
        pieces = response_pieces(policy.tokenizer, rollouts.response_ids, rollouts.response_mask)
        marked = rollouts.with_columns(planning_mask=planning_mask(pieces, rollouts.response_mask, self.grams))
        if self.entropy_of is None:
            return marked
        with torch.inference_mode():
            columns = rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask
            _, entropy = token_logp(self.entropy_of.model, *columns, temperature=self.temperature, entropy=True)
        return marked.with_columns(entropy=entropy.clone())  # a copy that training may use


def successes(policy: Engine, tasks: Sequence[Any], collector: Collector, generator: torch.Generator) -> list[str]:
    """A policy's own successful responses: the corpus that `hierlab.credit.mine_strategic_grams` reads.

    Args:
        policy: samples them.
        tasks: what is asked.
        collector: whose rollouts have the columns `response` and `success`.
        generator: source of all randomness.
    """
    rollouts = collector(policy, tasks, generator)
    return [response for response, right in zip(rollouts["response"], rollouts["success"], strict=True) if right]


def response_pieces(tokenizer: PreTrainedTokenizerBase, response_ids: Tensor, response_mask: Tensor) -> list[list[str]]:
    """The text of each response token, with the blank before it if there is one; joined, a row's pieces are its response.

    A token alone does not tell: many tokenizers write the blank between two words only when they decode both. So each token is decoded
    behind the one before it; pairs that recur are decoded once.

    Args:
        tokenizer: of the policy.
        response_ids: [N, T] int64.
        response_mask: [N, T] bool, the tokens that count.

    Returns:
        N lists, as long as the responses; special tokens are pieces like others.
    """

    @cache
    def piece(before: int | None, token: int) -> str:
        if before is None:
            return tokenizer.decode([token])
        return tokenizer.decode([before, token])[len(tokenizer.decode([before])) :]

    rows = [ids[mask].tolist() for ids, mask in zip(response_ids.cpu(), response_mask.cpu().bool(), strict=True)]
    return [[piece(before, token) for before, token in zip([None, *row], row, strict=False)] for row in rows]


def token_classes(rollouts: Rollouts, grams: Collection[Gram], *, top: float = 0.3) -> dict[str, float]:
    r"""How the tokens that plan differ from those that carry out.

    Args:
        rollouts: with the columns `planning_mask`, `entropy` and `response`.
        grams: the phrases whose variety is measured.
        top: the share of all tokens that counts as most uncertain.

    Returns:
        planning_share: share of the tokens that plan.
        planning_perplexity, execution_perplexity: $\exp$ of the mean negative log-probability of the sampled tokens of each class.
        planning_entropy, execution_entropy, token_entropy: mean entropy of the policy at the tokens of each class, and at all, in nats.
        semantic_entropy: of the phrases in the batch, in nats.
        planning_uncertain: share of the planning tokens that are among the most uncertain.
        uncertain_planning: share of the most uncertain tokens that plan.
        A class without tokens has entropy 0, perplexity 1 and share 0.

    Source: the diagnostics of arXiv 2509.03646.
    """
    mask, entropy = rollouts.response_mask, rollouts["entropy"]
    planning = mask & rollouts["planning_mask"]
    uncertain = most_uncertain(entropy, mask, top)
    both = float((planning & uncertain).sum())
    classes = {"planning": planning, "execution": mask & ~planning}
    return {
        "planning_share": float(planning.sum()) / max(1, int(mask.sum())),
        **{f"{name}_perplexity": float(masked_mean(-rollouts.old_logp, chosen).exp()) for name, chosen in classes.items()},
        **{f"{name}_entropy": float(masked_mean(entropy, chosen)) for name, chosen in {**classes, "token": mask}.items()},
        "semantic_entropy": semantic_entropy(rollouts["response"], grams),
        "planning_uncertain": both / max(1, int(planning.sum())),
        "uncertain_planning": both / max(1, int(uncertain.sum())),
    }
