"""Answers over HTTP on a real Valkey: streamed, gathered or promised, resumed anywhere, ended by their deadline."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knts import channel, events
from knts.channel import Position
from knts.clients.redis import Redis, connected
from knts.errors import Permanent, problem
from knts.events import Event
from knts.local.servers import durable_valkey, started
from tests.conftest import ServeFunction
from tests.integration.ingress_world import SSE, World, all_events, bearer, events_of, world
from tests.scripted_road import FINAL, PASSAGE, RESULT, Script, ScriptedRoad, everything, nothing

Start = Callable[..., AbstractAsyncContextManager[World]]
WORDS = ["Den", "mark", ", of", " course."]


@pytest_asyncio.fixture
async def start(serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str) -> Start:
    """Ingress on a scripted road: `async with start(script, KNTS_…=…) as world`."""

    def opened(script: Script = everything, **env: str) -> AbstractAsyncContextManager[World]:
        return world(serve_function, redis, redis_url, redis_cache_url, script, **env)

    return opened


async def test_a_search_comes_back(start: Start) -> None:
    async with start() as here:
        assert await here.status("GET", "/v1/search?q=x&limit=3&filter.a=b&facet=c") == (200, {**RESULT, "query": "x"})
        assert await here.status("POST", "/v1/search", json={"query": "y"}) == (200, {**RESULT, "query": "y"})
        asked = here.road.events[0]
        assert asked.payload == {
            "query": "x", "limit": 3, "filters": {"a": "b"}, "facets": ["c"], "groups": []
        }  # fmt: skip
        events.check_signature(asked, ["a-signing-key-of-the-tests"])
        assert (asked.tenant, asked.subject) == ("local", asked.correlation_id)
        assert not events.expired(asked)


async def test_an_answer_streams(start: Start) -> None:
    async with start() as here, here.http.post("/v1/answers", json={"question": "Where?"}, headers=SSE) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        found = await all_events(response)
        assert [event.type for event in found] == ["queued", "passages", "joined", *["delta"] * 4, "completed"]
        assert "".join(event.data["text"] for event in found if event.type == "delta") == FINAL["answer"]
        assert len({event.id for event in found}) == len(found)
        last = found[-1].data
        assert response.headers["content-location"] == f"/v1/answers/{last['id']}"
        assert found[0].data["id"] == last["id"] == here.road.events[0].correlation_id
        assert await here.status("GET", f"/v1/answers/{last['id']}") == (200, last)
        assert (last["status"], last["cache"], last["question"]) == ("completed", "miss", "Where?")
        assert last["timings_ms"]["search"] == 2.5


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/event-stream;q=0.1, application/json"])
async def test_an_answer_is_gathered(start: Start, accept: str) -> None:
    async with start() as here:
        status, answer = await here.status("POST", "/v1/answers", json={"question": "Q"}, headers={"accept": accept})
        assert status == 200
        assert (answer["status"], answer["answer"], answer["passages"]) == ("completed", FINAL["answer"], [PASSAGE])


async def test_a_promised_answer_is_found_at_its_address(start: Start) -> None:
    async with start() as here:
        asked = {"prefer": "respond-async"}
        async with here.http.post("/v1/answers", json={"question": "Q"}, headers=asked) as response:
            assert response.status == 202
            assert response.headers["preference-applied"] == "respond-async"
            address = response.headers["location"]
        async with asyncio.timeout(5):
            while (found := await here.status("GET", address))[0] == 202:
                assert found[1] == {"id": address.rsplit("/", 1)[1], "status": "running"}
        assert found[1]["answer"] == FINAL["answer"]


async def test_the_ask_stands_before_anything_is_published(start: Start) -> None:
    seen: list[dict[str, str] | None] = []

    async def look(road: ScriptedRoad, event: Event) -> None:
        seen.append(await road.channel.ask(event.correlation_id))
        await everything(road, event)

    async with start(look) as here:
        await here.status("POST", "/v1/answers", json={"question": "Q"})
        assert seen[0] is not None
        assert seen[0]["status"] == "open"


@pytest.mark.parametrize(("broker", "told"), [(503, 503), (500, 503), (400, 422)])
async def test_when_nothing_can_be_published_the_ask_is_ended(
    start: Start, broker: int, told: int, redis: Redis
) -> None:
    async with start(KNTS_PUBLISH_DEADLINE="0.3") as here:
        here.road.status = broker
        status, body = await here.status("POST", "/v1/answers", json={"question": "Q"})
        assert (status, body["status"]) == (told, told)
        [key] = [key async for key in redis.scan_iter("knts:ask:*")]
        assert (await redis.hget(key, "ended_by")) == b"failed"


# -- resuming ---------------------------------------------------------------------------------------------------------


async def test_from_every_event_any_replica_gives_exactly_the_rest(start: Start, serve_function: ServeFunction) -> None:
    async with start() as here:
        ask_id = await here.ask()
        whole = await here.events(ask_id)
        assert whole[-1].type == "completed"
        other = await serve_function("ingress", here.env)
        async with aiohttp.ClientSession(other) as http:
            there = World(here.road, other, http, here.env)
            for number, event in enumerate(whole):
                assert await here.events(ask_id, event.id) == whole[number + 1 :]
                assert await there.events(ask_id, event.id) == whole[number + 1 :]
            assert await there.events(ask_id) == whole


async def test_a_broken_connection_is_taken_up_in_mid_stream(start: Start) -> None:
    async def slowly(road: ScriptedRoad, event: Event) -> None:
        await road.answer(event.correlation_id, [f"w{number} " for number in range(60)], pause=0.005)

    async with start(slowly) as here:
        ask_id, found = await here.ask(), []
        while not found or found[-1].type != "completed":
            headers = {"last-event-id": found[-1].id} if found else {}
            async with here.http.get(f"/v1/answers/{ask_id}/events", headers=headers) as response:
                taken = 0
                async for event in events_of(response):
                    found.append(event)
                    taken += 1
                    if taken == 7:
                        break
        assert [event.type for event in found] == ["queued", "passages", "joined", *["delta"] * 60, "completed"]
        assert [event.data["text"] for event in found[3:-1]] == [f"w{number} " for number in range(60)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_however_an_answer_goes_resuming_never_gaps_or_repeats(start: Start, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(["delta", "reset", "citation"]), max_size=12))
    ending = data.draw(st.sampled_from(["completed", "abstained", "failed", "hit"]))
    quoted = {"document_id": "d", "version": 1}

    async def play(road: ScriptedRoad, event: Event) -> None:
        ask = event.correlation_id
        await road.passages(ask)
        if ending == "hit":
            final = {**FINAL, "status": "completed", "first_token_at": 1, "finished_at": 2}
            await road.channel.finish(
                ask, [(kind, {"n": n, **quoted}) for n, kind in enumerate(kinds)], "completed", final
            )
            return
        flight, token = await road.join(ask)
        for number, kind in enumerate(kinds):
            await road.flights.append(flight, token, [(kind, {"n": number, **quoted})])
        await road.end(flight, token, status=ending)

    async with start(play) as here:
        ask_id = await here.ask()
        whole = await here.events(ask_id)
        assert [event.data["n"] for event in whole if "n" in event.data] == list(range(len(kinds)))
        number = data.draw(st.integers(0, len(whole) - 1))
        assert await here.events(ask_id, whole[number].id) == whole[number + 1 :]


async def test_an_event_id_in_the_query_counts_too(start: Start) -> None:
    async with start() as here:
        ask_id = await here.ask()
        whole = await here.events(ask_id)
        async with here.http.get(f"/v1/answers/{ask_id}/events?lastEventId={whole[2].id}") as response:
            assert await all_events(response) == whole[3:]


async def test_after_the_end_a_browser_is_told_not_to_come_again(start: Start) -> None:
    async with start() as here:
        ask_id = await here.ask()
        whole = await here.events(ask_id)
        assert (await here.status("GET", f"/v1/answers/{ask_id}/events", headers={"last-event-id": whole[-1].id}))[
            0
        ] == 204


async def test_when_the_frames_have_expired_the_end_still_comes(start: Start, redis: Redis) -> None:
    async with start() as here:
        ask_id = await here.ask()
        whole = await here.events(ask_id)
        flight = whole[2].data["flight"]
        await redis.delete(channel.flow_key(flight))
        assert await here.events(ask_id, whole[3].id) == [whole[-1]]
        ask = await here.road.channel.ask(ask_id)
        assert ask is not None
        await redis.hset(
            channel.ask_key(ask_id), "final", orjson.dumps(FINAL).decode(), mapping={"ended_by": "completed"}
        )
        await redis.delete(channel.frames_key(ask_id))
        [last] = await here.events(ask_id)
        assert (last.type, last.data["answer"]) == ("completed", FINAL["answer"])


# -- whose, and how long ----------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> str:
    from tests.integration.ingress_world import KEYS

    (tmp_path / "keys.json").write_bytes(orjson.dumps(KEYS))
    return str(tmp_path / "keys.json")


async def test_somebody_elses_answer_is_as_unknown_as_none(start: Start, keys: str) -> None:
    async with start(KNTS_KEYS_FILE=keys) as here:
        ask_id = await here.ask(**bearer("ann"))
        await here.events(ask_id, **bearer("ann"))
        for method, path in [("GET", ""), ("GET", "/events"), ("DELETE", "")]:
            unknown = await here.status(method, f"/v1/answers/{'0' * 32}{path}", headers=bearer("ann"))
            assert unknown[0] == 404
            for other in ("bob", "eve"):
                foreign = await here.status(method, f"/v1/answers/{ask_id}{path}", headers=bearer(other))
                assert foreign == unknown
        assert (await here.status("GET", f"/v1/answers/{ask_id}", headers=bearer("ann")))[0] == 200


async def test_the_scope_goes_with_the_question(start: Start, keys: str) -> None:
    async with start(KNTS_KEYS_FILE=keys) as here:
        await here.status("POST", "/v1/answers", json={"question": "Q"}, headers=bearer("ann"))
        assert (here.road.events[0].tenant, here.road.events[0].payload["groups"]) == ("acme", ["hr"])


@pytest.mark.parametrize("bad", ["x", "0" * 31, "0" * 33, "G" * 32, "%2e%2e", "0" * 32 + "%0a", "%00"])
async def test_an_id_that_is_none_is_unknown(start: Start, bad: str) -> None:
    async with start() as here:
        url = here.url + f"/v1/answers/{bad}"
        async with here.http.get(aiohttp.client.URL(url, encoded=True)) as response:
            assert response.status == 404


async def test_a_search_is_no_answer(start: Start) -> None:
    async with start() as here:
        await here.status("GET", "/v1/search?q=x")
        assert (await here.status("GET", f"/v1/answers/{here.road.events[0].correlation_id}"))[0] == 404


async def test_expired_and_unfinished_is_gone(start: Start, redis: Redis) -> None:
    async with start(nothing) as here:
        ask_id = await here.ask()
        assert (await here.status("GET", f"/v1/answers/{ask_id}"))[0] == 202
        await redis.delete(channel.frames_key(ask_id))
        for method, path in [("GET", ""), ("GET", "/events"), ("DELETE", "")]:
            status, body = await here.status(method, f"/v1/answers/{ask_id}{path}")
            assert (status, body["type"]) == (410, "urn:knts:problem:gone")


async def test_at_the_deadline_everybody_is_told(start: Start) -> None:
    async with start(
        nothing, KNTS_ANSWER_DEADLINE="0.3", KNTS_SEARCH_DEADLINE="0.2", KNTS_ASYNC_DEADLINE="0.2"
    ) as here:
        status, body = await here.status("POST", "/v1/answers", json={"question": "Q"})
        assert (status, body["type"]) == (504, "urn:knts:problem:deadline-exceeded")
        _, answer = await here.status("GET", f"/v1/answers/{body['id']}")
        assert (answer["status"], answer["problem"]["status"]) == ("failed", 504)
        async with here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:
            found = await all_events(response)
        assert [event.type for event in found] == ["queued", "failed"]
        assert found[-1].data["problem"]["status"] == 504
        assert (await here.status("GET", "/v1/search?q=x"))[0] == 504
        ask_id = await here.ask()
        await asyncio.sleep(0.25)
        assert (await here.status("GET", f"/v1/answers/{ask_id}"))[1]["problem"]["status"] == 504


async def test_an_answer_that_stops_in_the_middle_ends_at_its_deadline(start: Start) -> None:
    async def stop(road: ScriptedRoad, event: Event) -> None:
        flight, token = await road.join(event.correlation_id)
        await road.flights.append(flight, token, [("delta", {"text": "Den"})])

    async with start(stop, KNTS_ANSWER_DEADLINE="0.4") as here:
        async with here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:
            found = await all_events(response)
        assert [event.type for event in found] == ["queued", "joined", "delta", "failed"]
        assert await here.events(found[-1].data["id"], found[2].id) == found[3:]


async def test_what_a_function_fails_with_is_told(start: Start) -> None:
    refused = Permanent("filters.x: no such field", errors=[{"field": "filters.x", "rule": "no such field"}])

    async def refuse(road: ScriptedRoad, event: Event) -> None:
        final = {"status": "failed", "reason": refused.detail, "problem": problem(refused)}
        await road.channel.append(event.correlation_id, channel.FAILED, final)

    async with start(refuse) as here:
        status, body = await here.status("GET", "/v1/search?q=x&filter.x=y")
        assert (status, body["errors"]) == (400, [{"field": "filters.x", "rule": "no such field"}])
        status, body = await here.status("POST", "/v1/answers", json={"question": "Q"})
        assert (status, body["detail"]) == (400, "filters.x: no such field")


# -- cancelling, vanishing, slowness ----------------------------------------------------------------------------------


async def test_cancelling_ends_the_askers_part_for_all_who_listen(start: Start, redis: Redis) -> None:
    async def begin(road: ScriptedRoad, event: Event) -> None:
        await road.join(event.correlation_id)

    async with start(begin) as here, here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:
        stream = events_of(response)
        first, joined = await anext(stream), await anext(stream)
        ask_id, flight = first.data["id"], joined.data["flight"]
        assert await redis.zcard(f"knts:askers:{flight}") == 1
        assert (await here.status("DELETE", f"/v1/answers/{ask_id}"))[0] == 204
        assert (await anext(stream)).type == "cancelled"
        assert await redis.zcard(f"knts:askers:{flight}") == 0
        assert (await here.status("DELETE", f"/v1/answers/{ask_id}"))[0] == 204
        assert (await here.status("GET", f"/v1/answers/{ask_id}"))[1]["status"] == "cancelled"


async def test_cancelling_what_is_finished_changes_nothing(start: Start) -> None:
    async with start() as here:
        ask_id = await here.ask()
        whole = await here.events(ask_id)
        assert (await here.status("DELETE", f"/v1/answers/{ask_id}"))[0] == 204
        assert await here.events(ask_id) == whole


async def test_a_silent_stream_is_kept_awake(start: Start) -> None:
    async with start(nothing, KNTS_HEARTBEAT="0.05") as here:
        async with here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:
            lines = [await response.content.readline() for _ in range(8)]
        assert lines.count(b": still here\n") >= 2
        ask_id = await here.ask()
        after = Position("99999999999999-0", "0").token()
        async with here.http.get(f"/v1/answers/{ask_id}/events", headers={"last-event-id": after}) as response:
            assert await response.content.readline() == b": still here\n"


async def test_a_client_that_reads_slowly_gets_every_word(start: Start) -> None:
    big = "x" * 20_000

    async def flood(road: ScriptedRoad, event: Event) -> None:
        await road.answer(event.correlation_id, [f"{number} {big}" for number in range(400)])

    async with start(flood) as here:
        async with here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE, read_bufsize=2**10) as response:
            texts = []
            async for event in _large_events(response):
                texts.append(event)
                if len(texts) % 50 == 0:
                    await asyncio.sleep(0.05)
        assert texts == list(range(400))


async def _large_events(response: aiohttp.ClientResponse) -> AsyncIterator[int]:
    rest = b""
    async for chunk in response.content.iter_any():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            if b"event: delta\n" in block:
                yield int(orjson.loads(block.split(b"data: ", 1)[1])["text"].split()[0])


async def test_a_client_that_takes_nothing_is_given_up(start: Start, redis: Redis) -> None:
    async def flood(road: ScriptedRoad, event: Event) -> None:
        await road.answer(event.correlation_id, ["x" * 100_000] * 200)

    async with start(flood, KNTS_SLOW_CLIENT="0.2") as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(here.url.rsplit(":", 1)[1]), limit=1024)
        body = b'{"question": "Q"}'
        head = b"POST /v1/answers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(head + b"accept: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        while not [key async for key in redis.scan_iter("knts:flight-final:*")]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        received = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while chunk := await reader.read(2**16):
                    received += len(chunk)
        assert received < 200 * 100_000
        writer.close()


async def test_a_listener_is_reported_as_long_as_he_listens(start: Start, redis: Redis) -> None:
    async def begin(road: ScriptedRoad, event: Event) -> None:
        await road.join(event.correlation_id)

    async with start(begin, KNTS_PRESENCE="0.05") as here:
        async with here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:
            stream = events_of(response)
            flight = [await anext(stream), await anext(stream)][1].data["flight"]
            askers = f"knts:askers:{flight}"
            before = (await redis.zrange(askers, 0, -1, withscores=True))[0][1]
            async with asyncio.timeout(5):
                while (now := (await redis.zrange(askers, 0, -1, withscores=True))[0][1]) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert now > before
        await asyncio.sleep(0.3)
        gone = (await redis.zrange(askers, 0, -1, withscores=True))[0][1]
        await asyncio.sleep(0.3)
        assert (await redis.zrange(askers, 0, -1, withscores=True))[0][1] == gone


# -- the cache --------------------------------------------------------------------------------------------------------


async def test_without_the_cache_an_answer_only_takes_longer(start: Start, free_port: Callable[[], int]) -> None:
    async with start(REDIS_CACHE_URL=f"redis://127.0.0.1:{free_port()}") as here:
        assert (await here.status("POST", "/v1/answers", json={"question": "Q"}))[0] == 200


# -- Redis restarts ---------------------------------------------------------------------------------------------------


async def test_a_stream_goes_on_after_redis_restarts(
    serve_function: ServeFunction, redis_cache_url: str, tmp_path: Path
) -> None:
    server = durable_valkey(tmp_path / "data", tmp_path / "log")
    child = started(server)
    try:
        async with connected(server.url) as redis, world(
            serve_function, redis, server.url, redis_cache_url, nothing
        ) as here, here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:  # fmt: skip
            stream = events_of(response)
            ask_id = (await anext(stream)).data["id"]
            flight, token = await here.road.join(ask_id)
            await here.road.flights.append(flight, token, [("delta", {"text": "Den"})])
            assert [(await anext(stream)).type, (await anext(stream)).data] == ["joined", {"text": "Den"}]
            child.popen.kill()
            child.popen.wait()
            child = await asyncio.to_thread(started, server)
            async with connected(server.url) as again:
                road = ScriptedRoad(again)
                await road.flights.append(flight, token, [("delta", {"text": "mark"})])
                await road.end(flight, token)
            async with asyncio.timeout(10):
                assert [event.type async for event in stream] == ["delta", "completed"]
    finally:
        child.stop()


async def test_without_redis_a_call_is_told_so(
    serve_function: ServeFunction, redis: Redis, redis_cache_url: str, free_port: Callable[[], int]
) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    async with world(serve_function, redis, url, redis_cache_url) as here:
        for method, path in [("GET", "/v1/search?q=x"), ("GET", f"/v1/answers/{'0' * 32}"), ("GET", "/readyz")]:
            async with here.http.request(method, path) as response:
                assert response.status == 503
                assert int(response.headers["retry-after"]) >= 1
        assert (await here.http.get("/healthz")).status == 200
