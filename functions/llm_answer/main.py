"""Wiring of the llm-answer function."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from functools import partial

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.llm_answer import handler
from functions.llm_answer.ports import AnswerLimits, FallbackModel, Judge, ReaderModel, Semantic, SemanticTier, Tools
from knts import events
from knts.clients.answer_cache import AnswerCache
from knts.clients.channel import Channel
from knts.clients.continuing import Continues
from knts.clients.embedder import Embedder, EmbedServer
from knts.clients.flights import Flights
from knts.clients.line import Line
from knts.clients.ollama import Ollama, OllamaLimits
from knts.clients.records import Records
from knts.clients.redis import connected, ping
from knts.errors import Permanent, Temporary
from knts.runtime import EventFunction, Wiring
from knts.settings import CacheRedis, DurableRedis, OllamaServer, SettingsError, read
from knts.tasks import ended

log = logging.getLogger(__name__)

LAST_WORDS = 5.0  # seconds that cancelled leaders may take to give up their leases at shutdown


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Open Redis, the cache and Ollama. Ready when Redis answers: cached answers need no Ollama."""
    server, limits = read(OllamaServer, env), read(OllamaLimits, env)
    async with (
        connected(read(DurableRedis, env).url, connections=256) as redis,
        connected(read(CacheRedis, env).url) as cache,
        Ollama(server, limits) as ollama,
        contextlib.AsyncExitStack() as stack,
    ):
        spare, reader = read(FallbackModel, env).server(server), read(ReaderModel, env)
        tools = Tools(
            models=ollama,
            flights=Flights(redis),
            line=Line(redis),
            continues=Continues(redis),
            cache=AnswerCache(cache),
            records=Records(redis),
            asks=Channel(redis),
            limits=read(AnswerLimits, env),
            fallback=await stack.enter_async_context(Ollama(spare, limits)) if spare else None,
            semantic=await stack.enter_async_context(_semantic(env)),
            judge=Judge(ollama, reader.model, reader.seconds) if reader.model else None,
        )
        probing = asyncio.create_task(_probe(tools))
        yield Wiring({events.PASSAGES_FOUND: partial(handler.answer, tools=tools)}, ready=partial(ping, redis))
        await ended(probing)
        if tools.leading:
            await asyncio.wait(tools.leading, timeout=LAST_WORDS)


@contextlib.asynccontextmanager
async def _semantic(env: Mapping[str, str]) -> AsyncIterator[Semantic | None]:
    """The semantic tier, None where it is off. Raises SettingsError where it is on without a model that embeds."""
    tier = read(SemanticTier, env)
    if not tier.on:
        yield None
        return
    server = read(EmbedServer, env)
    if not server.model:
        raise SettingsError("KNTS_SEMANTIC is on and OLLAMA_EMBED_MODEL is not set: name the model that embeds")
    async with Embedder(server) as embedder:
        yield Semantic(embedder, server.model, tier.patience)


async def _probe(tools: Tools) -> None:
    """Learn, before it matters, whether the default model goes on with what a leader who died left behind."""
    try:
        model = await tools.models.model()
        context = min(model.context, tools.limits.context)
        await tools.continues(tools.models, model.name, model.digest, context)
    except (Temporary, Permanent) as error:
        log.info("the model is probed when it has to be: %s", error.detail)


function = EventFunction("llm-answer", wire)


@functions_framework.aio.http
async def main(request: Request) -> Response:
    """The entry point for functions-framework."""
    return await function(request)
