"""What a stored answer still shows when its documents have changed, are removed, or are somebody else's by now."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from functions.ingress.access import digest
from functions.ingress.standing import REMOVED
from knts import channel
from knts.clients.redis import Redis
from knts.events import Event
from tests.conftest import ServeFunction
from tests.integration.ingress_world import SSE, World, all_events, bearer, events_of, index, world
from tests.scripted_road import FINAL, Script, ScriptedRoad, everything

Start = Callable[..., AbstractAsyncContextManager[World]]


@pytest_asyncio.fixture
async def start(serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str) -> Start:
    def opened(script: Script = everything, **env: str) -> AbstractAsyncContextManager[World]:
        return world(serve_function, redis, redis_url, redis_cache_url, script, **env)

    return opened


async def answered(here: World, **headers: str) -> dict[str, Any]:
    status, answer = await here.status("POST", "/v1/answers", json={"question": "Where?"}, headers=headers)
    assert status == 200
    return answer


async def withheld(here: World, ask_id: str, **headers: str) -> None:
    """Nothing is shown of the answer but that a document was removed."""
    status, shown = await here.status("GET", f"/v1/answers/{ask_id}", headers=headers)
    assert (status, shown["status"], shown["reason"], shown["problem"]["status"]) == (200, "failed", REMOVED, 410)
    assert (shown["answer"], shown["citations"], shown["passages"]) == ("", [], [])
    assert (shown["question"], shown["model"]) == ("Where?", FINAL["model"])
    [last] = await here.events(ask_id, **headers)
    assert (last.type, last.data) == ("failed", shown)
    assert await here.events(ask_id, last.id, **headers) == []


async def test_an_answer_from_a_removed_document_shows_nothing_of_it(start: Start, redis: Redis) -> None:
    async with start() as here:
        answer = await answered(here)
        whole = await here.events(answer["id"])
        await index(redis, 2, "removed")
        await withheld(here, answer["id"])
        assert [event.type for event in await here.events(answer["id"], whole[3].id)] == ["failed"]


async def test_what_comes_back_does_not_bring_back_what_was_removed(start: Start, redis: Redis) -> None:
    async with start() as here:
        old = await answered(here)
        await index(redis, 2, "removed")
        await index(redis, 3)
        await withheld(here, old["id"])


async def test_an_answer_from_a_changed_document_is_stale(start: Start, redis: Redis) -> None:
    async with start() as here:
        answer = await answered(here)
        whole = await here.events(answer["id"])
        assert (answer["stale"], whole[-1].data) == (False, answer)
        await index(redis, 2)
        stale = {**answer, "stale": True}
        assert await here.status("GET", f"/v1/answers/{answer['id']}") == (200, stale)
        again = await here.events(answer["id"])
        assert again[:-1] == whole[:-1]
        assert again[-1].data == stale


async def test_a_version_on_its_way_changes_nothing_yet(start: Start, redis: Redis) -> None:
    from knts.clients.records import Records

    async with start() as here:
        answer = await answered(here)
        await Records(redis).assign("local", "d")
        assert await here.status("GET", f"/v1/answers/{answer['id']}") == (200, answer)


@pytest.mark.parametrize("end", ["late", "cancelled", "failed"])
async def test_what_an_unfinished_answer_has_shown_is_not_shown_again(start: Start, redis: Redis, end: str) -> None:
    async def stop(road: ScriptedRoad, event: Event) -> None:
        await road.passages(event.correlation_id)
        flight, token = await road.join(event.correlation_id)
        await road.flights.append(flight, token, [("delta", {"text": "Den"})])
        if end == "failed":
            await road.end(flight, token, status="failed", reason="r", answer="Den", passages=[])

    async with start(stop, KNTS_ANSWER_DEADLINE="1") as here:
        async with here.http.post("/v1/answers", json={"question": "Where?"}, headers=SSE) as response:
            stream = events_of(response)
            seen = [await anext(stream) for _ in range(4)]
            assert [event.type for event in seen] == ["queued", "passages", "joined", "delta"]
            ask_id = seen[0].data["id"]
            if end == "cancelled":
                await here.status("DELETE", f"/v1/answers/{ask_id}")
            rest = [event async for event in stream]
        assert (await here.events(ask_id))[:3] == seen[:3]
        await index(redis, 2, "removed")
        [last] = await here.events(ask_id)
        assert (last.type, last.data["reason"]) == ("failed", REMOVED)
        assert rest


async def test_without_its_frames_it_is_withheld_as_well(start: Start, redis: Redis) -> None:
    async with start() as here:
        answer = await answered(here)
        await redis.delete(channel.frames_key(answer["id"]))
        await index(redis, 2, "removed")
        await withheld(here, answer["id"])


async def test_the_stream_that_is_being_written_is_not_broken_off(start: Start, redis: Redis) -> None:
    async def removing(road: ScriptedRoad, event: Event) -> None:
        await index(redis, 2, "removed")
        await everything(road, event)

    asked = {"question": "Where?"}
    async with start(removing) as here, here.http.post("/v1/answers", json=asked, headers=SSE) as response:
        assert (await all_events(response))[-1].data["status"] == "completed"


# -- whose ------------------------------------------------------------------------------------------------------------


def keys_file(folder: Path, *groups: str) -> str:
    """Ann's key, with these groups from now on."""
    path, fresh = folder / "keys.json", folder / "keys.new"
    fresh.write_bytes(orjson.dumps([{"sha256": digest("ann"), "tenant": "acme", "groups": groups}]))
    fresh.replace(path)
    return str(path)


async def test_a_document_that_he_may_no_longer_read_counts_as_removed(
    start: Start, redis: Redis, tmp_path: Path
) -> None:
    ann = bearer("ann")
    async with start(KNTS_KEYS_FILE=keys_file(tmp_path, "hr")) as here:
        answer = await answered(here, **ann)
        await index(redis, 2, tenant="acme", acl=["hr", "law"])
        assert (await here.status("GET", f"/v1/answers/{answer['id']}", headers=ann))[1]["stale"] is True
        await index(redis, 3, tenant="acme", acl=["law"])
        await withheld(here, answer["id"], **ann)


async def test_an_answer_belongs_to_the_groups_that_it_was_asked_with(start: Start, tmp_path: Path) -> None:
    ann = bearer("ann")
    async with start(KNTS_KEYS_FILE=keys_file(tmp_path, "hr", "law")) as here:
        answer = await answered(here, **ann)
        address = f"/v1/answers/{answer['id']}"
        keys_file(tmp_path, "hr")
        for method, path in [("GET", address), ("GET", f"{address}/events"), ("DELETE", address)]:
            assert (await here.status(method, path, headers=ann))[0] == 404
        keys_file(tmp_path, "law", "hr", "more")
        assert await here.status("GET", address, headers=ann) == (200, answer)
