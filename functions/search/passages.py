"""The passages that an answer is written from: the best ones, no two of which say the same. Pure."""

from collections.abc import Iterable
from typing import Any

from functions.search.ranking import Ranked
from knts.lookup import Chunk

DEFAULT = 4  # passages of about 200 tokens: what a small model reads within seconds
CANDIDATES = 40  # of the ranked passages that are chosen from
ALIKE = 0.8  # share of their words in common from which two passages say the same


def choose(hits: Iterable[Ranked], most: int) -> list[Ranked]:
    """At most `most` of the hits, best first, without those that repeat a better one."""
    chosen: list[Ranked] = []
    for hit in hits:
        if len(chosen) == most:
            break
        if not any(repeats(hit.chunk, other.chunk) for other in chosen):
            chosen.append(hit)
    return chosen


def repeats(one: Chunk, other: Chunk) -> bool:
    """Whether two passages overlap in the same document or consist of nearly the same words."""
    if one.document_id == other.document_id and one.start < other.end and other.start < one.end:
        return True
    left, right = set(one.words.split()), set(other.words.split())
    return len(left & right) >= ALIKE * len(left | right)


def passage(hit: Ranked) -> dict[str, Any]:
    """As `knts.passages.found.v1` holds it."""
    chunk = hit.chunk
    return {
        "document_id": chunk.document_id,
        "version": chunk.version,
        "chunk": chunk.number,
        "title": chunk.title,
        "section": chunk.section,
        "url": chunk.url,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "score": hit.score,
    }
