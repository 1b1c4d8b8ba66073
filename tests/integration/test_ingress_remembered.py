"""A repeated question is answered from the cache, on real Valkeys: in one write, with no event, the same for all."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from knts import channel
from knts.answer_keys import fast_key
from knts.clients.answer_cache import AnswerCache
from knts.clients.records import Records
from knts.clients.redis import Redis
from tests.conftest import ServeFunction
from tests.integration.ingress_world import SSE, World, all_events, world
from tests.scripted_road import FINAL, PASSAGE

MODEL = "small:1b"
CITATION = {"document_id": "d", "version": 1, "start": 0, "end": 4, "quote": "Word", "sha256": "0" * 64}
COMPLETED = {
    **FINAL,
    "citations": [CITATION],
    "question": "Q",
    "key": "a" * 64,
    "evidence": [["d", 1, 0]],
    "cache": "miss",
    "cacheable": True,
}


async def remember(redis: Redis, cache: Redis, model: str = MODEL, **request: Any) -> None:
    await AnswerCache(cache).put("local", COMPLETED)
    token = await Records(redis).token("local")
    key = fast_key(token, "local", [], {"question": "Q", **request}, model)
    await AnswerCache(cache).point(key, COMPLETED["key"])


@pytest_asyncio.fixture
async def here(
    serve_function: ServeFunction, redis: Redis, redis_cache: Redis, redis_url: str, redis_cache_url: str
) -> AsyncIterator[World]:
    async with world(serve_function, redis, redis_url, redis_cache_url, OLLAMA_MODEL=MODEL) as found:
        await remember(redis, redis_cache)
        yield found


async def test_a_remembered_answer_needs_no_event(here: World) -> None:
    async with here.http.post("/v1/answers", json={"question": "q?"}, headers=SSE) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        found = await all_events(response)
        assert response.headers["content-location"] == f"/v1/answers/{found[0].data['id']}"
    assert [event.type for event in found] == ["queued", "passages", "delta", "citation", "completed"]
    last = found[-1].data
    assert (last["cache"], last["answer"], last["passages"]) == ("hit", FINAL["answer"], [PASSAGE])
    assert last["timings_ms"] == {"queued": None, "search": None, "first_token": 0.0, "total": 0.0}
    assert here.road.events == []


async def test_it_is_read_and_resumed_like_any_other(here: World, redis: Redis) -> None:
    async with here.http.post("/v1/answers", json={"question": "Q"}, headers=SSE) as response:
        whole = await all_events(response)
    ask_id = whole[0].data["id"]
    assert await here.status("GET", f"/v1/answers/{ask_id}") == (200, whole[-1].data)
    for number, event in enumerate(whole):
        assert await here.events(ask_id, event.id) == whole[number + 1 :]
    assert await here.events(ask_id) == whole
    assert channel.STREAM_MS < await redis.pttl(channel.ask_key(ask_id)) <= channel.FINAL_MS


async def test_as_json_and_as_a_promise_it_is_the_same_answer(here: World) -> None:
    status, answer = await here.status("POST", "/v1/answers", json={"question": "Q"})
    assert (status, answer["cache"], answer["citations"]) == (200, "hit", [CITATION])
    assert await here.status("GET", f"/v1/answers/{answer['id']}") == (200, answer)
    _, promised = await here.status("GET", f"/v1/answers/{await here.ask('Q')}")
    own = ("id",)
    assert {name: answer[name] for name in answer if name not in own} == {
        name: promised[name] for name in promised if name not in own
    }
    assert here.road.events == []


async def test_it_is_one_write_to_the_durable_server(here: World, redis: Redis) -> None:
    await here.status("POST", "/v1/answers", json={"question": "Q"})
    before = await redis.info("commandstats")
    await here.status("POST", "/v1/answers", json={"question": "Q"})
    after = await redis.info("commandstats")
    scripts = [int(info["cmdstat_evalsha"]["calls"]) for info in (before, after)]
    reads = [int(info.get("cmdstat_hgetall", {"calls": 0})["calls"]) for info in (before, after)]
    assert (scripts[1] - scripts[0], reads[1] - reads[0]) == (1, 0)


async def test_who_wants_no_cache_and_a_changed_index_take_the_whole_road(here: World, redis: Redis) -> None:
    for cache_use in ("off", "refresh"):
        asked = {"question": "Q", "cache": cache_use}
        assert (await here.status("POST", "/v1/answers", json=asked))[1]["cache"] == "miss"
    await Records(redis).replace_token("local")
    assert (await here.status("POST", "/v1/answers", json={"question": "Q"}))[1]["cache"] == "miss"


async def test_an_answer_of_another_model_is_not_given(here: World, redis: Redis, redis_cache: Redis) -> None:
    other = {"question": "Q", "model": "other:7b"}
    assert (await here.status("POST", "/v1/answers", json=other))[1]["cache"] == "miss"
    named = {"question": "Q", "model": MODEL}
    assert (await here.status("POST", "/v1/answers", json=named))[1]["cache"] == "hit"
    await redis_cache.flushall()
    await remember(redis, redis_cache, "other:7b")
    assert (await here.status("POST", "/v1/answers", json={"question": "Q"}))[1]["cache"] == "miss"
    assert (await here.status("POST", "/v1/answers", json=other))[1]["cache"] == "hit"


async def test_an_answer_to_another_wording_says_so_every_time(here: World, redis: Redis, redis_cache: Redis) -> None:
    source = {"question": "Which?", "key": "c" * 64, "evidence": [["d", 1, 0]]}
    copy = {**COMPLETED, "key": "b" * 64, "cache": "semantic", "answered_from": source}
    copy["citations"] = [{**CITATION, "answer_start": 0, "answer_end": 4}]
    cache = AnswerCache(redis_cache)
    await cache.put("local", copy)
    token = await Records(redis).token("local")
    await cache.point(fast_key(token, "local", [], {"question": "Q"}, MODEL), copy["key"])
    _, answer = await here.status("POST", "/v1/answers", json={"question": "Q"})
    assert (answer["cache"], answer["question"], answer["answered_question"]) == ("semantic", "Q", "Which?")
    assert await here.status("GET", f"/v1/answers/{answer['id']}") == (200, answer)
    asked = {"model": "kn-ts", "messages": [{"role": "user", "content": "Q"}]}
    _, completion = await here.status("POST", "/v1/chat/completions", json=asked)
    assert (completion["knts"]["cache"], completion["knts"]["answered_question"]) == ("semantic", "Which?")
    assert here.road.events == []
