"""Rubbish over HTTP: each gets its designed answer, a problem that names what is wrong, and never a 500."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jsonschema_rs
import orjson
import pytest
import pytest_asyncio
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knts import schemas
from knts.clients.redis import Redis
from knts.schemas import SCHEMAS
from tests.conftest import ServeFunction
from tests.integration.ingress_world import KEYS, World, bearer, world

CONTRACT = yaml.safe_load((SCHEMAS / "openapi.yaml").read_text(encoding="utf-8"))
PROBLEM = jsonschema_rs.Draft202012Validator({**CONTRACT, "$ref": "#/components/schemas/Problem"})
JSON = {"content-type": "application/json"}
Q = b'{"question": "Q"}'
NONE = "0" * 32
DEEP = b'{"question": "Q", "options": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}"


@pytest_asyncio.fixture
async def here(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str
) -> AsyncIterator[World]:
    async with world(serve_function, redis, redis_url, redis_cache_url, KNTS_BODY_TIMEOUT="0.3") as started:
        yield started


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "field"),
    [
        ("GET", "/v1", {}, None, 404, None),
        ("GET", "/v1/", {}, None, 404, None),
        ("GET", "/v1/nothing", {}, None, 404, None),
        ("GET", "/v1/search/", {}, None, 404, None),
        ("GET", "/v1/documents/", {}, None, 404, None),
        ("GET", "/nothing", {}, None, 404, None),
        ("DELETE", "/v1/search", {}, None, 405, None),
        ("GET", "/v1/answers", {}, None, 405, None),
        ("PUT", f"/v1/answers/{NONE}", {}, None, 405, None),
        ("POST", f"/v1/answers/{NONE}/events", {}, None, 405, None),
        ("PATCH", "/v1/documents/a", {}, None, 405, None),
        ("DELETE", "/openapi.json", {}, None, 405, None),
        ("GET", "/v1/search?limit=0", {}, None, 400, "limit"),
        ("GET", "/v1/search?limit=101", {}, None, 400, "limit"),
        ("GET", "/v1/search?offset=-1", {}, None, 400, "offset"),
        ("GET", "/v1/search?q=%ff", {}, None, 400, "query"),
        ("GET", "/v1/search?nonsense=1", {}, None, 400, "nonsense"),
        ("GET", "/v1/search?q=" + "x" * 1001, {}, None, 400, "query"),
        ("GET", "/v1/search?" + "&".join(f"filter.k{n}=v" for n in range(33)), {}, None, 400, "filters"),
        ("GET", "/v1/search?" + "&".join(f"facet=k{n}" for n in range(17)), {}, None, 400, "facets"),
        ("POST", "/v1/search", JSON, b"{}", 400, "query"),
        ("POST", "/v1/search", JSON, b'{"query": "x", "groups": ["hr"]}', 400, "groups"),
        ("POST", "/v1/answers", {}, Q, 415, None),
        ("POST", "/v1/answers", {"content-type": "text/plain"}, Q, 415, None),
        ("POST", "/v1/answers", {"content-type": "application/json; charset=latin-1"}, Q, 415, None),
        ("POST", "/v1/answers", {"content-type": "application/x-www-form-urlencoded"}, b"question=Q", 415, None),
        ("POST", "/v1/answers", {**JSON, "accept": "text/html"}, Q, 406, None),
        ("POST", "/v1/answers", JSON, b"", 400, "body"),
        ("POST", "/v1/answers", JSON, b"{", 400, "body"),
        ("POST", "/v1/answers", JSON, b"[1]", 400, "body"),
        ("POST", "/v1/answers", JSON, b'{"question": "\xff"}', 400, "body"),
        ("POST", "/v1/answers", JSON, b'{"question": "\\ud800"}', 400, "body"),
        ("POST", "/v1/answers", JSON, b'{"question": 1e999}', 400, None),
        ("POST", "/v1/answers", JSON, DEEP, 400, "body"),
        ("POST", "/v1/answers", JSON, b"[" * 60_000, 400, "body"),
        ("POST", "/v1/answers", JSON, b'{"question": ""}', 400, "question"),
        ("POST", "/v1/answers", JSON, b'{"question": "Q", "tenant": "x"}', 400, "tenant"),
        ("POST", "/v1/answers", JSON, b'{"question": "' + b"x" * 70_000 + b'"}', 413, None),
        ("GET", f"/v1/answers/{NONE}", {}, None, 404, None),
        ("GET", f"/v1/answers/{NONE}/events", {"last-event-id": "nonsense"}, None, 400, "Last-Event-ID"),
        ("GET", f"/v1/answers/{NONE}/events?x=1", {}, None, 400, "x"),
        ("PUT", "/v1/documents/a", JSON, b'{"title": "T"}', 400, "text"),
        ("PUT", "/v1/documents/a", JSON, b'{"title": "T", "text": "x", "id": "b"}', 400, "id"),
        ("PUT", "/v1/documents/a", JSON, b'{"title": "T", "text": "x", "version": "1"}', 400, "version"),
        ("PUT", "/v1/documents/a", JSON, b'{"title": "T", "text": "x", "url": "javascript:x"}', 400, "url"),
        ("PUT", "/v1/documents/a", JSON, b'{"title": "T", "text": "' + b"x" * 2_200_000 + b'"}', 413, None),
        ("DELETE", "/v1/documents/a?version=x", {}, None, 400, "version"),
        ("DELETE", "/v1/documents/a?version=0", {}, None, 400, "version"),
        ("GET", "/v1/documents/a?include=everything", {}, None, 400, "include"),
        ("GET", "/v1/documents?limit=1001", {}, None, 400, "limit"),
        ("GET", "/v1/documents?tenant=x", {}, None, 400, "tenant"),
        ("POST", "/v1/documents", JSON, b"{}", 415, None),
        ("GET", "/v1/search?q=x", {"x-big": "x" * 33_000}, None, 431, None),
    ],
)
async def test_rubbish_gets_its_problem(
    here: World, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int, field: str | None
) -> None:
    skip = ["content-type"] if "content-type" not in headers else []
    url = aiohttp.client.URL(path, encoded=True)
    async with here.http.request(method, url, headers=headers, data=body, skip_auto_headers=skip) as response:
        problem = orjson.loads(await response.read())
        assert (response.status, response.content_type) == (status, "application/problem+json"), problem
        PROBLEM.validate(problem)
        assert problem["status"] == status
        if field:
            assert field in [fault["field"] for fault in problem["errors"]], problem
        if status == 405:
            assert "OPTIONS" in response.headers["allow"]
    assert here.road.events == []


async def exchange(here: World, message: bytes) -> bytes:
    """The raw reply to a raw message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(here.url.rsplit(":", 1)[1]))
    writer.write(message)
    async with asyncio.timeout(20):
        reply = await reader.read(4096)
    writer.close()
    return reply


HOST = b"HTTP/1.1\r\nhost: localhost\r\n"
HALF = b"content-length: 999\r\n\r\n"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"POST /v1/answers " + HOST + b"content-type: application/json\r\n" + HALF + b"{", 408),
        (b"POST /v1/documents " + HOST + b"content-type: text/ndjson\r\n" + HALF + b"{", 415),
        (b"GET /v1/search?q=x HTTP/1.1\r\nhost: evil.example\r\n\r\n", 403),
        (b"GET /v1/search?q=x HTTP/1.1\r\n\r\n", 403),
        (b"GET /v1/search?q=x " + HOST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /v1/search " + HOST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /v1/search " + HOST + b"bad header\r\n\r\n", 400),
    ],
)
async def test_raw_rubbish(here: World, message: bytes, status: int) -> None:
    reply = await exchange(here, message)
    assert reply.startswith(b"HTTP/1.1 %d " % status), reply


async def test_a_document_s_lines_that_stop_coming_are_not_waited_for(here: World) -> None:
    head = b"POST /v1/documents " + HOST + b"content-type: application/x-ndjson\r\n" + HALF
    reply = await exchange(here, head + b'{"id": "a", "title": "T", "text": "x"}\n{"id"')
    assert reply.startswith(b"HTTP/1.1 202 ")
    told = orjson.loads(reply.split(b"\r\n\r\n", 1)[1])
    assert (told["accepted"], told["refused"][0]["line"]) == (1, 2)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["question", "filters", "model", "cache", "query", "title", "text", "sections", "acl", "id"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([("POST", "/v1/search"), ("POST", "/v1/answers"), ("PUT", "/v1/documents/a")]),
    st.one_of(st.binary(max_size=60), st.dictionaries(fields, json_like, max_size=4).map(lambda v: _dumps(v))),
    st.sampled_from(["application/json", "text/plain", ""]),
)
async def test_no_body_makes_a_500(here: World, call: tuple[str, str], body: bytes, media_type: str) -> None:
    headers = {"content-type": media_type} if media_type else {}
    async with here.http.request(*call, headers=headers, data=body) as response:
        assert response.status in (200, 202, 400, 408, 415), await response.text()


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits
        return b"{}"


# -- the rest of HTTP -------------------------------------------------------------------------------------------------


async def test_only_the_own_pages_and_named_origins_may_read(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str
) -> None:
    origins = "https://app.example,https://b.example"
    async with world(serve_function, redis, redis_url, redis_cache_url, KNTS_CORS_ORIGINS=origins) as here:
        asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
        async with here.http.options("/v1/answers", headers=asked) as response:
            assert response.status == 204
            assert response.headers["access-control-allow-origin"] == "https://app.example"
            assert "POST" in response.headers["access-control-allow-methods"]
            assert "authorization" in response.headers["access-control-allow-headers"]
        async with here.http.options("/v1/answers", headers={**asked, "origin": "https://evil.example"}) as response:
            assert "access-control-allow-origin" not in response.headers
        async with here.http.get("/v1/search?q=x", headers={"origin": "https://b.example"}) as response:
            assert response.headers["access-control-allow-origin"] == "https://b.example"
            assert response.headers["vary"] == "origin"
        async with here.http.put("/v1/documents/a", headers={"origin": "https://evil.example"}, json={}) as response:
            assert response.status == 403
        async with here.http.get("/v1/documents/a", headers={"origin": "https://b.example"}) as response:
            assert response.status == 404
            assert response.headers["access-control-allow-origin"] == "https://b.example"


async def test_with_keys_everything_but_operations_wants_one(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, tmp_path: Any
) -> None:
    (tmp_path / "keys").write_bytes(orjson.dumps(KEYS))
    keys = {"KNTS_KEYS_FILE": str(tmp_path / "keys")}
    async with world(serve_function, redis, redis_url, redis_cache_url, **keys) as here:
        for path, item in CONTRACT["paths"].items():
            for method in item.keys() & {"get", "put", "post", "delete"}:
                open_to_all = item[method].get("security") == []
                async with here.http.request(method, path.replace("{id}", NONE)) as response:
                    assert (response.status != 401) is open_to_all, path
                    if not open_to_all:
                        assert response.headers["www-authenticate"].startswith("Bearer")
        assert (await here.http.get("/v1/search?q=x", headers=bearer("ann"))).status == 200
        assert (await here.http.get("/v1/search?q=x", headers=bearer("wrong"))).status == 401
        cookie = {"cookie": "knts_key=ann"}
        assert (await here.http.get("/v1/search?q=x", headers=cookie)).status == 200
        for origin, status in [("", 403), ("https://evil.example", 403), (here.url, 202)]:
            headers = {**cookie, "prefer": "respond-async", **({"origin": origin} if origin else {})}
            async with here.http.post("/v1/answers", headers=headers, json={"question": "Q"}) as response:
                assert response.status == status, origin


async def test_the_contract_is_served_and_readable(here: World) -> None:
    assert await here.status("GET", "/openapi.json") == (200, CONTRACT)
    status, described = await here.status("GET", "/asyncapi.json")
    assert status == 200
    for message in described["components"]["messages"].values():
        assert message["payload"]["title"] == message["name"]
        assert schemas.faults(message["name"], message["examples"][0]["payload"]) == []
    async with here.http.get("/docs") as response:
        page = await response.text()
        assert response.status == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
    for path, name in itertools.product(CONTRACT["paths"], ["get", "post", "put", "delete"]):
        if name in CONTRACT["paths"][path]:
            assert f"{name.upper()} {path}" in page
    assert "<script" not in page
    assert "style=" not in page
    assert "//" not in page.replace("https?://", "").split("<pre>")[0].replace("</", "").replace("<!doctype", "")


async def test_head_is_get_without_a_body(here: World) -> None:
    async with here.http.head("/v1/search?q=x") as response:
        assert response.status == 200
        assert await response.read() == b""
