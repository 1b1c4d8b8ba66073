"""Cuts a document's text into passages on sensible borders. Pure: text in, offsets out.

A passage never crosses a section. Within one, borders are taken in this order: Markdown headings, paragraphs (a fenced
block or a table counts as one), sentences or, in fences and tables, lines, words, and last any place at all. Offsets
count code points; a passage is `text[start:end]` without white space around it, and the gaps between the passages of a
text hold nothing but white space.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from knts.errors import Permanent

TARGET = 900  # code points that a passage is filled up to: about 200 tokens, a handful of sentences
MAX = 1400  # and what it never exceeds
SHORT = 200  # a last passage below this joins the one before it

_FENCE = re.compile(r"(`{3,}(?=[^`]*\Z)|~{3,})")
_HEADING = re.compile(r"#{1,6}\s+(\S.*)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SENTENCE_END = re.compile(
    r"""[.!?…][\"'”’»)\]]*\s++(?![a-z])"""  # "e.g. this" goes on
    r"""|[。！？][」』”’）]*\s*+"""
    r"""|\n(?=[^\S\n]*(?:[-*+•>|]|\d{1,4}[.)])[^\S\n])"""  # the items of a list
)
_LINE_END = re.compile(r"\n")
_WORD_END = re.compile(r"\s++")


@dataclass(frozen=True)
class Section:
    """A part of the text that no passage crosses; `metadata` and `title` hold for every passage in it."""

    start: int
    end: int
    title: str = ""
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Passage:
    """`text[start:end]`, its section's title (else the last Markdown heading) and the section's metadata.

    `continues`: it goes on where the passage before it ends, in the same section and under the same heading.
    """

    start: int
    end: int
    title: str
    metadata: Mapping[str, Any]
    continues: bool = False


class Block(NamedTuple):
    """A stretch of the text that is best kept whole."""

    start: int
    end: int
    kind: str  # heading, prose, fence, table, or "" where there is only white space
    heading: str = ""


class Span(NamedTuple):
    """A passage in the making: `bare` while it holds headings only, `headed` where it begins with one."""

    start: int
    end: int
    bare: bool
    heading: str
    headed: bool


def passages(text: str, sections: Sequence[Section] = ()) -> list[Passage]:
    """The passages of a text, in order; an empty or blank text has one empty passage.

    Raises Permanent naming the section whose borders break a rule.
    """
    found = [
        Passage(start, end, section.title or heading, section.metadata or {}, continues=number > 0 and not headed)
        for section in regions(len(text), sections)
        for number, (start, end, _, heading, headed) in enumerate(
            _trimmed(text, _spans(text, section.start, section.end))
        )
    ]
    return found or [Passage(0, 0, "", {})]


def regions(length: int, sections: Sequence[Section]) -> Iterator[Section]:
    """The sections and, as sections without title and metadata, what lies between them.

    Raises Permanent unless the sections lie within the text, in order, and do not overlap.
    """
    _check(length, sections)
    at = 0
    for section in sections:
        if section.start > at:
            yield Section(at, section.start)
        yield section
        at = section.end
    if at < length:
        yield Section(at, length)


def _check(length: int, sections: Sequence[Section]) -> None:
    faults: list[tuple[str, str]] = []
    at = 0
    for number, section in enumerate(sections):
        if section.start < at:
            faults.append((f"sections.{number}.start", f"must be at least {at}, where the section before it ends"))
        if section.end < section.start:
            faults.append((f"sections.{number}.end", f"must be at least its start, {section.start}"))
        elif section.end > length:
            faults.append((f"sections.{number}.end", f"must be at most {length}, the number of code points in text"))
        at = max(at, section.end)
    if faults:
        detail = "; ".join(f"{field}: {rule}" for field, rule in faults[:3])
        raise Permanent(detail, errors=[{"field": field, "rule": rule} for field, rule in faults[:3]])


def leads(text: str, found: Sequence[Passage]) -> tuple[list[str], str]:
    """What lies before each passage, back to the one before it, and what lies after the last one.

    The leads and passages in turn, and the tail, are the text again.
    """
    ends = [0, *(passage.end for passage in found)]
    before = [text[end : passage.start] for end, passage in zip(ends, found, strict=False)]
    return before, text[ends[-1] :]


# -- packing ----------------------------------------------------------------------------------------------------------


def _spans(text: str, start: int, end: int) -> list[Span]:
    """The passages of one region, filled greedily, with the white space around them."""
    spans: list[Span] = []
    for block in _blocks(text, start, end):
        if block.kind == "heading" and spans and not spans[-1].bare:
            spans.append(Span(block.start, block.start, True, block.heading, True))
        _add(text, spans, block, 0)
    return _joined(spans)


def _add(text: str, spans: list[Span], block: Block, level: int) -> None:
    """Add a block to the last span, start a new one with it, or cut it and add its parts."""
    last = spans[-1] if spans else Span(block.start, block.start, False, "", False)
    bare = block.kind == "heading"
    heading = block.heading or last.heading
    if spans and block.end - last.start <= (MAX if last.bare else TARGET):
        spans[-1] = Span(last.start, block.end, last.bare and bare, heading, last.headed)
    elif block.end - block.start <= MAX and (level or not last.bare):
        spans.append(Span(block.start, block.end, bare, heading, bare))
    else:
        for part in _parts(text, block, level):
            _add(text, spans, part, level + 1)


def _parts(text: str, block: Block, level: int) -> Iterator[Block]:
    """The block cut at the strongest borders of a level: 0 sentences (or lines), 1 lines, 2 words, then anywhere."""
    if level < 3:
        first = _LINE_END if block.kind in ("fence", "table") else _SENTENCE_END
        borders = (first, _LINE_END, _WORD_END)[level]
        for start, end in _cut(text, block.start, block.end, borders):
            yield Block(start, end, block.kind, block.heading)
    else:
        for start in range(block.start, block.end, TARGET):
            yield Block(start, min(start + TARGET, block.end), block.kind, block.heading)


def _cut(text: str, start: int, end: int, borders: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    for border in borders.finditer(text, start, end):
        if border.end() > start:
            yield start, border.end()
            start = border.end()
    if start < end:
        yield start, end


def _joined(spans: Iterable[Span]) -> list[Span]:
    """The spans, those too short to say anything joined with the one before unless a heading stands between."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last and span.end - span.start < SHORT and span.end - last.start <= MAX and span.heading == last.heading:
            joined[-1] = Span(last.start, span.end, last.bare and span.bare, span.heading, last.headed)
        else:
            joined.append(span)
    return joined


def _trimmed(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    for span in spans:
        within = text[span.start : span.end]
        start = span.end - len(within.lstrip())
        end = span.start + len(within.rstrip())
        if start < end:
            yield span._replace(start=start, end=end)


# -- blocks -----------------------------------------------------------------------------------------------------------


def _blocks(text: str, start: int, end: int) -> Iterator[Block]:
    """The region's headings, paragraphs, fences and tables; laid end to end they are the region."""
    current, closed, fence = Block(start, start, ""), False, ""
    for line in _LINE.finditer(text, start, end):
        words = line.group().strip()
        if fence:  # all lines are its own until one closes it
            closed = words.startswith(fence) and not words.strip(fence[0])
            fence = "" if closed else fence
        elif not words:
            closed = True
        else:
            fence, kind, heading = _look(words)
            if current.kind and (closed or fence or kind != current.kind or kind == "heading"):
                yield current._replace(end=line.start())
                current = Block(line.start(), line.start(), kind, heading)
            elif not current.kind:
                current = Block(start, start, kind, heading)
            closed = False
    if start < end:
        yield current._replace(end=end)


def _look(words: str) -> tuple[str, str, str]:
    """What a line begins: the fence it opens, the kind of its block and, for a heading, its words."""
    if opened := _FENCE.match(words):
        return opened.group(), "fence", ""
    if found := _HEADING.match(words):
        return "", "heading", found.group(1).rstrip("#").rstrip()
    return "", "table" if words.startswith("|") else "prose", ""
