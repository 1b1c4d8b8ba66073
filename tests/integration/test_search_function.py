"""The search function served: events in, frames on the channel, replies out; real Valkey and Typesense."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from functions.index_document.documents import chunks
from functions.search.main import function
from knts import channel, events, schemas
from knts.clients.channel import Channel
from knts.clients.records import document_key
from knts.clients.redis import Redis
from knts.events import Event
from knts.settings import TypesenseServer
from tests.conftest import SIGNING_KEY, ServeFunction
from tests.integration.indexing import deleted, opened, upserted

TEXT = "The keeper lights the lamp each night. 😀 Nobody else may climb the tower."


@dataclass
class Road:
    """The served function, with a tenant's documents indexed by index-document's own parts."""

    url: str
    channel: Channel
    session: aiohttp.ClientSession
    redis: Redis
    server: TypesenseServer

    async def deliver(self, event: Event, key: str = SIGNING_KEY) -> tuple[int, Event | None]:
        headers, data = events.to_http(events.signed(event, (key,)))
        async with self.session.post(self.url, headers=headers, data=data) as response:
            raw = [(name.lower(), value) for name, value in response.raw_headers]
            body = await response.read()
            return response.status, events.from_http(raw, body) if response.status == 200 else None

    async def open(self, event_type: str, **data: Any) -> Event:
        ask_id = secrets.token_hex(16)
        await self.channel.open(ask_id, {"id": ask_id}, tenant="t", owner="o")
        return events.new_event(event_type, "/tests", data, tenant="t", correlationid=ask_id, subject=ask_id)

    async def search(self, query: str, *groups: str, **data: Any) -> dict[str, Any]:
        event = await self.open(events.SEARCH_REQUESTED, query=query, groups=list(groups), **data)
        assert await self.deliver(event) == (202, None)
        return (await self.frames(event))[-1].data

    async def frames(self, event: Event) -> list[channel.Frame]:
        return await self.channel.frames(channel.frames_key(event.correlation_id))

    async def index(self, *documents: Event) -> None:
        async with opened(self.redis, self.server) as parts:
            for each in documents:
                await parts.deliver(each)


@pytest.fixture
async def road(
    redis: Redis, redis_url: str, typesense_server: TypesenseServer, serve_function: ServeFunction
) -> AsyncIterator[Road]:
    env = {
        "REDIS_URL": redis_url,
        "TYPESENSE_URL": typesense_server.url,
        "TYPESENSE_API_KEY": typesense_server.api_key,
        "KNTS_COLLECTION": typesense_server.collection,
    }
    url = await serve_function("search", env)
    async with aiohttp.ClientSession() as session:
        yield Road(url, Channel(redis), session, redis, typesense_server)


async def test_a_search_finds_highlights_counts_and_narrows(road: Road) -> None:
    await road.index(
        upserted("tower", 1, TEXT, tags=["sea"], metadata={"place": "Ouessant"}, lang="en", url="/tower"),
        upserted("other", 1, "Fog hides the lamp.", tags=["sea", "fog"], metadata={"place": "Brest"}),
        upserted("secret", 1, "The lamp is broken.", acl=["staff"]),
    )
    found = await road.search("keper lamp", facets=["tags", "place", "unknown"])
    assert found["found"] == 2
    first = found["hits"][0]
    assert (first["document_id"], first["version"], first["url"], first["tags"]) == ("tower", 1, "/tower", ["sea"])
    marked = [first["passage"]["text"][start:end] for start, end in first["highlights"]]
    assert marked == ["keeper", "lamp"]
    assert TEXT[first["passage"]["start"] : first["passage"]["end"]] == first["passage"]["text"]
    assert found["facets"] == {
        "tags": [{"value": "sea", "count": 2}, {"value": "fog", "count": 1}],
        "place": [{"value": "Brest", "count": 1}, {"value": "Ouessant", "count": 1}],
        "unknown": [],
    }
    narrowed = await road.search("lamp", filters={"place": ["brest", "Nantes"], "tags": "fog"})
    assert [hit["document_id"] for hit in narrowed["hits"]] == ["other"]
    assert (await road.search("lamp", filters={"unknown": 1}))["found"] == 0
    titled = await road.search("lamp", filters={"title": "title"}, facets=["title", "lang"])
    assert titled["facets"] == {"title": [{"value": "Title", "count": 2}], "lang": [{"value": "en", "count": 1}]}
    assert {hit["document_id"] for hit in (await road.search("lamp", "staff"))["hits"]} == {"tower", "other", "secret"}


async def test_only_the_current_version_is_found(road: Road) -> None:
    await road.index(upserted("tower", 1, TEXT), upserted("tower", 2, "The lamp is electric now."))
    [hit] = (await road.search("lamp"))["hits"]
    assert (hit["version"], hit["passage"]["text"]) == (2, "The lamp is electric now.")
    assert (await road.search("climb"))["found"] == 0
    await road.index(deleted("tower", 3))
    assert (await road.search("lamp"))["found"] == 0


async def test_chunks_of_a_version_that_is_not_current_are_not_shown(road: Road) -> None:
    await road.index(upserted("tower", 1, TEXT))
    async with opened(road.redis, road.server) as parts:
        [line] = chunks(upserted("tower", 2, "A lamp nobody raised yet."))
        assert await parts.chunks.add([line]) == [None]
    found = await road.search("lamp")
    assert [hit["version"] for hit in found["hits"]] == [1]
    assert found["found"] == 1


async def test_an_answers_passages_are_framed_and_replied(road: Road) -> None:
    await road.index(upserted("tower", 1, TEXT))
    request = {"question": "Who lights the lamp?", "groups": [], "max_passages": 2}
    event = await road.open(events.ANSWER_REQUESTED, **request)
    status, reply = await road.deliver(event)
    assert status == 200
    assert reply is not None
    events.check_signature(reply, (SIGNING_KEY,))
    schemas.check_data(reply)
    assert reply.payload["request"] == request
    [passage] = reply.payload["passages"]
    assert TEXT[passage["start"] : passage["end"]] == passage["text"]
    frames = await road.frames(event)
    assert [frame.type for frame in frames] == [channel.QUEUED, channel.PASSAGES]
    assert frames[1].data["passages"] == reply.payload["passages"]
    ask = await road.channel.ask(event.correlation_id)
    assert ask is not None
    assert float(ask["search_ms"]) == reply.payload["search_ms"]
    again = await road.deliver(event)
    assert again[1] is not None
    assert again[1].data == reply.data


async def test_passages_of_a_document_that_follow_each_other_come_as_one(road: Road) -> None:
    lines = [
        f"Lamp {number} of the tower is lit by keeper {number}. " + "It burns all night. " * 40 for number in range(3)
    ]
    text = "\n\n".join(lines).strip()
    await road.index(upserted("tower", 1, text), upserted("harbour", 1, TEXT))
    event = await road.open(events.ANSWER_REQUESTED, question="Who lights lamp 1 of the tower?", groups=[])
    _, reply = await road.deliver(event)
    assert reply is not None
    schemas.check_data(reply)
    found = {each["document_id"]: each for each in reply.payload["passages"]}
    tower = found["tower"]
    assert (len(found), len(reply.payload["passages"])) == (2, 2)
    assert (tower["chunk"], tower["last_chunk"], tower["text"]) == (0, 2, text)
    assert (tower["start"], tower["end"]) == (0, len(text))


async def test_before_anything_is_indexed_there_are_no_passages(road: Road) -> None:
    event = await road.open(events.ANSWER_REQUESTED, question="Who?", groups=[])
    status, reply = await road.deliver(event)
    assert status == 200
    assert reply is not None
    assert reply.payload["passages"] == []
    assert (await road.search(""))["found"] == 0


async def test_what_nobody_waits_for_is_accepted_and_not_done(road: Road) -> None:
    unknown = events.new_event(
        events.ANSWER_REQUESTED, "/tests", {"question": "?", "groups": []}, tenant="t", correlationid="b" * 32
    )
    assert await road.deliver(unknown) == (202, None)
    expired = await road.open(events.SEARCH_REQUESTED, query="x", groups=[])
    await road.redis.hset(channel.ask_key(expired.correlation_id), "deadline", "1")
    late = Event({**expired.attributes, "expirytime": "2020-01-01T00:00:00Z"}, expired.data)
    assert await road.deliver(late) == (202, None)
    assert [frame.type for frame in await road.frames(expired)] == [channel.QUEUED]


@pytest.mark.parametrize(
    "data",
    [
        {"query": 7, "groups": []},
        {"query": "x"},
        {"query": "x", "groups": [], "limit": 101},
        {"query": "x" * 1001, "groups": []},
        {"query": "x", "groups": [], "filters": {"a": {}}},
        {"query": "x", "groups": [], "more": 1},
    ],
)
async def test_rubbish_is_refused_for_good(road: Road, data: dict[str, Any]) -> None:
    status, _ = await road.deliver(await road.open(events.SEARCH_REQUESTED, **data))
    assert status == 422


async def test_a_request_signed_by_somebody_else_is_refused(road: Road) -> None:
    status, _ = await road.deliver(await road.open(events.SEARCH_REQUESTED, query="x", groups=[]), key="another key")
    assert status == 422


async def test_without_typesense_a_search_is_told_and_a_question_goes_back_to_the_broker(
    redis_url: str, redis: Redis, serve_function: ServeFunction, typesense_server: TypesenseServer
) -> None:
    env = {"REDIS_URL": redis_url, "TYPESENSE_URL": "http://127.0.0.1:9", "TYPESENSE_API_KEY": "x"}
    async with aiohttp.ClientSession() as session:
        road = Road(await serve_function("search", env), Channel(redis), session, redis, typesense_server)
        searched = await road.open(events.SEARCH_REQUESTED, query="x", groups=[])
        asked = await road.open(events.ANSWER_REQUESTED, question="x?", groups=[])
        assert [(await road.deliver(each))[0] for each in (searched, asked)] == [202, 503]
        last = (await road.frames(searched))[-1]
        assert (last.type, last.data["problem"]["status"]) == (channel.FAILED, 503)
        assert "Typesense is not available" in last.data["reason"]
        assert [frame.type for frame in await road.frames(asked)] == [channel.QUEUED]
        async with session.get(f"{road.url}/readyz") as response:
            assert response.status == 503


async def test_an_index_that_lost_its_documents_is_an_error_and_not_an_empty_result(road: Road) -> None:
    await road.index(upserted("tower", 1, TEXT))
    async with opened(road.redis, road.server) as parts:
        name = await parts.chunks.collection.name()
        await parts.chunks.typesense.request("DELETE", f"/collections/{name}")
    event = await road.open(events.SEARCH_REQUESTED, query="lamp", groups=[])
    assert await road.deliver(event) == (202, None)
    last = (await road.frames(event))[-1]
    assert (last.type, last.data["problem"]["status"]) == (channel.FAILED, 503)
    assert "does not have the documents" in last.data["reason"]
    await road.index(deleted("tower", 2))
    assert (await road.search("lamp"))["found"] == 0


def test_the_function_is_named_as_it_is_served() -> None:
    assert function.name == "search"


async def test_a_record_that_cannot_be_read_hides_its_document_and_the_search_goes_on(road: Road) -> None:
    await road.index(upserted("a", 1, TEXT), upserted("b", 1, TEXT), upserted("c", 1, TEXT))
    await road.redis.delete(document_key("t", "b"))
    await road.redis.set(document_key("t", "b"), "no hash")
    for query in ("lamp tower", "who lights the lamp at night?"):
        found = await road.search(query)
        assert ([hit["document_id"] for hit in found["hits"]], found["found"]) == (["a", "c"], 2)
