"""The packaged model keeps the parts of Ollama's API that kn-ts and its users rely on."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from knts.settings import OllamaServer

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]


@pytest_asyncio.fixture
async def ollama(ollama_server: OllamaServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(ollama_server.url) as session:
        yield session


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "smollm2:135m", "options": {"temperature": 0, "num_predict": 12, "seed": 1}, **fields}


async def lines_of(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in response.content]


async def test_chat_streams_lines_and_ends_with_the_counts(ollama: aiohttp.ClientSession) -> None:
    async with ollama.post("/api/chat", json=asked(messages=CAPITAL)) as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        *told, last = await lines_of(response)
    assert "".join(line["message"]["content"] for line in told)
    assert all(line["done"] is False and line["model"] == "smollm2:135m" for line in told)
    assert last["done"] is True
    assert last["message"] == {"role": "assistant", "content": ""}
    assert last["done_reason"] in ("stop", "length")
    assert last["prompt_eval_count"] > 10
    assert 0 < last["eval_count"] <= 12
    assert last["total_duration"] >= last["eval_duration"] > 0


async def test_one_body_holds_the_text_of_the_stream(ollama: aiohttp.ClientSession) -> None:
    async with ollama.post("/api/chat", json=asked(messages=CAPITAL)) as response:
        streamed = "".join(line["message"]["content"] for line in await lines_of(response))
    async with ollama.post("/api/chat", json=asked(messages=CAPITAL, stream=False)) as response:
        whole = await response.json()
    assert whole["message"]["content"] == streamed
    assert whole["done"] is True


async def test_an_assistant_message_at_the_end_is_continued(ollama: aiohttp.ClientSession) -> None:
    begun = [*CAPITAL, {"role": "assistant", "content": "The capital of France is"}]
    async with ollama.post("/api/chat", json=asked(messages=begun, stream=False)) as response:
        assert "Paris" in (await response.json())["message"]["content"]


async def test_generate_with_stop_and_raw(ollama: aiohttp.ClientSession) -> None:
    body = asked(prompt="The capital of France is", raw=True, stream=False)
    async with ollama.post("/api/generate", json=body) as response:
        assert (await response.json())["response"].startswith(" Paris")
    body["options"]["stop"] = [" Paris"]
    async with ollama.post("/api/generate", json=body) as response:
        answer = await response.json()
    assert (answer["response"], answer["done_reason"]) == ("", "stop")


@pytest.mark.parametrize(
    "wanted", ["json", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}]
)
async def test_a_format_is_kept(ollama: aiohttp.ClientSession, wanted: Any) -> None:
    body = asked(messages=CAPITAL, format=wanted, stream=False)
    body["options"]["num_predict"] = 200
    async with ollama.post("/api/chat", json=body) as response:
        assert isinstance(json.loads((await response.json())["message"]["content"]), dict)


async def test_num_predict_ends_by_length(ollama: aiohttp.ClientSession) -> None:
    body = asked(messages=CAPITAL, options={"num_predict": 1}, stream=False)
    async with ollama.post("/api/chat", json=body) as response:
        answer = await response.json()
    assert (answer["done_reason"], answer["eval_count"]) == ("length", 1)


async def test_nothing_to_say_loads_the_model(ollama: aiohttp.ClientSession) -> None:
    async with ollama.post("/api/generate", json={"model": "smollm2:135m", "keep_alive": -1}) as response:
        answer = await response.json()
    assert (answer["done"], answer["done_reason"], answer["response"]) == (True, "load", "")


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/chat", b'{"model": "llama9", "messages": []}', 404, "model 'llama9' not found"),
        ("/api/show", b'{"model": "llama9"}', 404, "model 'llama9' not found"),
        ("/api/chat", b"{not json", 400, "invalid JSON"),
        ("/api/chat", b"[]", 400, "JSON object"),
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b'{"messages": []}', 400, "model is required"),
        ("/api/chat", b'{"model": "smollm2:135m", "messages": [], "tools": [{}]}', 400, "does not support tools"),
        ("/api/generate", b'{"model": "smollm2:135m", "options": {"seed": "x"}}', 400, 'option "seed"'),
        ("/api/embed", b'{"model": "smollm2:135m", "input": "x"}', 501, "does not support embeddings"),
    ],
)
async def test_what_it_refuses(ollama: aiohttp.ClientSession, path: str, body: bytes, status: int, said: str) -> None:
    async with ollama.post(path, data=body) as response:
        assert response.status == status
        assert said in (await response.json())["error"]


async def test_a_prompt_beyond_the_context_is_refused_before_the_stream(ollama: aiohttp.ClientSession) -> None:
    long = [{"role": "user", "content": "word " * 9000}]
    async with ollama.post("/api/chat", json=asked(messages=long)) as response:
        assert response.status == 400
        assert "context length" in (await response.json())["error"]


async def test_a_closed_connection_stops_generation(ollama: aiohttp.ClientSession) -> None:
    endless = asked(prompt="Count: 1, 2, 3,", raw=True, options={"num_predict": -1, "temperature": 0})
    response = await ollama.post("/api/generate", json=endless)
    await response.content.readline()
    response.close()
    body = asked(messages=CAPITAL, stream=False)
    async with asyncio.timeout(20), ollama.post("/api/chat", json=body) as answer:  # else some 8,000 tokens wait first
        assert answer.status == 200


async def test_it_describes_itself(ollama: aiohttp.ClientSession) -> None:
    async with ollama.get("/api/tags") as response:
        (listed,) = (await response.json())["models"]
    async with ollama.get("/api/ps") as response:
        (running,) = (await response.json())["models"]
    async with ollama.post("/api/show", json={"model": "smollm2:135m"}) as response:
        shown = await response.json()
    assert listed["name"] == running["name"] == "smollm2:135m"
    assert len(listed["digest"]) == 64
    assert shown["model_info"]["llama.context_length"] == 8192
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    assert shown["capabilities"] == ["completion"]
    assert "{{" in shown["template"]
