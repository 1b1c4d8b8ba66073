"""What the templates show, made from the API's own objects: a search's body, an answer's final object, a problem.

Values in, values out. The final object is the one of the HTTP API, so the page shows nothing that the API doesn't.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from functions.ingress.web import marks
from functions.ingress.web.address import Address
from functions.ingress.web.marks import Excerpt, Piece, Run

RESULTS = "/ui/search"
MORE = "/ui/search/more"
PAGE_SIZE = 10
SHOWN_VALUES = 6  # of a facet, before the rest is folded away
CACHE_NOTES = {
    "hit": "from the cache",
    "shared": "shared with somebody who asked the same",
    "semantic": "from the cache, asked in other words",
}
FINISHED = frozenset({"completed", "abstained", "failed", "cancelled"})


@dataclass(frozen=True)
class Link:
    """Where a click leads: the page's own address and, for htmx, the fragment's."""

    page: str
    fragment: str


@dataclass(frozen=True)
class Hit:
    """One search result; `link` is our page of its document, `url` the document's own address or empty."""

    title: str
    section: str
    link: str
    url: str
    excerpt: Excerpt
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """One value of a facet; `id` stays the same across swaps, so that the keyboard's focus does."""

    id: str
    value: str
    count: int | None
    chosen: bool
    link: Link


@dataclass(frozen=True)
class Facet:
    """The values that one metadata key has among the hits."""

    label: str
    choices: tuple[Choice, ...]
    folded: tuple[Choice, ...]


@dataclass(frozen=True)
class Chip:
    """A filter that is set, and the address without it."""

    key: str
    label: str
    value: str
    link: Link


@dataclass(frozen=True)
class Results:
    """One page of search results, with what narrows and what follows."""

    address: Address
    found: int
    took_ms: float | None
    hits: tuple[Hit, ...]
    facets: tuple[Facet, ...]
    chips: tuple[Chip, ...]
    more: Link | None
    empty: bool


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
    """One place of an answer: the source's number and its passage with the quoted words marked."""

    id: str
    source: Source
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Answer:
    """A finished answer as it is shown."""

    id: str
    question: str
    status: str
    pieces: tuple[Piece, ...]
    citations: tuple[Citation, ...]
    sources: tuple[Source, ...]
    nearest: tuple[Source, ...]
    reason: str
    stale: bool
    cache_note: str
    facts: tuple[str, ...]


# -- search -----------------------------------------------------------------------------------------------------------


def results(address: Address, body: Mapping[str, Any], *, empty: bool = False) -> Results:
    """A search's body as it is shown; `empty` says that there are no documents at all."""
    found, hits = body.get("found", 0), body.get("hits", [])
    shown = address.offset + len(hits)
    following = address.at(shown)
    return Results(
        address=address,
        found=found,
        took_ms=body.get("took_ms"),
        hits=tuple(_hit(hit) for hit in hits),
        facets=_facets(address, body.get("facets") or {}),
        chips=tuple(Chip(key, label(key), value, _link(address.toggled(key, value))) for key, value in address.filters),
        more=Link(following.url(), following.url(MORE)) if hits and shown < found else None,
        empty=empty,
    )


def label(key: str) -> str:
    """A metadata key as a heading."""
    return key.replace("_", " ").replace("-", " ").strip().capitalize() or key


def _link(address: Address) -> Link:
    return Link(address.url(), address.url(RESULTS))


def _hit(hit: Mapping[str, Any]) -> Hit:
    passage = hit["passage"]
    tags = [text for value in metadata(hit).values() for text in _texts(value)]
    return Hit(
        title=hit.get("title") or hit["document_id"],
        section=passage.get("section") or hit.get("section") or "",
        link=document_link(hit, passage["start"], passage["end"]),
        url=outside_link(hit),
        excerpt=marks.excerpt(passage["text"], hit.get("highlights", [])),
        tags=tuple(dict.fromkeys(tags))[:5],
    )


def metadata(hit: Mapping[str, Any]) -> dict[str, Any]:
    """What a hit can be narrowed by: its metadata, its tags and its language."""
    named = dict(hit.get("metadata") or {})
    return {**named, **({"tags": hit["tags"]} if hit.get("tags") else {})}


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    if isinstance(value, bool):
        return [str(value).lower()]
    return [str(value)] if value not in (None, "") else []


def _facets(address: Address, counted: Mapping[str, Any]) -> tuple[Facet, ...]:
    shown = [_facet(address, key, _counts(values)) for key, values in counted.items()]
    return tuple(facet for facet in shown if facet.choices)


def _counts(values: Any) -> list[tuple[str, int]]:
    """A facet's values with their counts, from either way of writing them."""
    if isinstance(values, Mapping):
        return [(str(value), count) for value, count in values.items()]
    return [(str(one["value"]), one["count"]) for one in values]


def _facet(address: Address, key: str, counts: Sequence[tuple[str, int]]) -> Facet:
    chosen = [value for one, value in address.filters if one == key]
    known = dict(counts)
    absent = [(value, None) for value in chosen if value not in known]
    choices = [_choice(address, key, value, count) for value, count in [*absent, *counts]]
    if len(choices) < 2 and not chosen:  # a value that all hits share narrows nothing
        choices = []
    choices.sort(key=lambda choice: not choice.chosen)
    return Facet(label(key), tuple(choices[:SHOWN_VALUES]), tuple(choices[SHOWN_VALUES:]))


def _choice(address: Address, key: str, value: str, count: int | None) -> Choice:
    name = hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()[:12]
    return Choice(f"facet-{name}", value, count, (key, value) in address.filters, _link(address.toggled(key, value)))


def document_link(place: Mapping[str, Any], start: int, end: int) -> str:
    """Our page of a passage's document."""
    return f"/ui/document?{urlencode({'id': place['document_id'], 'start': start, 'end': end})}#passage"


def outside_link(document: Mapping[str, Any]) -> str:
    """The web address that a document names; empty for none, and for one that is no web address, such as javascript:."""
    url = document.get("url") or ""
    try:
        return url if urlsplit(url).scheme.lower() in ("http", "https") else ""
    except ValueError:
        return ""


def tally(results: Results) -> str:
    """How much was found, as a sentence."""
    if results.empty:
        return "No documents yet"
    if not results.found:
        return "Nothing found"
    counted = "1 passage" if results.found == 1 else f"{results.found:,} passages"
    if not results.hits:
        return f"{counted} to search"
    return f"{counted} in {duration(results.took_ms)}" if results.took_ms is not None else counted


# -- answers ----------------------------------------------------------------------------------------------------------


def answer(final: Mapping[str, Any]) -> Answer:
    """An answer's final object as it is shown: numbered by the passages it cites, in the order it cites them."""
    text, cited = final.get("answer") or "", final.get("citations") or []
    passages = final.get("passages") or []
    sources: dict[tuple[Any, ...], Source] = {}
    citations = tuple(_citation(index, citation, passages, sources) for index, citation in enumerate(cited))
    return Answer(
        id=final.get("id", ""),
        question=final.get("question", ""),
        status=final["status"],
        pieces=marks.cited(text, cited),
        citations=citations,
        sources=tuple(sources.values()),
        nearest=tuple(source(number, passage) for number, passage in enumerate(passages, 1)),
        reason=_reason(final),
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
    return Citation(f"citation-{index + 1}", sources[place], marks.runs(passage["text"], [quoted]))


def _around(citation: Mapping[str, Any], passages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The passage that holds a citation's quote; where none was kept, the quote itself."""
    for passage in passages:
        same = all(passage[name] == citation[name] for name in ("document_id", "version"))
        if same and passage["start"] <= citation["start"] and citation["end"] <= passage["end"]:
            return passage
    return {**citation, "text": citation["quote"]}


def _reason(final: Mapping[str, Any]) -> str:
    problem = final.get("problem") or {}
    return final.get("reason") or problem.get("detail") or problem.get("title") or ""


def announcement(answer: Answer) -> str:
    """What a screen reader is told when an answer is finished."""
    if answer.status == "completed":
        count = len(answer.sources)
        sources = "no sources" if not count else "1 source" if count == 1 else f"{count} sources"
        return f"The answer, with {sources}: {''.join(piece.text for piece in answer.pieces)}"
    told = {
        "abstained": "The documents don’t answer this.",
        "cancelled": "Stopped.",
        "expired": "This answer has expired.",
        "unknown": "There is no such answer here.",
    }
    return told.get(answer.status, "The answer failed.")


def facts(final: Mapping[str, Any]) -> tuple[str, ...]:
    """The small print of an answer: what took how long, what it cost, who wrote it."""
    timings = final.get("timings_ms") or {}
    words = (final.get("usage") or {}).get("completion_tokens")
    named = (("search", "search {}"), ("first_token", "first word after {}"), ("total", "{} in all"))
    told = [form.format(duration(timings[key])) for key, form in named if timings.get(key) is not None]
    return tuple([*told, *([f"{words} tokens"] if words else []), *([final["model"]] if final.get("model") else [])])


def duration(ms: float) -> str:
    """A span of time, short: 8 ms, 1.4 s, 75 s."""
    if ms < 1000:
        return f"{max(ms, 0):.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{ms / 1000:.0f} s"
