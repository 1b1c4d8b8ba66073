"""Documents over HTTP: every change is one event with a version, whatever its id, and lines count one by one."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.index_document.documents import chunks
from knts import events, schemas
from knts.clients.chunks import Chunks
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.clients.typesense import Typesense
from knts.settings import TypesenseServer
from tests.conftest import SIGNING_KEY, ServeFunction
from tests.integration.ingress_world import KEYS, World, bearer, world
from tests.scripted_road import nothing

Start = Callable[..., AbstractAsyncContextManager[World]]
LEAVE = {"title": "Leave", "text": "Everybody has 30 days of leave a year."}
NDJSON = {"content-type": "application/x-ndjson"}


@pytest_asyncio.fixture
async def here(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str
) -> AsyncIterator[World]:
    async with world(serve_function, redis, redis_url, redis_cache_url, nothing, tenants=()) as started:
        yield started


def path(document_id: str) -> aiohttp.client.URL:
    return aiohttp.client.URL(f"/v1/documents/{document_id}", encoded=True)


async def test_a_document_becomes_an_event(here: World) -> None:
    given_ = {**LEAVE, "url": "/leave", "lang": "en", "tags": ["hr"], "acl": ["staff"], "metadata": {"year": 2026}}
    status, body = await here.status("PUT", path("handbook%2Fleave"), json=given_)
    assert (status, body["id"], body["version"]) == (202, "handbook/leave", 1)
    [event] = here.road.events
    assert (event.id, event.type, event.tenant) == (body["event_id"], events.DOCUMENT_UPSERTED, "local")
    assert event.payload == {**given_, "id": "handbook/leave", "version": 1}
    assert event.attributes["partitionkey"] == event.subject == "handbook/leave"
    events.check_signature(event, [SIGNING_KEY])
    assert "signature" in event.attributes
    schemas.check_data(event)


@pytest.mark.parametrize("broker", [503, 400])
async def test_a_version_that_could_not_be_published_does_not_stay_pending(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, broker: int
) -> None:
    async with world(serve_function, redis, redis_url, redis_cache_url, nothing, KNTS_PUBLISH_DEADLINE="0.2") as here:
        here.road.status = broker
        for method, body in [("PUT", LEAVE), ("PUT", {**LEAVE, "version": 7}), ("DELETE", None)]:
            assert (await here.status(method, path("a"), json=body))[0] >= 400
            status, shown = await here.status("GET", path("a"))
            assert (status, shown["status"]) == (200, "rejected")
            assert shown["reason"].startswith("not published: ")
        assert shown["version"] == 8
        here.road.status = 202
        assert (await here.status("PUT", path("a"), json=LEAVE))[1]["version"] == 9
        assert (await here.status("GET", path("a")))[1]["status"] == "pending"


async def test_versions_are_assigned_unless_given(here: World) -> None:
    assert [(await here.status("PUT", path("a"), json=LEAVE))[1]["version"] for _ in range(3)] == [1, 2, 3]
    assert (await here.status("PUT", path("a"), json={**LEAVE, "version": 40}))[1]["version"] == 40
    assert (await here.status("DELETE", path("a")))[1]["version"] == 41
    assert (await here.status("DELETE", path("a?version=7")))[1]["version"] == 7
    assert (await here.status("PUT", path("a"), json=LEAVE))[1]["version"] == 42
    kinds = [(event.type.split(".")[2], event.payload["version"]) for event in here.road.events]
    assert kinds[3:] == [("upserted", 40), ("deleted", 41), ("deleted", 7), ("upserted", 42)]


async def test_concurrent_changes_never_share_a_version(here: World) -> None:
    answers = await asyncio.gather(*(here.status("PUT", path("a"), json=LEAVE) for _ in range(20)))
    assert sorted(body["version"] for _, body in answers) == list(range(1, 21))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512))
async def test_any_id_names_its_document(here: World, document_id: str) -> None:
    if document_id in (".", ".."):
        return  # HTTP clients resolve them before they send
    status, body = await here.status("PUT", path(quote(document_id, safe="")), json=LEAVE)
    assert (status, body["id"]) == (202, document_id)
    assert here.road.events[-1].payload["id"] == document_id
    status, body = await here.status("GET", path(quote(document_id, safe="")))
    assert (status, body["id"], body["status"]) == (200, document_id, "pending")


@pytest.mark.parametrize(
    ("raw", "document_id"),
    [
        ("a/b", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%2F%2E%2E%2Fb", "a/../b"),
        ("a+b", "a+b"),
        ("%F0%9F%90%98", "🐘"),
        ("a%3Fb", "a?b"),
        ("a%0Ab", "a\nb"),
        ("%20", " "),
        ("events", "events"),
        ("a;b=c", "a;b=c"),
    ],
)
async def test_an_id_is_decoded_once(here: World, raw: str, document_id: str) -> None:
    status, body = await here.status("PUT", path(raw), json=LEAVE)
    assert (status, body.get("id")) == (202, document_id)


@pytest.mark.parametrize("raw", ["%ff", "x" * 513, "%ED%A0%80"])
async def test_an_id_that_is_no_text_is_refused(here: World, raw: str) -> None:
    assert (await here.status("PUT", path(raw), json=LEAVE))[0] == 400
    assert here.road.events == []


async def test_a_document_too_large_for_the_broker_is_refused_without_a_version(here: World) -> None:
    status, body = await here.status("PUT", path("a"), json={**LEAVE, "text": "x" * 950_000})
    assert (status, body["type"]) == (413, "urn:knts:problem:too-large")
    assert (await here.status("PUT", path("a"), json={**LEAVE, "text": "x" * 900_000}))[1]["version"] == 1


async def test_when_the_broker_is_gone_nothing_is_accepted(here: World) -> None:
    here.road.status = 422
    assert (await here.status("PUT", path("a"), json=LEAVE))[0] == 422


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_good_lines_are_taken_and_bad_ones_named(here: World) -> None:
    lines = [
        orjson.dumps({"id": "a", **LEAVE}),
        b"",
        b"{",
        b'"text"',
        orjson.dumps(LEAVE),
        orjson.dumps({"id": "b", "title": "B"}),
        orjson.dumps({"id": "c", **LEAVE, "surprise": 1}),
        b'{"id": "d", "title": "\xff", "text": ""}',
        orjson.dumps({"id": "e", **LEAVE}),
    ]
    status, body = await here.status("POST", "/v1/documents", data=b"\n".join(lines), headers=NDJSON)
    assert status == 202
    assert (body["accepted"], body["refused_count"]) == (2, 6)
    told = [(one["line"], one.get("id")) for one in body["refused"]]
    assert told == [(3, None), (4, None), (5, None), (6, "b"), (7, "c"), (8, None)]
    assert "text: is required" in body["refused"][3]["error"]
    assert "surprise: is not a known field" in body["refused"][4]["error"]
    assert {event.payload["id"] for event in here.road.events} == {"a", "e"}


async def test_lines_of_one_document_take_effect_in_their_order(here: World) -> None:
    numbers = [random.randrange(3) for _ in range(90)]
    lines = [orjson.dumps({"id": f"d{n}", "title": "", "text": str(at)}) for at, n in enumerate(numbers)]
    _, body = await here.status("POST", "/v1/documents", data=b"\n".join(lines), headers=NDJSON)
    assert body["accepted"] == 90
    for number in range(3):
        own = [event.payload for event in here.road.events if event.payload["id"] == f"d{number}"]
        own.sort(key=lambda payload: payload["version"])
        assert [int(payload["text"]) for payload in own] == [at for at, n in enumerate(numbers) if n == number]


async def test_a_body_may_be_larger_than_what_is_held(here: World) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(200):
            yield orjson.dumps({"id": f"d{number}", "title": "", "text": "x" * 20_000}) + b"\n"

    _, body = await here.status("POST", "/v1/documents", data=lines(), headers=NDJSON)
    assert body == {"accepted": 200, "refused": [], "refused_count": 0}


async def test_a_broker_that_is_busy_refuses_line_by_line(here: World) -> None:
    here.road.status = 400
    lines = b"\n".join(orjson.dumps({"id": str(number), **LEAVE}) for number in range(5))
    _, body = await here.status("POST", "/v1/documents", data=lines, headers=NDJSON)
    assert (body["accepted"], body["refused_count"]) == (0, 5)


# -- looking ----------------------------------------------------------------------------------------------------------


async def test_what_is_known_of_a_document(here: World, redis: Redis) -> None:
    assert (await here.status("GET", path("a")))[0] == 404
    await here.status("PUT", path("a"), json=LEAVE)
    assert (await here.status("GET", path("a")))[1]["status"] == "pending"
    records = Records(redis)
    await records.claim("local", "a", 1, "hash")
    await records.raise_to("local", "a", 1, "hash", status="indexed", chunks=3, title="Leave", url="/leave", acl=[])
    found = (await here.status("GET", path("a")))[1]
    assert (found["version"], found["status"], found["chunks"], found["title"]) == (1, "indexed", 3, "Leave")
    assert (found["url"], found["acl"]) == ("/leave", [])
    await here.status("PUT", path("a"), json=LEAVE)
    found = (await here.status("GET", path("a")))[1]
    assert (found["version"], found["status"], found["indexed_version"]) == (2, "pending", 1)


async def test_documents_are_listed_page_by_page(here: World) -> None:
    ids = sorted({f"d{random.randrange(10_000)}/ä" for _ in range(25)})
    await asyncio.gather(*(here.status("PUT", path(quote(one, safe="")), json=LEAVE) for one in ids))
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        _, page = await here.status("GET", "/v1/documents", params={"limit": "7", "after": after})
        assert len(page["documents"]) <= 7
        found += [one["id"] for one in page["documents"]]
        after = page["next"]
    assert found == ids


async def test_the_unchanged_text_comes_back(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, typesense_server: TypesenseServer
) -> None:
    server = {"TYPESENSE_URL": typesense_server.url, "TYPESENSE_API_KEY": typesense_server.api_key}
    server["KNTS_COLLECTION"] = typesense_server.collection
    text = "  One é.\n\nTwo 🐘.\t\n"
    document = {"id": "a/b", "version": 1, "title": "T", "text": text}
    async with world(serve_function, redis, redis_url, redis_cache_url, nothing, **server) as here:
        async with Typesense(typesense_server) as typesense:
            upserted = events.new_event(events.DOCUMENT_UPSERTED, "/test", document, tenant="local")
            await Chunks(typesense).add(chunks(upserted))
        records = Records(redis)
        await records.claim("local", "a/b", 1, "hash")
        await records.raise_to("local", "a/b", 1, "hash", status="indexed", chunks=1, title="T", url="", acl=[])
        assert (await here.status("GET", path("a%2Fb?include=text")))[1]["text"] == text
        assert "text" not in (await here.status("GET", path("a%2Fb")))[1]


# -- who may read what ------------------------------------------------------------------------------------------------

changes = st.lists(
    st.tuples(
        st.sampled_from(["acme", "other"]),
        st.sampled_from(["secret/a", "secret/b", "c", "zz"]),
        st.integers(1, 4),
        st.sampled_from(["indexed", "removed", "rejected", "pending"]),
    ),
    max_size=8,
)
LOOKS = ["/v1/documents", "/v1/documents?limit=1", "/v1/documents?after=open/1", "/v1/documents?after=secret/a"] + [
    f"/v1/documents/{one}{more}"
    for one in ("open%2F1", "open/2", "secret/a", "secret%2Fb", "c", "zz")
    for more in ("", "?include=text")
]


async def change(records: Records, tenant: str, document_id: str, version: int, status: Any) -> None:
    if status == "pending":
        await records.note_pending(tenant, document_id, version, ["hr"])
    elif status == "rejected":
        await records.note_pending(tenant, document_id, version, ["hr"])
        await records.refuse(tenant, document_id, version, "because")
    else:
        await records.claim(tenant, document_id, version, f"hash{version}", ["hr"])
        fields = {"chunks": version, "title": f"Secret {version}", "url": "/s", "acl": ["hr"]}
        await records.raise_to(tenant, document_id, version, f"hash{version}", status=status, **fields)


async def sights(here: World, key: str) -> list[tuple[int, bytes]]:
    """Every byte that a principal gets to see of the documents, dates aside."""
    found = []
    for look in LOOKS:
        async with here.http.get(aiohttp.client.URL(look, encoded=True), headers=bearer(key)) as response:
            found.append((response.status, await response.read()))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=changes)
async def test_no_byte_differs_when_documents_change_that_one_may_not_read(
    keyed: World, redis: Redis, secret: list[tuple[str, str, int, Any]]
) -> None:
    before = await sights(keyed, "bob")
    assert any(status == 200 and b"open/1" in body for status, body in before)
    records = Records(redis)
    for one in secret:
        await change(records, *one)
    assert await sights(keyed, "bob") == before


async def test_who_may_read_does(keyed: World, redis: Redis) -> None:
    await change(Records(redis), "acme", "secret/a", 1, "indexed")
    assert (await keyed.status("GET", path("secret/a"), headers=bearer("ann")))[1]["title"] == "Secret 1"
    assert (await keyed.status("GET", path("secret/a"), headers=bearer("eve")))[0] == 404


@pytest_asyncio.fixture
async def keyed(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, tmp_path: Any
) -> AsyncIterator[World]:
    """Ingress with keys; two documents of the tenant acme that all of it may read."""
    (tmp_path / "keys.json").write_bytes(orjson.dumps(KEYS))
    records = Records(redis)
    for number in (1, 2):
        await records.claim("acme", f"open/{number}", 1, "h", [])
        await records.raise_to(
            "acme", f"open/{number}", 1, "h", status="indexed", chunks=1, title="Open", url="", acl=[]
        )
    keys = str(tmp_path / "keys.json")
    async with world(serve_function, redis, redis_url, redis_cache_url, nothing, KNTS_KEYS_FILE=keys) as started:
        yield started
