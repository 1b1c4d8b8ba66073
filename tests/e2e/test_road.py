"""From a document to a streamed, sourced answer, on real parts, through the HTTP API alone."""

import asyncio
import hashlib
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.e2e.roads import Road

PATIENCE = 30.0  # seconds: indexing waits for a batch, a restarted function for its start
KEEPER = (
    "# The lighthouse of {place}\n\n"
    "The lighthouse of {place} stands on the cliff above the harbour. It was built in 1871 from granite.\n\n"
    "## Its keeper\n\n"
    "The keeper of the lighthouse of {place} is Maren Oldfather. She lights the lamp every evening at six.\n"
)


@dataclass
class Doc:
    """One document of a test, with a place name that no other document has."""

    id: str
    place: str
    text: str

    @property
    def path(self) -> str:
        return f"/v1/documents/{quote(self.id, safe='')}"

    @property
    def request(self) -> dict[str, Any]:
        """A question that only this document may answer: the lighthouses of other tests would be sources as well."""
        question = f"Who is the keeper of the lighthouse of {self.place}?"
        return {"question": question, "filters": {"place": self.place}}


def keeper_document(place: str = "") -> Doc:
    """A document of its own; of a given place where the small model's words matter: it answers by the letter."""
    place = place or "Skell" + "".join(secrets.choice("aeioklmnrstv") for _ in range(8))
    return Doc(f"e2e/{place} 100%.md", place, KEEPER.format(place=place))


async def put(api: aiohttp.ClientSession, doc: Doc) -> int:
    """Send the document and wait until that version is indexed; its version."""
    named = {"title": f"The lighthouse of {doc.place}", "text": doc.text, "metadata": {"place": doc.place}}
    async with api.put(doc.path, json=named) as response:
        assert response.status == 202, await response.text()
        version: int = (await response.json())["version"]
    await until(api, doc, version, "indexed")
    return version


async def until(api: aiohttp.ClientSession, doc: Doc, version: int, status: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            async with api.get(doc.path) as response:
                record: dict[str, Any] = await response.json()
            if response.status == 200 and (record["version"], record["status"]) == (version, status):
                return record
            await asyncio.sleep(0.1)


async def search(api: aiohttp.ClientSession, query: str) -> list[dict[str, Any]]:
    async with api.get("/v1/search", params={"q": query}) as response:
        assert response.status == 200, await response.text()
        hits: list[dict[str, Any]] = (await response.json())["hits"]
        return hits


async def ask(api: aiohttp.ClientSession, doc: Doc) -> dict[str, Any]:
    async with api.post("/v1/answers", json=doc.request, headers={"Accept": "application/json"}) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


def check_citations(answer: dict[str, Any], doc: Doc, version: int) -> int:
    """Each citation of the document is its text, code point for code point; how many there are."""
    cited = [citation for citation in answer["citations"] if citation["document_id"] == doc.id]
    for citation in cited:
        quoted = doc.text[citation["start"] : citation["end"]]
        assert citation["version"] == version
        assert citation["quote"] == quoted
        assert citation["sha256"] == hashlib.sha256(quoted.encode()).hexdigest()
        assert 0 <= citation["answer_start"] < citation["answer_end"] <= len(answer["answer"])
    return len(cited)


async def test_a_document_is_found_despite_typos_where_it_says_so(api: aiohttp.ClientSession) -> None:
    doc = keeper_document()
    version = await put(api, doc)
    hits = await search(api, f"lighthuose keper {doc.place}")
    assert hits[0]["document_id"] == doc.id
    assert hits[0]["version"] == version
    passage = hits[0]["passage"]
    assert doc.text[passage["start"] : passage["end"]] == passage["text"]
    assert hits[0]["highlights"]
    assert all(0 <= start < end <= len(passage["text"]) for start, end in hits[0]["highlights"])


async def test_an_answer_is_sourced_then_cached_and_follows_its_document(api: aiohttp.ClientSession) -> None:
    doc = keeper_document("Tarn")
    first_version = await put(api, doc)
    first = await ask(api, doc)
    assert (first["status"], first["cache"]) == ("completed", "miss")
    assert check_citations(first, doc, first_version) > 0, first

    again = await ask(api, doc)
    assert again["cache"] == "hit"
    assert again["id"] != first["id"]
    assert (again["answer"], again["citations"]) == (first["answer"], first["citations"])

    doc.text = doc.text.replace("Maren Oldfather", "Jonas Brackwater")
    second_version = await put(api, doc)
    assert second_version > first_version
    changed = await ask(api, doc)
    assert changed["cache"] == "miss"
    assert "Oldfather" not in changed["answer"]
    shown = {passage["version"] for passage in changed["passages"] if passage["document_id"] == doc.id}
    assert shown == {second_version}
    assert {citation["version"] for citation in changed["citations"]} <= shown


async def test_a_model_that_nobody_has_is_named_beside_those_that_there_are(api: aiohttp.ClientSession) -> None:
    doc = keeper_document()
    await put(api, doc)
    async with api.post("/v1/answers", json=doc.request | {"model": "llama9"}) as response:
        problem = await response.json()
    assert (response.status, problem["status"], problem["errors"][0]["field"]) == (400, 400, "model")
    async with api.post("/v1/answers", json=doc.request) as response:
        model = (await response.json())["model"]
    assert "'llama9' is unknown; there is " in problem["detail"]
    assert model in problem["detail"]


async def test_a_deleted_document_is_gone(api: aiohttp.ClientSession) -> None:
    doc = keeper_document()
    version = await put(api, doc)
    await ask(api, doc)
    async with api.delete(doc.path) as response:
        assert response.status == 202, await response.text()
    await until(api, doc, version + 1, "removed")
    assert doc.id not in {hit["document_id"] for hit in await search(api, f"keeper {doc.place}")}
    answer = await ask(api, doc)
    said = [*answer["citations"], *answer["passages"]]
    assert doc.id not in {one["document_id"] for one in said}


@dataclass
class Frame:
    """One server-sent event."""

    id: str
    event: str
    data: dict[str, Any]


async def frames_of(response: aiohttp.ClientResponse) -> AsyncIterator[Frame]:
    """The frames of a stream; comments are heartbeats and are left out."""
    fields: dict[str, list[str]] = {}
    async for raw in response.content:
        name, _, value = raw.decode().rstrip("\r\n").partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif "data" in fields:
            yield Frame(fields["id"][0], fields["event"][0], json.loads("\n".join(fields["data"])))
            fields = {}


def shown(frames: list[Frame]) -> str:
    """The answer as a page shows it: every delta since the last reset."""
    text = ""
    for frame in frames:
        if frame.event == "reset":
            text = ""
        elif frame.event == "delta":
            text += frame.data["text"]
    return text


async def test_an_answer_streams_and_is_resumed_exactly(api: aiohttp.ClientSession) -> None:
    doc = keeper_document("Skellvik")
    await put(api, doc)
    headers = {"Accept": "text/event-stream"}
    async with api.post("/v1/answers", json=doc.request, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        frames = [frame async for frame in frames_of(response)]
    names = [frame.event for frame in frames]
    assert names[0] == "queued"
    assert names.index("passages") < names.index("delta")
    assert names[-1] == "completed"
    answer_id = frames[0].data["id"]
    final = frames[-1].data
    assert final["id"] == answer_id
    assert shown(frames) == final["answer"]
    assert len({frame.id for frame in frames}) == len(frames)

    async with api.get(f"/v1/answers/{answer_id}") as response:
        assert await response.json() == final
    middle = len(frames) // 2
    headers["Last-Event-ID"] = frames[middle].id
    async with api.get(f"/v1/answers/{answer_id}/events", headers=headers) as response:
        assert [frame async for frame in frames_of(response)] == frames[middle + 1 :]


@pytest.mark.parametrize("name", ["search", "llm-answer", "index-document"])
async def test_a_killed_function_costs_nothing(road: Road, api: aiohttp.ClientSession, name: str) -> None:
    doc = keeper_document("Oban")
    (pid,) = road.pids(FUNCTION_TARGET=name)
    os.kill(pid, signal.SIGKILL)
    version = await put(api, doc)
    answer = await ask(api, doc)
    assert answer["status"] == "completed"
    assert check_citations(answer, doc, version) > 0, answer
    assert pid not in road.pids(FUNCTION_TARGET=name)


async def test_a_generation_whose_function_is_killed_is_finished_by_the_next(
    road: Road, api: aiohttp.ClientSession
) -> None:
    doc = keeper_document("Eastport")
    version = await put(api, doc)
    (pid,) = road.pids(FUNCTION_TARGET="llm-answer")
    frames: list[Frame] = []
    async with api.post("/v1/answers", json=doc.request, headers={"Accept": "text/event-stream"}) as response:
        async for frame in frames_of(response):
            if frame.event == "delta" and "delta" not in {earlier.event for earlier in frames}:
                os.kill(pid, signal.SIGKILL)
            frames.append(frame)
    final = frames[-1].data
    assert (frames[-1].event, final["status"]) == ("completed", "completed")
    assert shown(frames) == final["answer"]
    check_citations(final, doc, version)  # whether it says something that can be cited is the small model's matter
    assert pid not in road.pids(FUNCTION_TARGET="llm-answer")


async def test_the_projects_own_documents_are_there(road: Road, api: aiohttp.ClientSession) -> None:
    if road.home is None:
        pytest.skip("only a local run loads them")
    own = Doc("events.md", "", "")
    record = await until(api, own, 1, "indexed")
    assert record["chunks"] > 0
