"""Looking up passages in Typesense: the only code that phrases searches, and every one carries the asker's scope.

A search's outcome must not depend on documents that the asker may not read. Typesense keeps the words of all documents
in one tree per field, so these rules hold (from the source of 0.24, include/art.h and src/art.cpp, and tested):
- whole words and alternatives are filters, which look a word up exactly. A query's words are looked up by a fuzzy walk
  that skips letters where the tree has a long stretch without branches: what it finds depends on everybody's words;
- a query is only the beginning of a word, of no more letters than a node of the tree compares (8), and its typos are
  off: spelling is mended by `functions.search.spelling` with alternatives that are looked up exactly;
- a word is indexed once a passage, and phrases are found by pairs of neighbours that are indexed once too: when a
  document that holds a word twice is deleted, 0.24 takes the word away from another document;
- `max_candidates` is beyond any dictionary: the words that begin alike are ordered by how frequent they are overall,
  and cutting that list would tell of other people's words;
- words are never dropped, split or joined (`drop_tokens_threshold` 0, `split_join_tokens` off);
- neither the engine's scores nor its markers are shown; facet values are ordered here.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from knts.clients.typesense import Missing, Typesense, failure
from knts.errors import IndexUnavailable
from knts.index import filter_by, meta_field, meta_key, scope_filter
from knts.lookup import MOST_LOOKUPS, MOST_PER_PAGE, Chunk, Found, Lookup, Scope
from knts.words import pairs, searchable

log = logging.getLogger(__name__)

SEARCHED = "words,title_words,section_words"
PLAIN_FACETS = ("title", "tags", "lang")  # fields of their own; every other facet is a metadata key
MOST_VALUES = 100  # of a facet that are asked for
UNREAD = f"{SEARCHED},pairs,content,content_hash,tail,acl,filters,document,tenant,tenant_name,chunks"
_ALWAYS: dict[str, Any] = {
    "query_by": SEARCHED,
    "drop_tokens_threshold": 0,
    "split_join_tokens": "off",
    "max_candidates": 1_000_000,
    "num_typos": 0,
    "typo_tokens_threshold": 0,
    "highlight_fields": "none",
    "highlight_full_fields": "none",
    "enable_overrides": False,
}


class ChunkSearch:
    """The passages of one collection, seen through scopes. Calls raise IndexUnavailable when Typesense is not there.

    `indexed` says whether a tenant has documents that must be found: then a collection that is missing is not one that
    nobody has filled yet, but a server that has lost it, or does not have it again yet.
    """

    def __init__(self, typesense: Typesense, indexed: Callable[[str], Awaitable[bool]] | None = None) -> None:
        self.typesense = typesense
        self.indexed = indexed

    async def look_up(self, scope: Scope, lookups: Sequence[Lookup]) -> list[Found]:
        """What each lookup finds within the scope and its filters, all of them in one round trip.

        Facets on a key that no document has are empty. Before anything was indexed, everything is.
        """
        if len(lookups) > MOST_LOOKUPS:
            raise ValueError(f"at most {MOST_LOOKUPS} lookups in one call")
        within = _within(scope)
        results = await self._multi_search(scope, [_search(lookup, within) for lookup in lookups])
        return [_found(lookup, result) for lookup, result in zip(lookups, results, strict=True)]

    async def texts(self, scope: Scope, lookups: Sequence[Lookup]) -> list[list[str]]:
        """The folded words, parted by spaces, of the passages on the page of each lookup, titles too."""
        within = _within(scope)
        searches = [{**_search(each, within), "include_fields": SEARCHED} for each in lookups]
        results = await self._multi_search(scope, searches)
        return [[" ".join(hit["document"].values()) for hit in result["hits"]] for result in results]

    async def chunks(self, scope: Scope, ids: Sequence[str]) -> list[Chunk]:
        """The passages of these ids that lie within the scope, in the order of the ids."""
        within = _within(scope)
        pages = [ids[start : start + MOST_PER_PAGE] for start in range(0, len(ids), MOST_PER_PAGE)]
        results = await self._multi_search(scope, [_by_id(page, within) for page in pages])
        found = [_chunk(hit["document"]) for result in results for hit in result["hits"]]
        places = {chunk_id: place for place, chunk_id in enumerate(ids)}
        return sorted(found, key=lambda chunk: places[chunk.id])

    async def _multi_search(self, scope: Scope, searches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        results = await self._once(searches) if searches else []
        if any(map(_unknown_collection, results)) and self.indexed and await self.indexed(scope.tenant):
            raise IndexUnavailable("Typesense does not have the documents that were indexed (yet)", retry_after=5)
        again = {at: _without(searches[at], result) for at, result in enumerate(results) if _unknown_facets(result)}
        if again:
            mended = await self._multi_search(scope, list(again.values()))
            results = list(results)
            for at, result in zip(again, mended, strict=True):
                results[at] = result
        return [_checked(result) for result in results]

    async def _once(self, searches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        collection = self.typesense.server.collection
        body = {"searches": [{"collection": collection, **_ALWAYS, **search} for search in searches]}
        reply = await self.typesense.request("POST", "/multi_search", json=body)
        results = reply.get("results") if isinstance(reply, dict) else None
        if not isinstance(results, list) or len(results) != len(searches):
            raise IndexUnavailable("Typesense answered a search with something else than its results", retry_after=1)
        return results


def _within(scope: Scope) -> str:
    filters = filter_by(scope.filters)
    return scope_filter(scope.tenant, scope.groups) + (f" && {filters}" if filters else "")


def _search(lookup: Lookup, within: str) -> dict[str, Any]:
    exact = [_holds(word) for word in lookup.words]
    exact += [f"pairs:{pair}" for pair in pairs(lookup.phrase)]
    if lookup.any_of:
        exact.append(_holds(f"[{','.join(lookup.any_of)}]"))
    return {
        "q": lookup.beginning or "*",
        "filter_by": " && ".join([within, *exact]),
        "prefix": str(bool(lookup.beginning)).lower(),
        "per_page": lookup.size,
        "page": lookup.page,
        "include_fields": "id",
        **({"facet_by": ",".join(map(facet_field, lookup.facets))} if lookup.facets else {}),
        **({"max_facet_values": MOST_VALUES} if lookup.facets else {}),
    }


def _holds(value: str) -> str:
    """Some searched field holds the word, or one of a list in brackets. Folded forms need no escaping."""
    return "(" + " || ".join(f"{name}:{value}" for name in SEARCHED.split(",")) + ")"


def _by_id(ids: Iterable[str], within: str) -> dict[str, Any]:
    return {
        "q": "*",
        "filter_by": f"{within} && id:[{','.join(ids)}]",
        "per_page": MOST_PER_PAGE,
        "exclude_fields": UNREAD,
    }


def facet_field(key: str) -> str:
    """The field that holds the values of a facet's key."""
    return key if key in PLAIN_FACETS else meta_field(key)


def _found(lookup: Lookup, result: Mapping[str, Any]) -> Found:
    counted = {facet["field_name"]: facet["counts"] for facet in result.get("facet_counts", ())}
    return Found(
        result["found"],
        tuple(hit["document"]["id"] for hit in result["hits"]),
        {key: _values(key, counted.get(facet_field(key), ())) for key in lookup.facets},
    )


def _values(key: str, counts: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
    """What counts as a value: the title of a document without one is none."""
    values = ((each["value"], each["count"]) for each in counts if each["value"] or key != "title")
    return tuple(sorted(values, key=lambda each: (-each[1], each[0])))


def _chunk(document: Mapping[str, Any]) -> Chunk:
    metadata = {meta_key(name): tuple(values) for name, values in document.items() if name.startswith("meta_")}
    title = document.get("title", "")
    named = {"title": (title,) if title else (), "lang": (document["lang"],) if document.get("lang") else ()}
    return Chunk(
        id=document["id"],
        document_id=document["document_id"],
        version=document["version"],
        number=document["chunk"],
        title=title,
        section=document.get("section", ""),
        text=document["text"],
        start=document["start"],
        end=document["end"],
        url=document.get("url"),
        words=searchable(document["text"]),
        title_words=searchable(title),
        section_words=searchable(document.get("section", "")),
        values={**metadata, **named, "tags": tuple(document.get("tags", ()))},
        metadata=metadata,
        readers=tuple(document["readers"]),
        lead=document.get("lead"),
        continues=document.get("continues") is True,
    )


# -- failures of single searches --------------------------------------------------------------------------------------

_NO_FACET = "Could not find a facet field named `"
_EMPTY: dict[str, Any] = {"found": 0, "hits": [], "facet_counts": []}


def _unknown_collection(result: Mapping[str, Any]) -> bool:
    return result.get("code") == 404 and str(result.get("error", "")).startswith("Not found")


def _unknown_facets(result: Mapping[str, Any]) -> bool:
    return str(result.get("error", "")).startswith(_NO_FACET)


def _without(search: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The search without the facet that it was refused for."""
    unknown = result["error"].removeprefix(_NO_FACET).partition("`")[0]
    fields = search["facet_by"].split(",")
    if unknown not in fields:
        raise IndexUnavailable(f"Typesense refuses a facet that was not asked for: {unknown[:80]}")
    rest = [field for field in fields if field != unknown]
    kept = {name: value for name, value in search.items() if name != "facet_by"}
    return {**kept, "facet_by": ",".join(rest)} if rest else kept


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    if result.get("search_cutoff"):
        raise IndexUnavailable("Typesense did not finish a search in time", retry_after=1)
    if "error" not in result:
        return result
    error = failure(int(result.get("code", 500)), str(result["error"]).encode())
    if isinstance(error, Missing):
        log.info("nothing is indexed yet: %s", error.detail)
        return _EMPTY
    raise error
