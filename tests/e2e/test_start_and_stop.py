"""A local run leaves no process behind and finds its data again."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from knts.local.process import http_status
from knts.settings import OllamaServer, TypesenseServer
from tests.e2e.roads import Road, descendants, environment, start_road
from tests.e2e.test_road import Doc, ask, keeper_document, put, search


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Inside another directory that is not there yet, with a space in its name."""
    return tmp_path / "not there" / "yet"


def of_home(road: Road) -> list[int]:
    """Every process of the machine that works on this home."""
    mark = f"KNTS_HOME={road.home}".encode()
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark in environment(int(folder.name))]


def gone(road: Road, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while of_home(road) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not of_home(road)


def said(road: Road, words: str, seconds: float) -> bool:
    """Whether the run says these words in time."""
    assert road.home is not None
    deadline = time.monotonic() + seconds
    while words not in (road.home / "said").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    return words in (road.home / "said").read_text()


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Road]]:
    """Starts a run on `home`; whatever the test leaves running is stopped."""
    roads: list[Road] = []

    def started(**env: str) -> Road:
        roads.append(start_road(home, **env))
        return roads[-1]

    yield started
    for road in roads:
        if road.process is not None and road.process.poll() is None:
            road.stop()


async def found_by_meaning(api: aiohttp.ClientSession, question: str, document_id: str) -> None:
    """Wait until a question finds a document that holds none of its words."""
    async with asyncio.timeout(60):
        while True:
            if document_id in [hit["document_id"] for hit in await search(api, question)]:
                return
            await asyncio.sleep(0.2)


async def answered_for_other_words(api: aiohttp.ClientSession, doc: Doc) -> None:
    """Who words an answered question otherwise gets its answer, with what the question was."""
    known = await ask(api, doc)
    assert known["citations"], known
    async with asyncio.timeout(60):
        while (await ask(api, doc))["cache"] != "hit":  # noqa: ASYNC110 - another process remembers
            await asyncio.sleep(0.1)
    otherwise = doc.request | {"question": doc.request["question"].replace("Who is", "Who's")}
    for _ in range(2):  # by the road, then by ingress alone
        async with api.post("/v1/answers", json=otherwise, headers={"Accept": "application/json"}) as response:
            answer = await response.json()
        assert (answer["cache"], answer["answered_question"]) == ("semantic", doc.request["question"]), answer
        assert (answer["answer"], answer["citations"]) == (known["answer"], known["citations"])
        assert answer["usage"]["completion_tokens"] == 0


async def test_stop_and_start_again(home: Path, start: Callable[..., Road]) -> None:
    doc = keeper_document("Tarn")
    road = start(KNTS_FIRST_DOCUMENTS="docs/events.md", KNTS_EMBEDDINGS="packaged", KNTS_SEMANTIC="on")
    assert road.process is not None
    assert len(descendants(road.process.pid)) >= 10
    assert said(road, "1 of 1 are indexed", 30)
    async with aiohttp.ClientSession(road.base_url) as api:
        await put(api, doc)
        await found_by_meaning(api, "Is anybody in charge of a beacon for mariners?", doc.id)
        await answered_for_other_words(api, doc)
    assert road.stop(signal.SIGINT) == 0
    assert gone(road, 0)

    road = start(KNTS_FIRST_DOCUMENTS="docs/events.md")
    async with aiohttp.ClientSession(road.base_url) as api:
        assert (await search(api, f"keeper {doc.place}"))[0]["document_id"] == doc.id
    assert "first documents" not in (home / "said").read_text().rpartition("is starting")[2]
    road.stop(signal.SIGKILL)
    assert gone(road, 20)


async def test_the_users_own_servers_are_used(
    home: Path,
    start: Callable[..., Road],
    redis_url: str,
    redis_cache_url: str,
    typesense_server: TypesenseServer,
    ollama_server: OllamaServer,
) -> None:
    own = {
        "REDIS_URL": redis_url,
        "REDIS_CACHE_URL": redis_cache_url,
        "TYPESENSE_URL": typesense_server.url,
        "TYPESENSE_API_KEY": typesense_server.api_key,
        "KNTS_COLLECTION": typesense_server.collection,
        "OLLAMA_URL": f"{ollama_server.url}/api",
    }
    road, doc = start(**own), keeper_document()
    try:
        assert not (home / "data").exists()
        async with aiohttp.ClientSession(road.base_url) as api:
            await put(api, doc)
            assert (await search(api, f"keeper {doc.place}"))[0]["document_id"] == doc.id
    finally:
        assert road.stop(signal.SIGTERM) == 0
    assert gone(road, 0)
    assert http_status(f"{typesense_server.url}/health")[0] == 200


def test_a_second_signal_ends_everything_at_once(start: Callable[..., Road]) -> None:
    road = start()
    assert road.process is not None
    road.process.send_signal(signal.SIGINT)
    road.process.send_signal(signal.SIGINT)
    assert road.process.wait(30) == 0
    assert gone(road, 5)
