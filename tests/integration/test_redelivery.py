"""Every function gets every event that it takes again: after its reply was lost, in a row and at the same time.

Each delivery gives the same reply, or none where none is meant, and leaves the same state as the first.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from knts import channel, errors, events, schemas
from knts.answer_keys import fast_key
from knts.clients.channel import Channel
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.errors import Permanent
from knts.events import Event
from knts.settings import TypesenseServer
from tests.answering import found, passage
from tests.conftest import SIGNING_KEY, ServeFunction
from tests.integration.indexing import deleted, opened, upserted
from tests.scripted_ollama import ScriptedOllama

ASK = "a" * 32
COUNTS = {"updated", "times", "last"}  # fields that tell of deliveries, and not of their effect
NOT_EFFECTS = ("knts:token:", "knts:lease:", "knts:slots:", "knts:queue", "knts:arrivals:", "knts:askers:")


@dataclass
class World:
    """The functions, each served when it is first needed, and the state that all of them keep."""

    serve: ServeFunction
    env: dict[str, str]
    stores: dict[str, Redis]
    typesense: TypesenseServer
    http: aiohttp.ClientSession
    urls: dict[str, str] = field(default_factory=dict)

    async def url(self, name: str) -> str:
        if name not in self.urls:
            self.urls[name] = await self.serve(name, self.env)
        return self.urls[name]

    async def deliver(self, name: str, event: Event) -> Event | None:
        """One delivery, made again as long as the function asks for that; its reply."""
        headers, body = events.to_http(event)
        while True:
            async with self.http.post(await self.url(name), headers=headers, data=body) as response:
                answer = await response.read()
                if response.status == 503:  # another delivery of it is under way
                    assert name == "llm-answer"
                    await asyncio.sleep(0.05)
                    continue
                assert response.status in (200, 202), answer
                if response.status == 202:
                    assert answer == b""
                    return None
                raw = [(key.lower().encode(), value.encode()) for key, value in response.headers.items()]
                reply = events.from_http(raw, answer)
                schemas.check_data(reply)
                return reply

    async def deliver_and_go(self, name: str, event: Event) -> None:
        """A delivery whose sender dies before the answer comes."""
        headers, body = events.to_http(event)
        address = urlsplit(await self.url(name))
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        named = {"host": "function", "content-length": str(len(body)), **headers}
        head = "".join(f"{key}: {value}\r\n" for key, value in named.items())
        writer.write(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def state(self) -> dict[str, Any]:
        """Everything that is kept anywhere, but for what only counts deliveries."""
        held: dict[str, Any] = {}
        for store, redis in self.stores.items():
            async for key in redis.scan_iter():
                if not key.decode().startswith(NOT_EFFECTS):
                    held[f"{store} {key.decode()}"] = await content(redis, key)
        async with opened(self.stores["durable"], self.typesense) as parts:
            await parts.chunks.collection.ensure()
            held["chunks"] = await parts.stored("d")
        return held

    async def ask(self) -> None:
        """Somebody waits."""
        await Channel(self.stores["durable"]).open(ASK, {"id": ASK}, tenant="t", owner="o", groups="[]")


async def content(redis: Redis, key: bytes) -> Any:
    match await redis.type(key):
        case b"hash":
            return {name: value for name, value in (await redis.hgetall(key)).items() if name.decode() not in COUNTS}
        case b"stream":
            return await redis.xrange(key)
        case b"zset":
            return await redis.zrange(key, 0, -1, withscores=True)
        case b"set":
            return await redis.smembers(key)
        case _:
            return await redis.get(key)


@pytest.fixture
async def world(
    serve_function: ServeFunction,
    redis_url: str,
    redis_cache_url: str,
    redis: Redis,
    redis_cache: Redis,
    typesense_server: TypesenseServer,
) -> AsyncIterator[World]:
    async with ScriptedOllama().serving() as ollama, aiohttp.ClientSession() as http:
        env = {
            "REDIS_URL": redis_url,
            "REDIS_CACHE_URL": redis_cache_url,
            "TYPESENSE_URL": typesense_server.url,
            "TYPESENSE_API_KEY": typesense_server.api_key,
            "KNTS_COLLECTION": typesense_server.collection,
            "KNTS_PRODUCER_TENANTS": "t",
            "OLLAMA_URL": f"{ollama.url}/api",
            "OLLAMA_MODEL": "small",
        }
        yield World(serve_function, env, {"durable": redis, "cache": redis_cache}, typesense_server, http)


# -- what may come, and what has come before it ------------------------------------------------------------------------


def sent(event_type: str, data: dict[str, Any], **attributes: str) -> Event:
    named = {"tenant": "t", "correlationid": ASK, "id": "1", **attributes}
    return events.signed(events.new_event(event_type, "/tests", data, **named), (SIGNING_KEY,))


async def a_new_document(w: World) -> Event:
    return upserted("d", 1, "text. " * 400)


async def a_newer_version(w: World) -> Event:
    await w.deliver("index-document", upserted("d", 1, "text. " * 400))
    return upserted("d", 2, "other text")


async def an_older_version(w: World) -> Event:
    await w.deliver("index-document", upserted("d", 2))
    return upserted("d", 1)


async def another_content(w: World) -> Event:
    await w.deliver("index-document", upserted("d", 1))
    return upserted("d", 1, "another content")


async def a_removal(w: World) -> Event:
    await w.deliver("index-document", upserted("d", 1))
    return deleted("d", 2)


async def a_removal_of_what_is_not_there(w: World) -> Event:
    return deleted("d", 2)


async def a_search(w: World) -> Event:
    await w.deliver("index-document", upserted("d", 1))
    await w.ask()
    return sent(events.SEARCH_REQUESTED, {"query": "text", "groups": []})


async def a_question(w: World) -> Event:
    await w.deliver("index-document", upserted("d", 1))
    await w.ask()
    return sent(events.ANSWER_REQUESTED, {"question": "What text?", "groups": []})


async def passages_for_an_answer(w: World) -> Event:
    records = Records(w.stores["durable"])
    await records.claim("t", "hamlet", 1, "h" * 64)
    await records.raise_to("t", "hamlet", 1, "h" * 64, status="indexed")
    await w.ask()
    event = found(ASK, passage())
    return sent(event.type, event.payload)


async def no_passages(w: World) -> Event:
    await w.ask()
    return sent(events.PASSAGES_FOUND, found(ASK).payload)


async def an_answer(w: World) -> Event:
    question = {"question": "Where?", "groups": []}
    key = fast_key("token", "t", [], question, "small")
    return sent(events.ANSWER_COMPLETED, {**ANSWER, "fast_key": key})


async def a_change_of_what_was_answered_from(w: World) -> Event:
    await w.deliver("cache-writer", await an_answer(w))
    data = {"id": "hamlet", "version": 4, "chunks": 1, "content_hash": "0" * 64}
    return sent(events.DOCUMENT_INDEXED, data, id="2")


async def a_dead_question(w: World) -> Event:
    await w.ask()
    return died(sent(events.ANSWER_REQUESTED, {"question": "What text?", "groups": []}))


async def a_dead_document(w: World) -> Event:
    return died(upserted("d", 1))


def died(event: Event) -> Event:
    problem = base64.b64encode(errors.problem_bytes(Permanent("it is no good"))).decode()
    told = {"knativeerrordest": "http://x/", "knativeerrorcode": "422", "knativeerrordata": problem}
    return Event({**event.attributes, **told}, event.data)


ANSWER: dict[str, Any] = {
    "question": "Where?",
    "key": "a" * 64,
    "status": "completed",
    "answer": "In Denmark.",
    "model": "small",
    "citations": [],
    "evidence": [["hamlet", 3, 0]],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    "cache": "miss",
    "cacheable": True,
}

Coming = Callable[[World], Awaitable[Event]]
CASES: list[tuple[str, Coming, str | None]] = [  # the function, what comes, and the reply's type
    ("index-document", a_new_document, events.DOCUMENT_INDEXED),
    ("index-document", a_newer_version, events.DOCUMENT_INDEXED),
    ("index-document", an_older_version, None),
    ("index-document", another_content, events.DOCUMENT_REJECTED),
    ("index-document", a_removal, events.DOCUMENT_REMOVED),
    ("index-document", a_removal_of_what_is_not_there, events.DOCUMENT_REMOVED),
    ("search", a_search, None),
    ("search", a_question, events.PASSAGES_FOUND),
    ("llm-answer", passages_for_an_answer, events.ANSWER_COMPLETED),
    ("llm-answer", no_passages, events.ANSWER_COMPLETED),
    ("cache-writer", an_answer, None),
    ("cache-writer", a_change_of_what_was_answered_from, None),
    ("dead-letter", a_dead_question, None),
    ("dead-letter", a_dead_document, None),
]
EVERY = pytest.mark.parametrize(
    ("name", "coming", "reply_type"), CASES, ids=[coming.__name__ for _, coming, _ in CASES]
)


@EVERY
async def test_a_lost_reply_is_given_again(world: World, name: str, coming: Coming, reply_type: str | None) -> None:
    event = await coming(world)
    await world.deliver_and_go(name, event)
    first = await world.deliver(name, event)
    assert (first and first.type) == reply_type
    state = await world.state()
    in_a_row = [await world.deliver(name, event) for _ in range(2)]
    at_once = await asyncio.gather(*(world.deliver(name, event) for _ in range(3)))
    assert list(map(told, [*in_a_row, *at_once])) == [told(first)] * 5
    assert await world.state() == state


@EVERY
async def test_deliveries_at_once_have_one_effect(
    world: World, name: str, coming: Coming, reply_type: str | None
) -> None:
    event = await coming(world)
    replies = await asyncio.gather(*(world.deliver(name, event) for _ in range(4)))
    assert {reply and reply.type for reply in replies} == {reply_type}
    assert list(map(told, replies)) == [told(replies[0])] * 4
    state = await world.state()
    assert told(await world.deliver(name, event)) == told(replies[0])
    assert await world.state() == state
    for stream in [
        entries for key, entries in state.items() if key.startswith(("durable knts:frames", "durable knts:flow"))
    ]:
        types = [fields[b"type"].decode() for _, fields in stream]
        once = [each for each in types if each != channel.DELTA]
        assert len(once) == len(set(once)), f"a frame was written twice: {types}"


def told(reply: Event | None) -> Any:
    """What of a reply is the same each time; its trace is each delivery's own."""
    return reply and (reply.id, reply.source, reply.type, reply.subject, reply.attributes["causationid"], reply.payload)
