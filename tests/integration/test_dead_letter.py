"""The dead-letter function on a real Valkey: it takes anything, keeps it once, and tells whoever waits."""

import base64
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from knts import channel, errors, events
from knts.clients.channel import Channel
from knts.clients.dead_letters import MAX_DATA, DeadLetter, DeadLetters
from knts.clients.flights import Flights
from knts.clients.redis import Redis
from knts.errors import Permanent, Temporary
from knts.events import Event
from tests.conftest import SIGNING_KEY, ServeFunction

ASK = "a" * 32
WHO = {"tenant": "local", "owner": "local", "kind": "answer", "deadline": 2**50, "created": 1}
DIED = {
    "knativeerrordest": "http://llm-answer.default/",
    "knativeerrorcode": "422",
    "knativeerrordata": base64.b64encode(errors.problem_bytes(Permanent("model: unknown"))).decode(),
}


@pytest_asyncio.fixture
async def url(serve_function: ServeFunction, redis_url: str) -> str:
    return await serve_function("dead-letter", {"REDIS_URL": redis_url, "KNTS_DEAD_LETTERS": "20"})


async def deliver(url: str, event: Event) -> int:
    headers, body = events.to_http(event)
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        assert await response.read() == b"" or response.status != 202
        return response.status


async def whole(letters: DeadLetters, letter_id: str) -> DeadLetter:
    letter = await letters.get(letter_id)
    assert letter is not None
    return letter


def passages(**attributes: str) -> Event:
    named = {**DIED, "tenant": "local", "correlationid": ASK, **attributes}
    event = events.new_event(events.PASSAGES_FOUND, "/knts/search", {"any": "thing"}, **named)
    return events.signed(event, [SIGNING_KEY])


async def test_a_letter_is_kept_once_however_often_it_comes(url: str, redis: Redis) -> None:
    event = passages()
    assert [await deliver(url, event) for _ in range(3)] == [202, 202, 202]
    letters = DeadLetters(redis)
    [listed], following = await letters.listing()
    assert following is None
    assert (listed.size, listed.event.data) == (len(event.data), b"")
    letter = await whole(letters, listed.id)
    assert (letter.times, letter.destination, letter.code) == (3, "http://llm-answer.default/", 422)
    assert letter.event.data == event.data
    assert dict(letter.event.attributes) == dict(event.attributes)
    assert (await letters.counts())["total"] == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"content-type": "text/plain"}, b"\xff\xfe no event"),
        ({"content-type": "application/cloudevents+json"}, b"{broken"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ({"ce-specversion": "0.3", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}, b"old"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-time": "yesterday"}, b"x"),
        ({"ce-specversion": "1.0", "ce-id": "%ff", "ce-source": "a b", "ce-type": "t", "ce-bad-name": "x"}, b"x"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}, b"x" * 1_500_000),
        (
            {
                "ce-specversion": "1.0",
                "ce-id": "1",
                "ce-source": "/s",
                "ce-type": "t",
                "content-type": "application/json",
            },
            b"{",
        ),
        (
            {
                "ce-specversion": "1.0",
                "ce-id": "1",
                "ce-source": "/s",
                "ce-type": "t",
                "ce-expirytime": "2020-01-01T00:00:00Z",
            },
            b"",
        ),
    ],
)
async def test_anything_is_kept(url: str, redis: Redis, headers: dict[str, str], body: bytes) -> None:
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        assert response.status == 202
    [listed], _ = await DeadLetters(redis).listing()
    letter = await whole(DeadLetters(redis), listed.id)
    assert letter.event.data == body[:MAX_DATA]
    assert letter.cut == max(0, len(body) - MAX_DATA)


async def test_without_room_a_letter_is_refused_and_none_is_dropped(url: str, redis: Redis) -> None:
    statuses = [await deliver(url, passages(knativeerrordest=f"http://s/{number}")) for number in range(25)]
    assert statuses == [202] * 20 + [503] * 5
    letters = DeadLetters(redis)
    found, _ = await letters.listing()
    assert len(found) == 20
    assert await letters.drop(found[0].id) == "dropped"
    assert await deliver(url, passages(knativeerrordest="http://s/24")) == 202


async def test_who_waits_for_a_leader_is_told_and_so_are_the_followers(url: str, redis: Redis) -> None:
    asks, flights = Channel(redis), Flights(redis, lease_ms=1)
    follower = "b" * 32
    for ask in (ASK, follower):
        await asks.open(ask, {"id": ask}, **WHO)
        flight = (await flights.join("key", ask)).flight
        if ask == ASK:
            await redis.set(f"knts:lease:{flight}", "held", px=60_000)
    assert await deliver(url, passages()) == 202
    assert await flights.final(flight) is None
    await redis.delete(f"knts:lease:{flight}")
    assert await deliver(url, passages()) == 202
    final = await flights.final(flight)
    assert final is not None
    assert (final["status"], final["reason"], final["problem"]["status"]) == ("failed", "model: unknown", 422)
    assert [frame.type for frame in await asks.frames(channel.flow_key(flight))] == ["failed"]


async def test_who_waits_without_a_flight_is_told(url: str, redis: Redis) -> None:
    asks = Channel(redis)
    await asks.open(ASK, {"id": ASK}, **WHO)
    assert await deliver(url, passages()) == 202
    frames = await asks.frames(channel.frames_key(ASK))
    assert [(frame.type, frame.data.get("reason")) for frame in frames] == [
        ("queued", None),
        ("failed", "model: unknown"),
    ]


async def test_a_forged_letter_ends_nobodys_wait(url: str, redis: Redis) -> None:
    asks = Channel(redis)
    await asks.open(ASK, {"id": ASK}, **WHO)
    forged = passages()
    assert await deliver(url, Event({**forged.attributes, "signature": "0" * 64}, forged.data)) == 202
    assert [frame.type for frame in await asks.frames(channel.frames_key(ASK))] == ["queued"]


async def test_letters_are_listed_from_the_oldest_on(redis: Redis) -> None:
    letters = DeadLetters(redis)
    stored = [(await letters.store(passages(knativeerrordest=f"http://s/{number}")))[0] for number in range(7)]
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = await letters.listing(after=after, limit=3)
        found += [letter.id for letter in page]
    assert sorted(found) == sorted(stored)
    assert await letters.get("unknown") is None
    assert await letters.drop("unknown") == "unknown"


async def test_what_is_dropped_meanwhile_moves_no_page(redis: Redis) -> None:
    letters = DeadLetters(redis)
    for number in range(9):
        await letters.store(passages(knativeerrordest=f"http://s/{number}"))
    whole_list, _ = await letters.listing()
    first, after = await letters.listing(limit=4)
    assert after is not None
    for letter in first:
        await letters.drop(letter.id)
    second, _ = await letters.listing(after=after)
    assert [letter.id for letter in [*first, *second]] == [letter.id for letter in whole_list]
    with pytest.raises(ValueError, match="what the page before gave"):
        await letters.listing(after="nonsense")


async def test_a_letter_that_came_again_is_dropped_only_as_it_is_now(redis: Redis) -> None:
    letters = DeadLetters(redis)
    letter_id, _ = await letters.store(passages())
    await letters.store(passages(id=(await whole(letters, letter_id)).event.id))
    assert await letters.drop(letter_id, 1) == "newer"
    assert (await whole(letters, letter_id)).times == 2
    assert await letters.drop(letter_id, 2) == "dropped"
    assert await letters.drop(letter_id, 2) == "unknown"


async def test_bytes_are_bounded_and_counted(redis: Redis) -> None:
    letters = DeadLetters(redis, most_bytes=3000)
    events_: list[Any] = [events.new_event("t", f"/{number}", {"x": "y" * 1000}) for number in range(3)]
    first, _ = await letters.store(events_[0])
    await letters.store(events_[1])
    with pytest.raises(Temporary):
        await letters.store(events_[2])
    assert 2000 < (await letters.counts())["bytes"] < 3000
    assert [await letters.drop(first), await letters.drop(first)] == ["dropped", "unknown"]
    await letters.store(events_[2])
    assert (await letters.counts())["here"] == 2
