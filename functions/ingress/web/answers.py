"""Answers as the templates show them, made from the final object of the HTTP API. Values in, values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.ingress.web import marks
from functions.ingress.web.marks import Piece, Run
from functions.ingress.web.words import document_link, duration, outside_link

CACHE_NOTES = {
    "hit": "from the cache",
    "shared": "shared with somebody who asked the same",
    "semantic": "from the cache, asked in other words",
}


@dataclass(frozen=True)
class Source:
    """A passage that an answer cites, or was given, under its number."""

    number: int
    title: str
    section: str
    link: str
    url: str
    text: str


@dataclass(frozen=True)
class Citation:
    """One place of an answer: its source, the source's passage with the quoted words marked, and where they stand."""

    id: str
    source: Source
    link: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Answer:
    """A finished answer as it is shown."""

    id: str
    question: str
    standalone: str
    answered: str
    status: str
    pieces: tuple[Piece, ...]
    citations: tuple[Citation, ...]
    sources: tuple[Source, ...]
    nearest: tuple[Source, ...]
    reason: str
    unsupported: int
    withheld: int
    stale: bool
    cache_note: str
    facts: tuple[str, ...]


def answer(final: Mapping[str, Any]) -> Answer:
    """An answer's final object as it is shown: numbered by the passages it cites, in the order it cites them."""
    text, cited = final.get("answer") or "", final.get("citations") or []
    passages, sentences = final.get("passages") or [], final.get("sentences") or []
    sources: dict[tuple[Any, ...], Source] = {}
    citations = tuple(_citation(index, citation, passages, sources) for index, citation in enumerate(cited))
    return Answer(
        id=final.get("id", ""),
        question=final.get("question", ""),
        standalone=final.get("standalone_question", ""),
        answered=final.get("answered_question", ""),
        status=final["status"],
        pieces=marks.cited(text, cited, sentences),
        citations=citations,
        sources=tuple(sources.values()),
        nearest=tuple(source(number, passage) for number, passage in enumerate(passages, 1)),
        reason=_reason(final),
        unsupported=sum(not each["supported"] for each in sentences),
        withheld=final.get("withheld") or 0,
        stale=bool(final.get("stale")),
        cache_note=CACHE_NOTES.get(final.get("cache") or "", ""),
        facts=facts(final),
    )


def source(number: int, passage: Mapping[str, Any]) -> Source:
    """A passage as a numbered source."""
    return Source(
        number=number,
        title=passage.get("title") or passage["document_id"],
        section=passage.get("section") or "",
        link=document_link(passage, passage["start"], passage["end"]),
        url=outside_link(passage),
        text=passage["text"],
    )


def _citation(
    index: int,
    citation: Mapping[str, Any],
    passages: Sequence[Mapping[str, Any]],
    sources: dict[tuple[Any, ...], Source],
) -> Citation:
    passage = _around(citation, passages)
    place = (passage["document_id"], passage["version"], passage["start"], passage["end"])
    if place not in sources:
        sources[place] = source(len(sources) + 1, passage)
    start = citation["start"] - passage["start"]
    quoted = (start, start + citation["end"] - citation["start"])
    link = document_link(citation, citation["start"], citation["end"])
    return Citation(f"citation-{index + 1}", sources[place], link, marks.runs(passage["text"], [quoted]))


def _around(citation: Mapping[str, Any], passages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The passage that holds a citation's quote; where none was kept, the quote itself."""
    for passage in passages:
        same = all(passage[name] == citation[name] for name in ("document_id", "version"))
        if same and passage["start"] <= citation["start"] and citation["end"] <= passage["end"]:
            return passage
    return {**citation, "text": citation["quote"]}


def _reason(final: Mapping[str, Any]) -> str:
    problem = final.get("problem") or {}
    return problem.get("detail") or final.get("reason") or problem.get("title") or ""


def announcement(answer: Answer) -> str:
    """What a screen reader is told when an answer is finished."""
    if answer.status == "completed":
        count = len(answer.sources)
        sources = "no sources" if not count else "1 source" if count == 1 else f"{count} sources"
        if answer.unsupported:
            sources += f", and {counted(answer.unsupported)} that no passage supports"
        return f"The answer, with {sources}: {''.join(piece.text for piece in answer.pieces)}"
    told = {
        "abstained": "The documents don’t answer this.",
        "cancelled": "Stopped.",
        "expired": "This answer has expired.",
        "unknown": "There is no such answer here.",
    }
    return told.get(answer.status, "The answer failed.")


def counted(count: int) -> str:
    """A number of sentences in words."""
    return "1 sentence" if count == 1 else f"{count} sentences"


def facts(final: Mapping[str, Any]) -> tuple[str, ...]:
    """The small print of an answer: what took how long, what it cost, who wrote it."""
    timings = final.get("timings_ms") or {}
    tokens = (final.get("usage") or {}).get("completion_tokens")
    named = (("search", "search {}"), ("first_token", "first word after {}"), ("total", "{} in all"))
    told = [form.format(duration(timings[key])) for key, form in named if timings.get(key) is not None]
    return tuple(told + ([f"{tokens} tokens"] if tokens else []) + ([final["model"]] if final.get("model") else []))
