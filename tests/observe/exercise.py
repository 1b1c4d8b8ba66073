"""What a road is put through so that everything it measures has happened: the good, the refused and the broken."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from knts.cli.sse import Splitter
from knts.clients.redis import connected
from tests.e2e import test_road
from tests.e2e.poison import poisoned
from tests.e2e.roads import Road

JSON = {"Accept": "application/json"}
STREAM = {"Accept": "text/event-stream"}
Scraped = Callable[[], Awaitable[None]]
ENV = {
    "KNTS_QUEUE": "1",  # a line so short that some are turned away
    "KNTS_FIRST_DOCUMENTS": "docs/events.md",
    "KNTS_EMBEDDINGS": "packaged",
    "KNTS_SEMANTIC": "on",
}


async def exercise(road: Road, scraped: Scraped) -> None:
    """Everything, once. Raises where the road does not do what a step needs. `scraped` waits until it was looked at."""
    timeout = aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(road.base_url, timeout=timeout) as api:
        doc = test_road.keeper_document("Tarn")
        version = await test_road.put(api, doc)
        first = await test_road.ask(api, doc)
        await usual(api, doc)
        await scraped()
        await turned_away(api, doc)
        await cancelled(api, doc)
        await usual(api, doc)
        await stale(api, doc, first["id"])
        await rejected(road, doc, version + 1)
        await undeliverable(road)
        await broken(api, road)
        await without_cache(api, road, doc)
        async with api.delete(doc.path) as response:
            assert response.status == 202


async def usual(api: aiohttp.ClientSession, doc: test_road.Doc) -> None:
    """A search, and a question that was answered before. Done twice, since a counter that is born has no rate."""
    await test_road.search(api, doc.place)
    assert (await test_road.ask(api, doc))["cache"] == "hit"


async def turned_away(api: aiohttp.ClientSession, doc: test_road.Doc) -> None:
    """More questions at once than the model's line takes: some are answered by 429."""
    questions = [f"What is made of granite at {doc.place}, in {number} words?" for number in range(5, 11)]
    asked = [{**doc.request, "question": question} for question in questions]
    statuses = await asyncio.gather(*(answered(api, request) for request in asked))
    assert 429 in statuses, statuses
    assert 200 in statuses, statuses


async def answered(api: aiohttp.ClientSession, request: dict[str, Any]) -> int:
    async with api.post("/v1/answers", json=request, headers=JSON) as response:
        await response.read()
        return response.status


async def cancelled(api: aiohttp.ClientSession, doc: test_road.Doc) -> None:
    """A question that its asker takes back."""
    request = {**doc.request, "question": f"Tell everything of the lighthouse of {doc.place}.", "cache": "off"}
    async with api.post("/v1/answers", json=request, headers=STREAM) as response:
        splitter, kinds = Splitter(), []
        async for chunk in response.content.iter_any():
            for event in splitter.feed(chunk):
                kinds.append(event.type)
                if event.type == "queued":
                    async with api.delete(f"/v1/answers/{json.loads(event.data)['id']}") as deleted:
                        assert deleted.status < 300, await deleted.text()
    assert kinds[-1] == "cancelled", kinds


async def stale(api: aiohttp.ClientSession, doc: test_road.Doc, answer_id: str) -> None:
    """A document changes, and an answer from before is read again."""
    doc.text += "\nHer cat is called Soot.\n"
    await test_road.put(api, doc)
    async with api.get(f"/v1/answers/{answer_id}/events", headers=STREAM) as response:
        assert '"stale":true' in (await response.text()).replace(" ", "")


async def rejected(road: Road, doc: test_road.Doc, version: int) -> None:
    """The same version with another content."""
    await publish(road, {"id": doc.id, "version": version, "title": "T", "text": "Something else."}, doc.id)


async def undeliverable(road: Road) -> None:
    """An event that no retry helps."""
    await publish(road, {"id": "observe/bad", "version": "3", "title": "T", "text": "T"}, "observe/bad")


async def publish(road: Road, document: dict[str, Any], subject: str) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": secrets.token_hex(8),
        "ce-source": "https://example.org/observe",
        "ce-type": "knts.document.upserted.v1",
        "ce-subject": subject.encode("ascii", "backslashreplace").decode().replace(" ", "%20"),
        "content-type": "application/json",
    }
    async with aiohttp.ClientSession() as http, http.post(road.broker_url, json=document, headers=headers) as response:
        assert response.status == 202, await response.text()


async def broken(api: aiohttp.ClientSession, road: Road) -> None:
    """A document whose passages search can't read: who asks for it gets 502 once every retry has failed."""
    assert road.home is not None
    doc = test_road.keeper_document()
    await test_road.put(api, doc)
    async with poisoned(road.home, doc.id):
        assert await answered(api, doc.request) == 502


async def without_cache(api: aiohttp.ClientSession, road: Road, doc: test_road.Doc) -> None:
    """The cache does not answer for a while; questions are answered all the same."""
    async with connected(local(road)["env"]["REDIS_CACHE_URL"]) as redis:
        pid = int((await redis.info("server"))["process_id"])
    with stopped(pid):
        request = {**doc.request, "question": f"What is the cat of the keeper of {doc.place} called?"}
        assert await answered(api, request) == 200


@contextlib.contextmanager
def stopped(pid: int) -> Any:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def local(road: Road) -> dict[str, Any]:
    """What the run has told of itself."""
    assert road.home is not None
    told: dict[str, Any] = json.loads((road.home / "run.json").read_text())
    return told
