"""Who searches while Typesense is away is told by ingress, early and in words: both functions and a proxy between."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp
import pytest

from knts import events
from knts.clients.redis import Redis
from knts.events import Event
from knts.settings import TypesenseServer
from tests.conftest import ServeFunction
from tests.faults.proxy import NONE, REFUSE, RESET, SILENT, Fault, Proxy, split
from tests.integration.indexing import opened, upserted
from tests.scripted_road import ScriptedRoad

PATIENCE = "0.5"


@dataclass
class World:
    """Ingress at `url`, and what stands between search and Typesense."""

    url: str
    proxy: Proxy
    http: aiohttp.ClientSession

    async def search(self, query: str) -> tuple[int, dict[str, str], dict[str, str]]:
        async with self.http.get(f"{self.url}/v1/search", params={"q": query}) as response:
            return response.status, dict(response.headers), await response.json(content_type=None)


@pytest.fixture
async def world(
    serve_function: ServeFunction,
    redis: Redis,
    redis_url: str,
    redis_cache_url: str,
    typesense_server: TypesenseServer,
) -> AsyncIterator[World]:
    async with Proxy(split(typesense_server.url)).running() as proxy, aiohttp.ClientSession() as http:
        behind = replace(typesense_server, url=f"http://127.0.0.1:{proxy.port}")
        env = {
            "REDIS_URL": redis_url,
            "TYPESENSE_URL": behind.url,
            "TYPESENSE_API_KEY": behind.api_key,
            "KNTS_COLLECTION": behind.collection,
            "KNTS_SEARCH_PATIENCE": PATIENCE,
        }
        search = await serve_function("search", env)

        async def deliver(_: ScriptedRoad, event: Event) -> None:
            headers, body = events.to_http(event)
            async with http.post(search, headers=headers, data=body) as response:
                assert response.status == 202

        async with ScriptedRoad(redis, deliver).running() as road:
            ingress = await serve_function("ingress", road.env(redis_url, redis_cache_url))
            async with opened(redis, typesense_server) as parts:
                await parts.deliver(of_tenant("local"))
            yield World(ingress, proxy, http)


def of_tenant(tenant: str) -> Event:
    """A document of this machine's tenant."""
    event = upserted("d", 1, "A lantern burns.")
    return Event({**event.attributes, "tenant": tenant}, event.data)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (SILENT, "did not answer within 0.5 s"),
        (REFUSE, "Typesense is not available"),
        (RESET, "Typesense is not available"),
        (Fault(cut=30), "Typesense is not available"),
    ],
)
async def test_a_search_is_told_that_typesense_is_away_and_when_to_come_back(
    world: World, fault: Fault, reason: str
) -> None:
    await world.proxy.switch(fault)
    status, headers, problem = await world.search("lantern")
    assert (status, headers["Retry-After"]) == (503, "1")
    assert problem["detail"].startswith("search is not available now: ")
    assert reason in problem["detail"]
    assert "Typesense" in problem["detail"]
    await world.proxy.switch(NONE)
    status, _, found = await world.search("lantern")
    assert (status, found["found"]) == (200, 1)


async def test_what_was_searched_before_is_found_without_typesense(world: World) -> None:
    assert (await world.search("lantern"))[0] == 200
    await world.proxy.switch(SILENT)
    assert (await world.search("lantern"))[2]["found"] == 1
