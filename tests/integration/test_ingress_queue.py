"""Asking in a line, over HTTP on a real Valkey: places told, a full queue, and a flight that lost its leader."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest_asyncio

from knts import events
from knts.clients.redis import Redis
from knts.line import Place, line_key
from tests.answering import until
from tests.conftest import ServeFunction
from tests.integration.ingress_world import SSE, World, all_events, events_of, world
from tests.scripted_road import Script, everything, nothing

Start = Callable[..., AbstractAsyncContextManager[World]]
MODEL = "scripted:latest"
QUEUE = f"{line_key(MODEL)}queue"


@pytest_asyncio.fixture
async def start(serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str) -> Start:
    """Ingress on a scripted road: `async with start(script, KNTS_…=…) as world`."""

    def opened(script: Script = nothing, **env: str) -> AbstractAsyncContextManager[World]:
        return world(serve_function, redis, redis_url, redis_cache_url, script, **env)

    return opened


async def asked(here: World, question: str, **more: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of a question that nobody waits for."""
    request = {"question": question, **more}
    async with here.http.post("/v1/answers", json=request, headers={"prefer": "respond-async"}) as response:
        return response.status, await response.json(), dict(response.headers)


async def test_the_first_event_tells_the_place(start: Start, redis: Redis) -> None:
    async with start() as here:
        await redis.hset(f"{line_key(MODEL)}pace", mapping={"ms": 3000, "slots": 2})
        soon = await redis.time()
        await redis.zadd(f"{line_key(MODEL)}slots", {"a x": soon[0] * 1000 + 60_000, "b y": soon[0] * 1000 + 60_000})
        for question, position in (("One?", 1), ("Two?", 2), ("one", 1)):
            async with here.http.post("/v1/answers", json={"question": question}, headers=SSE) as response:
                first = await anext(events_of(response))
            assert first.type == "queued"
            assert (first.data["position"], first.data["expected_ms"]) == (position, 1500 * position)
            assert len(first.data["id"]) == 32


async def test_a_full_queue_is_told_at_once_and_nothing_is_published(start: Start, redis: Redis) -> None:
    async with start(KNTS_QUEUE="2") as here:
        told = [(await asked(here, question))[0] for question in ("One?", "Two?", "Three?", "two")]
        assert told == [202, 202, 429, 202]
        assert len(here.road.events) == 3
        status, body, headers = await asked(here, "Three?")
        assert (status, body["type"], headers["Retry-After"]) == (429, "urn:knts:problem:busy", "5")
        assert "more questions wait" in body["detail"]
        assert (await asked(here, "Of another model?", model="other"))[0] == 202
        assert (await asked(here, "By its whole name?", model=MODEL))[0] == 429
        assert (await here.status("DELETE", f"/v1/answers/{here.road.events[0].correlation_id}"))[0] == 204
        assert (await asked(here, "Three?"))[0] == 202


async def test_questions_are_strict_where_a_setting_or_they_themselves_say_so(start: Start) -> None:
    async with start(KNTS_STRICT="true") as here:
        for more in ({}, {"strict": False}):
            assert (await asked(here, "Why?", **more))[0] == 202
        assert [event.payload["strict"] for event in here.road.events] == [True, False]
    async with start() as here:
        for more in ({}, {"strict": True}):
            assert (await asked(here, "Why?", **more))[0] == 202
        assert [event.payload.get("strict") for event in here.road.events] == [None, True]
        assert (await asked(here, "Why?", strict="yes"))[0] == 400


async def test_who_wants_no_cache_shares_no_ticket(start: Start, redis: Redis) -> None:
    async with start() as here:
        for _ in range(3):
            await asked(here, "Same?", cache="off")
        assert await redis.zcard(QUEUE) == 3


async def test_an_answer_leaves_no_ticket_behind_however_it_ends(start: Start, redis: Redis) -> None:
    async with start(everything, KNTS_ANSWER_DEADLINE="0.3") as here:
        await here.events(await here.ask("Answered?"))
        here.road.script = nothing
        async with here.http.post("/v1/answers", json={"question": "Late?"}) as late:
            assert late.status == 504
        cancelled = await here.ask("Cancelled?")
        await here.status("DELETE", f"/v1/answers/{cancelled}")
        here.road.status = 400
        assert (await asked(here, "Not published?"))[0] == 422
        assert await redis.zcard(QUEUE) == 0
        assert await redis.keys("knts:riders:*") == []


async def test_searches_and_changes_past_the_limit_are_told_when_to_come_back(start: Start) -> None:
    async with start(KNTS_SEARCHES="2", KNTS_CHANGES="1", KNTS_SEARCH_DEADLINE="1") as here:
        searches = await asyncio.gather(*(here.status("GET", f"/v1/search?q={number}") for number in range(6)))
        assert Counter(status for status, _ in searches) == {504: 2, 429: 4}
        here.road.status = 503
        changes = [
            here.status("PUT", f"/v1/documents/{number}", json={"title": "T", "text": "t"}) for number in range(3)
        ]
        assert Counter(status for status, _ in await asyncio.gather(*changes)) == {503: 1, 429: 2}
        here.road.status = 202
        assert (await here.status("PUT", "/v1/documents/x", json={"title": "T", "text": "t"}))[0] == 202


async def test_more_streams_than_the_limit_are_refused_before_anything_is_asked(start: Start) -> None:
    async with start(KNTS_STREAMS="1") as here:
        async with here.http.post("/v1/answers", json={"question": "One?"}, headers=SSE) as response:
            assert (await anext(events_of(response))).type == "queued"
            async with here.http.post("/v1/answers", json={"question": "Two?"}, headers=SSE) as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        assert len(here.road.events) == 1


async def test_questions_on_the_road_are_counted_until_they_arrive(start: Start) -> None:
    async with start(everything, KNTS_QUESTIONS="1") as here:
        for question in ("One?", "Two?"):  # each has arrived when the next sets out
            async with here.http.post("/v1/answers", json={"question": question}, headers=SSE) as response:
                await all_events(response)
        here.road.script = nothing
        async with here.http.post("/v1/answers", json={"question": "Three?"}, headers=SSE) as response:
            await anext(events_of(response))
            assert (await asked(here, "Four?"))[0] == 429
        await until(lambda: _taken(here, "Four?"))


async def test_a_question_that_has_reached_its_flight_keeps_nobody_from_asking(start: Start) -> None:
    async def joins(road: Any, event: events.Event) -> None:
        await road.join(event.correlation_id)

    async with (
        start(joins, KNTS_QUESTIONS="1") as here,
        here.http.post("/v1/answers", json={"question": "One?"}, headers=SSE) as response,
    ):
        reading = events_of(response)
        while (await anext(reading)).type != "joined":
            pass
        assert (await asked(here, "Two?"))[0] == 202  # while the first is still written


async def test_a_flight_that_lost_its_leader_has_its_question_published_again(start: Start, redis: Redis) -> None:
    async def joins(road: Any, event: events.Event) -> None:
        await road.passages(event.correlation_id)
        await road.join(event.correlation_id)

    async with start(joins, KNTS_PRESENCE="0.1") as here:
        async with here.http.post(
            "/v1/answers", json={"question": "Where?", "filters": {"a": "b"}}, headers=SSE
        ) as got:
            reading = events_of(got)
            while (event := await anext(reading)).type != "joined":
                pass
            here.road.script = nothing
            await asyncio.sleep(0.5)
            assert len(here.road.events) == 1  # it has a leader
            await redis.delete(f"knts:lease:{event.data['flight']}")
            await until(lambda: _published(here, 2))
            await asyncio.sleep(0.5)  # and not once more
        first, again = here.road.events
        assert again.payload == first.payload
        assert (again.type, again.correlation_id, again.tenant) == (first.type, first.correlation_id, first.tenant)
        assert again.id != first.id


async def _taken(here: World, question: str) -> bool:
    return (await asked(here, question))[0] == 202


async def _published(here: World, events: int) -> bool:
    return len(here.road.events) >= events


def test_a_place_tells_nothing_once_nobody_is_before_it() -> None:
    assert Place("m", "t").told == {}
    assert Place("m", "t", 3).told == {"position": 3}
    assert Place("m", "t", 3, 2000, 2).told == {"position": 3, "expected_ms": 3000}
