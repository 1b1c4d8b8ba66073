"""The packaged embedding model, really loaded, behind Ollama's API."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from knts.clients.embedder import Embedder, EmbedderAway, EmbedServer
from knts.embeddings import product
from knts.local.model.minilm import DIMENSION, NAME
from knts.local.servers import PackagedEmbedder, started
from tests.ollama_contract import EmbedderContract


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = PackagedEmbedder(Path(tmp_path_factory.mktemp("embedder"), "log"))
    child = started(server)
    yield server.url
    child.stop()


@pytest_asyncio.fixture
async def embedder(url: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    async with aiohttp.ClientSession(url) as session:
        yield session, NAME


class TestThePackagedEmbedder(EmbedderContract):
    """The same table as a real Ollama's in `tests/ollama/test_contract.py`."""


async def test_texts_that_mean_the_same_are_nearer_than_others(url: str) -> None:
    async with Embedder(EmbedServer(model=NAME, embed_url=url)) as embedder:
        ship, vessel, bread = await embedder.embed(NAME, ["a ship at sea", "a vessel on the ocean", "baking bread"])
    assert len(ship) == DIMENSION
    assert product(ship, vessel) > product(ship, bread) + 0.2


async def test_an_embedding_depends_on_its_own_text_alone(url: str) -> None:
    async with Embedder(EmbedServer(model=NAME, embed_url=url)) as embedder:
        [alone] = await embedder.embed(NAME, ["a ship at sea"])
        beside = await embedder.embed(NAME, ["bread " * 200, "a ship at sea", ""])
    assert beside[1] == alone


async def test_a_model_that_is_not_there_is_a_failure(url: str) -> None:
    async with Embedder(EmbedServer(model="other", embed_url=url)) as embedder:
        with pytest.raises(EmbedderAway, match="404"):
            await embedder.embed("other", ["a ship"])


async def test_a_server_that_is_not_there_is_let_rest_after_some_failures() -> None:
    async with Embedder(EmbedServer(model=NAME, embed_url="http://127.0.0.1:9")) as embedder:
        for _ in range(3):
            with pytest.raises(EmbedderAway, match="not available"):
                await embedder.embed(NAME, ["a ship"])
        with pytest.raises(EmbedderAway, match="several times in a row"):
            await embedder.embed(NAME, ["a ship"])
