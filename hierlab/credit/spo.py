r"""SPO: Segment Policy Optimization, segment-level credit from Monte-Carlo values (arXiv 2505.23564).

One advantage a token needs a critic, one a response blurs good parts and bad. SPO gives one to each *segment*. The value of the state
a segment starts from is the mean reward of a few continuations sampled from there, and its advantage is the change across it:

$$\hat V(s_{t_k})=\frac1N\sum_{j=1}^N R(x,[y_{<t_k},\tau^{(j)}]),\qquad
\hat A_k=\hat V(s_{t_{k+1}})-\hat V(s_{t_k}),\qquad \hat V(s_{T+1})=R(x,y).$$

**Cutting.** A response branches where the policy was unsure: at the *cutpoints*, whose probability is below $\rho$. Each segment holds a
fixed number of them (`cutpoint_starts`). Cutting into equal lengths is the control (`equal_starts`).

**Chain** (`spo`). The states along one response are valued by independent continuations. Confident tokens get no advantage: the
*probability mask* keeps those the choice was made at.

**Tree** (`spo_tree`). Segments sampled as a tree value each other, without further continuations: a leaf by its reward, an inner node by
the mean of its children, and the advantage of a segment is its value minus that of the node it was sampled behind.

Where paper and released code (AIFrameResearch/SPO, a fork of VinePPO) differ:

* The paper cuts a response so that $\sum_k|U\cap S_k|^2$ over a fixed number of segments is least, which shares the cutpoints $U$ out
  evenly (`num_segments`); the code fixes the number of cutpoints in a segment (`interval`, default).
* The code's tests on $\rho$ are strict on both sides: a token of probability exactly $\rho$ is neither a cutpoint nor in the loss mask,
  but keeps its advantage.
* The code calls the plain tree advantage "rloo", though the mean includes the node itself (`scale="none"`), and "grpo" the one divided
  by the siblings' biased deviation (`scale="std"`).
* The code's ablation with equal lengths does not value the prompt, so that its first segment gets nothing (`from_prompt=False`).
* The code's trainer standardises over each micro-batch of 2 to 8 responses; `whiten` does it over the batch given.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_choice, check_finite, check_floats, check_range, check_rows
from hierlab.credit.segments import segments_between, spread, value_steps
from hierlab.credit.trees import backed_up_values, path_share, tree_of
from hierlab.ops import Scale, group_mean, group_relative
from hierlab.ops import whiten as standardise
from hierlab.trace import recording, show

Weight = Literal["segment", "path"]


def spo(
    rewards: Tensor,
    response_mask: Tensor,
    segment_start: Tensor,
    segment_value: Tensor,
    old_logp: Tensor | None = None,
    *,
    threshold: float | None = 0.9,
    whiten: bool = False,
) -> Tensor:
    r"""The change of value across each token's segment, one number per token.

    Tokens before a row's first segment get 0: they were confident, or nobody valued where they start from.

    Args:
        rewards: [N] the outcome of each response.
        response_mask: [N, T] the tokens the policy chose.
        segment_start: [N, T] bool, the first token of each segment; see `cutpoint_starts` and `equal_starts`.
        segment_value: [N, T] at the first token of a segment, the value of the state before that token: the mean reward of
            continuations. What stands at other tokens is not looked at.
        old_logp: [N, T] log-probability of each token when it was sampled, at the sampling temperature; None: no probability mask.
        threshold: $\rho$; tokens of a higher probability get 0. None: no probability mask.
        whiten: standardise over the tokens of the loss mask (`probability_mask`), or over all if it is empty; the rest gets 0.

    Returns:
        [N, T] advantages, exactly 0 where masked.

    Raises:
        ValueError: if shapes differ, a number that counts is not finite, a segment starts at a masked token, or `threshold` is
            outside [0, 1].

    Source: arXiv 2505.23564, Section 4; SPO `math_episode_generator_with_mc_advantages.py`, pinned by its reference vectors.
    """
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, response_mask=response_mask, segment_start=segment_start)
    mask = as_mask("response_mask", response_mask, segment_start.shape)
    segments = segments_between(segment_start, mask)
    starts = segment_start.bool()
    check_floats("segment_value", segment_value, dims=2)
    as_mask("segment_start", starts, segment_value.shape)
    check_finite("segment_value", segment_value, starts, dims=2)

    value = segment_value[segments.row, segments.start].to(rewards.dtype)
    step = value_steps(value, rewards, segments)
    if recording():
        show("value before the segment", spread(value, segments, mask), r"\hat V(s_{t_k})")
        show("value behind the segment", spread(value + step, segments, mask), r"\hat V(s_{t_{k+1}})")
    advantage = show("segment advantage", spread(step, segments, mask), r"\hat A_k=\hat V(s_{t_{k+1}})-\hat V(s_{t_k})")
    if old_logp is None or threshold is None:
        loss_mask = mask
    else:
        loss_mask = probability_mask(old_logp, mask, threshold=threshold)
        advantage = torch.where(old_logp > _log(threshold), 0, advantage)
    if whiten:
        over = torch.where(loss_mask.any(), loss_mask, mask)
        return show("whitened advantage", standardise(advantage, over), r"\frac{A-\overline{A}}{\sigma}")
    return show("advantage", advantage, r"A_t=\hat A_k\,[p_t\le\rho]")


def spo_tree(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    node: Sequence[Hashable] | Tensor,
    parent: Sequence[Hashable | None],
    *,
    scale: Scale = "none",
    eps: float = 1e-8,
    weight: Weight = "segment",
) -> Tensor:
    r"""The value of each segment minus that of the state it was sampled from, one number per segment.

    Args:
        rewards: [N] the outcome of each leaf; 0 for segments that were sampled behind.
        task: [N] the task of each segment.
        node: [N] the name of each segment, unique within its task.
        parent: [N] the name of the segment it was sampled behind; None: the prompt.
        scale: "none" (code: "rloo", default), "std" divides by the biased deviation of the siblings' values plus `eps` (code:
            "grpo"), "batch" by that of all segments.
        eps: added to the deviation.
        weight: "segment" (code): every segment counts as one sample, so that late ones, of which a tree has more, outweigh early ones,
            and the loss does not follow the policy gradient. "path": every segment counts as often as independent responses would
            hold it, $\overline{L}\,w(n)$, with $\overline{L}$ the mean number of leaves of a task and $w(n)$ the chance that a walk from
            the prompt passes through it.

    Returns:
        [N] advantages, to be spread over the tokens of each segment; those of siblings add up to 0.

    Raises:
        ValueError: as `hierlab.credit.trees.tree_of` and `backed_up_values`, or if `scale` or `weight` is unknown.

    Source: arXiv 2505.23564, Section 4; SPO `tree_episode_generator.py`, pinned by its reference vectors.
    """
    check_choice("weight", weight, Weight)
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, task=task, node=node, parent=parent)
    tree = tree_of(task, node, parent, device=rewards.device)
    value = show("value", backed_up_values(rewards, tree), r"\hat V(n)=\frac{1}{|Ch(n)|}\sum_c\hat V(c)")
    if recording():
        show("depth", tree.depth, r"d(n)")
        show("value of the parent", group_mean(value, tree.siblings), r"\hat V(Pa(n))")
    advantage = show(
        "advantage",
        group_relative(value, tree.siblings, scale=scale, eps=eps, unbiased=False),
        r"\hat A(n)=\frac{\hat V(n)-\hat V(Pa(n))}{F}",
    )
    if weight == "segment":
        return advantage
    share = path_share(tree)
    leaves = tree.leaf.sum() / share[tree.leaf].sum()  # a tree's own would bend the gradient: they depend on how its answers went
    return show("weighted advantage", advantage * share * leaves, r"\overline{L}\,w(n)\,\hat A(n)")


def best_of_gain(
    rewards: Tensor,
    task: Sequence[Hashable] | Tensor,
    node: Sequence[Hashable] | Tensor,
    parent: Sequence[Hashable | None],
    *,
    k: int = 4,
) -> Tensor:
    r"""How much a segment changes the chance that the best of `k` attempts succeeds, $B(\hat V(n))-B(\hat V(Pa(n)))$.

    With $B(v)=1-(1-v)^k$. The released code trains on the segments for which advantage plus this gain is not 0: those that differ
    from their siblings.

    Args:
        rewards: [N] as in `spo_tree`, within [0, 1].
        task: [N] as in `spo_tree`.
        node: [N] as in `spo_tree`.
        parent: [N] as in `spo_tree`.
        k: attempts; 4 in the code.

    Returns:
        [N].

    Raises:
        ValueError: as `spo_tree`.
    """
    check_finite("rewards", rewards)
    check_rows(rewards=rewards, task=task, node=node, parent=parent)
    tree = tree_of(task, node, parent, device=rewards.device)
    value = backed_up_values(rewards, tree)
    return (1 - group_mean(value, tree.siblings)) ** k - (1 - value) ** k


def cutpoint_starts(
    old_logp: Tensor, response_mask: Tensor, *, interval: int = 5, num_segments: int | None = None, threshold: float = 0.9
) -> Tensor:
    r"""Cut where the policy was unsure: each segment starts at a cutpoint, a token of probability below $\rho$.

    Args:
        old_logp: [N, T] log-probability of each token when it was sampled, at the sampling temperature.
        response_mask: [N, T] the tokens the policy chose.
        interval: cutpoints in a segment (code); the last one of a response may hold fewer. 5 in the main setting.
        num_segments: share the cutpoints of each response out over so many segments instead (paper), the first ones taking what is
            over; a response with fewer cutpoints has one segment for each.
        threshold: $\rho$.

    Returns:
        [N, T] bool, the first token of each segment; none in a response without cutpoints.

    Raises:
        ValueError: if the shapes differ, a log-probability is not finite, or a number is out of range.

    Source: arXiv 2505.23564, Section 4; SPO `_get_response_probs_and_cutpoints`.
    """
    _check_count("interval", interval)
    unsure = probability_mask(old_logp, response_mask, threshold=threshold)
    rank = unsure.cumsum(1) - 1
    if num_segments is None:
        return unsure & (rank % interval == 0)
    return unsure & _opens(rank, unsure.sum(1, keepdim=True), num_segments)


def equal_starts(response_mask: Tensor, num_segments: int, *, from_prompt: bool = True) -> Tensor:
    """Cut into segments of equal numbers of tokens, the first ones taking what is over: the control of the paper.

    Args:
        response_mask: [N, T] the tokens the policy chose.
        num_segments: how many; 4 in the ablation. A shorter response has one segment for each token.
        from_prompt: whether the first segment counts; the released ablation leaves its tokens without advantage (False).

    Returns:
        [N, T] bool, the first token of each segment.

    Raises:
        ValueError: if `num_segments` is less than 1.

    Source: SPO `math_episode_generator_with_mc_advantages_naive.py`.
    """
    mask = as_mask("response_mask", response_mask, response_mask.shape)
    rank = mask.cumsum(1) - 1
    starts = mask & _opens(rank, mask.sum(1, keepdim=True), num_segments)
    return starts if from_prompt else starts & (rank > 0)


def probability_mask(old_logp: Tensor, response_mask: Tensor, *, threshold: float = 0.9) -> Tensor:
    r"""The tokens the policy was unsure of, $p_t<\rho$: SPO's loss mask and cutpoints.

    Args:
        old_logp: [N, T] log-probability of each token when it was sampled.
        response_mask: [N, T] the tokens the policy chose.
        threshold: $\rho$.

    Returns:
        [N, T] bool.

    Raises:
        ValueError: if the shapes differ, a log-probability is not finite, or `threshold` is outside [0, 1].
    """
    check_range("threshold", threshold, 0, 1)
    check_floats("old_logp", old_logp, dims=2)
    mask = as_mask("response_mask", response_mask, old_logp.shape)
    check_finite("old_logp", old_logp, mask, dims=2)
    return mask & (old_logp < _log(threshold))


def _opens(rank: Tensor, count: Tensor, shares: int) -> Tensor:
    """Whether the entry of this rank is the first of its share, when `count` entries are shared out, the first shares the larger."""
    _check_count("num_segments", shares)
    small, over = count // shares, count % shares
    in_large = rank < over * (small + 1)
    return torch.where(in_large, rank % (small + 1) == 0, (rank - over * (small + 1)) % small.clamp(min=1) == 0)


def _log(threshold: float) -> float:
    return math.log(threshold) if threshold > 0 else -math.inf


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")
