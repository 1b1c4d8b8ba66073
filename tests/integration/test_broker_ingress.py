"""The broker's HTTP side answers as Knative's broker ingress does, and holds against rubbish and slowness."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import unused_port

from knts import events
from knts.devbroker import service
from tests.integration.broker_world import (
    Delivery,
    ScriptedSubscriber,
    broker_manifest,
    ping,
    replying,
    subscriber,
    trigger_manifest,
    write_manifests,
)

PATH = "/default/kn-ts"
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "test.ping"}
STRUCTURED = {"content-type": "application/cloudevents+json"}


@dataclass
class World:
    url: str
    http: aiohttp.ClientSession
    to: ScriptedSubscriber

    async def send(self, method: str, path: str, headers: Any = None, body: Any = b"") -> tuple[int, Any, str]:
        """Status, headers and text of the answer."""
        async with self.http.request(method, self.url + path, headers=headers, data=body) as answer:
            return answer.status, answer.headers, await answer.text()

    async def got(self, count: int = 1) -> list[Delivery]:
        return await self.to.received("/t", count)


def environment(redis_url: str, manifests: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "KNTS_HOST": "127.0.0.1",
        "KNTS_BROKER_PORT": str(unused_port()),
        "KNTS_MANIFESTS": str(manifests),
        "KNTS_SUBSCRIBERS": "{}",
        "KNTS_BODY_TIMEOUT": "0.3",
        "KNTS_SHUTDOWN_GRACE": "2",
    }


@pytest_asyncio.fixture
async def world(redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with subscriber() as to:
        pong = trigger_manifest("u", f"{to.url}/u", filters=[{"exact": {"type": "test.pong"}}])
        write_manifests(tmp_path, broker_manifest(), trigger_manifest("t", f"{to.url}/t"), pong)
        async with service.broker(environment(redis_url, tmp_path)) as url, aiohttp.ClientSession() as http:
            yield World(url, http, to)


PATHS = [
    ("OPTIONS", PATH, 200),
    ("OPTIONS", "/", 200),
    ("GET", PATH, 405),
    ("PUT", PATH, 405),
    ("DELETE", "/", 405),
    ("POST", "/", 404),
    ("POST", "/default", 400),
    ("POST", "/default/kn-ts/more", 400),
    ("POST", "/a/b/c/d/e", 400),
    ("POST", "/default/other", 404),
    ("POST", "/other/kn-ts", 404),
    ("POST", f"{PATH}?x=1", 404),
    ("POST", "/default/%2e%2e", 404),
    ("POST", f"{PATH}/triggers/none", 404),
    ("POST", PATH, 202),
    ("POST", f"{PATH}/", 202),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS, ids=[f"{method} {path}" for method, path, _ in PATHS])
async def test_paths_and_methods(world: World, method: str, path: str, status: int) -> None:
    got, headers, text = await world.send(method, path, BINARY)
    assert got == status
    if status in (200, 405):
        assert headers["Allow"] == "POST, OPTIONS"
    if status in (200, 202):
        assert text == ""
    else:
        assert json.loads(text)["status"] == status


def structured(**changes: Any) -> bytes:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "test.ping", "data": {"n": 1}, **changes}
    return json.dumps({name: value for name, value in event.items() if value != "-"}).encode()


def binary(**changes: str) -> dict[str, str]:
    return {
        name: value for name, value in {**BINARY, **{f"ce-{k}": v for k, v in changes.items()}}.items() if value != "-"
    }


REFUSED: list[tuple[str, Any, bytes, int]] = [
    *((f"no {name}", binary(**{name: "-"}), b"", 400) for name in ("id", "source", "type", "specversion")),
    *((f"empty {name}", binary(**{name: ""}), b"", 400) for name in ("id", "source", "type")),
    ("version 2.0", binary(specversion="2.0"), b"", 400),
    ("bad time", binary(time="yesterday"), b"", 400),
    ("bad name", {**BINARY, "ce-a_b": "x"}, b"", 400),
    ("dash in name", {**BINARY, "ce-a-b": "x"}, b"", 400),
    ("control character", binary(subject="%0D%0Ax: y"), b"", 400),
    ("bad UTF-8", binary(subject="%ff"), b"", 400),
    ("twice", [*BINARY.items(), ("ce-id", "2")], b"", 400),
    ("no event", {}, b"hello", 400),
    ("batch", {"content-type": "application/cloudevents-batch+json"}, b"[]", 400),
    ("structured rubbish", STRUCTURED, b"{", 400),
    ("structured list", STRUCTURED, b"[]", 400),
    ("structured without id", STRUCTURED, structured(id="-"), 400),
    ("structured number as id", STRUCTURED, structured(id=1.5), 400),
    ("deep", STRUCTURED, b'{"a":' * 100_000, 400),
    ("no time to live", binary(knativebrokerttl="0"), b"", 400),
    ("time to live over on arrival", binary(knativebrokerttl="1"), b"", 400),
    ("too large", BINARY, b"x" * (events.MAX_EVENT_BYTES + 1), 413),
    ("far too large", BINARY, b"x" * (8 * 1024 * 1024), 413),
]


@pytest.mark.parametrize(("headers", "body", "status"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
async def test_what_is_no_event_is_refused_with_a_problem(world: World, headers: Any, body: bytes, status: int) -> None:
    got, answered, text = await world.send("POST", PATH, headers, body)
    assert got == status
    assert answered["Content-Type"] == "application/problem+json"
    assert json.loads(text)["detail"]
    assert len(text) <= 700


ACCEPTED: list[tuple[str, Any, bytes, dict[str, str], bytes]] = [
    ("binary", BINARY, b'{"n":1}', {}, b'{"n":1}'),
    ("structured", STRUCTURED, structured(), {}, b'{"n":1}'),
    ("structured base64", STRUCTURED, structured(data="-", data_base64="AAE="), {}, b"\x00\x01"),
    ("unparsable JSON", {**BINARY, "content-type": "application/json"}, b"{oops", {}, b"{oops"),
    ("no data", BINARY, b"", {}, b""),
    ("version 0.3", binary(specversion="0.3"), b"{}", {"specversion": "0.3"}, b"{}"),
    ("encoded", binary(subject="%C3%A4%20b"), b"", {"subject": "ä b"}, b""),
    ("text", {**BINARY, "content-type": "text/plain"}, "ä".encode(), {"datacontenttype": "text/plain"}, "ä".encode()),
    ("largest", BINARY, b"x" * events.MAX_EVENT_BYTES, {}, b"x" * events.MAX_EVENT_BYTES),
]


@pytest.mark.parametrize(
    ("headers", "body", "attributes", "data"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED]
)
async def test_what_is_an_event_arrives_as_it_was_sent(
    world: World, headers: Any, body: bytes, attributes: dict[str, str], data: bytes
) -> None:
    status, _, _ = await world.send("POST", PATH, {"content-type": "application/octet-stream", **headers}, body)
    assert status == 202
    [delivery] = await world.got()
    assert delivery.event.data == data
    assert delivery.event.attributes["id"] == "1"
    assert attributes.items() <= delivery.event.attributes.items()


# -- slowness ---------------------------------------------------------------------------------------------------------


async def test_a_body_that_does_not_come_is_not_waited_for(world: World) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    status, _, text = await world.send("POST", PATH, BINARY, slowly())
    assert status == 408
    assert "0.3 s" in text


async def test_half_a_head_is_not_waited_for(redis_url: str, tmp_path: Path) -> None:
    write_manifests(tmp_path, broker_manifest())
    async with service.broker({**environment(redis_url, tmp_path), "KNTS_HEAD_TIMEOUT": "0.3"}) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /default/kn-ts HTTP/1.1\r\nHost: x\r\nce-id: ")
        try:
            assert await asyncio.wait_for(reader.read(), 5) == b""
        finally:
            writer.close()


# -- tracing ----------------------------------------------------------------------------------------------------------

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1bf7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"ce-traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        (
            {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "ce-traceparent": f"00-{OTHER}-b7ad6b7169203331-01"},
            TRACE,
        ),
    ],
)
async def test_the_trace_goes_on_through_the_queue_and_the_reply(
    world: World, headers: dict[str, str], trace: str
) -> None:
    world.to.answer("/t", replying("test.pong"))
    await world.send("POST", PATH, {**BINARY, **headers}, b"{}")
    [first], [second] = await world.got(), await world.to.received("/u", 1)
    assert first.headers["traceparent"].split("-")[1] == trace
    assert second.headers["traceparent"].split("-")[1] == trace
    assert first.event.attributes.get("traceparent") == headers.get("ce-traceparent")


# -- looking on -------------------------------------------------------------------------------------------------------


async def test_health_readiness_and_metrics(world: World) -> None:
    assert (await world.send("GET", "/healthz"))[0] == 200
    status, _, text = await world.send("GET", "/readyz")
    assert (status, json.loads(text)["triggers"]) == (200, ["default/t", "default/u"])

    await world.send("POST", PATH, BINARY)
    await world.send("POST", PATH, {})
    await world.got()
    _, _, text = await world.send("GET", "/metrics")
    assert 'knts_broker_accepted_total{broker="default/kn-ts",matched="yes"} 1.0' in text
    assert 'knts_broker_refused_total{status="400"} 1.0' in text
    assert 'knts_broker_deliveries_total{outcome="retried",sink="subscriber",trigger="default/t"} 0.0' in text
    assert 'knts_broker_discarded_total{trigger="default/t",why="no-sink"} 0.0' in text
    assert 'knts_broker_delivery_seconds_count{sink="subscriber",trigger="default/t"} 1.0' in text


async def listened(world: World, count: int, ready: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The first messages of the tap after its greeting, which calls `ready`."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(5), world.http.get(f"{world.url}{PATH}/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        name = ""
        async for line in answer.content:
            text = line.decode().rstrip()
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: ") and name == "listening":
                await ready()
            elif text.startswith("data: "):
                found.append((name, json.loads(text.removeprefix("data: "))))
                if len(found) == count:
                    break
    return found


async def test_the_tap_tells_what_flows(world: World) -> None:
    world.to.answer("/t", 503, replying("test.pong"))
    headers, body = events.to_http(ping(1))
    told = await listened(world, 5, lambda: world.send("POST", PATH, headers, body))

    assert [name for name, _ in told] == ["accepted", "delivery", "delivery", "accepted", "delivery"]
    assert told[0][1]["triggers"] == ["t"]
    assert told[0][1]["attributes"]["id"] == "ping-1"
    assert [(data["outcome"], data["attempt"], data["status"]) for name, data in told if name == "delivery"] == [
        ("retried", 1, 503),
        ("delivered", 2, 200),
        ("delivered", 1, 202),
    ]


async def test_the_tap_of_an_unknown_broker_is_not_found(world: World) -> None:
    assert (await world.send("GET", "/default/other/events"))[0] == 404


async def test_a_listener_who_leaves_stops_nobody(world: World) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2), world.http.get(f"{world.url}{PATH}/events"):
            await asyncio.sleep(1)
    for _ in range(5):
        assert (await world.send("POST", PATH, BINARY))[0] == 202
    await world.got(5)
