"""Wiring of the index-document function."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.index_document import handler
from functions.index_document.batching import Batches, batching
from functions.index_document.measured import measured
from knts import events
from knts.clients.chunks import Chunks
from knts.clients.records import Records
from knts.clients.redis import connected, ping
from knts.clients.typesense import Typesense
from knts.runtime import EventFunction, Wiring
from knts.settings import DurableRedis, TypesenseServer, read


class Index:
    """The chunks, imported in batches."""

    def __init__(self, chunks: Chunks, batches: Batches) -> None:
        self.add = batches.add
        self.drop_older = chunks.drop_older
        self.drop_up_to = chunks.drop_up_to
        self.drop_own = chunks.drop_own


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open the durable Redis and Typesense; the collection is created at the first import."""
    durable = read(DurableRedis, env)
    async with connected(durable.url) as redis, Typesense(read(TypesenseServer, env)) as typesense:
        chunks = Chunks(typesense)
        async with batching(chunks.add) as batches:
            records, index = Records(redis, durable.replicas), Index(chunks, batches)

            async def ready() -> None:
                await ping(redis)
                await typesense.ready()

            yield Wiring(
                {
                    events.DOCUMENT_UPSERTED: measured(partial(handler.upsert, records=records, index=index)),
                    events.DOCUMENT_DELETED: measured(partial(handler.delete, records=records, index=index)),
                },
                ready=ready,
            )


function = EventFunction("index-document", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """The entry point that functions-framework calls for every request."""
    return await function(request)
