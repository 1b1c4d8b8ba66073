"""Wiring of the index-document function."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.index_document import handler
from functions.index_document.batching import Batches, batching
from functions.index_document.embedding import Worker, working
from functions.index_document.measured import measured
from knts import events
from knts.clients.chunks import Chunks, older, own, up_to
from knts.clients.embedder import Embedder, EmbedServer
from knts.clients.records import Records
from knts.clients.redis import connected, ping
from knts.clients.typesense import Typesense
from knts.clients.unembedded import Unembedded
from knts.clients.vectors import Vectors
from knts.runtime import EventFunction, Wiring
from knts.settings import DurableRedis, TypesenseServer, read


class Index:
    """The chunks, imported in batches; what is deleted loses its embeddings too."""

    def __init__(self, chunks: Chunks, batches: Batches, vectors: Vectors | None = None) -> None:
        self.add = batches.add
        self.chunks, self.vectors = chunks, vectors

    async def drop_older(self, document: str, version: int, content: str, chunks: int) -> None:
        """Delete what the current version has replaced."""
        await self.chunks.drop_older(document, version, content, chunks)
        await self._drop_vectors(older(document, version, content, chunks))

    async def drop_up_to(self, document: str, version: int) -> None:
        """Delete a document up to a version."""
        await self.chunks.drop_up_to(document, version)
        await self._drop_vectors(up_to(document, version))

    async def drop_own(self, document: str, version: int, content: str) -> None:
        """Delete what a writer that lost has written."""
        await self.chunks.drop_own(document, version, content)
        await self._drop_vectors(own(document, version, content))

    async def _drop_vectors(self, wanted: str) -> None:
        if self.vectors:
            await self.vectors.drop(wanted, await self.vectors.collections())


class Meanings:
    """Notes documents for the worker that embeds them."""

    def __init__(self, waiting: Unembedded, worker: Worker) -> None:
        self.waiting, self.worker = waiting, worker

    async def later(self, tenant: str, document_id: str) -> None:
        """Note a document whose passages are new, and wake the worker."""
        await self.waiting.add(tenant, [document_id])
        self.worker.woken.set()


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open the durable Redis and Typesense; the collection is created at the first import.

    With a model that embeds a worker runs beside the deliveries.
    """
    durable, embed_server = read(DurableRedis, env), read(EmbedServer, env)
    async with contextlib.AsyncExitStack() as opened:
        redis = await opened.enter_async_context(connected(durable.url))
        typesense = await opened.enter_async_context(Typesense(read(TypesenseServer, env)))
        chunks = Chunks(typesense)
        batches = await opened.enter_async_context(batching(chunks.add))
        records, vectors, meanings = Records(redis, durable.replicas), None, None
        if embed_server.model:
            vectors = Vectors(typesense)
            waiting = Unembedded(redis, typesense.server.collection)
            embedder = await opened.enter_async_context(Embedder(embed_server))
            worker = Worker(embed_server.model, waiting=waiting, vectors=vectors, records=records, embedder=embedder)
            await opened.enter_async_context(working(worker))
            meanings = Meanings(waiting, worker)
        index = Index(chunks, batches, vectors)

        async def ready() -> None:
            await ping(redis)
            await typesense.ready()

        upsert = partial(handler.upsert, records=records, index=index, meanings=meanings)
        delete = partial(handler.delete, records=records, index=index)
        yield Wiring(
            {events.DOCUMENT_UPSERTED: measured(upsert), events.DOCUMENT_DELETED: measured(delete)}, ready=ready
        )


function = EventFunction("index-document", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """The entry point that functions-framework calls for every request."""
    return await function(request)
