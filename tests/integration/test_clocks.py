"""A function whose clock is an hour ahead or behind expires nothing that somebody waits for, and loses nothing."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import aiohttp
import pytest

from knts import answers, channel, events
from knts.clients.channel import Channel
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.clients.tailer import Tailer
from knts.events import Event
from knts.settings import TypesenseServer
from tests.answering import desk, found, passage
from tests.conftest import SIGNING_KEY, ServeFunction
from tests.integration.indexing import upserted

HOURS = pytest.mark.parametrize("hours", [-1, 1])


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """This process's clock is off by so many hours; the servers' are right."""
    seconds, nanoseconds = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: seconds() + 3600 * hours)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + 3600 * 10**9 * hours)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(events, "datetime", Wrong)


Deliver = Callable[[str, Event], Awaitable[int]]


@pytest.fixture
async def deliver(
    serve_function: ServeFunction, redis_url: str, typesense_server: TypesenseServer
) -> AsyncIterator[Deliver]:
    """Deliver an event to a function that is served; the status it answers."""
    env = {
        "REDIS_URL": redis_url,
        "TYPESENSE_URL": typesense_server.url,
        "TYPESENSE_API_KEY": typesense_server.api_key,
        "KNTS_COLLECTION": typesense_server.collection,
        "KNTS_PRODUCER_TENANTS": "t",
    }
    served: dict[str, str] = {}
    async with aiohttp.ClientSession() as session:

        async def posted(name: str, event: Event) -> int:
            if name not in served:
                served[name] = await serve_function(name, env)
            headers, data = events.to_http(event)
            async with session.post(served[name], headers=headers, data=data) as response:
                return response.status

        yield posted


async def asked(redis: Redis, event_type: str, seconds: float, **data: Any) -> Event:
    """An ask that must be answered within so many seconds by Redis' clock, and its event as ingress publishes it."""
    async with Tailer(redis).running() as tailer:
        deadline = tailer.now_ms() + int(seconds * 1000)
    ask_id = "a" * 32
    await Channel(redis).open(ask_id, {"id": ask_id}, tenant="t", owner="o", deadline=deadline)
    expiry = datetime.fromtimestamp(deadline / 1000, UTC).isoformat(timespec="milliseconds")
    named = {"tenant": "t", "correlationid": ask_id, "subject": ask_id, "expirytime": expiry}
    return events.signed(events.new_event(event_type, "/tests", {**data, "groups": []}, **named), (SIGNING_KEY,))


async def frames(redis: Redis, event: Event) -> list[str]:
    return [frame.type for frame in await Channel(redis).frames(channel.frames_key(event.correlation_id))]


@HOURS
@pytest.mark.usefixtures("wrong_clock")
async def test_who_waits_is_answered(redis: Redis, deliver: Deliver, hours: int) -> None:
    event = await asked(redis, events.SEARCH_REQUESTED, 60, query="x")
    assert events.expired(event) == (hours > 0)
    assert await deliver("search", event) == 202
    assert await frames(redis, event) == [channel.QUEUED, channel.RESULT]


@HOURS
@pytest.mark.usefixtures("wrong_clock")
async def test_who_asks_gets_passages(redis: Redis, deliver: Deliver) -> None:
    event = await asked(redis, events.ANSWER_REQUESTED, 60, question="Who?")
    assert [await deliver("search", event) for _ in range(2)] == [200, 200], "its reply, and once more if it was lost"


@pytest.mark.parametrize("hours", [0, 1])
@pytest.mark.usefixtures("wrong_clock")
async def test_who_has_given_up_is_not_worked_for(redis: Redis, deliver: Deliver) -> None:
    late = await asked(redis, events.SEARCH_REQUESTED, -1, query="x")
    assert await deliver("search", late) == 202
    assert await frames(redis, late) == [channel.QUEUED]


@HOURS
@pytest.mark.usefixtures("wrong_clock")
async def test_a_document_is_indexed_whatever_its_expiry_says(redis: Redis, deliver: Deliver) -> None:
    first, second = upserted("d", 1), upserted("d", 2)
    soon = events.now()
    assert await deliver("index-document", first) == 200
    assert await deliver("index-document", Event({**second.attributes, "expirytime": soon}, second.data)) == 200
    assert await Records(redis).current("t", ["d"]) == {"d": 2}


@HOURS
@pytest.mark.usefixtures("wrong_clock")
async def test_an_answer_tells_how_long_it_took_by_the_clock_that_told_when_it_was_asked(
    redis: Redis, redis_cache: Redis, deliver: Deliver
) -> None:
    event = await asked(redis, events.ANSWER_REQUESTED, 60, question="Who?")
    async with Tailer(redis).running() as tailer:
        created = tailer.now_ms() - 1000
    await redis.hset(channel.ask_key(event.correlation_id), "created", created)
    assert await deliver("search", event) == 200

    async with desk(redis, redis_cache) as at:
        await at.deliver(found(event.correlation_id, passage()))
        ask, final = await at.about(event.correlation_id), await at.final(event.correlation_id)

    told = answers.compose({"id": event.correlation_id, **ask}, final)["timings_ms"]
    assert 1000 - told["search"] <= told["queued"] <= told["first_token"] <= told["total"] < 120_000


@HOURS
@pytest.mark.usefixtures("wrong_clock")
async def test_who_has_read_an_ask_knows_redis_clock(redis: Redis) -> None:
    event = await asked(redis, events.ANSWER_REQUESTED, 60, question="Who?")
    asks = Channel(redis)
    await asks.ask(event.correlation_id)
    seconds, _ = await redis.time()
    assert abs(asks.now_ms() / 1000 - seconds) < 60


@HOURS
@pytest.mark.usefixtures("wrong_clock")
async def test_an_answer_is_led_to_its_end(redis: Redis, redis_cache: Redis) -> None:
    async with desk(redis, redis_cache) as at:
        reply = await at.ask()
        assert reply is not None
        assert reply.type == events.ANSWER_COMPLETED
        assert (await at.final())["status"] == "completed"
