"""Citations: which exact words of which passage carry which part of an answer. Pure; decided by code alone.

A sentence of the answer is tied to the passages' own words: to the run of words that both have where it carries most
of what the sentence says, else to the passage sentence that shares enough of it. What neither holds gets no citation,
nor does a name that merely occurs somewhere, where another place speaks of what the question asks.
Markers such as [1] that the model wrote are hints between equals, never proof, and stay in the answer as written.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.llm_answer.sources import Sentence, Source, Weights, prepared, stems_of
from functions.llm_answer.support import supported
from functions.llm_answer.text import Word, sentences, stem, words
from knts.citations import digest

ENOUGH = 0.5  # share of what a sentence says that a run of shared words must carry
ENOUGH_SPREAD = 0.6  # the same for words that stand apart: more, since their order proves nothing
REST = 0.8  # below this share the rest of a sentence may be carried by a second run
LONG_RUN = 3  # informative words, not all of the question, that make a run worth citing whatever its share
SHORT_RUN = 3  # words; a run shorter than this is quoted with its whole sentence, since alone it tells nothing
MAX_QUOTE = 320  # characters of a sentence that is quoted whole
BETWEEN = 24  # characters between two quotes of one sentence that are joined to one

_ASKS = re.compile(r"[?？][\s\"'”’»)\]\d\[,]*\Z")  # at the end, before quotation marks and markers
_MARKER = re.compile(r"\[\s*(\d{1,2}(?:\s*,\s*\d{1,2})*)\s*\]")
_LIST_MARK = re.compile(r"\s*(?:\d{1,3}[.)]|[-*•–])(?=\s|\Z)")


@dataclass(frozen=True)
class Run:
    """Words that a sentence of the answer (from `at`) and a source (from `place`) have in common, in a row."""

    source: Source
    at: int
    place: int
    length: int
    weight: float
    new: bool  # whether it says something that the question did not
    favour: float  # decides between runs of the same weight


@dataclass(frozen=True)
class Claim:
    """A sentence of the answer: its place, its words without markers, and the passages that its markers name."""

    start: int
    end: int
    words: list[Word]
    hints: frozenset[int]
    asks: bool = False

    @property
    def says(self) -> bool:
        """Whether there is anything in it that a passage could carry: a question states nothing."""
        return not self.asks and any(word.informative for word in self.words)


@dataclass(frozen=True)
class Span:
    """What a citation says: `start` to `end` of the passage with that number carry a part of the answer."""

    number: int
    start: int
    end: int
    answer_start: int
    answer_end: int


@dataclass(frozen=True)
class Tied:
    """An answer's citations, in its order, and its sentences.

    Of a sentence, `start` and `end` count code points in the answer, `citations` are the indexes of those that stand in
    it, and `supported` says whether they carry all that it says.
    """

    citations: list[dict[str, Any]]
    sentences: list[dict[str, Any]]


def tie(answer: str, passages: Sequence[Mapping[str, Any]], question: str) -> Tied:
    """Tie each sentence of an answer to what carries it.

    `passages` are those that the prompt showed, each with document_id, version, start and text (the document's text
    from `start`). Of each citation, `start` and `end` count code points in the document's text, where `quote` stands
    exactly; `answer_start` and `answer_end` in the answer; `sha256` is the hex digest of the quote's UTF-8.
    """
    sources = [prepared(number, passage) for number, passage in enumerate(passages)]
    weigh = Weights(sources, question)
    claims = list(_claims(answer))
    carried = [_joined(_carried(claim, sources, weigh)) if claim.says else [] for claim in claims]
    found = sorted(
        (span for spans in carried for span in spans), key=lambda span: (span.answer_start, span.start, span.number)
    )
    unique = list(dict.fromkeys(found))
    return Tied(
        [_citation(sources[span.number].passage, span) for span in unique],
        [
            {
                "start": claim.start,
                "end": claim.end,
                "supported": supported(claim.words, answer, spans, sources, weigh),
                "citations": sorted(unique.index(span) for span in spans),
            }
            for claim, spans in zip(claims, carried, strict=True)
        ],
    )


def _claims(answer: str) -> Iterator[Claim]:
    for start, end in sentences(answer):
        markers = list(_MARKER.finditer(answer, start, end))
        hints = frozenset(int(number) - 1 for marker in markers for number in marker.group(1).split(","))
        if (mark := _LIST_MARK.match(answer, start, end)) and answer[mark.end() :].strip():
            start = mark.end() + len(answer[mark.end() : end]) - len(answer[mark.end() : end].lstrip())
        inside = [
            Word(word.folded, word.start + start, word.end + start)
            for word in words(answer[start:end])
            if not any(marker.start() <= word.start + start < marker.end() for marker in markers)
        ]
        if inside:
            yield Claim(start, end, inside, hints, asks=_ASKS.search(answer, start, end) is not None)


def _carried(claim: Claim, sources: Sequence[Source], weigh: Weights) -> list[Span]:
    """What carries one sentence of the answer; nothing at all, sometimes."""
    weights = [weigh(word) for word in claim.words]
    total = sum(weights)
    runs = sorted(_runs(claim, sources, weights, weigh), key=lambda run: (run.weight, run.favour), reverse=True)
    best = next((run for run in runs if _carries(run, claim, total, weigh)), None)
    if best is None:
        return _spread(claim, sources, weigh)
    chosen = [best]
    if best.weight < REST * total:
        chosen += [run for run in runs if _apart(run, best) and _informative(run, claim) >= SHORT_RUN][:1]
    return [_of_run(run, claim) for run in chosen]


def _runs(claim: Claim, sources: Sequence[Source], weights: Sequence[float], weigh: Weights) -> Iterator[Run]:
    """The longest runs of words that the sentence shares with each source; those that say nothing are left out."""
    said = [word.folded for word in claim.words]
    for number, source in enumerate(sources):
        for at, folded in enumerate(said):
            for place in source.places.get(folded, ()):
                if at and place and said[at - 1] == source.words[place - 1].folded:
                    continue  # the middle of a run
                length = 1
                while (
                    at + length < len(said)
                    and place + length < len(source.words)
                    and said[at + length] == source.words[place + length].folded
                ):
                    length += 1
                if weight := sum(weights[at : at + length]):
                    there = source.sentence_at(place)
                    favour = _shared(claim, there, weigh) + weigh.speaks[number, there.first] + (number in claim.hints)
                    new = any(weigh.new(word) for word in claim.words[at : at + length])
                    yield Run(source, at, place, length, round(weight, 6), new, favour)


def _carries(run: Run, claim: Claim, total: float, weigh: Weights) -> bool:
    if run.new and weigh.speaking(run.source, run.source.sentence_at(run.place)):
        total = sum(weigh(word) for word in claim.words if weigh.new(word))  # the question's words are there anyhow
    if run.weight < ENOUGH * total and not (_informative(run, claim) >= LONG_RUN and run.new):
        return False
    first, last = run.source.sentence_at(run.place), run.source.sentence_at(run.place + run.length - 1)
    if run.length < SHORT_RUN and weigh.coincident(run.source, first, run.length):
        return False
    around = {word.folded for word in run.source.words[first.first : last.last]}
    return _numbers(claim) <= around


def _spread(claim: Claim, sources: Sequence[Source], weigh: Weights) -> list[Span]:
    """The passage sentence that shares most of what the sentence says, where that is enough."""
    candidates = [
        (_shared(claim, sentence, weigh) + 0.05 * (number in claim.hints), -number, -sentence.first)
        for number, source in enumerate(sources)
        for sentence in source.sentences
        if _numbers(claim) <= {word.folded for word in source.of(sentence)}
        and not ((new := _newly(claim, sentence, weigh)) < SHORT_RUN and weigh.coincident(source, sentence, new))
    ]
    share, number, first = max(candidates, default=(0.0, 0, 0))
    if share < ENOUGH_SPREAD:
        return []
    source = sources[-number]
    return [_of_sentence(source, source.sentence_at(-first), claim, claim.start, claim.end)]


def _newly(claim: Claim, sentence: Sentence, weigh: Weights) -> int:
    """How many words, not the question's, the claim and a sentence share."""
    return len({stem(word.folded) for word in claim.words if weigh.new(word)} & sentence.stems)


def _shared(claim: Claim, sentence: Sentence, weigh: Weights) -> float:
    """The share, 0 to 1, of what the claim says that the sentence has too."""
    once = {stem(word.folded): weigh(word) for word in claim.words if word.informative}
    return sum(weight for known, weight in once.items() if known in sentence.stems) / (sum(once.values()) or 1.0)


def _of_run(run: Run, claim: Claim) -> Span:
    first, last = claim.words[run.at], claim.words[run.at + run.length - 1]
    if run.length < SHORT_RUN:
        return _of_sentence(run.source, run.source.sentence_at(run.place), claim, first.start, last.end)
    there = run.source.words[run.place : run.place + run.length]
    return Span(run.source.number, there[0].start, there[-1].end, first.start, last.end)


def _of_sentence(source: Source, sentence: Sentence, claim: Claim, start: int, end: int) -> Span:
    """A passage's sentence; of a very long one, from the first to the last word that the claim shares."""
    if sentence.end - sentence.start <= MAX_QUOTE:
        return Span(source.number, sentence.start, sentence.end, start, end)
    said = stems_of(claim.words)
    shared = [word for word in source.of(sentence) if stem(word.folded) in said]
    return Span(source.number, shared[0].start, shared[-1].end, start, end)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """What carries one sentence, with quotes that overlap or stand side by side made one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.number, span.start)):
        if joined and _beside(joined[-1], span):
            last = joined.pop()
            start, end = min(last.answer_start, span.answer_start), max(last.answer_end, span.answer_end)
            span = Span(span.number, last.start, max(last.end, span.end), start, end)
        joined.append(span)
    return joined


def _beside(one: Span, other: Span) -> bool:
    return one.number == other.number and other.start - one.end <= BETWEEN


def _citation(passage: Mapping[str, Any], span: Span) -> dict[str, Any]:
    quote = passage["text"][span.start : span.end]
    return {
        "document_id": passage["document_id"],
        "version": passage["version"],
        "title": passage.get("title", ""),
        "url": passage.get("url"),
        "start": passage["start"] + span.start,
        "end": passage["start"] + span.end,
        "quote": quote,
        "sha256": digest(quote),
        "answer_start": span.answer_start,
        "answer_end": span.answer_end,
    }


def _apart(run: Run, other: Run) -> bool:
    return run.at + run.length <= other.at or other.at + other.length <= run.at


def _informative(run: Run, claim: Claim) -> int:
    return sum(word.informative for word in claim.words[run.at : run.at + run.length])


def _numbers(claim: Claim) -> set[str]:
    return {word.folded for word in claim.words if any(letter.isdigit() for letter in word.folded)}
