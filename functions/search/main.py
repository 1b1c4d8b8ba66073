"""Wiring of the search function."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.search import handler
from knts import events
from knts.clients.channel import Channel
from knts.clients.records import Records
from knts.clients.redis import connected, ping
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.runtime import EventFunction, Handler, Wiring
from knts.settings import DurableRedis, TypesenseServer, read


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open Redis and Typesense, and say which handler takes which event."""
    server = read(TypesenseServer, env)
    async with connected(read(DurableRedis, env).url) as redis, Typesense(server) as typesense:
        index, records, frames = ChunkSearch(typesense), Records(redis), Channel(redis)
        handlers: dict[str, Handler] = {
            events.SEARCH_REQUESTED: partial(handler.search, index=index, records=records, frames=frames),
            events.ANSWER_REQUESTED: partial(handler.find_passages, index=index, records=records, frames=frames),
        }

        async def ready() -> None:
            await ping(redis)
            await typesense.ready()

        yield Wiring(handlers, ready)


function = EventFunction("search", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """Answer one delivery."""
    return await function(request)
