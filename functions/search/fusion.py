"""One order from two: how well a passage's words fit, and how near its meaning is. Pure.

Both are brought to a scale from 0 to 1 and added (a convex sum, which keeps how far apart the best ones are; ranks
alone lose it). Then the question is moved towards what was found first, and nearness is taken once more: passages like
the best ones come up. Source: Bruch et al., An Analysis of Fusion Functions for Hybrid Retrieval (2023); Rocchio's
relevance feedback (1971), on embeddings. docs/quality.md says how the numbers were chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from functions.search.ranking import DIGITS, Ranked
from knts.embeddings import STEPS, Near, Vector, moved, product, unpacked

NEARNESS = 0.45  # share of the sum; the rest is for words
BEST = 8  # passages that the question is moved towards
PULL = 1.0  # of all of them together; the question itself counts as much


@dataclass(frozen=True)
class Nearness:
    """A question's embedding and the passages nearest to it, the nearest first."""

    question: Vector
    passages: Sequence[Near]

    @property
    def ids(self) -> list[str]:
        return [each.chunk_id for each in self.passages]


def fused(ranked: Sequence[Ranked], nearness: Nearness) -> list[Ranked]:
    """The passages, which were ranked by words, in the order of both; scores keep the scale of those by words."""
    scale = max((each.score for each in ranked), default=0.0) or 1.0
    by_words = {each.chunk.id: each.score / scale for each in ranked}
    there = [each for each in nearness.passages if each.chunk_id in by_words]
    first = _sums(by_words, _between({each.chunk_id: each.likeness for each in there}))
    vectors = {each.chunk_id: unpacked(each.packed) for each in there}
    best = sorted(vectors, key=lambda chunk_id: (-first[chunk_id], chunk_id))[:BEST]
    both = _sums(by_words, _between(_moved(nearness.question, {each: first[each] for each in best}, vectors)))
    found = [Ranked(each.chunk, round(both[each.chunk.id] * scale, DIGITS)) for each in ranked]
    return sorted(found, key=lambda each: (-each.score, each.chunk.document_id, each.chunk.number))


def _moved(question: Vector, best: Mapping[str, float], vectors: Mapping[str, Vector]) -> dict[str, float]:
    """How like each vector is to the question when it has been moved towards the best, by their scores."""
    total = sum(best.values()) or 1.0
    pulls = [(PULL * score / total / STEPS, vectors[chunk_id]) for chunk_id, score in best.items()]
    towards = moved(question, pulls)
    return {chunk_id: product(towards, vector) for chunk_id, vector in vectors.items()}


def _sums(by_words: Mapping[str, float], near: Mapping[str, float]) -> dict[str, float]:
    return {
        chunk_id: (1 - NEARNESS) * score + NEARNESS * near.get(chunk_id, 0.0) for chunk_id, score in by_words.items()
    }


def _between(likenesses: Mapping[str, float]) -> dict[str, float]:
    """From 0 for the farthest to 1 for the nearest; 1 where all are as near."""
    low, high = min(likenesses.values(), default=0.0), max(likenesses.values(), default=0.0)
    return {chunk_id: (each - low) / (high - low) if high > low else 1.0 for chunk_id, each in likenesses.items()}
