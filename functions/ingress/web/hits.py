"""Search results as the templates show them, made from the body of GET /v1/search. Values in, values out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.ingress.web import marks
from functions.ingress.web.address import Address
from functions.ingress.web.marks import Excerpt
from functions.ingress.web.words import document_link, duration, outside_link

RESULTS = "/ui/search"
MORE = "/ui/search/more"
PAGE_SIZE = 10
SHOWN_VALUES = 6  # of a facet, before the rest is folded away


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
    """One page of search results, with what narrows and what follows; `spelling` pairs typed words with those meant."""

    address: Address
    found: int
    took_ms: float | None
    hits: tuple[Hit, ...]
    facets: tuple[Facet, ...]
    chips: tuple[Chip, ...]
    more: Link | None
    spelling: tuple[tuple[str, str], ...]
    empty: bool


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
        facets=_facets(address, body.get("facets") or {}, found),
        chips=tuple(Chip(key, label(key), value, _link(address.toggled(key, value))) for key, value in address.filters),
        more=Link(following.url(), following.url(MORE)) if hits and shown < found else None,
        spelling=tuple((body.get("spelling") or {}).items()),
        empty=empty,
    )


def label(key: str) -> str:
    """A metadata key as a heading."""
    return key.replace("_", " ").replace("-", " ").strip().capitalize() or key


def _link(address: Address) -> Link:
    return Link(address.url(), address.url(RESULTS))


def _hit(hit: Mapping[str, Any]) -> Hit:
    passage = hit["passage"]
    section = passage.get("section") or hit.get("section") or ""
    told = f"{hit.get('title', '')} {section}"
    tags = [text for value in metadata(hit).values() for text in _texts(value) if text not in told]
    return Hit(
        title=hit.get("title") or hit["document_id"],
        section=section,
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


def _facets(address: Address, counted: Mapping[str, Any], found: int) -> tuple[Facet, ...]:
    shown = [_facet(address, key, _counts(values), found) for key, values in counted.items()]
    return tuple(facet for facet in shown if facet.choices)


def _counts(values: Any) -> list[tuple[str, int]]:
    """A facet's values with their counts, from either way of writing them."""
    if isinstance(values, Mapping):
        return [(str(value), count) for value, count in values.items()]
    return [(str(one["value"]), one["count"]) for one in values]


def _facet(address: Address, key: str, counts: Sequence[tuple[str, int]], found: int) -> Facet:
    chosen = [value for one, value in address.filters if one == key]
    known = dict(counts)
    absent = [(value, None) for value in chosen if value not in known]
    telling = [one for one in counts if one[1] < found or one[0] in chosen]  # what all hits share narrows nothing
    choices = [_choice(address, key, value, count) for value, count in [*absent, *telling]]
    choices.sort(key=lambda choice: not choice.chosen)
    return Facet(label(key), tuple(choices[:SHOWN_VALUES]), tuple(choices[SHOWN_VALUES:]))


def _choice(address: Address, key: str, value: str, count: int | None) -> Choice:
    name = hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()[:12]
    return Choice(f"facet-{name}", value, count, (key, value) in address.filters, _link(address.toggled(key, value)))


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
