r"""Testbeds whose rows are responses: a token tree under a policy, for estimators that give credit to tokens and segments.

    bed = tree_testbed(success=0.5)
    microscope({"GRPO": grpo, "GAE": partial(gae, whiten=False)}, bed)

Three ways of collecting, which differ in what they sample beyond the responses themselves:

* `ResponseTestbed`: independent responses.
* `ChainTestbed`: the same, cut into segments; the state each segment starts from is valued by continuations sampled from there (SPO).
* `BranchingTestbed`: segments sampled as a tree, one row a segment (SPO's tree).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor

from hierlab.envs.finite import Episodes, play
from hierlab.envs.token_tree import RECONSIDER, parity_tree, student
from hierlab.lab.testbed import Testbed
from hierlab.rollout.rollouts import Rollouts, concatenate
from hierlab.train.token_table import as_responses


@dataclass(frozen=True, eq=False)
class ResponseTestbed(Testbed):
    """Rows are whole responses, their positions tokens.

    Attributes:
        planning: [A] bool, the tokens that plan; [C, A] where it depends on what the policy sees.
    """

    planning: Tensor | None = None

    def collect(self, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
        """Groups of responses; every group is a task of its own.

        Columns beyond the usual: `choice` [N, T] (-1 where masked), `token_rewards`, `values` and `entropy` [N, T], `planning_mask`
        [N, T], `success` [N], and `context` and `world_state` [N, T], the numbers of what the policy saw.
        """
        prompt = torch.randint(len(self.world.start), (groups,), generator=generator).repeat_interleave(group_size)
        episodes = play(self.world, self.probabilities, prompt, generator)
        row = torch.arange(len(prompt))
        return self._rows(episodes, torch.zeros_like(prompt), (row // group_size).tolist(), row.tolist())

    def _rows(self, episodes: Episodes, turn: Tensor, task: list[int], trajectory: list) -> Rollouts:
        """One row an episode, which begins at the given turn. [E] each"""
        alive = episodes.alive
        rows = as_responses(self.world, self.probabilities, episodes, task=task, trajectory=trajectory, planning=self.planning)
        state, at = rows["world_state"], (turn[:, None] + torch.arange(alive.shape[1])).clamp(max=self.world.horizon - 1)
        choice = torch.where(alive, self.choice(at, state, rows.response_ids), -1)
        return rows.with_columns(choice=choice, values=torch.where(alive, self.value(at, state), 0))


@dataclass(frozen=True, eq=False)
class ChainTestbed(ResponseTestbed):
    """Rows are responses cut into segments, each valued by continuations from where it starts.

    Attributes:
        cut: `(rollouts) -> [N, T] bool`, the first token of each segment.
        continuations: how many values a state; 0 reads the exact value instead.
    """

    cut: Callable[[Rollouts], Tensor] = lambda rollouts: rollouts.response_mask
    continuations: int = 4

    def collect(self, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
        """As `ResponseTestbed.collect`, with `segment_start` [N, T], `segment_value` [N, T] (the rewards so far plus the mean of what
        the continuations still earned) and `extra_tokens` [N], which the continuations cost."""
        rollouts = super().collect(groups, group_size, generator)
        starts = self.cut(rollouts)
        row, position = starts.nonzero(as_tuple=True)
        earned = rollouts["token_rewards"].cumsum(dim=1) - rollouts["token_rewards"]
        state = rollouts["world_state"][row, position]
        value, tokens = self._continued(position, state, generator)
        segment_value = torch.zeros_like(earned).index_put((row, position), earned[row, position] + value)
        extra = torch.zeros(len(rollouts), dtype=torch.int64).index_add(0, row, tokens)
        return rollouts.with_columns(segment_start=starts, segment_value=segment_value, extra_tokens=extra)

    def _continued(self, turn: Tensor, state: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is still earned from each state on, and the tokens spent to find out. [S] -> [S], [S]"""
        if self.continuations == 0:
            return self.truth.value[turn, state], torch.zeros_like(turn)
        begin = state.repeat_interleave(self.continuations)
        played = play(self.world, self.probabilities, torch.zeros_like(begin), generator, state=begin)
        earned = (self.world.reward[played.state, played.action] * played.alive).sum(dim=1)
        return earned.view(-1, self.continuations).mean(dim=1), played.alive.sum(dim=1).view(-1, self.continuations).sum(dim=1)


@dataclass(frozen=True, eq=False)
class BranchingTestbed(ResponseTestbed):
    """Rows are segments of a tree of responses: behind each segment that goes on, several are sampled.

    Attributes:
        branches: how many segments behind the prompt, behind each of those, and so on; their product is the number of leaves.
        segment: tokens in a segment; the last level's go on to the end.
    """

    branches: tuple[int, ...] = (2, 2, 2)
    segment: int = 2

    @cached_property
    def _frequencies(self) -> Tensor:
        """[H, S, A] how often a leaf makes each choice, on average: early choices are shared by many leaves."""
        leaves = list(accumulate(self.branches, mul))
        level = (torch.arange(self.world.horizon) // self.segment).clamp(max=len(leaves) - 1)
        share = torch.tensor(leaves, dtype=torch.float64)[level] / leaves[-1]
        return self.truth.visits[:, :, None] * self.probabilities[self.world.context] * share[:, None, None]

    def collect(self, groups: int, group_size: int, generator: torch.Generator) -> Rollouts:
        """One tree a group. Further columns: `node` and `parent` [N]; rewards stand at leaves.

        Raises:
            ValueError: if `group_size` is not the number of leaves.
        """
        leaves = list(accumulate(self.branches, mul))[-1]
        if group_size != leaves:
            shape = " x ".join(map(str, self.branches))
            raise ValueError(f"a tree of {shape} branches has {leaves} leaves, so group_size cannot be {group_size}")
        world = self.world
        group = torch.arange(groups)
        state = world.start[torch.randint(len(world.start), (groups,), generator=generator)]
        earned, node = torch.zeros(groups, dtype=torch.float64), torch.full((groups,), -1)
        parts, count = [], 0
        for level, branches in enumerate(self.branches):
            turn = torch.full((len(group) * branches,), level * self.segment)
            group, state, earned, above = (x.repeat_interleave(branches) for x in (group, state, earned, node))
            played = play(world, self.probabilities, torch.zeros_like(state), generator, state=state)
            last = level == len(self.branches) - 1
            if not last:
                played = replace(played, alive=played.alive & (torch.arange(world.horizon) < self.segment))
            part = self._rows(played, turn, group.tolist(), group.tolist())
            end = played.alive.sum(dim=1, keepdim=True) - 1
            final, action = played.state.gather(1, end)[:, 0], played.action.gather(1, end)[:, 0]
            goes_on = ~world.over[final, action] & (not last)
            node = torch.arange(count, count + len(group))
            count += len(group)
            names = {"node": node.tolist(), "parent": [None if p < 0 else p for p in above.tolist()]}
            earned = earned + part.rewards
            parts.append(replace(part, rewards=torch.where(goes_on, 0, earned)).with_columns(**names))
            group, state, earned, node = (x[goes_on] for x in (group, world.move[final, action], earned, node))
            if not len(group):
                break
        rollouts = concatenate(parts)
        return rollouts.select(torch.tensor(rollouts.task).argsort(stable=True))


def tree_testbed(
    success: float = 0.5,
    kind: type[ResponseTestbed] = ResponseTestbed,
    *,
    bits: int = 4,
    spare: int = 2,
    partial: float = 0.0,
    seed: int = 0,
    **how: Any,
) -> ResponseTestbed:
    """A tree of running parities (`hierlab.envs.token_tree.parity_tree`) under a student of known skill.

    Args:
        success: the student's probability of success.
        kind: how responses are collected: one of the classes of this module.
        bits: in the prompt.
        spare: tokens that a response may have beyond those needed.
        partial: share of the reward that is given along the way.
        seed: of the prompts and of what the student finds hard.
        **how: further attributes of the class, such as `cut` and `continuations`, or `branches` and `segment`.

    Raises:
        ValueError: as `parity_tree` and `student`.
    """
    tree = parity_tree(bits, spare, partial=partial, seed=seed)
    plans = torch.tensor([token == RECONSIDER for token in tree.world.commands])
    return kind("a tree of running parities", tree.world, student(tree, success, seed=seed), planning=plans, **how)
