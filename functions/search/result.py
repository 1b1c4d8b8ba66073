"""The body of a search's answer, as `GET /v1/search` gives it. Pure."""

from typing import Any

from functions.search.facets import shown
from functions.search.highlights import highlights
from functions.search.query import Query
from functions.search.ranking import Ranked
from functions.search.retrieval import Page, Wanted


def body(text: str, page: Page, wanted: Wanted, took_ms: float) -> dict[str, Any]:
    """The result of the query `text`; `spelling` only where words were taken for others."""
    return {
        "query": text,
        "found": page.found,
        "limit": wanted.limit,
        "offset": wanted.offset,
        "took_ms": round(took_ms, 1),
        "hits": [hit(each, page.query) for each in page.hits],
        "facets": shown(page.facets),
        **({"spelling": dict(page.spelling)} if page.spelling else {}),
    }


def hit(ranked: Ranked, query: Query) -> dict[str, Any]:
    """One passage: where it stands, what it says, and which of its words were meant."""
    chunk = ranked.chunk
    return {
        "document_id": chunk.document_id,
        "version": chunk.version,
        "title": chunk.title,
        "url": chunk.url,
        "section": chunk.section,
        "tags": list(chunk.values.get("tags", ())),
        "metadata": dict(chunk.metadata),
        "score": ranked.score,
        "passage": {"start": chunk.start, "end": chunk.end, "text": chunk.text},
        "highlights": highlights(chunk.text, query),
    }
