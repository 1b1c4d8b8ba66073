"""The packaged model keeps the parts of Ollama's API that kn-ts and its users rely on."""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from knts.settings import OllamaServer
from tests.ollama_contract import CAPITAL, MODEL, OllamaContract, asked


@pytest_asyncio.fixture
async def ollama(ollama_server: OllamaServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(ollama_server.url) as session:
        yield session


class TestThePackagedModel(OllamaContract):
    """What `tests/ollama` holds against a real Ollama."""


class TestWhereItDiffersFromOllama:
    async def test_a_prompt_beyond_the_context_is_refused_rather_than_cut(self, ollama: aiohttp.ClientSession) -> None:
        long = [{"role": "user", "content": "word " * 9000}]
        async with ollama.post("/api/chat", json=asked(messages=long)) as response:
            assert response.status == 400
            assert "context length" in (await response.json())["error"]

    async def test_it_has_no_embeddings(self, ollama: aiohttp.ClientSession) -> None:
        async with ollama.post("/api/embed", json={"model": MODEL, "input": CAPITAL[0]["content"]}) as response:
            assert response.status == 501
            assert "does not support embeddings" in (await response.json())["error"]
