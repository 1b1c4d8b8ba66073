"""Wiring of the ingress function."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import functions_framework.aio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from functions.ingress import contract
from functions.ingress.api import Api, Pace
from functions.ingress.asks import Asks
from functions.ingress.conversations import Conversations
from functions.ingress.doors import Door, Doors, Road
from functions.ingress.gate import AccessSettings, Gate
from functions.ingress.handler import Limits
from functions.ingress.measured import Measured
from functions.ingress.offered import Offered
from functions.ingress.presence import Presence
from functions.ingress.web import page
from knts.clients import redis as redis_client
from knts.clients.answer_cache import AnswerCache
from knts.clients.broker import Publisher
from knts.clients.channel import Channel
from knts.clients.chunks import Chunks
from knts.clients.conversations import Conversations as ConversationStore
from knts.clients.flights import Flights
from knts.clients.ollama import Ollama
from knts.clients.records import Records
from knts.clients.redis import connected
from knts.clients.remembered import Remembered
from knts.clients.tailer import Tailer
from knts.clients.typesense import Typesense
from knts.errors import NotFound
from knts.runtime import HttpFunction, RuntimeSettings, problem_response
from knts.settings import (
    CacheRedis,
    DurableRedis,
    OllamaServer,
    Sink,
    TypesenseServer,
    flag,
    positive_int,
    read,
    seconds,
    setting,
)


@dataclass(frozen=True)
class IngressSettings:
    """How long ingress waits for others, and others for it."""

    answer: float = setting("KNTS_ANSWER_DEADLINE", "seconds until an answer is given up", 120.0, parse=seconds)
    unheard: float = setting(
        "KNTS_ASYNC_DEADLINE", "the same for one that nobody listens to (respond-async)", 600.0, parse=seconds
    )
    search: float = setting("KNTS_SEARCH_DEADLINE", "seconds until a search is given up", 10.0, parse=seconds)
    publish: float = setting("KNTS_PUBLISH_DEADLINE", "seconds to get an event to the Broker", 5.0, parse=seconds)
    heartbeat: float = setting("KNTS_HEARTBEAT", "seconds between comments on a silent stream", 15.0, parse=seconds)
    presence: float = setting(
        "KNTS_PRESENCE", "seconds between telling the model's flights who still listens", 3.0, parse=seconds
    )
    model: str = setting("OLLAMA_MODEL", "llm-answer's model, for which questions wait that name none")
    queue: int = setting("KNTS_QUEUE", "different questions that may wait for one model", 32, parse=positive_int)
    strict: bool = setting(
        "KNTS_STRICT", "true: answers are strict where the request does not say `strict`", False, parse=flag
    )
    streams: int = setting("KNTS_STREAMS", "answers that are read here at the same time", 8000, parse=positive_int)
    road: int = setting("KNTS_QUESTIONS", "questions on their way from here to a flight", 512, parse=positive_int)
    searches: int = setting("KNTS_SEARCHES", "searches under way here at most", 64, parse=positive_int)
    changes: int = setting("KNTS_CHANGES", "single changes of documents under way here at most", 64, parse=positive_int)
    soon: float = setting(
        "KNTS_SOON",
        "seconds within which searches and changes should be done: when they are not, fewer are taken on",
        2.0,
        parse=seconds,
    )
    loads: int = setting("KNTS_LOADS", "bodies of many documents under way here", 8, parse=positive_int)
    patience: float = setting(
        "KNTS_SLOW_CLIENT", "seconds after which a client that takes no event is given up", 60.0, parse=seconds
    )

    @property
    def doors(self) -> Doors:
        return Doors(
            Door(self.searches, "searches", seconds=self.soon),
            Door(self.changes, "changes", seconds=self.soon),
            Door(self.loads, "loads"),
            Door(self.streams, "streams of answers"),
            Road(self.road, patience=self.answer / 4),
        )


@contextlib.asynccontextmanager
async def wire(env: Mapping[str, str]) -> AsyncIterator[ASGIApp]:
    """Clients opened and loops started on entry, stopped on exit."""
    settings, runtime, gate = read(IngressSettings, env), read(RuntimeSettings, env), Gate(read(AccessSettings, env))
    sink, typesense_server = read(Sink, env), read(TypesenseServer, env)
    async with contextlib.AsyncExitStack() as stack:
        stored = read(DurableRedis, env)
        durable = await stack.enter_async_context(connected(stored.url))
        cache = await stack.enter_async_context(connected(read(CacheRedis, env).url, timeout=1.0))
        publisher = Publisher(sink.url, runtime.signing_keys, deadline=settings.publish, token=sink.token)
        await stack.enter_async_context(publisher)
        typesense = await stack.enter_async_context(Typesense(typesense_server))
        ollama = await stack.enter_async_context(Ollama(read(OllamaServer, env)))
        flights, records = Flights(durable), Records(durable, stored.replicas)
        tailer = await stack.enter_async_context(Tailer(durable).running())
        presence = Presence(flights, every=settings.presence)
        asks = Asks(Channel(durable), flights, tailer, records)
        ingress = Measured(
            publisher=publisher,
            records=records,
            texts=Chunks(typesense),
            asks=asks,
            conversations=Conversations(asks, ConversationStore(durable)),
            presence=presence,
            remembered=Remembered(records, AnswerCache(cache), settings.model),
            offered=Offered(ollama, settings.model),
            limits=Limits(settings.search, settings.answer, settings.unheard, settings.queue, settings.strict),
            doors=settings.doors,
            model=settings.model,
        )
        await stack.enter_async_context(presence.telling(ingress.ask_again))

        async def ready() -> None:
            await redis_client.ping(durable)

        yield Api(
            ingress,
            gate,
            Pace(settings.heartbeat, runtime.body_timeout, settings.patience),
            ready,
            contract.files(),
            Starlette(
                routes=page.routes(ingress, gate.principal, settings.heartbeat),
                exception_handlers={404: not_found},
            ),
        )


async def not_found(request: Request, error: Exception) -> Response:
    """What is neither the API's nor the page's."""
    return problem_response(NotFound("there is no such path"))


function = HttpFunction("ingress", wire)


@functions_framework.aio.http
async def main(request: Request) -> Any:
    """The entry point that functions-framework calls."""
    return await function(request)
