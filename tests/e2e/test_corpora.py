"""Real corpora over the whole road: 37 plays and 230 pages, loaded as a user loads them, with nothing lost.

The data is not part of the repository: `KNTS_DATA` names its folder, and without it these tests skip.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

import aiohttp
import pytest
import pytest_asyncio
from defusedxml.ElementTree import parse

from knts.cli.api import Api
from knts.cli.files import Report, Wishes
from knts.cli.load import load
from tests.e2e.roads import Road

DATA = Path(os.environ.get("KNTS_DATA", "../shared/data"))
pytestmark = [
    pytest.mark.skipif(not (DATA / "shakespeare").is_dir(), reason=f"no corpora at {DATA}: set KNTS_DATA"),
    pytest.mark.timeout(300),
]
HAMLET = "shakespeare/hamlet_moby.xml"
loaded: dict[str, Report] = {}


async def load_once(road: Road, part: str) -> Report:
    """Load a part of the data over HTTP, once for all tests of this file."""
    if part not in loaded:
        async with Api(road.base_url, "") as server:
            loaded[part] = await load(server, [str(DATA / part)], Wishes(), lambda _: None)
    return loaded[part]


@pytest_asyncio.fixture
async def plays(road: Road, api: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientSession]:
    report = await load_once(road, "shakespeare")
    assert (report.indexed, report.refused) == (37, [])
    yield api


@pytest_asyncio.fixture
async def pages(road: Road, api: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientSession]:
    report = await load_once(road, "docs")
    assert (report.indexed, report.refused) == (230, [])
    yield api


async def get(api: aiohttp.ClientSession, path: str, **params: Any) -> Any:
    async with api.get(path, params=params) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def ask(api: aiohttp.ClientSession, question: str) -> Any:
    headers = {"Accept": "application/json"}
    async with api.post("/v1/answers", json={"question": question}, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def document_path(document_id: str) -> str:
    return f"/v1/documents/{quote(document_id, safe='')}"


def pieces(line: Element) -> list[str]:
    """The words of a line of verse; stage directions inside it are set apart."""
    return [" ".join(piece.split()) for piece in line.itertext()]


async def check_citations(api: aiohttp.ClientSession, answer: dict[str, Any]) -> None:
    """Every citation holds against the text that the document itself has, and stands where it says in the answer.

    An answer without any says so: what so small a model writes is not ours.
    """
    assert answer["status"] == "completed"
    assert answer["citations"] or answer["reason"], answer["answer"]
    for citation in answer["citations"]:
        text = (await get(api, document_path(citation["document_id"]), include="text"))["text"]
        assert text[citation["start"] : citation["end"]] == citation["quote"]
        assert hashlib.sha256(citation["quote"].encode()).hexdigest() == citation["sha256"]
        assert 0 <= citation["answer_start"] < citation["answer_end"] <= len(answer["answer"])


async def test_every_play_is_there_with_every_line_of_its_file(plays: aiohttp.ClientSession) -> None:
    files = sorted((DATA / "shakespeare").glob("*.xml"))
    assert len(files) == 37

    async def check(path: Path) -> int:
        document = await get(plays, document_path(f"shakespeare/{path.name}"), include="text")
        flat = " ".join(document["text"].split())
        root = parse(path)
        lost = [piece for line in root.iter("LINE") for piece in pieces(line) if piece not in flat]
        assert lost == [], path.name
        speeches = sum(1 for _ in root.iter("SPEECH"))
        assert document["chunks"] >= speeches, path.name
        return speeches

    assert sum(await asyncio.gather(*map(check, files))) > 30_000


async def test_as_many_passages_are_searchable_as_the_documents_say(plays: aiohttp.ClientSession) -> None:
    for name in ("hamlet_moby.xml", "macbeth_moby.xml"):
        record = await get(plays, document_path(f"shakespeare/{name}"))
        found = await get(plays, "/v1/search", **{"q": "", "filter.play": record["title"], "limit": 1})
        titled = await get(plays, "/v1/search", q="", limit=1, facet="play")
        counts = {facet["value"]: facet["count"] for facet in titled["facets"]["play"]}
        assert found["found"] == counts[record["title"]]
        assert found["found"] <= record["chunks"]


async def test_a_phrase_with_two_typos_finds_its_speech(plays: aiohttp.ClientSession) -> None:
    found = await get(plays, "/v1/search", q="the slngs and arows of outrageous fortune", limit=3)
    best = found["hits"][0]
    assert best["document_id"] == HAMLET
    assert "slings and arrows" in best["passage"]["text"]
    marked = {best["passage"]["text"][start:end].lower() for start, end in best["highlights"]}
    assert {"slings", "arrows", "outrageous", "fortune"} <= marked
    text = (await get(plays, document_path(HAMLET), include="text"))["text"]
    assert text[best["passage"]["start"] : best["passage"]["end"]] == best["passage"]["text"]


async def test_facets_narrow_by_play_act_scene_and_speaker(plays: aiohttp.ClientSession) -> None:
    facets = ["play", "act", "scene", "speaker"]
    query = {"q": "father", "filter.play": "The Tragedy of Hamlet, Prince of Denmark", "limit": "50"}
    found = await get(plays, "/v1/search", **query, facet=facets)
    assert all(found["facets"][key] for key in facets)
    speaker = found["facets"]["speaker"][0]
    narrowed = await get(plays, "/v1/search", **query, **{"filter.speaker": speaker["value"]})
    assert narrowed["found"] == speaker["count"] > 0
    assert {hit["document_id"] for hit in narrowed["hits"]} == {HAMLET}
    assert all(speaker["value"] in hit["metadata"]["speaker"] for hit in narrowed["hits"])


async def test_a_question_about_hamlet_is_answered_with_citations_that_hold_and_then_from_the_cache(
    plays: aiohttp.ClientSession,
) -> None:
    question = "Who is the king of Denmark in Hamlet?"
    answer = await ask(plays, question)
    assert answer["cache"] == "miss"
    await check_citations(plays, answer)
    again = await ask(plays, question)
    async with asyncio.timeout(10):
        while again["cache"] != "hit":  # cache-writer takes a moment; until then the finished flight is shared
            assert again["cache"] == "shared"
            again = await ask(plays, question)
    assert (again["answer"], again["citations"]) == (answer["answer"], answer["citations"])


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("How is the dead letter sink of a Broker configured?", "docs/versioned/eventing/event-delivery.md"),
        ("How do I install a kn plugin by using Homebrew?", "docs/versioned/client/kn-plugins.md"),
        ("What is the default autoscaler class of Knative Serving?", "autoscaling/autoscaler-types.md"),
    ],
)
async def test_a_question_on_the_knative_pages_rests_on_the_right_page(
    pages: aiohttp.ClientSession, question: str, source: str
) -> None:
    answer = await ask(pages, question)
    assert any(passage["document_id"].endswith(source) for passage in answer["passages"])
    await check_citations(pages, answer)
