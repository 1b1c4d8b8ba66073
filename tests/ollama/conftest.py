"""Fixtures: a real Ollama, built by `tools/build.sh ollama`; `make test-ollama` does that first."""

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from knts.settings import OllamaServer
from tests.e2e.roads import Road, start_road
from tests.ollama.server import EMBEDDER, RealOllama, serving, with_models
from tests.ollama_contract import MODEL

ServeOllama = Callable[..., RealOllama]


@pytest.fixture(scope="session")
def program(repository: Path) -> Path:
    """The built Ollama."""
    command = [repository / "tools" / "build.sh", "ollama", "--cached"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.exit(f"{built.stderr.strip()}; `make test-ollama` builds it", returncode=2)
    return Path(built.stdout.strip()) / "ollama"


@pytest.fixture(scope="session")
def folder(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose models are made; every Ollama of these tests reads them."""
    folder = tmp_path_factory.mktemp("ollama")
    with_models(program, folder)
    return folder


@pytest.fixture(scope="session")
def real(program: Path, folder: Path) -> Iterator[RealOllama]:
    """One that answers one request at a time; it is neither stopped nor killed."""
    with serving(RealOllama(program, folder, {"OLLAMA_NUM_PARALLEL": "1"})) as ollama:
        yield ollama


@pytest.fixture
def ollama_server(real: RealOllama) -> OllamaServer:
    """In place of the packaged model."""
    return OllamaServer(url=real.url, model=MODEL)


@pytest_asyncio.fixture
async def ollama(real: RealOllama) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(real.url) as session:
        yield session


@pytest.fixture
def embedder(ollama: aiohttp.ClientSession) -> tuple[aiohttp.ClientSession, str]:
    return ollama, EMBEDDER


@pytest.fixture
def own(program: Path, folder: Path) -> Iterator[ServeOllama]:
    """A function that starts one with these settings, for one test."""
    started: list[RealOllama] = []

    def serve(**env: str) -> RealOllama:
        ollama = RealOllama(program, folder, env)
        started.append(ollama)
        ollama.start()
        return ollama

    yield serve
    for ollama in started:
        ollama.kill()


@pytest.fixture(scope="session")
def road(real: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A local run whose model is the real Ollama's."""
    home = tmp_path_factory.mktemp("road")
    started = start_road(home, KNTS_FIRST_DOCUMENTS="docs/events.md", OLLAMA_URL=real.url, OLLAMA_MODEL=MODEL)
    yield started
    started.stop()


@pytest_asyncio.fixture
async def api(road: Road) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the page's address."""
    async with aiohttp.ClientSession(road.base_url, timeout=aiohttp.ClientTimeout(total=90)) as session:
        yield session
