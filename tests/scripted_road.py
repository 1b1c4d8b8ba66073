"""A Broker of a test's own: it takes what ingress publishes, and a script plays the part of all functions behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from knts import channel, events
from knts.clients.channel import Channel
from knts.clients.flights import Flights
from knts.clients.redis import Redis
from knts.events import Event

PASSAGE = {"document_id": "d", "version": 1, "chunk": 0, "title": "D", "start": 0, "end": 4, "text": "Word", "score": 1}
FINAL = {
    "status": "completed",
    "answer": "Denmark, of course.",
    "model": "scripted",
    "citations": [],
    "passages": [PASSAGE],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    "stale": False,
}
RESULT = {"query": "q", "found": 0, "took_ms": 1.0, "hits": [], "facets": {}}

Script = Callable[["ScriptedRoad", Event], Awaitable[None]]


async def nothing(road: "ScriptedRoad", event: Event) -> None:
    """A road on which nothing ever arrives."""


async def everything(road: "ScriptedRoad", event: Event) -> None:
    """A search finds nothing; a question is answered word by word."""
    if event.type == events.SEARCH_REQUESTED:
        await road.channel.append(event.correlation_id, channel.RESULT, {**RESULT, "query": event.payload["query"]})
    elif event.type == events.ANSWER_REQUESTED:
        await road.answer(event.correlation_id, ["Den", "mark", ", of", " course."])


class ScriptedRoad:
    """What was published, and what happens then."""

    def __init__(self, redis: Redis, script: Script = everything) -> None:
        self.channel = Channel(redis)
        self.flights = Flights(redis)
        self.script = script
        self.status = 202
        self.statuses: list[int] = []  # what is answered before `status`, in turn
        self.attempts = 0
        self.authorizations: list[str | None] = []
        self.events: list[Event] = []
        self.url = ""
        self._playing: set[asyncio.Task[None]] = set()

    async def passages(self, ask_id: str) -> None:
        await self.channel.append(ask_id, channel.PASSAGES, {"passages": [PASSAGE]}, search_ms=2.5)

    async def join(self, ask_id: str, key: str = "") -> tuple[str, str]:
        """The flight of the ask and its lease token."""
        joined = await self.flights.join(key or ask_id, ask_id)
        return joined.flight, joined.token

    async def answer(self, ask_id: str, words: list[str], pause: float = 0) -> None:
        """All frames of an answer."""
        await self.passages(ask_id)
        flight, token = await self.join(ask_id)
        for word in words:
            await self.flights.append(flight, token, [(channel.DELTA, {"text": word})])
            await asyncio.sleep(pause)
        await self.end(flight, token)

    async def end(self, flight: str, token: str, **changed: Any) -> None:
        final = {**FINAL, "first_token_at": self._now(), "finished_at": self._now(), **changed}
        await self.flights.end(flight, token, [], final)

    @staticmethod
    def _now() -> int:
        return round(events.parse_time(events.now(), "now").timestamp() * 1000)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = events.from_http([(name.lower(), value) for name, value in request.raw_headers], body)
        self.attempts += 1
        self.authorizations.append(request.headers.get("authorization"))
        status = self.statuses.pop(0) if self.statuses else self.status
        if status == 202:
            self.events.append(event)
            task = asyncio.create_task(self.script(self, event))
            self._playing.add(task)
            task.add_done_callback(self._playing.discard)
        return web.Response(status=status)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedRoad"]:
        """The road, listening at `url` until exit."""
        app = web.Application(client_max_size=2**21)
        app.router.add_post("/default/kn-ts", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/default/kn-ts"
        try:
            yield self
        finally:
            for task in list(self._playing):
                task.cancel()
            await runner.cleanup()

    def env(self, redis_url: str, redis_cache_url: str, **more: str) -> Mapping[str, str]:
        """Ingress on this road; Typesense is not there."""
        return {
            "K_SINK": self.url,
            "REDIS_URL": redis_url,
            "REDIS_CACHE_URL": redis_cache_url,
            "KNTS_HOST": "127.0.0.1",
            "OLLAMA_MODEL": "scripted",
            "TYPESENSE_URL": "http://127.0.0.1:9",
            "TYPESENSE_API_KEY": "none",
            **more,
        }
