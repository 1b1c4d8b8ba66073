"""Passages for the tests of search: made-up documents, and an index in memory that says what a lookup means."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson

from functions.index_document.documents import chunks
from functions.search.fusion import Nearness
from functions.search.meaning import Meanings
from functions.search.query import places
from knts import events
from knts.clients.typesense_search import ChunkSearch
from knts.index import EVERYONE, group_digest
from knts.lookup import Chunk, Found, Lookup, Scope
from knts.words import forms, searchable

SCOPE = Scope("t")


def document(document_id: str, text: str, version: int = 1, tenant: str = "t", **more: Any) -> list[bytes]:
    """The lines that index-document writes for a document."""
    data = {"id": document_id, "version": version, "title": "", "text": text, **more}
    return chunks(events.new_event(events.DOCUMENT_UPSERTED, "/tests", data, tenant=tenant))


def chunk(document_id: str, text: str, number: int = 0, title: str = "", section: str = "", **values: str) -> Chunk:
    """One passage, all of its document's text."""
    return Chunk(
        id=f"{document_id}-{number}",
        document_id=document_id,
        version=1,
        number=number,
        title=title,
        section=section,
        text=text,
        start=0,
        end=len(text),
        words=searchable(text),
        title_words=searchable(title),
        section_words=searchable(section),
        values={key: (value,) for key, value in values.items()},
        metadata={key: (value,) for key, value in values.items()},
        readers=(EVERYONE,),
    )


def chunks_of(lines: Iterable[bytes]) -> list[Chunk]:
    """The chunks that index-document wrote, as a search reads them."""
    return [_read(orjson.loads(line)) for line in lines]


def _read(line: Mapping[str, Any]) -> Chunk:
    plain = ("id", "document_id", "version", "title", "section", "text", "start", "end")
    return Chunk(
        **{name: line[name] for name in plain},
        number=line["chunk"],
        words=searchable(line["text"]),
        lead=line.get("lead"),
        continues=line.get("continues", False),
    )


@dataclass
class FakeIndex:
    """Passages in memory, looked up by reading all of them; `readers` by passage id where not everybody may read it."""

    chunks_held: Sequence[Chunk]
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    nearness: Nearness | None = None
    embedded_ids: AbstractSet[str] = frozenset()
    asked_embedded: list[str] | None = None

    async def look_up(self, scope: Scope, lookups: Sequence[Lookup]) -> list[Found]:
        self.calls.append("look_up")
        return [self._found(scope, lookup) for lookup in lookups]

    async def texts(self, scope: Scope, lookups: Sequence[Lookup]) -> list[list[str]]:
        self.calls.append("texts")
        return [[_everything(each) for each in self._page(scope, lookup)] for lookup in lookups]

    async def chunks(self, scope: Scope, ids: Sequence[str]) -> list[Chunk]:
        self.calls.append("chunks")
        readable = {each.id: each for each in self._within(scope)}
        return [readable[each] for each in ids if each in readable]

    async def near(self, scope: Scope, text: str) -> Nearness | None:
        return self.nearness

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]:
        self.asked_embedded = list(ids)
        return set(ids) & self.embedded_ids

    def _found(self, scope: Scope, lookup: Lookup) -> Found:
        matching = [each for each in self._within(scope) if holds(each, lookup)]
        ids = tuple(each.id for each in self._page(scope, lookup))
        return Found(len(matching), ids, {key: _counts(key, matching) for key in lookup.facets})

    def _page(self, scope: Scope, lookup: Lookup) -> list[Chunk]:
        matching = [each for each in self._within(scope) if holds(each, lookup)]
        return matching[(lookup.page - 1) * lookup.size : lookup.page * lookup.size]

    def _within(self, scope: Scope) -> Iterator[Chunk]:
        for each in self.chunks_held:
            readers = self.readers.get(each.id)
            open_to_him = readers is None or set(readers) & {*scope.groups, *map(group_digest, scope.groups)}
            wanted = all(set(values) & set(each.values.get(key, ())) for key, values in scope.filters.items())
            if open_to_him and wanted:
                yield each


def holds(each: Chunk, lookup: Lookup) -> bool:
    """What a lookup means."""
    fields = [each.words.split(), each.title_words.split(), each.section_words.split()]
    words = {word for found in fields for word in found}
    return (
        words.issuperset(lookup.words)
        and (not lookup.any_of or not words.isdisjoint(lookup.any_of))
        and any(word.startswith(lookup.beginning) for word in words | {lookup.beginning and "\0"})
        and all(any(places(pair, found) for found in fields) for pair in pairwise(lookup.phrase))
    )


def _counts(key: str, found: Iterable[Chunk]) -> tuple[tuple[str, int], ...]:
    counts = Counter(value for each in found for value in each.values.get(key, ()))
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _everything(each: Chunk) -> str:
    return f"{each.words} {each.title_words} {each.section_words}"


class NothingRemembered(ChunkSearch):
    """The passages as Typesense finds them, by meaning too where there are `meanings`."""

    meanings: Meanings | None = None

    async def near(self, scope: Scope, text: str) -> Nearness | None:
        return await self.meanings.near(scope, text) if self.meanings else None

    async def embedded(self, scope: Scope, ids: Sequence[str]) -> set[str]:
        return await self.meanings.embedded(scope, ids) if self.meanings else set()


@dataclass
class ScriptedVersions:
    """The current version of documents: 1, unless told otherwise; None for a removed one."""

    versions: Mapping[str, int | None] = field(default_factory=dict)

    async def current(self, tenant: str, ids: Iterable[str]) -> dict[str, int]:
        found = {each: self.versions.get(each, 1) for each in ids}
        return {each: version for each, version in found.items() if version is not None}


def without_time(body: dict[str, Any]) -> bytes:
    """A result's bytes but for the time that it took."""
    return orjson.dumps({name: value for name, value in body.items() if name != "took_ms"})


def folded(text: str) -> list[str]:
    return forms(text)
