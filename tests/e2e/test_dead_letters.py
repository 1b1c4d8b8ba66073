"""Where an event ends that no function can take: whoever waits hears of it; an operator sends it again or drops it."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from knts.cli.sse import Splitter
from knts.clients.redis import Redis, connected
from tests.e2e import test_cli, test_road
from tests.e2e.poison import poisoned
from tests.e2e.roads import Road

Knts = Callable[..., Any]
knts = test_cli.knts
PATIENCE = 30.0


@pytest_asyncio.fixture
async def redis(road: Road) -> AsyncIterator[Redis]:
    if road.home is None:
        pytest.skip("needs the Redis of a local run")
    run = json.loads((road.home / "run.json").read_text())
    async with connected(run["env"]["REDIS_URL"]) as client:
        yield client


async def asked_for_json(api: aiohttp.ClientSession, doc: test_road.Doc) -> dict[str, Any]:
    async with api.post("/v1/answers", json=doc.request, headers={"Accept": "application/json"}) as response:
        told: dict[str, Any] = await response.json(content_type=None)
        assert response.status == told["status"]
        return told


async def streamed(api: aiohttp.ClientSession, doc: test_road.Doc) -> list[tuple[str, dict[str, Any]]]:
    splitter, frames = Splitter(), []
    async with api.post("/v1/answers", json=doc.request, headers={"Accept": "text/event-stream"}) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            frames += [(event.type, json.loads(event.data)) for event in splitter.feed(chunk)]
    return frames


async def letters(knts: Knts, *filters: str) -> dict[str, dict[str, Any]]:
    """The dead letters by the subject of their event."""
    listed = await knts("dead-letters", "list", *filters, "--limit", "1000", "--json")
    assert listed.code == 0, listed.err
    return {letter["attributes"].get("subject", ""): letter for letter in listed.json["letters"]}


async def test_who_waits_hears_of_it_and_a_replay_ends_it(api: aiohttp.ClientSession, knts: Knts, road: Road) -> None:
    if road.home is None:
        pytest.skip("needs the Typesense of a local run")
    doc = test_road.keeper_document()
    await test_road.put(api, doc)
    async with poisoned(road.home, doc.id):
        problem, frames = await asyncio.gather(asked_for_json(api, doc), streamed(api, doc))
        # 502 and not 504: it was told when the last retry had failed, and not at his deadline
        assert (problem["type"], problem["status"]) == ("urn:knts:problem:failed", 502)
        assert [kind for kind, _ in frames] == ["queued", "failed"]
        final = frames[-1][1]
        assert (final["status"], final["problem"]["detail"]) == ("failed", problem["detail"])

        subjects = {problem["id"], final["id"]}
        found = await letters(knts, "--trigger", "passages", "--since", "5m")
        assert subjects <= set(found)
        ids = [found[subject]["id"] for subject in subjects]
        shown = await knts("dead-letters", "show", ids[0])
        assert "default/passages" in shown.out
        assert doc.place in shown.out

    replayed = await knts("dead-letters", "replay", *ids)
    assert (replayed.code, replayed.out.splitlines()[-1]) == (0, "2 replayed of 2"), replayed.err
    again = await knts("dead-letters", "replay", *ids)
    assert (again.code, again.out) == (0, "0 replayed of 2\n")
    assert not subjects & set(await letters(knts))
    assert (await test_road.ask(api, doc))["status"] == "completed"


async def test_what_fails_again_is_a_letter_again_and_one_that_is_dropped_is_gone(
    knts: Knts, redis: Redis, road: Road
) -> None:
    name = f"e2e/{secrets.token_hex(6)}"
    headers = {
        "ce-specversion": "1.0",
        "ce-id": secrets.token_hex(8),
        "ce-source": "https://example.org/e2e",
        "ce-type": "knts.document.upserted.v1",
        "ce-subject": name,
        "content-type": "application/json",
    }
    document = {"id": name, "version": "3", "title": "T", "text": "T"}
    async with aiohttp.ClientSession() as http, http.post(road.broker_url, json=document, headers=headers) as response:
        assert response.status == 202
    letter = await arrived(knts, name)
    assert letter["trigger"] == "default/index-document"
    assert letter["code"] == 422
    assert letter["problem"]["errors"][0]["field"] == "version"

    for _ in range(2):
        replayed = await knts("dead-letters", "replay", letter["id"], "--json")
        assert replayed.json[0]["outcome"] in ("replayed", "failed again")
        letter = await arrived(knts, name)

    dropped = await knts("dead-letters", "drop", letter["id"], "--yes")
    assert (dropped.code, dropped.out) == (0, "1 dropped\n")
    assert name not in await letters(knts)


async def arrived(knts: Knts, subject: str) -> dict[str, Any]:
    """The letter about this subject, once it is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if letter := (await letters(knts, "--trigger", "index-document")).get(subject):
                return letter
            await asyncio.sleep(0.2)
