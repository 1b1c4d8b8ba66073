"""The index-document function's parts with real clients, for the tests that work with it directly."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from functions.index_document import handler
from functions.index_document.batching import Batches
from functions.index_document.main import Index
from knts import events, schemas
from knts.clients.chunks import Chunks
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.clients.typesense import Typesense
from knts.events import Event
from knts.index import document_digest, scope_filter
from knts.settings import TypesenseServer


@dataclass
class Parts:
    """The function's handlers with their real clients, whose calls are counted and can be made to fail."""

    records: Records
    chunks: Chunks
    index: Index
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        send = self.chunks.typesense.call

        async def counted(method: str, path: str, **more: Any) -> bytes:
            self.calls.append(f"{method} {path.rsplit('/', 1)[1]}")
            return await send(method, path, **more)

        self.chunks.typesense.call = counted  # type: ignore[method-assign]

    async def deliver(self, event: Event) -> Event | None:
        handle = handler.upsert if event.type == events.DOCUMENT_UPSERTED else handler.delete
        reply = await handle(event, records=self.records, index=self.index)
        if reply is not None:
            schemas.check_data(reply)
        return reply

    async def stored(self, document_id: str) -> list[dict[str, Any]]:
        """All chunks that the index holds of a document, of whatever version."""
        path = f"/collections/{self.chunks.typesense.server.collection}/documents/export"
        filters = {"filter_by": f"document:={document_digest('t', document_id)}"}
        lines = await self.chunks.typesense.call("GET", path, params=filters)
        return sorted(map(json.loads, lines.splitlines()), key=lambda chunk: (chunk["version"], chunk["chunk"]))

    async def found(self, query: str, *filters: str) -> list[str]:
        """The ids of the documents that a search finds."""
        reply = await self.chunks.typesense.request(
            "GET",
            f"/collections/{self.chunks.typesense.server.collection}/documents/search",
            params={
                "q": query,
                "query_by": "title_words,section_words,words",
                "filter_by": " && ".join(filters) or scope_filter("t", []),
                "per_page": 250,
            },
        )
        return [hit["document"]["document_id"] for hit in reply["hits"]]


@asynccontextmanager
async def opened(redis: Redis, server: TypesenseServer) -> AsyncIterator[Parts]:
    """The parts on real servers."""
    async with Typesense(server) as typesense:
        chunks = Chunks(typesense)
        yield Parts(Records(redis), chunks, Index(chunks, Batches(chunks.add)))


def upserted(document_id: str, number: int, text: str = "", **more: Any) -> Event:
    data = {"id": document_id, "version": number, "title": "Title", "text": text or f"text of {number}", **more}
    return events.new_event(events.DOCUMENT_UPSERTED, "/tests", data, id=f"{document_id}-{number}", tenant="t")


def deleted(document_id: str, number: int) -> Event:
    data = {"id": document_id, "version": number}
    return events.new_event(events.DOCUMENT_DELETED, "/tests", data, id=f"{document_id}-{number}", tenant="t")
