r"""A language in which everything is known: what every text's probability is, and what it is worth.

Four topics, 24 words. A text about a topic has a length, uniform between `shortest` and `longest` words, and its words follow a Markov
chain of the topic, which prefers the topic's own six words. Its utility is linear in its words, each worth so much on this topic, and of
two texts one is preferred with probability $\alpha=\sigma(u_1-u_2)$. So preference learning can be held against the truth: no rater, no
judge, no estimate stands between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hierlab.seeds import generator as seeded

TOPICS = {
    "weather": ("sun", "rain", "wind", "cloud", "storm", "snow"),
    "food": ("bread", "soup", "salt", "apple", "rice", "cheese"),
    "music": ("drum", "song", "violin", "choir", "rhythm", "piano"),
    "sport": ("ball", "race", "goal", "team", "swim", "jump"),
}
WORDS = tuple(word for words in TOPICS.values() for word in words)
"""All words of the language, topic by topic."""

Text = tuple[int, ...]
"""A text: places of its words in `WORDS`."""


@dataclass(frozen=True)
class Comparisons:
    """Pairs of texts on the same topic, with one rater's word on each.

    Attributes:
        topic: [N] which of `TOPICS` both texts are about.
        chosen: [N] the texts that the rater preferred.
        rejected: [N] the others.
        agreement: [N] float64, the probability with which a rater prefers `chosen`; below one half where the rater erred.
        utility_gap: [N] float64, the utility of `chosen` less that of `rejected`.
    """

    topic: list[int]
    chosen: list[Text]
    rejected: list[Text]
    agreement: Tensor
    utility_gap: Tensor

    def __len__(self) -> int:
        return len(self.topic)


class TopicCorpus:
    """The language and its utilities.

    Args:
        seed: draws the chains and the words' worths.
        shortest: fewest words of a text.
        longest: most words of a text.
        focus: how much likelier, in nats, the topic's own words are.
        variety: deviation of the chains' other preferences, in nats.
        stakes: deviation of a word's worth, in the unit of utility, in which a lead of 1 wins 73 % of all raters.

    Raises:
        ValueError: if a text could be empty, or a number is negative.
    """

    def __init__(
        self, seed: int = 0, *, shortest: int = 3, longest: int = 20, focus: float = 1.5, variety: float = 1.0, stakes: float = 0.7
    ):
        if not 1 <= shortest <= longest:
            raise ValueError(f"texts need at least one word and no negative range, got {shortest} to {longest}")
        if min(focus, variety, stakes) < 0:
            raise ValueError(f"focus, variety and stakes must not be negative, got {focus}, {variety} and {stakes}")
        self.shortest, self.longest = shortest, longest
        draw = seeded(seed, "topic corpus")
        topics, words = len(TOPICS), len(WORDS)
        own = torch.arange(words) // (words // topics) == torch.arange(topics)[:, None]
        logits = variety * torch.randn(topics, words + 1, words, generator=draw, dtype=torch.float64) + focus * own[:, None, :]
        self.chain = logits.log_softmax(dim=2)
        """[topic, word before (the last entry: none), word] log-probability."""
        self.worth = stakes * torch.randn(topics, words, generator=draw, dtype=torch.float64)
        """[topic, word] what one occurrence adds to a text's utility."""

    def sample(self, topic: Sequence[int] | Tensor, generator: torch.Generator) -> list[Text]:
        """One text for each topic named.

        Args:
            topic: [N] topics by number.
            generator: source of all randomness.
        """
        topic = torch.as_tensor(topic)
        lengths = torch.randint(self.shortest, self.longest + 1, topic.shape, generator=generator)
        words = torch.full((len(topic), self.longest + 1), len(WORDS))  # before the first word stands none
        for place in range(1, self.longest + 1):
            odds = self.chain[topic, words[:, place - 1]].exp()
            words[:, place] = torch.multinomial(odds, 1, generator=generator)[:, 0]
        return [tuple(row[1 : 1 + n]) for row, n in zip(words.tolist(), lengths.tolist(), strict=True)]

    def log_probability(self, topic: Sequence[int], texts: Sequence[Text]) -> Tensor:
        """[N] the log-probability of each text given its topic, in nats; minus infinity for a length that does not occur."""
        choices = self.longest - self.shortest + 1
        found = []
        for t, text in zip(topic, texts, strict=True):
            if not self.shortest <= len(text) <= self.longest:
                found.append(-torch.inf)
                continue
            before = [len(WORDS), *text[:-1]]
            found.append(float(self.chain[t, before, list(text)].sum()) - float(torch.tensor(choices).double().log()))
        return torch.tensor(found, dtype=torch.float64)

    def utility(self, topic: Sequence[int], texts: Sequence[Text]) -> Tensor:
        """[N] what each text is worth on its topic; a text of no words is worth 0."""
        return torch.tensor([float(self.worth[t, list(text)].sum()) for t, text in zip(topic, texts, strict=True)], dtype=torch.float64)

    def compare(self, pairs: int, generator: torch.Generator) -> Comparisons:
        """Pairs of texts on random topics, each judged by one rater, who errs as the utilities allow.

        Args:
            pairs: how many; the two texts of a pair differ.
            generator: source of all randomness.

        Raises:
            ValueError: if `pairs` is below 1.
        """
        if pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {pairs}")
        topic = torch.randint(len(TOPICS), (pairs,), generator=generator).tolist()
        first, second = self.sample(topic, generator), self.sample(topic, generator)
        while twins := [i for i in range(pairs) if first[i] == second[i]]:
            for i, text in zip(twins, self.sample([topic[i] for i in twins], generator), strict=True):
                second[i] = text
        gap = self.utility(topic, first) - self.utility(topic, second)
        won = torch.rand(pairs, generator=generator, dtype=torch.float64) < gap.sigmoid()
        chosen = [a if w else b for a, b, w in zip(first, second, won.tolist(), strict=True)]
        rejected = [b if w else a for a, b, w in zip(first, second, won.tolist(), strict=True)]
        signed = torch.where(won, gap, -gap)
        return Comparisons(topic, chosen, rejected, signed.sigmoid(), signed)


def as_text(text: Text) -> str:
    """The words of a text, with spaces between."""
    return " ".join(WORDS[word] for word in text)
