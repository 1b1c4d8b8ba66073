"""The passages that an answer is written from: the best, no two of which say the same, neighbours joined. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from functions.search.ranking import Ranked
from knts.lookup import Chunk

DEFAULT = 4  # chunks of about 200 tokens: what a small model reads within seconds
CANDIDATES = 40  # of the ranked chunks that are chosen from
ALIKE = 0.8  # share of their words in common from which two chunks say the same, where their numbers are the same
FEWEST = 8  # words that stand in another chunk by chance no more
WIDEST = 200  # code points of white space over which neighbours are joined


@dataclass(frozen=True)
class Passage:
    """A stretch of one version of a document: chunks that follow each other in a section; the score of the best one.

    `text` is the document's from `start` to `end`.
    """

    hits: Sequence[Ranked]

    @property
    def chunks(self) -> list[Chunk]:
        return [each.chunk for each in self.hits]

    @property
    def score(self) -> float:
        return max(each.score for each in self.hits)

    @property
    def start(self) -> int:
        return self.chunks[0].start

    @property
    def end(self) -> int:
        return self.chunks[-1].end

    @cached_property
    def text(self) -> str:
        return self.chunks[0].text + "".join(f"{chunk.lead or ''}{chunk.text}" for chunk in self.chunks[1:])


def choose(hits: Sequence[Ranked], most: int) -> list[Passage]:
    """The passages of an answer, the best first: of at most `most` of the hits, neighbours joined.

    The last place is kept for the hit whose meaning is most like the question's: where that is asked in other words
    than the passage has, words put others first that share nothing but these.
    """
    best, nearest = different(hits, most), likest(hits)
    if nearest and len(best) > 1 and not any(repeats(nearest.chunk, each.chunk) for each in best):
        best = [*best[: most - 1], nearest]
    return joined(best)


def likest(hits: Iterable[Ranked]) -> Ranked | None:
    """The hit whose meaning is most like the question's; None where it is known of none."""
    return max(
        (each for each in hits if each.likeness is not None), key=lambda each: each.likeness or 0.0, default=None
    )


def different(hits: Iterable[Ranked], most: int) -> list[Ranked]:
    """At most `most` of the hits, the best ones that do not repeat a better one."""
    chosen: list[Ranked] = []
    for hit in hits:
        if len(chosen) == most:
            break
        if not any(repeats(hit.chunk, better.chunk) for better in chosen):
            chosen.append(hit)
    return chosen


def repeats(one: Chunk, better: Chunk) -> bool:
    """Whether `one` says nothing that `better` does not.

    It overlaps with it in the same document, stands in it word for word (and is no mere phrase), or consists of nearly
    the same words; with other numbers it says something else.
    """
    if one.document_id == better.document_id and one.start < better.end and better.start < one.end:
        return True
    if one.words.count(" ") + 1 >= FEWEST and f" {one.words} " in f" {better.words} ":
        return True
    mine, theirs = set(one.words.split()), set(better.words.split())
    alike = len(mine & theirs) >= ALIKE * len(mine | theirs)
    return alike and not any(letter.isdigit() for word in mine ^ theirs for letter in word)


def joined(chosen: Iterable[Ranked]) -> list[Passage]:
    """The chosen as passages, neighbours as one, the best first, as they came where the scores are equal."""
    ranked = list(chosen)
    runs: list[list[Ranked]] = []
    for each in sorted(ranked, key=lambda each: (each.chunk.document_id, each.chunk.version, each.chunk.number)):
        if runs and follows(runs[-1][-1].chunk, each.chunk):
            runs[-1].append(each)
        else:
            runs.append([each])
    places = {each.chunk.id: place for place, each in enumerate(ranked)}
    runs.sort(key=lambda run: min(places[each.chunk.id] for each in run))
    return [Passage(run) for run in runs]


def follows(one: Chunk, other: Chunk) -> bool:
    """Whether `other` goes on where `one` ends, with nothing but known white space between them."""
    same = (one.document_id, one.version) == (other.document_id, other.version)
    if not same or other.number != one.number + 1 or not other.continues or other.lead is None:
        return False
    return len(other.lead) <= WIDEST and one.end + len(other.lead) == other.start


def passage(found: Passage) -> dict[str, Any]:
    """As `knts.passages.found.v1` holds it. `last_chunk` only where several chunks were joined."""
    first, last = found.chunks[0], found.chunks[-1]
    return {
        "document_id": first.document_id,
        "version": first.version,
        "chunk": first.number,
        **({"last_chunk": last.number} if last is not first else {}),
        "title": first.title,
        "section": first.section,
        "url": first.url,
        "start": found.start,
        "end": found.end,
        "text": found.text,
        "score": found.score,
        **_meaning(found.hits),
    }


def _meaning(hits: Sequence[Ranked]) -> dict[str, Any]:
    """How like the question the likest of the hits is, where that is known, and by which model all are embedded."""
    if known := likest(hits):
        return {"likeness": known.likeness, "embedded_by": known.embedded_by}
    return {"embedded_by": hits[0].embedded_by} if all(each.embedded_by for each in hits) else {}
