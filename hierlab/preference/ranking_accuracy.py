r"""Ranking accuracy: does a policy give the preferred answer the larger likelihood? (arXiv 2405.19534)

Not the implicit reward, which subtracts the reference, but the policy's own likelihood: $R=\mathbb 1[m\ge0]$ with
$m=\log\pi(y_w\mid x)-\log\pi(y_l\mid x)$. All that a reference contributes is one number a pair, its log-ratio with the *loser* on top,
$c=\log\pi_\text{ref}(y_l\mid x)-\log\pi_\text{ref}(y_w\mid x)$: the reference ranks the pair wrongly where $c>0$, and the DPO loss is
$-\log\sigma(\beta(m+c))$. Whence

* **difficulty** (Theorem 4.1): the pair is ranked correctly if and only if its loss is at most $-\log\sigma(\beta c)$;
* **the perfect optimum** (Theorem 3.1) of DPO and RLHF under Bradley-Terry, where a share $\alpha$ of raters prefers $y_w$:
  $m^*=-c+\frac1\beta\operatorname{logit}\alpha$;
* **idealised ranking accuracy** (Corollary 3.3): the share of pairs with $m^*>0$, that is, with $\alpha>\sigma(\beta c)$.

Everything is computed in logs: as ratios, $m^*$ overflows for small $\beta$, and the released code then drops the pair.

Paper and released code (angie-chen55/pref-learning-ranking-acc at a86bdef) differ in four places; `variant` chooses, and the default is the
paper.

* Plain likelihoods: `RLHFMinimizerClient._compute_likelihood_ratios_helper` divides two summed log-probabilities instead of
  exponentiating their difference. That ratio is near 1 for any two answers, and on the wrong side of it: the loser's likelihood counts
  for the winner. Idealised accuracy then follows the raters alone.
* Ties: the code calls ideal ratios within 5 % of 1 a tie, which matches no strict preference of the raters; the paper has a strict sign.
* Equal likelihoods: right in the paper ($\ge$), wrong in the code, whose competition ranks [1, 1] are not [1, 2].
* Unanimous raters: the code divides by $\epsilon=0.001$ instead of $1-\alpha=0$; the paper adds it. Both give odds of about 1000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hierlab.checks import check_choice, check_floats, check_range, check_shapes
from hierlab.preference.log_ratios import check_pairs, check_positive, token_counts
from hierlab.trace import show

Variant = Literal["paper", "official"]
BETAS = (0.01, 0.1, 1.0, 5.0, 10.0)
"""The grid over which the paper reports idealised ranking accuracy."""
TIE_BAND = 0.05
"""Ideal likelihood ratios closer to 1 than this are ties in the released code."""
SOLVED_LOSS = 0.6
"""Below this DPO loss a pair that the reference ranks correctly stays so (Proposition 2.6); any number below log 2 would do."""


def difficulty(reference_chosen: Tensor, reference_rejected: Tensor) -> Tensor:
    r"""$c$, how wrongly the reference ranks each pair, in nats; at most 0 where it is right.

    Args:
        reference_chosen: [N] the reference's log-probability of the preferred answer; summed, or averaged over tokens, in which case
            everything that follows from it is about likelihoods per token.
        reference_rejected: [N] of the other answer.

    Raises:
        ValueError: if the columns differ in length or are not finite.
    """
    check_pairs(reference_chosen=reference_chosen, reference_rejected=reference_rejected)
    return show("difficulty", reference_rejected - reference_chosen, r"c=\log\frac{\pi_{\text{ref}}(y_l)}{\pi_{\text{ref}}(y_w)}")


def ranked_right(chosen: Tensor, rejected: Tensor, *, variant: Variant = "paper") -> Tensor:
    r"""Which pairs a policy ranks correctly, $R=\mathbb 1[\log\pi(y_w)\ge\log\pi(y_l)]$.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed or averaged over its tokens.
        rejected: [N] of the other answer, likewise.
        variant: "paper" calls equal likelihoods right, "official" wrong.

    Returns:
        [N] bool.

    Raises:
        ValueError: if the columns differ in length or are not finite, or the variant is unknown.
    """
    check_choice("variant", variant, Variant)
    check_pairs(chosen=chosen, rejected=rejected)
    right = chosen >= rejected if variant == "paper" else chosen > rejected
    return show("ranked correctly", right, r"R=1[\log\pi(y_w)\ge\log\pi(y_l)]")


def competition_ranks(scores: Tensor, *, tie: float = 0.0) -> Tensor:
    """Rank 1 for the largest score, equal ones sharing the better rank. [N, K] -> [N, K] int64

    Args:
        scores: [N, K] one list a row.
        tie: scores at most this far apart are equal; above 0 for pairs only (K = 2), where it is no matter of order.

    Raises:
        ValueError: if scores are no floating-point matrix, or `tie` is negative, or above 0 for longer lists.
    """
    check_floats("scores", scores, dims=2)
    check_range("tie", tie, 0)
    if tie and scores.shape[1] != 2:
        raise ValueError(f"a tie threshold is defined for pairs, got lists of {scores.shape[1]}")
    return 1 + (scores[:, None, :] - scores[:, :, None] > tie).sum(dim=2)


def ranking_accuracy(scores: Tensor, ranks: Tensor, *, tie: float = 0.0, variant: Variant = "paper") -> tuple[float, Tensor]:
    r"""The share of prompts whose answers a policy ranks exactly as the raters do.

    Args:
        scores: [N, K] what the policy ranks by: log-probabilities summed over tokens, or the likelihood per token $\pi(y)^{1/|y|}$, which
            is one over the perplexity.
        ranks: [N, K] the raters' ranks, 1 for the best; equal numbers are ties.
        tie: pairs whose scores are at most this far apart count as tied (the released code: 0.01 where raters may tie; 0: where not).
        variant: "paper" calls a tied pair right under either strict ranking; "official" wants a strict one for it.

    Returns:
        The mean over rows without NaN, and [N] values, 1 or 0, NaN for rows with a NaN score. The mean of no rows is NaN.

    Raises:
        ValueError: if shapes differ, a rank is below 1, a number is out of range or the variant is unknown.

    Source: `CalibrationMetrics.rank` and `Accuracy.distance`, pinned by their reference vectors.
    """
    check_choice("variant", variant, Variant)
    ranks = torch.as_tensor(ranks, device=scores.device)
    check_shapes(scores=scores, ranks=ranks)
    if ranks.numel() and int(ranks.min()) < 1:
        raise ValueError(f"ranks start at 1 for the best, got {int(ranks.min())}")
    model = competition_ranks(scores, tie=tie)
    right = (model == ranks).all(dim=1)
    if variant == "paper" and scores.shape[1] == 2 and not tie:
        right |= scores[:, 0] == scores[:, 1]
    values = torch.where(scores.isnan().any(dim=1), torch.nan, right.double())
    return float(values.nanmean()), values


def rater_log_odds(agreement: Tensor, *, eps: float = 1e-3) -> Tensor:
    r"""$\operatorname{logit}\alpha$, with odds of $1/\epsilon$ where all raters agree, and 0 where none does.

    Args:
        agreement: [N] $\alpha$, the share of raters, or the probability of one, that prefers the answer named first.
        eps: $\epsilon$, instead of $1-\alpha=0$.

    Returns:
        [N] log-odds; minus infinity where $\alpha=0$.

    Raises:
        ValueError: if a share lies outside [0, 1], or `eps` is not positive.
    """
    check_pairs(agreement=agreement)
    check_positive("eps", eps)
    if agreement.numel() and not (float(agreement.min()) >= 0 and float(agreement.max()) <= 1):
        raise ValueError(f"agreement is a share of raters, in [0, 1], got {float(agreement.min()):g} to {float(agreement.max()):g}")
    return agreement.log() - torch.where(agreement < 1, 1 - agreement, eps).log()


def ideal_margin(
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    agreement: Tensor,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
    *,
    beta: float,
    variant: Variant = "paper",
    eps: float = 1e-3,
) -> Tensor:
    r"""$m^*$, the log-ratio of the two answers' likelihoods under the perfect optimum of DPO and of RLHF.

    Args:
        reference_chosen: [N] the reference's log-probability of the preferred answer, summed over its tokens.
        reference_rejected: [N] of the other answer.
        agreement: [N] $\alpha$, the share of raters who prefer the preferred answer; labels that are single draws may be below one half.
        chosen_tokens: [N] length of the preferred answer: with both lengths, $m^*$ is that of likelihoods per token.
        rejected_tokens: [N] of the other answer.
        beta: how strongly the policy is held to its reference.
        variant: "paper", or "official" for what the released code has in place of the plain log-ratio, the logarithm of the ratio of
            summed log-probabilities; per token both are the same.
        eps: as in `rater_log_odds`.

    Returns:
        [N] log-ratios in nats; minus infinity where no rater agrees.

    Raises:
        ValueError: if columns differ in length or are out of range, only one length is given, `beta` is not positive, or the official ratio
            meets a log-probability that is not negative.

    Source: `RLHFMinimizerClient._compute_likelihood_ratios_helper`, pinned by its reference vectors.
    """
    check_choice("variant", variant, Variant)
    check_positive("beta", beta)
    check_pairs(reference_chosen=reference_chosen, reference_rejected=reference_rejected, agreement=agreement)
    if (chosen_tokens is None) != (rejected_tokens is None):
        raise ValueError("likelihoods per token need both chosen_tokens and rejected_tokens")
    if chosen_tokens is not None:
        chosen = reference_chosen / token_counts("chosen_tokens", chosen_tokens, reference_chosen)
        reference = chosen - reference_rejected / token_counts("rejected_tokens", rejected_tokens, reference_rejected)
    elif variant == "paper":
        reference = -difficulty(reference_chosen, reference_rejected)
    else:
        if reference_chosen.numel() and not float(torch.maximum(reference_chosen, reference_rejected).max()) < 0:
            raise ValueError("variant='official' divides log-probabilities, which must all be negative")
        reference = (reference_chosen / reference_rejected).log()
    push = show("what the raters add", rater_log_odds(agreement, eps=eps) / beta, r"\frac{1}{\beta}\log\frac{\alpha}{1-\alpha}")
    return show("ideal margin", reference + push, r"m^*=-c+\frac{1}{\beta}\log\frac{\alpha}{1-\alpha}")


def ratio_ranks(log_ratio: Tensor, *, band: float = TIE_BAND) -> Tensor:
    """Ranks of two answers from the log-ratio of their likelihoods: ratios closer to 1 than `band` are ties. [N] -> [N, 2] int64

    Raises:
        ValueError: if the log-ratios are no floating-point vector, or `band` lies outside [0, 1].
    """
    check_floats("log_ratio", log_ratio)
    check_range("band", band, 0, 1)
    ratio = log_ratio.exp()
    first, second = ratio >= 1 + band, ratio <= 1 - band
    tied = (ratio - 1).abs() < band
    return torch.stack([1 + (second & ~tied).long(), 1 + (first & ~tied).long()], dim=1)


def idealised_right(margin: Tensor, agreement: Tensor, *, variant: Variant = "paper", eps: float = 1e-3) -> Tensor:
    r"""Which pairs the perfect optimum ranks correctly.

    Args:
        margin: [N] $m^*$, from `ideal_margin`.
        agreement: [N] the share of raters who prefer the preferred answer; looked at by "official" only.
        variant: "paper", $m^*>0$; "official" compares the ranks of the ideal ratio with those of the raters' odds, both with ties.
        eps: as in `rater_log_odds`.

    Returns:
        [N] bool, whose mean is the idealised ranking accuracy.

    Raises:
        ValueError: if the variant is unknown, or columns differ in length or are out of range.

    Source: Corollary 3.3; `RLHFMinimizerClient.compute_ranks`, pinned by its reference vectors.
    """
    check_choice("variant", variant, Variant)
    check_shapes(margin=margin, agreement=agreement)
    if variant == "paper":
        return margin > 0
    return (ratio_ranks(margin) == ratio_ranks(rater_log_odds(agreement, eps=eps))).all(dim=1)


def idealised_ranking_accuracy(
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    agreement: Tensor,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
    *,
    beta: float,
    variant: Variant = "paper",
    eps: float = 1e-3,
) -> float:
    r"""$R^*$, the share of pairs that the perfect optimum ranks correctly: arguments as in `ideal_margin`.

    It bounds nothing: where labels are noisy and $|c|$ is large beside $\operatorname{logit}(\alpha)/\beta$, the optimum keeps the
    reference's ranking, right or wrong.

    Raises:
        ValueError: as `ideal_margin`, or if there is no pair.
    """
    if not len(reference_chosen):
        raise ValueError("an accuracy needs at least one pair")
    columns = (reference_chosen, reference_rejected, agreement, chosen_tokens, rejected_tokens)
    margin = ideal_margin(*columns, beta=beta, variant=variant, eps=eps)
    return float(idealised_right(margin, agreement, variant=variant, eps=eps).double().mean())


def ideal_accuracies(
    reference: tuple[Tensor, Tensor],
    agreement: Tensor,
    tokens: tuple[Tensor, Tensor] | None = None,
    *,
    betas: Sequence[float] = BETAS,
    variant: Variant = "paper",
) -> dict[float, float]:
    r"""Idealised ranking accuracy over a grid of beta.

    Args:
        reference: the reference's log-probabilities of the preferred and of the other answers, [N] each.
        agreement: [N] $\alpha$.
        tokens: lengths of the answers, for likelihoods per token; None for plain ones.
        betas: the grid; the paper's by default, of which it reports least, middle and largest accuracy.
        variant: as in `ideal_margin`.

    Raises:
        ValueError: as `idealised_ranking_accuracy`.
    """
    columns = (*reference, agreement, *(tokens or ()))
    return {beta: idealised_ranking_accuracy(*columns, beta=beta, variant=variant) for beta in betas}


def dpo_threshold(difficulty: Tensor, *, beta: float = 0.1, gamma: float = 1.0) -> Tensor:
    r"""The DPO loss down to which a pair must come to be ranked correctly, $-\log\sigma(\beta\gamma c)$: an "if and only if".

    Args:
        difficulty: [N] $c$, in nats.
        beta: of the loss.
        gamma: weight of the reference in the loss.

    Returns:
        [N] losses; log 2, where training starts, for $c=0$, and about $e^{-\beta\gamma c}$ for hard pairs.

    Raises:
        ValueError: if `beta` is not positive or `gamma` negative.

    Source: Theorem 4.1, and Appendix A for $\gamma$.
    """
    check_positive("beta", beta)
    check_range("gamma", gamma, 0)
    return show("loss at which the ranking turns", softplus(-beta * gamma * difficulty), r"\ell^\star=-\log\sigma(\beta\gamma c)")


def ipo_threshold(difficulty: Tensor, *, beta: float = 0.1) -> Tensor:
    r"""The IPO loss (of summed log-probabilities) down to which a pair is sure to be ranked correctly, $(\frac{1}{2\tau}-c)^2$.

    Where $c>\frac1{2\tau}$ even a loss of 0 is a wrong ranking, and the threshold is minus infinity. Unlike DPO's, this one is sufficient
    only: a margin far above its target has a large loss and the right order.

    Args:
        difficulty: [N] $c$, in nats.
        beta: $\tau$.

    Returns:
        [N] losses, in squared nats.

    Raises:
        ValueError: if `beta` is not positive.

    Source: Proposition A.7, in which $c$ has the opposite sign.
    """
    check_positive("beta", beta)
    target = 1 / (2 * beta) - difficulty  # the policy's own margin at a loss of 0
    return torch.where(target < 0, -math.inf, target.square())


@dataclass(frozen=True)
class Group:
    """Pairs that the reference ranked one way, and the policy now ranks one way.

    Attributes:
        before: whether the reference ranks them correctly.
        now: whether the policy does.
        share: of all pairs.
        loss: mean DPO loss, in nats; NaN for an empty group.
        margin: mean reward margin; NaN for an empty group.
    """

    before: bool
    now: bool
    share: float
    loss: float
    margin: float


def four_groups(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, beta: float = 0.1, gamma: float = 1.0
) -> list[Group]:
    r"""The pairs by who ranks them correctly: right then and now, right then wrong, wrong then right, wrong then and now.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer.
        rejected: [N] of the other answer.
        reference_chosen: [N] the reference's of the preferred answer.
        reference_rejected: [N] of the other answer.
        beta: of the DPO loss.
        gamma: weight of the reference in it.

    Returns:
        The four groups, in this order.

    Raises:
        ValueError: if there is no pair, columns differ in length or are not finite, or a number is out of range.
    """
    check_positive("beta", beta)
    check_range("gamma", gamma, 0)
    now, before = ranked_right(chosen, rejected), difficulty(reference_chosen, reference_rejected) <= 0
    check_shapes(chosen=chosen, reference_chosen=reference_chosen)
    if not len(chosen):
        raise ValueError("groups need at least one pair")
    margin = beta * (chosen - rejected + gamma * (reference_rejected - reference_chosen))
    loss = softplus(-margin)
    groups = []
    for was, still in ((True, True), (True, False), (False, True), (False, False)):
        members = (before == was) & (now == still)
        groups.append(Group(was, still, float(members.double().mean()), float(loss[members].mean()), float(margin[members].mean())))
    return groups


@dataclass(frozen=True)
class Changes:
    """What training did to the ranking.

    Attributes:
        accuracy: share of pairs ranked correctly.
        reference_accuracy: share that the reference ranks correctly.
        reward_accuracy: share whose implicit reward is strictly larger for the preferred answer.
        flipped: share, of the pairs that the reference ranks wrongly, that are now ranked correctly; NaN if there are none.
        unlearned: share, of those that it ranks correctly, that are now ranked wrongly; NaN if there are none.
    """

    accuracy: float
    reference_accuracy: float
    reward_accuracy: float
    flipped: float
    unlearned: float


def ranking_changes(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor) -> Changes:
    """Ranking accuracy before and now, and how many rankings were flipped; arguments as in `four_groups`.

    Raises:
        ValueError: if there is no pair, or columns differ in length or are not finite.
    """
    check_pairs(chosen=chosen, rejected=rejected, reference_chosen=reference_chosen, reference_rejected=reference_rejected)
    if not len(chosen):
        raise ValueError("an accuracy needs at least one pair")
    right = ranked_right(chosen, rejected)
    hard = difficulty(reference_chosen, reference_rejected) > 0
    rewarded = chosen - reference_chosen > rejected - reference_rejected
    return Changes(*(float(x.double().mean()) for x in (right, ~hard, rewarded, right[hard], ~right[~hard])))
