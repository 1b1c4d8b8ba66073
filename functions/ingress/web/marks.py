"""Which words of a text are marked: highlights, excerpts and the places of citations. Values in, values out.

All offsets count Unicode code points, as everywhere in the API and as Python's own strings do; nothing here is done in
the browser, whose strings count UTF-16 units.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Range = tuple[int, int]


@dataclass(frozen=True)
class Run:
    """A piece of text that is marked as a whole or not at all."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A part of a text around its first marked words; `before` and `after` say where something was left out."""

    runs: tuple[Run, ...]
    before: bool = False
    after: bool = False


@dataclass(frozen=True)
class Piece:
    """A piece of an answer: whether a citation covers it, and the citations (by index) whose numbers follow it.

    `doubted`: it belongs to a sentence that no passage supports; `doubt`: such a sentence ends with it.
    """

    text: str
    cited: bool = False
    after: tuple[int, ...] = ()
    doubted: bool = False
    doubt: bool = False


def merged(ranges: Iterable[Sequence[int]], length: int) -> list[Range]:
    """The ranges in order, clipped to a text of that length, without empty ones, touching ones joined."""
    joined: list[Range] = []
    for start, end in sorted((max(0, one[0]), min(length, one[1])) for one in ranges):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def runs(text: str, ranges: Iterable[Sequence[int]]) -> tuple[Run, ...]:
    """The text cut into marked and unmarked runs; joined, they are the text."""
    found: list[Run] = []
    done = 0
    for start, end in merged(ranges, len(text)):
        found += [Run(text[done:start]), Run(text[start:end], marked=True)]
        done = end
    found.append(Run(text[done:]))
    return tuple(run for run in found if run.text)


def excerpt(text: str, ranges: Iterable[Sequence[int]], limit: int = 360) -> Excerpt:
    """At most about `limit` code points of the text around its first marked words, cut between words."""
    marked = merged(ranges, len(text))
    first = marked[0][0] if marked else 0
    start = _word_start(text, min(max(0, first - limit // 4), max(0, len(text) - limit)))
    end = _word_end(text, min(len(text), start + limit))
    shifted = [(one - start, other - start) for one, other in marked]
    return Excerpt(runs(text[start:end], shifted), before=start > 0, after=end < len(text))


def _word_start(text: str, at: int) -> int:
    """The start of the word that `at` stands in, looking back no further than a long word reaches."""
    for place in range(at, max(0, at - 40), -1):
        if text[place - 1].isspace():
            return place
    return 0 if at < 40 else at


def _word_end(text: str, at: int) -> int:
    """The end of the word that `at` stands in, looking ahead no further than a long word reaches."""
    for place in range(at, min(len(text), at + 40)):
        if text[place].isspace():
            return place
    return len(text) if len(text) - at < 40 else at


def cited(
    answer: str, citations: Sequence[Mapping[str, Any]], sentences: Iterable[Mapping[str, Any]] = ()
) -> tuple[Piece, ...]:
    """The answer cut at the borders of its citations and of the sentences that are not supported.

    Each citation's index follows the piece it ends with.
    """
    places = [_place(citation, len(answer)) for citation in citations]
    doubted = merged(((each["start"], each["end"]) for each in sentences if not each["supported"]), len(answer))
    borders = sorted({0, len(answer), *(border for place in [*places, *doubted] for border in place)})
    opening = _ending_at(0, places)
    pieces = [Piece("", after=opening)] if opening else []
    for start, end in pairwise(borders):
        covered = any(one <= start and end <= other for one, other in places)
        doubtful = any(one <= start and end <= other for one, other in doubted)
        last = any(end == other for _, other in doubted)
        pieces.append(Piece(answer[start:end], covered, _ending_at(end, places), doubtful, last))
    return tuple(pieces)


def _place(citation: Mapping[str, Any], length: int) -> Range:
    end = min(max(0, citation["answer_end"]), length)
    return min(max(0, citation["answer_start"]), end), end


def _ending_at(border: int, places: Sequence[Range]) -> tuple[int, ...]:
    return tuple(index for index, place in enumerate(places) if place[1] == border)
