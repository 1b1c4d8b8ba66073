"""What the tests of llm-answer share: a question, its passages, real Redis servers and a scripted Ollama."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from functions.llm_answer import handler
from functions.llm_answer.ports import AnswerLimits, Judge, Tools
from knts import channel, events, schemas
from knts.clients.answer_cache import AnswerCache
from knts.clients.channel import Channel
from knts.clients.continuing import Continues
from knts.clients.flights import LISTENER_MS, Flights
from knts.clients.line import Line
from knts.clients.ollama import Ollama, OllamaLimits
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.events import Event
from knts.settings import OllamaServer
from tests.scripted_ollama import ScriptedOllama

TEXT = "The scene is in Denmark. Marcellus and Bernardo keep watch at Elsinore."
QUESTION = "Where does Hamlet take place?"


def passage(document_id: str = "hamlet", version: int = 1, text: str = TEXT, start: int = 10) -> dict[str, Any]:
    """A passage of a document whose text begins with `start` other characters."""
    place = {"start": start, "end": start + len(text), "chunk": 0}
    return {"document_id": document_id, "version": version, "title": "Hamlet", "url": None, "text": text, **place}


def found(ask_id: str, *passages: dict[str, Any], question: str = QUESTION, **request: Any) -> Event:
    """The passages.found event of an ask."""
    data = {
        "request": {"question": question, "groups": ["staff"], **request},
        "passages": list(passages),
        "index_token": "token-1",
    }
    event = events.new_event(
        events.PASSAGES_FOUND,
        "/knts/search",
        data,
        id=f"found-{ask_id}",
        time="2026-01-31T12:00:00Z",
        tenant="local",
        correlationid=ask_id,
    )
    schemas.check_data(event)
    return event


@dataclass
class Desk:
    """A started llm-answer and what its tests look at."""

    tools: Tools
    ollama: ScriptedOllama
    redis: Redis
    cache: AnswerCache

    async def index(self, document_id: str = "hamlet", version: int = 1, status: Any = "indexed") -> None:
        """Make a version of a document the current one, or the deletion of it."""
        await self.tools.records.claim("local", document_id, version, "h" * 64)  # type: ignore[attr-defined]
        await self.tools.records.raise_to("local", document_id, version, "h" * 64, status=status)  # type: ignore[attr-defined]

    async def opened(self, ask_id: str, **fields: str) -> None:
        """Somebody waits."""
        await self.tools.asks.open(ask_id, {"id": ask_id}, tenant="local", owner="local", **fields)  # type: ignore[attr-defined]

    async def deliver(self, event: Event) -> Event | None:
        """One delivery; its reply, which is checked against its schema."""
        reply = await handler.answer(event, tools=self.tools)
        if reply is not None:
            schemas.check_data(reply)
        return reply

    async def ask(self, ask_id: str = "a1", *passages: dict[str, Any], **request: Any) -> Event | None:
        """Somebody asks, and the event is delivered once."""
        await self.opened(ask_id)
        return await self.deliver(found(ask_id, *(passages or (passage(),)), **request))

    async def about(self, ask_id: str) -> dict[str, str]:
        """What is known of an ask."""
        return await self.tools.asks.ask(ask_id) or {}

    async def frames(self, ask_id: str = "a1") -> list[tuple[str, dict[str, Any]]]:
        """The frames that a follower of the ask reads: its own, then the flight's."""
        ask = await self.about(ask_id)
        keys = [channel.frames_key(ask_id)] + ([channel.flow_key(ask["flight"])] if "flight" in ask else [])
        chan = Channel(self.redis)
        return [(frame.type, frame.data) for key in keys for frame in await chan.frames(key)]

    async def types(self, ask_id: str = "a1") -> list[str]:
        """Their types, without what ingress and the flight's joining wrote."""
        return [name for name, _ in await self.frames(ask_id) if name not in ("queued", "joined")]

    async def final(self, ask_id: str = "a1") -> dict[str, Any]:
        """The last frame's data."""
        return (await self.frames(ask_id))[-1][1]

    async def text(self, ask_id: str = "a1") -> str:
        """All deltas since the last reset, joined."""
        text = ""
        for name, data in await self.frames(ask_id):
            text = "" if name == "reset" else text + data["text"] if name == "delta" else text
        return text

    async def store(self, reply: Event | None) -> None:
        """What cache-writer does with a reply."""
        assert reply is not None
        await self.cache.put("local", reply.payload)


@contextlib.asynccontextmanager
async def desk(
    redis: Redis,
    redis_cache: Redis,
    *,
    limits: OllamaLimits | None = None,
    lease_ms: int = 5000,
    listener_ms: int = LISTENER_MS,
    fallback: str = "",
    reader: str = "",
    reader_seconds: float = 60,
    **answer: int,
) -> AsyncIterator[Desk]:
    """A desk with the document `hamlet` indexed in version 1; `fallback` and `reader` are models."""
    async with (
        ScriptedOllama().serving() as scripted,
        Ollama(OllamaServer(url=scripted.url, model="small"), limits) as ollama,
        Ollama(OllamaServer(url=scripted.url, model=fallback), limits) as spare,
    ):
        cache = AnswerCache(redis_cache)
        tools = Tools(
            ollama,
            Flights(redis, lease_ms=lease_ms, listener_ms=listener_ms),
            Line(redis, lease_ms=lease_ms),
            Continues(redis),
            cache,
            Records(redis),
            Channel(redis),
            AnswerLimits(**answer),
            fallback=spare if fallback else None,
            judge=Judge(ollama, reader, reader_seconds) if reader else None,
        )
        made = Desk(tools, scripted, redis, cache)
        await made.index()
        yield made


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait until an awaitable condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it is in Redis
            await asyncio.sleep(0.01)
