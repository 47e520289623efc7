"""RewardBench 2 (arXiv 2506.01937): its domains, and the one number that is made of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

DOMAINS = ("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties")
"""The six domains, as the data names them."""
PROMPTS: Mapping[str, int] = {"Factuality": 475, "Precise IF": 160, "Math": 183, "Safety": 450, "Focus": 495, "Ties": 102}
"""How many prompts each has (Table 2 of the paper); those of Ties are 51 pairs."""


def final_score(domains: Mapping[str, float]) -> float:
    """The unweighted mean of the domain scores.

    The released script prints the domains and leaves the mean to the reader. Nothing is clipped: a Ties score of up to 1.01 counts as
    it is.

    Args:
        domains: score by domain, of all six or, with a warning that names the missing ones, of some.

    Raises:
        ValueError: if there is no domain, one is unknown, or a score is not finite.
    """
    if not domains:
        raise ValueError(f"a final score needs at least one of the domains {', '.join(DOMAINS)}")
    if unknown := [name for name in domains if name not in DOMAINS]:
        raise ValueError(f"no domain {unknown[0]!r}; there are {', '.join(DOMAINS)}")
    for name, score in domains.items():
        if not math.isfinite(score):
            raise ValueError(f"the score of {name} must be finite, got {score}")
    if missing := missing_domains(domains):
        warnings.warn(f"the mean is over {len(domains)} of 6 domains; {', '.join(missing)} missing", stacklevel=2)
    return sum(domains.values()) / len(domains)


def missing_domains(domains: Mapping[str, float]) -> tuple[str, ...]:
    """The domains that have no score."""
    return tuple(name for name in DOMAINS if name not in domains)


def section_scores(counts: Mapping[str, int], sections: Mapping[str, Sequence[str]], scores: Mapping[str, float]) -> dict[str, float]:
    """Scores of version 1's sections: the mean of the subsets that are present, weighted by their numbers of prompts.

    Args:
        counts: prompts by subset.
        sections: subsets by section.
        scores: score by subset; those that are missing are left out.

    Returns:
        Score by section; 0 where no subset is present or none has a prompt, as in the released code.

    Raises:
        ValueError: if a subset has a score but no count, or a negative one.

    Source: allenai/reward-bench@05a9005 `rewardbench/utils.py`, `calculate_scores_per_section`.
    """
    result = {}
    for section, subsets in sections.items():
        present = [subset for subset in subsets if subset in scores]
        if wrong := [subset for subset in present if counts.get(subset, -1) < 0]:
            raise ValueError(f"subset {wrong[0]!r} of {section} has a score, and needs its number of prompts, got {counts.get(wrong[0])}")
        total = sum(counts[subset] for subset in present)
        result[section] = sum(scores[subset] * counts[subset] for subset in present) / total if total else 0.0
    return result
