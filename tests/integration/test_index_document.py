"""The index-document function on a real Typesense and a real Valkey."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest
import pytest_asyncio

from knts import events
from knts.clients.redis import Redis
from knts.errors import Permanent, Temporary
from knts.events import Event
from knts.index import filter_by, scope_filter
from knts.settings import TypesenseServer
from tests.integration.indexing import Parts, deleted, opened, upserted


@pytest_asyncio.fixture
async def parts(redis: Redis, typesense_server: TypesenseServer) -> AsyncIterator[Parts]:
    async with opened(redis, typesense_server) as parts:
        yield parts


async def test_a_document_becomes_searchable_and_replies_so(parts: Parts) -> None:
    event = upserted("a/b c", 3, "Denmark’s a prison—so is the world.", url="https://x.org/h", lang="en", tags=["play"])
    reply = await parts.deliver(event)
    assert reply is not None
    assert (reply.type, reply.subject, reply.tenant) == (events.DOCUMENT_INDEXED, "a/b c", "t")
    record = await parts.records.get("t", "a/b c")
    assert record is not None
    assert reply.payload == {"id": "a/b c", "version": 3, "chunks": 1, "content_hash": record.content_hash}
    assert (record.status, record.indexed, record.title, record.url) == ("indexed", 3, "Title", "https://x.org/h")
    for query in ("denmark", "prison", "so", "prisom", "titel"):
        assert await parts.found(query) == ["a/b c"], query
    [chunk] = await parts.stored("a/b c")
    assert chunk["text"] == "Denmark’s a prison—so is the world."
    assert await parts.deliver(event) == reply, "a redelivery gets the same reply"


async def test_metadata_of_document_and_section_filters_and_facets(parts: Parts) -> None:
    hamlet = {"start": 0, "end": 9, "title": "SCENE I", "metadata": {"speaker": "HAMLET", "Zeile/n": [1, 2.5, True]}}
    await parts.deliver(
        upserted("d", 1, "To be or\nnot to be", sections=[hamlet], metadata={"play": "C++ & `x`"}, tags=["a, b"])
    )
    scope = scope_filter("t", [])
    for filters, count in [
        ({"speaker": ["HAMLET"]}, 1),
        ({"speaker": ["hamlet"]}, 1),
        ({"speaker": ["OPHELIA"]}, 0),
        ({"speaker": ["OPHELIA", "HAMLET"]}, 1),
        ({"play": ["C++ & `x`"]}, 2),
        ({"play": ["C & x"]}, 0),
        ({"play": ["C++ & `x`"], "speaker": ["HAMLET"]}, 1),
        ({"tags": ["a, b"]}, 2),
        ({"Zeile/n": ["2.5"]}, 1),
        ({"Zeile/n": ["true"]}, 1),
        ({"nowhere": ["x"]}, 0),
    ]:
        assert len(await parts.found("*", scope, filter_by(filters))) == count, filters
    assert [chunk["section"] for chunk in await parts.stored("d")] == ["SCENE I", ""]
    assert (await parts.stored("d"))[0]["meta_speaker"] == ["HAMLET"]


async def test_the_scope_filter_shows_what_the_groups_may_read(parts: Parts) -> None:
    await parts.deliver(upserted("open", 1))
    await parts.deliver(upserted("staff", 1, acl=["staff", "*"]))
    assert await parts.found("*", scope_filter("t", [])) == ["open"]
    assert sorted(await parts.found("*", scope_filter("t", ["x", "staff"]))) == ["open", "staff"]
    assert sorted(await parts.found("*", scope_filter("t", ["*"]))) == ["open", "staff"]
    assert await parts.found("*", scope_filter("t", ["everyone"])) == ["open"]
    assert await parts.found("*", scope_filter("other", ["staff"])) == []


async def test_the_text_can_be_rebuilt(parts: Parts) -> None:
    text = "\n\n  # Head \r\n" + "A sentence, 😀 and more. " * 200 + "\n\t \n```\ncode\n```\n\u2003"
    reply = await parts.deliver(upserted("d", 2, text, sections=[{"start": 5, "end": 900}, {"start": 900, "end": 901}]))
    assert reply is not None
    assert await parts.chunks.text("t", "d", 2, reply.payload["chunks"]) == text
    with pytest.raises(Temporary, match="chunks"):
        await parts.chunks.text("t", "d", 3, 1)
    await parts.deliver(upserted("blank", 1, " \n"))
    assert await parts.chunks.text("t", "blank", 1, 1) == " \n"


async def test_a_higher_version_replaces_and_a_lower_one_changes_nothing(parts: Parts) -> None:
    await parts.deliver(upserted("d", 1, "old words. " * 300))
    token = await parts.records.token("t")
    reply = await parts.deliver(upserted("d", 2, "new words"))
    assert reply is not None
    assert reply.payload["version"] == 2
    assert await parts.records.token("t") != token
    assert [chunk["text"] for chunk in await parts.stored("d")] == ["new words"]
    assert await parts.deliver(upserted("d", 1, "old words. " * 300)) is None
    assert [chunk["text"] for chunk in await parts.stored("d")] == ["new words"]


async def test_the_same_version_with_another_content_is_rejected(parts: Parts) -> None:
    await parts.deliver(upserted("d", 1, "first"))
    other = upserted("d", 1, "second")
    reply = await parts.deliver(other)
    assert reply is not None
    assert (reply.type, reply.payload["version"]) == (events.DOCUMENT_REJECTED, 1)
    assert await parts.deliver(other) == reply
    assert [chunk["text"] for chunk in await parts.stored("d")] == ["first"]
    removal = await parts.deliver(deleted("d", 1))
    assert removal is not None
    assert removal.type == events.DOCUMENT_REJECTED
    record = await parts.records.get("t", "d")
    assert record is not None
    assert (record.status, record.indexed) == ("indexed", 1)
    assert "another content" in record.reason


async def test_a_deletion_wins_even_before_what_it_deletes(parts: Parts) -> None:
    removal = deleted("d", 2)
    reply = await parts.deliver(removal)
    assert reply is not None
    assert (reply.type, reply.payload) == (events.DOCUMENT_REMOVED, {"id": "d", "version": 2})
    assert await parts.deliver(upserted("d", 1)) is None
    await parts.deliver(upserted("other", 1))
    assert await parts.stored("d") == []
    await parts.deliver(upserted("d", 3))
    assert await parts.deliver(removal) is None
    assert len(await parts.stored("d")) == 1
    await parts.deliver(deleted("d", 4))
    assert await parts.stored("d") == []
    assert await parts.records.current("t", ["d", "other"]) == {"other": 1}


@pytest.mark.parametrize(
    ("change", "field_name", "rule"),
    [
        ({"sections": [{"start": 0, "end": 99}]}, "sections.0.end", "at most 3"),
        ({"sections": [{"start": 0, "end": 2}, {"start": 1, "end": 3}]}, "sections.1.start", "at least 2"),
        ({"text": "a\x00b"}, "text", "NUL"),
        ({"metadata": {"k": ["x", "\x00"]}}, "metadata.k.1", "NUL"),
        ({"id": "d\n"}, "id", "control"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_name(
    parts: Parts, change: dict[str, Any], field_name: str, rule: str
) -> None:
    await parts.deliver(upserted("d", 1, "good"))
    document = {"document_id": "d", "number": 2, "text": "abc", **change}
    with pytest.raises(Permanent, match=rule) as refusal:
        await parts.deliver(upserted(document.pop("id", document.pop("document_id")), **document))
    assert refusal.value.errors[0]["field"] == field_name
    assert await parts.records.current("t", ["d"]) == {"d": 1}
    assert [chunk["text"] for chunk in await parts.stored("d")] == ["good"]


async def test_a_refused_version_shows_in_the_record_and_may_be_mended(parts: Parts) -> None:
    with pytest.raises(Permanent):
        await parts.deliver(upserted("d", 1, "abc", sections=[{"start": 0, "end": 4}]))
    record = await parts.records.get("t", "d")
    assert record is not None
    assert (record.status, record.reason) == (
        "rejected",
        "sections.0.end: must be at most 3, the number of code points in text",
    )
    assert await parts.deliver(upserted("d", 1, "abcd", sections=[{"start": 0, "end": 4}])) is not None
    assert await parts.records.current("t", ["d"]) == {"d": 1}


async def test_arrivals_share_imports_and_each_is_answered(parts: Parts) -> None:
    batch = [upserted(f"d{number}", 1, f"unique{number}") for number in range(200)]
    replies = await asyncio.gather(*map(parts.deliver, batch))
    assert [reply.payload["id"] for reply in replies if reply] == [f"d{number}" for number in range(200)]
    assert parts.calls.count("POST import") <= 20
    assert "DELETE documents" not in parts.calls, "nothing older was there to delete"
    assert await parts.found("unique137") == ["d137"]


async def test_a_line_that_typesense_refuses_fails_its_own_event_only(parts: Parts) -> None:
    def spoiled(line: bytes) -> bytes:
        return json.dumps({**json.loads(line), "chunk": "none"}).encode() if b"spoil me" in line else line

    add = parts.index.add
    parts.index.add = lambda lines: add([spoiled(line) for line in lines])  # type: ignore[method-assign]
    good, bad = upserted("good", 1), upserted("bad", 1, "x " * 2000 + "\n\nspoil me.")
    replies = await asyncio.gather(*map(parts.deliver, [good, bad, upserted("too", 1)]), return_exceptions=True)
    assert isinstance(replies[1], Permanent)
    assert "chunk" in replies[1].detail
    assert [isinstance(reply, Event) for reply in replies] == [True, False, True]
    assert await parts.stored("bad") == [], "its other lines are gone too"
    record = await parts.records.get("t", "bad")
    assert record is not None
    assert record.status == "rejected"


async def test_thousands_of_sections_are_one_event(parts: Parts) -> None:
    line = "The course of true love never did run smooth;\n"
    sections = [
        {"start": at * len(line), "end": (at + 1) * len(line), "metadata": {"speaker": f"S{at % 40}"}}
        for at in range(6000)
    ]
    event = upserted("long", 1, line * 6000, sections=sections, metadata={"play": "Dream"})
    assert len(event.data) < events.MAX_EVENT_BYTES
    reply = await parts.deliver(event)
    assert reply is not None
    assert reply.payload["chunks"] == 6000
    assert await parts.chunks.text("t", "long", 1, 6000) == line * 6000


async def test_over_http_events_are_answered_as_a_broker_expects(
    serve_function: Callable[..., Awaitable[str]], redis_url: str, typesense_server: TypesenseServer
) -> None:
    url = await serve_function(
        "index-document",
        {
            "REDIS_URL": redis_url,
            "TYPESENSE_URL": typesense_server.url,
            "TYPESENSE_API_KEY": typesense_server.api_key,
            "KNTS_COLLECTION": typesense_server.collection,
            "KNTS_PRODUCER_TENANTS": "t",
        },
    )
    async with aiohttp.ClientSession() as session:

        async def post(event: Event) -> tuple[int, str, bytes]:
            headers, body = events.to_http(event)
            async with session.post(url, headers=headers, data=body) as response:
                return response.status, response.headers.get("ce-type", ""), await response.read()

        assert (await post(upserted("d", 2)))[:2] == (200, events.DOCUMENT_INDEXED)
        assert await post(upserted("d", 1)) == (202, "", b"")
        assert (await post(upserted("d", 2, "other")))[:2] == (200, events.DOCUMENT_REJECTED)
        assert (await post(deleted("d", 3)))[:2] == (200, events.DOCUMENT_REMOVED)
        status, _, problem = await post(upserted("d", 4, "abc", sections=[{"start": 2, "end": 9}]))
        assert (status, json.loads(problem)["errors"][0]["field"]) == (422, "sections.0.end")
        status, _, problem = await post(upserted("d", 0))
        assert (status, json.loads(problem)["errors"][0]["field"]) == (422, "version")
        async with session.get(f"{url}/readyz") as response:
            assert response.status == 200


def play(path: Path) -> dict[str, Any]:
    """A play's text, each speech a section with its act, scene and speaker."""
    root = ElementTree.parse(path).getroot()  # noqa: S314 - a file of our own data
    text, sections = "", []
    for act in root.iter("ACT"):
        for scene in act.iter("SCENE"):
            for speech in scene.iter("SPEECH"):
                lines = "\n".join("".join(line.itertext()) for line in speech.iter("LINE"))
                metadata = {
                    "act": act.findtext("TITLE", ""),
                    "scene": scene.findtext("TITLE", ""),
                    "speaker": [speaker.text or "" for speaker in speech.iter("SPEAKER")],
                }
                sections.append({"start": len(text), "end": len(text) + len(lines), "metadata": metadata})
                text += lines + "\n\n"
    return {"text": text, "sections": sections, "metadata": {"play": root.findtext("TITLE", "")}}


async def test_the_speeches_of_hamlet_are_found_by_speaker(parts: Parts) -> None:
    path = Path(os.environ.get("KNTS_DATA", "../shared/data")) / "shakespeare" / "hamlet_moby.xml"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    hamlet = play(path)
    spoken = [one for one in hamlet["sections"] if hamlet["text"][one["start"] : one["end"]].strip()]
    reply = await parts.deliver(upserted("hamlet", 1, **hamlet))
    assert reply is not None
    assert len(spoken) <= reply.payload["chunks"] <= len(spoken) * 1.2
    assert await parts.chunks.text("t", "hamlet", 1, reply.payload["chunks"]) == hamlet["text"]
    starts = {chunk["start"] for chunk in await parts.stored("hamlet")}
    assert all(one["start"] + _blank(hamlet["text"], one) in starts for one in spoken)
    ghost = filter_by({"speaker": ["Ghost"], "act": ["ACT I"]})
    assert await parts.found("swear", scope_filter("t", []), ghost)
    assert not await parts.found("swear", scope_filter("t", []), filter_by({"speaker": ["OPHELIA"]}))


def _blank(text: str, section: dict[str, Any]) -> int:
    words = text[section["start"] : section["end"]]
    return len(words) - len(words.lstrip())
