"""Fixtures: real servers, started once a session when a test first asks, and functions served in-process.

`redis_url` and `redis_cache_url` are flushed before each test; `typesense_server` has a collection name of its own.
"""

import asyncio
import contextlib
import json
import secrets
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
import uvicorn

from knts.clients.redis import Redis, connected
from knts.local import process
from knts.local.servers import PackagedModel, Typesense, cache_valkey, durable_valkey, started
from knts.serve import build
from knts.settings import OllamaServer, TypesenseServer

hypothesis.settings.register_profile("kn-ts", deadline=None)  # speed is measured in bench/, not asserted
hypothesis.settings.load_profile("kn-ts")

pytest.register_assert_rewrite("tests.broker.contract")  # it holds tests, and is no test module itself

SIGNING_KEY = "a-signing-key-of-the-tests"
ServeFunction = Callable[..., Awaitable[str]]


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port nobody listens on."""
    return process.free_port


@pytest.fixture(scope="session")
def durable_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    server = durable_valkey(folder / "data", folder / "log")
    child = started(server)
    yield server.url
    child.stop()


@pytest.fixture(scope="session")
def cache_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis-cache")
    server = cache_valkey(folder / "data", folder / "log", megabytes=64)
    child = started(server)
    yield server.url
    child.stop()


@pytest_asyncio.fixture
async def redis_url(durable_server: str) -> str:
    """The durable Valkey (appendonly, fsync always, noeviction), empty."""
    await _flush(durable_server)
    return durable_server


@pytest_asyncio.fixture
async def redis_cache_url(cache_server: str) -> str:
    """The cache Valkey (maxmemory, allkeys-lru), empty."""
    await _flush(cache_server)
    return cache_server


async def _flush(url: str) -> None:
    async with connected(url) as client:
        await client.flushall()
        await client.script_flush()


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connected(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def redis_cache(redis_cache_url: str) -> AsyncIterator[Redis]:
    async with connected(redis_cache_url) as client:
        yield client


@pytest.fixture(scope="session")
def typesense_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typesense]:
    folder = tmp_path_factory.mktemp("typesense")
    server = Typesense(folder / "data", folder / "log", secrets.token_hex(16))
    child = started(server)
    yield server
    child.stop()


@pytest.fixture
def typesense_server(typesense_process: Typesense) -> Iterator[TypesenseServer]:
    """The real Typesense 0.24.1 with an alias name of this test's own; what it left is dropped afterwards."""
    server = TypesenseServer(
        url=typesense_process.url, api_key=typesense_process.api_key, collection=f"test_{secrets.token_hex(6)}"
    )
    yield server
    for alias in _typesense(server, "GET", "/aliases")["aliases"]:
        if alias["name"].startswith(server.collection):
            _typesense(server, "DELETE", f"/aliases/{alias['name']}")
    for collection in _typesense(server, "GET", "/collections"):
        if collection["name"].startswith(server.collection):
            _typesense(server, "DELETE", f"/collections/{collection['name']}")


def _typesense(server: TypesenseServer, method: str, path: str) -> Any:
    headers = {"X-TYPESENSE-API-KEY": server.api_key}
    request = urllib.request.Request(f"{server.url}{path}", method=method, headers=headers)  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


@pytest.fixture(scope="session")
def ollama_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("model")
    server = PackagedModel(folder / "lib", folder / "log")
    child = started(server)
    yield server.url
    child.stop()


@pytest.fixture
def ollama_server(ollama_process: str) -> OllamaServer:
    """The packaged small model, real, behind the Ollama API."""
    return OllamaServer(url=ollama_process, model="smollm2:135m")


@pytest_asyncio.fixture
async def serve_function() -> AsyncIterator[ServeFunction]:
    """`url = await serve_function("search", {"REDIS_URL": …})`: the function under uvicorn, with its lifespan.

    A signing key is set unless `env` names one. The function stops with the test.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def serve(name: str, env: Mapping[str, str]) -> str:
            return await stack.enter_async_context(_served(name, {"KNTS_SIGNING_KEY": SIGNING_KEY, **env}))

        yield serve


class QuietServer(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _served(name: str, env: Mapping[str, str]) -> AsyncIterator[str]:
    port = process.free_port()
    config = uvicorn.Config(build(name, env), host="127.0.0.1", port=port, lifespan="on", log_config=None)
    config.timeout_graceful_shutdown = 2
    server = QuietServer(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if running.done():
                running.result()
                raise RuntimeError(f"{name} did not start; the log has the reason")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await asyncio.wait([running])


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent
