"""What the tests of ingress share: the function under uvicorn, on a scripted road, and a client of it."""

import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from functions.ingress.access import digest
from knts.clients.records import Records
from tests.conftest import ServeFunction
from tests.scripted_road import Script, ScriptedRoad, everything

SSE = {"accept": "text/event-stream"}
KEYS = [
    {"sha256": digest("ann"), "tenant": "acme", "groups": ["hr"], "name": "Ann"},
    {"sha256": digest("bob"), "tenant": "acme", "groups": [], "name": "Bob"},
    {"sha256": digest("eve"), "tenant": "other", "groups": ["hr"], "name": "Eve"},
]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass(frozen=True)
class Sse:
    """One event as a client got it."""

    id: str
    type: str
    data: dict[str, Any]


async def events_of(response: aiohttp.ClientResponse) -> AsyncIterator[Sse]:
    """The events of a stream as they come; comments are left out."""
    fields: dict[str, str] = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "event" in fields:
                yield Sse(fields["id"], fields["event"], orjson.loads(fields["data"]))
            fields = {}


async def all_events(response: aiohttp.ClientResponse) -> list[Sse]:
    assert response.status == 200, await response.text()
    return [event async for event in events_of(response)]


@dataclass
class World:
    """Ingress at `url` on a road, and a client."""

    road: ScriptedRoad
    url: str
    http: aiohttp.ClientSession
    env: dict[str, str]

    async def ask(self, question: str = "Where?", **headers: str) -> str:
        """The id of a new answer that nobody follows."""
        asked = {"prefer": "respond-async", **headers}
        async with self.http.post("/v1/answers", json={"question": question}, headers=asked) as response:
            assert response.status == 202, await response.text()
            return str((await response.json())["id"])

    async def events(self, ask_id: str, after: str = "", **headers: str) -> list[Sse]:
        """All events after one."""
        named = {"last-event-id": after, **headers} if after else headers
        async with self.http.get(f"/v1/answers/{ask_id}/events", headers=named) as response:
            return [] if response.status == 204 else await all_events(response)

    async def status(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON body of a call."""
        async with self.http.request(method, path, **options) as response:
            body = await response.read()
            return response.status, orjson.loads(body) if body else {}


async def index(
    redis: Any, version: int, status: Literal["indexed", "removed"] = "indexed", *, tenant: str = "local", acl: Any = ()
) -> None:
    """A version of the document that the scripted road's answers rest on."""
    records = Records(redis)
    await records.claim(tenant, "d", version, f"{version}", acl)
    fields = {"acl": acl} if status == "indexed" else {}
    await records.raise_to(tenant, "d", version, f"{version}", status=status, **fields)


@contextlib.asynccontextmanager
async def world(
    serve: ServeFunction,
    redis: Any,
    redis_url: str,
    cache_url: str,
    script: Script = everything,
    *,
    tenants: Collection[str] = ("local", "acme"),
    **env: str,
) -> AsyncIterator[World]:
    """Ingress on a scripted road; in `tenants` the document that its answers rest on is indexed."""
    async with ScriptedRoad(redis, script).running() as road:
        for tenant in tenants:
            await index(redis, 1, tenant=tenant)
        settings = dict(road.env(redis_url, cache_url, **env))
        url = await serve("ingress", settings)
        async with aiohttp.ClientSession(url) as http:
            yield World(road, url, http, settings)
