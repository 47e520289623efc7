r"""Supervised fine-tuning on the preferred answers, as a loss of its own or a term beside another.

$-\ell_w N/\sum_i|y_{w,i}|$ for each pair, so that the mean over pairs is the mean over *tokens*, as language models are trained. It is the
trivial baseline of preference learning: it reads the preferred answers and nothing of the comparison.
"""

from __future__ import annotations

from torch import Tensor

from hierlab.preference.log_ratios import check_pairs, token_counts


def sft(chosen: Tensor, chosen_tokens: Tensor) -> Tensor:
    """The negative log-likelihood of the preferred answers.

    Args:
        chosen: [N] the policy's log-probability of the preferred answer, summed over its tokens.
        chosen_tokens: [N] its number of tokens.

    Returns:
        [N] losses whose mean is the loss per token of the batch, in nats.

    Raises:
        ValueError: if columns differ in length or are not finite, or an answer has no token.

    Source: TRL `DPOTrainer`, loss `sft`, pinned by its reference vectors.
    """
    check_pairs(chosen=chosen)
    counts = token_counts("chosen_tokens", chosen_tokens, chosen)
    return -chosen * (len(chosen) / counts.sum())
