r"""Strategic grams: the phrases a chain of thought is planned with, and how varied they are (HICRA, arXiv 2509.03646).

A planning phrase ("let us try another way") stands in many solutions, in words that vary, and rarely twice in one. So:

1. take all runs of 3 to 5 words of the successful solutions;
2. group those that mean the same: embed, then cluster;
3. count, for each cluster, the solutions that hold any of its phrases;
4. keep the phrases of the 20 % most frequent clusters.

The *semantic entropy* of a batch is that of the phrases in it, $-\sum_g p(g)\log p(g)$: how many ways of planning are in use. It can
rise while the entropy of the tokens falls.

The paper embeds with a sentence transformer and does not name its clustering. Here the default is TF-IDF over runs of characters and
k-means, which need no model; `embed` takes any other. Words are what stands between spaces, in lower case (our choice).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hierlab.checks import as_mask, check_range, check_rows

Gram = tuple[str, ...]
Embedding = Callable[[list[str]], Any]
"""From texts to one vector each: an array or sparse matrix of shape [texts, features]."""


class Mined(NamedTuple):
    """What was mined.

    Attributes:
        grams: the runs of words that were clustered, in order of first appearance.
        cluster: the cluster of each.
        frequency: for each cluster, the number of solutions that hold any of its grams.
        strategic: the grams of the most frequent clusters.
    """

    grams: list[Gram]
    cluster: list[int]
    frequency: list[int]
    strategic: frozenset[Gram]


def grams_of(text: str, sizes: Sequence[int] = (3, 4, 5)) -> Iterator[Gram]:
    """The runs of words of a text, shortest first.

    >>> list(grams_of("Let us Try again", (3,)))
    [('let', 'us', 'try'), ('us', 'try', 'again')]
    """
    words = text.lower().split()
    for size in sizes:
        yield from zip(*(words[i:] for i in range(size)), strict=False)


def mine_strategic_grams(
    solutions: Sequence[str],
    *,
    sizes: Sequence[int] = (3, 4, 5),
    top: float = 0.2,
    least: int = 1,
    clusters: int | None = None,
    embed: Embedding | None = None,
    seed: int = 0,
) -> Mined:
    """Find the phrases that many solutions have in common.

    Args:
        solutions: texts of successful solutions.
        sizes: lengths of the runs, in words.
        top: share of the clusters that is kept; those as frequent as the last one kept are kept too.
        least: grams that fewer solutions hold are left out before clustering; 1 leaves out none, as in the paper. Random content (digits,
            say) falls into a few large clusters, which between them occur in every solution; 2 keeps it from crowding out the phrases.
        clusters: how many; default: the square root of the number of different grams, but at least 10 (never more than there are).
        embed: gives each gram a vector; default: TF-IDF over runs of 2 to 4 characters.
        seed: of the clustering.

    Returns:
        Grams, clusters and what is strategic; nothing if no solution has enough words.

    Raises:
        ValueError: if a size, `least` or the number of clusters is less than 1, or `top` is outside [0, 1].
    """
    check_range("top", top, 0, 1)
    for name, number in [*(("sizes", size) for size in sizes), ("least", least), ("clusters", 1 if clusters is None else clusters)]:
        if number < 1:
            raise ValueError(f"{name} must be 1 or more, got {number}")
    documents = [dict.fromkeys(grams_of(solution, sizes)) for solution in solutions]
    held_by = Counter(gram for document in documents for gram in document)
    grams = [gram for gram, solutions_with in held_by.items() if solutions_with >= least]
    if not grams:
        return Mined([], [], [], frozenset())
    wanted = max(10, math.isqrt(len(grams))) if clusters is None else clusters
    cluster = _clustered([" ".join(gram) for gram in grams], min(wanted, len(grams)), embed or _tf_idf, seed)
    of = dict(zip(grams, cluster, strict=True))
    reached = Counter(number for document in documents for number in {of[gram] for gram in document if gram in of})
    frequency = [reached[number] for number in range(max(cluster) + 1)]
    kept = math.ceil(top * len(frequency))
    rarest = sorted(frequency, reverse=True)[kept - 1] if kept else math.inf
    return Mined(grams, cluster, frequency, frozenset(gram for gram in grams if frequency[of[gram]] >= rarest))


def planning_mask(pieces: Sequence[Sequence[str]], response_mask: Tensor, grams: Collection[Gram]) -> Tensor:
    """The tokens inside any occurrence of a gram; occurrences may overlap.

    Args:
        pieces: N lists with the text of each response token, in the order of the tokens that count; joined, they are the response. So
            a tokenizer that drops the spaces between words needs them put back.
        response_mask: [N, T] the response tokens.
        grams: the grams, in lower case, as `mine_strategic_grams` gives them.

    Returns:
        [N, T] bool, on the device of `response_mask`.

    Raises:
        ValueError: if a row has not as many pieces as response tokens.
    """
    check_rows(pieces=pieces, response_mask=response_mask)
    mask = as_mask("response_mask", response_mask, response_mask.shape)
    known = _by_length(grams)
    flags: list[bool] = []
    for row, (texts, length) in enumerate(zip(pieces, mask.sum(1).tolist(), strict=True)):
        if len(texts) != length:
            raise ValueError(f"pieces must have one text per response token, but row {row} has {len(texts)} texts and {length} tokens")
        flags += _covered(texts, known)
    planning = torch.zeros_like(mask)
    planning[mask] = torch.tensor(flags, dtype=torch.bool, device=mask.device)
    return planning


def gram_counts(texts: Sequence[str], grams: Collection[Gram]) -> Counter[Gram]:
    """How often each gram occurs in the texts."""
    known = _by_length(grams)
    return Counter(gram for text in texts for gram in grams_of(text, sorted(known)) if gram in known[len(gram)])


def semantic_entropy(texts: Sequence[str], grams: Collection[Gram]) -> float:
    r"""Entropy of the grams in the texts, $-\sum_g p(g)\log p(g)$ in nats; 0 if there are none.

    Args:
        texts: the responses of a batch.
        grams: the grams that are counted.

    Source: arXiv 2509.03646.
    """
    counts = gram_counts(texts, grams)
    total = counts.total()
    return -sum(count / total * math.log(count / total) for count in counts.values()) + 0.0


def _by_length(grams: Collection[Gram]) -> dict[int, set[Gram]]:
    """The grams of each length, in words."""
    known = defaultdict(set)
    for gram in grams:
        known[len(gram)].add(gram)
    return known


def _covered(pieces: Sequence[str], known: dict[int, set[Gram]]) -> list[bool]:
    """Whether each token lies in an occurrence of a gram, at least in part."""
    lowered = [piece.lower() for piece in pieces]
    found = list(re.finditer(r"\S+", "".join(lowered)))
    words, flags = [word.group() for word in found], [False] * len(pieces)
    ends = list(accumulate(map(len, lowered)))
    starts = [0, *ends[:-1]]
    for size, grams in known.items():
        for i, gram in enumerate(zip(*(words[j:] for j in range(size)), strict=False)):
            if gram in grams:
                first, behind = bisect_right(ends, found[i].start()), bisect_left(starts, found[i + size - 1].end())
                flags[first:behind] = [True] * (behind - first)
    return flags


def _clustered(texts: list[str], number: int, embed: Embedding, seed: int) -> list[int]:
    """The cluster of each text, numbered from 0 without gaps."""
    from sklearn.cluster import KMeans

    labels = KMeans(number, n_init=1, random_state=seed).fit_predict(embed(texts)).tolist()
    order = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return [order[label] for label in labels]


def _tf_idf(texts: list[str]) -> Any:
    """One sparse vector a text: how typical its runs of 2 to 4 characters are of it."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit_transform(texts)
