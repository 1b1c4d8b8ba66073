"""Wiring of the cache-writer function."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.cache_writer import handler
from knts import events
from knts.clients.answer_cache import AnswerCache
from knts.clients.redis import connected, ping
from knts.runtime import EventFunction, Wiring
from knts.settings import CacheRedis, read, seconds, setting


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """How long answers are kept."""

    life: float = setting("KNTS_CACHE_SECONDS", "seconds that an answer is kept at most", 86_400.0, parse=seconds)


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open the cache; ready when it answers."""
    async with connected(read(CacheRedis, env).url) as redis:
        cache = AnswerCache(redis, seconds=read(CacheSettings, env).life)
        forget = partial(handler.forget, cache=cache)
        yield Wiring(
            {
                events.ANSWER_COMPLETED: partial(handler.remember, cache=cache),
                events.DOCUMENT_INDEXED: forget,
                events.DOCUMENT_REMOVED: forget,
            },
            ready=partial(ping, redis, "the cache"),
        )


function = EventFunction("cache-writer", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """The entry point for functions-framework."""
    return await function(request)
