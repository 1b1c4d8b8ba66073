"""Wiring of the search function."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.search import handler
from functions.search.meaning import Meanings
from functions.search.memory import Memory
from functions.search.rewriting import ByModel, Rewrite, by_rule
from knts import events
from knts.clients.channel import Channel
from knts.clients.embedder import Embedder, EmbedServer
from knts.clients.line import Line
from knts.clients.ollama import Ollama, OllamaLimits
from knts.clients.records import Records
from knts.clients.redis import Redis, connected, ping
from knts.clients.typesense import Typesense
from knts.clients.typesense_search import ChunkSearch
from knts.clients.vectors import Vectors
from knts.events import Event
from knts.runtime import EventFunction, Handler, Wiring
from knts.settings import DurableRedis, OllamaServer, TypesenseServer, one_of, positive_int, read, seconds, setting


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How much a process remembers of the index, and how long it asks it."""

    memory_mib: int = setting("KNTS_SEARCH_MEMORY_MIB", "MiB of passages and look-ups kept", 64, parse=positive_int)
    embed_patience: float = setting(
        "KNTS_EMBED_PATIENCE",
        "seconds that embedding a question may take; then search goes by words",
        1.0,
        parse=seconds,
    )
    patience: float = setting(
        "KNTS_SEARCH_PATIENCE", "seconds that Typesense may take for one search, all tries together", 4.0, parse=seconds
    )


@dataclass(frozen=True, kw_only=True)
class RewriteSettings:
    """How a follow-up question is made to stand by itself."""

    by: str = setting(
        "KNTS_REWRITE",
        "rule, or model: Ollama's default model is asked, and the rule where it is late or strays",
        "rule",
        parse=one_of("rule", "model"),
    )
    seconds: float = setting("KNTS_REWRITE_SECONDS", "seconds that the model may take for it", 5.0, parse=seconds)
    context: int = setting(
        "KNTS_CONTEXT_TOKENS", "tokens of a model's context that answers use at most", 8192, parse=positive_int
    )


@contextlib.asynccontextmanager
async def rewriting(env: Mapping[str, str], redis: Redis) -> AsyncIterator[Rewrite]:
    """The way that the settings choose; Ollama's are read only where it is the model's, who stands in Redis' line."""
    chosen = read(RewriteSettings, env)
    if chosen.by == "rule":
        yield by_rule
        return
    async with Ollama(read(OllamaServer, env), read(OllamaLimits, env)) as ollama:
        yield ByModel(ollama, Line(redis), chosen.seconds, chosen.context)


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open Redis and Typesense, and say which handler takes which event."""
    server = read(TypesenseServer, env)
    settings = read(SearchSettings, env)
    embed_server = read(EmbedServer, env)
    async with (
        connected(read(DurableRedis, env).url) as redis,
        Typesense(server) as typesense,
        Embedder(embed_server) as embedder,
        rewriting(env, redis) as rewrite,
    ):
        records, frames = Records(redis), Channel(redis)
        meanings = Meanings(Vectors(typesense), embedder, settings.embed_patience) if embed_server.model else None
        memory = Memory(ChunkSearch(typesense, records.indexed), settings.memory_mib * 2**20, meanings=meanings)
        tools: dict[str, Any] = {"memory": memory, "records": records, "frames": frames, "seconds": settings.patience}
        handlers: dict[str, Handler] = {
            events.SEARCH_REQUESTED: partial(handler.search, **tools),
            events.ANSWER_REQUESTED: partial(handler.find_passages, **tools, rewrite=rewrite),
        }

        async def ready() -> None:
            await ping(redis)
            await typesense.ready()

        async def awaited(event: Event) -> bool:
            return await frames.awaited(event.correlation_id)

        yield Wiring(handlers, ready, awaited=awaited)


function = EventFunction("search", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """Answer one delivery."""
    return await function(request)
