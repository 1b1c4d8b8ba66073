"""One order from two: how well a passage's words fit, and how near its meaning is. Pure.

Both are brought to a scale from 0 to 1 and added (a convex sum, which keeps how far apart the best ones are; ranks
alone lose it). Then the question is moved towards what was found first, and nearness is taken once more: passages like
the best ones come up. Source: Bruch et al., An Analysis of Fusion Functions for Hybrid Retrieval (2023); Rocchio's
relevance feedback (1971), on embeddings. docs/quality.md says how the numbers were chosen.

While a collection is being embedded, a passage without an embedding gets the nearness that its words predict: their
score times how near, for theirs, those are that have one. And meaning weighs less the fewer have one, since the nearest
of a few need not be near.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from functions.search.ranking import DIGITS, Ranked
from knts.embeddings import STEPS, Near, Vector, moved, product, unpacked

NEARNESS = 0.45  # share of the sum; the rest is for words
BEST = 8  # passages that the question is moved towards
PULL = 1.0  # of all of them together; the question itself counts as much


@dataclass(frozen=True)
class Nearness:
    """A question's embedding and the passages nearest to it, the nearest first, of `among` that have an embedding.

    `model` made the embeddings.
    """

    question: Vector
    passages: Sequence[Near]
    among: int
    model: str = ""

    @property
    def ids(self) -> list[str]:
        return [each.chunk_id for each in self.passages]


@dataclass(frozen=True)
class Embedded:
    """While some passages have none yet: the share that has one, and the ranked ones that do, beside the nearest."""

    share: float
    ids: AbstractSet[str]


def fused(ranked: Sequence[Ranked], nearness: Nearness, embedded: Embedded | None = None) -> list[Ranked]:
    """The passages, which were ranked by words, in the order of both; scores keep the scale of those by words.

    Without `embedded` all of them have embeddings: what is not among the nearest is far.
    """
    scale = max((each.score for each in ranked), default=0.0) or 1.0
    by_words = {each.chunk.id: each.score / scale for each in ranked}
    nearest = {each.chunk_id: each for each in nearness.passages if each.chunk_id in by_words}
    vectors = {chunk_id: unpacked(each.packed) for chunk_id, each in nearest.items()}
    weight, unknown = NEARNESS, set[str]()
    if embedded:
        weight *= embedded.share
        unknown = by_words.keys() - nearest.keys() - embedded.ids
    first = _sums(by_words, _between({each.chunk_id: each.likeness for each in nearest.values()}), unknown, weight)
    best = sorted(vectors, key=lambda chunk_id: (-first[chunk_id], chunk_id))[:BEST]
    moved_to = _moved(nearness.question, {each: first[each] for each in best}, vectors)
    both = _sums(by_words, _between(moved_to), unknown, weight)
    found = [Ranked(each.chunk, round(both[each.chunk.id] * scale, DIGITS)) for each in ranked]
    return sorted(found, key=lambda each: (-each.score, each.chunk.document_id, each.chunk.number))


def liked(ranked: Iterable[Ranked], nearness: Nearness, embedded: Embedded | None = None) -> list[Ranked]:
    """The passages with the model that embedded them and, of the nearest, with their likeness to the question.

    Without `embedded` all of them have embeddings.
    """
    likeness = {each.chunk_id: round(each.likeness, DIGITS) for each in nearness.passages}
    return [
        replace(each, likeness=likeness.get(each.chunk.id), embedded_by=nearness.model)
        if embedded is None or each.chunk.id in likeness or each.chunk.id in embedded.ids
        else each
        for each in ranked
    ]


def _moved(question: Vector, best: Mapping[str, float], vectors: Mapping[str, Vector]) -> dict[str, float]:
    """How like each vector is to the question when it has been moved towards the best, by their scores."""
    total = sum(best.values()) or 1.0
    pulls = [(PULL * score / total / STEPS, vectors[chunk_id]) for chunk_id, score in best.items()]
    towards = moved(question, pulls)
    return {chunk_id: product(towards, vector) for chunk_id, vector in vectors.items()}


def _sums(
    by_words: Mapping[str, float], near: Mapping[str, float], unknown: AbstractSet[str], weight: float
) -> dict[str, float]:
    slope = _slope([(score, near.get(each, 0.0)) for each, score in by_words.items() if each not in unknown])
    return {
        each: (1 - weight) * score + weight * (slope * score if each in unknown else near.get(each, 0.0))
        for each, score in by_words.items()
    }


def _slope(known: Sequence[tuple[float, float]]) -> float:
    """How near a passage is, for each of its words' score: the least squares through the origin, at most 1."""
    squares = sum(score * score for score, _ in known)
    return min(1.0, sum(score * near for score, near in known) / squares) if squares else 1.0


def _between(likenesses: Mapping[str, float]) -> dict[str, float]:
    """From 0 for the farthest to 1 for the nearest; 1 where all are as near."""
    low, high = min(likenesses.values(), default=0.0), max(likenesses.values(), default=0.0)
    return {chunk_id: (each - low) / (high - low) if high > low else 1.0 for chunk_id, each in likenesses.items()}
