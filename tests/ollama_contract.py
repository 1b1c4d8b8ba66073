"""What kn-ts relies on of Ollama's API: one table for the packaged model, and for a real Ollama with the same weights.

A test module gives the fixture `ollama` and a class of its own that has these methods. The words of an answer are left
out, as far as they hang on rounding.
"""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

MODEL = "smollm2:135m"
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
CAPITAL_TOKENS = 16  # with the marks of the template, and with nothing put before it
REFUSALS: list[tuple[str, Any, int, str]] = [
    ("chat", {"model": "llama9", "messages": CAPITAL}, 404, "model 'llama9' not found"),
    ("chat", {"model": "smollm2", "messages": CAPITAL}, 404, "model 'smollm2' not found"),
    ("show", {"model": "llama9"}, 404, "model 'llama9' not found"),
    ("generate", {"model": "llama9", "prompt": "x"}, 404, "model 'llama9' not found"),
    ("embed", {"model": "llama9", "input": "x"}, 404, "not found"),
    ("chat", "{not json", 400, ""),
    ("chat", "[]", 400, ""),
    ("chat", "", 400, "missing request body"),
    ("chat", "  ", 400, "missing request body"),
    ("show", "", 400, "missing request body"),
    ("chat", {"messages": CAPITAL}, 400, "model is required"),
    ("show", {}, 400, "model is required"),
    ("chat", {"model": 7, "messages": CAPITAL}, 400, ""),
    ("chat", {"model": MODEL, "messages": "x"}, 400, "messages"),
    ("chat", {"model": MODEL, "messages": ["x"]}, 400, "messages"),
    ("chat", {"model": MODEL, "messages": [{"role": "user", "content": 7}]}, 400, "content"),
    ("chat", {"model": MODEL, "messages": CAPITAL, "stream": "yes"}, 400, "stream"),
    ("chat", {"model": MODEL, "messages": CAPITAL, "tools": [{"type": "function"}]}, 400, "does not support tools"),
    ("chat", {"model": MODEL, "messages": CAPITAL, "think": True}, 400, f'"{MODEL}" does not support thinking'),
    ("chat", {"model": MODEL, "messages": CAPITAL, "think": "huge"}, 400, 'invalid think value: "huge"'),
    ("generate", {"model": MODEL, "prompt": "x", "suffix": "y"}, 400, "does not support insert"),
    ("chat", {"model": MODEL, "messages": CAPITAL, "keep_alive": "soon"}, 400, 'time: invalid duration "soon"'),
    ("chat", {"model": MODEL, "messages": CAPITAL, "keep_alive": True}, 400, "Unsupported type: 'bool'"),
    ("chat", {"model": MODEL, "messages": CAPITAL, "options": [1]}, 400, "options"),
    ("chat", {"model": MODEL, "messages": CAPITAL, "options": {"seed": "x"}}, 500, '"seed" must be of type integer'),
    ("chat", {"model": MODEL, "messages": CAPITAL, "options": {"top_p": "x"}}, 500, '"top_p" must be of type float32'),
    ("chat", {"model": MODEL, "messages": CAPITAL, "options": {"stop": [1]}}, 500, 'must be of an array of strings'),
    ("chat", {"model": MODEL, "messages": CAPITAL, "format": "xml"}, 500, "invalid format"),
]  # fmt: skip
TAKEN: list[dict[str, Any]] = [
    {"think": False},
    {"tools": []},
    {"format": ""},
    {"keep_alive": -1},
    {"keep_alive": "30m"},
    {"keep_alive": 1.5},
    {"unheard_of": 1},
    {"messages": [{"role": "wizard", "content": "Hello."}]},
    {"messages": [{"content": "Hello."}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": "Hello.", "images": ["aGk="]}]},
    {"options": {"unheard_of": 1, "num_predict": 2}},
    {"options": {"seed": 1.5, "temperature": None, "top_p": 1, "num_predict": 2}},
    {"model": "SmolLM2:135M"},
    {"model": "library/smollm2:135m"},
]
FIELDS_LISTED = {"name", "model", "modified_at", "size", "digest", "details"}
FIELDS_RUNNING = {"name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"}
FIELDS_SHOWN = {"modelfile", "parameters", "template", "details", "model_info", "capabilities", "modified_at"}
FIELDS_ALIKE = ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")
LAST = {"model", "created_at", "done", "done_reason", "total_duration", "load_duration"} | {
    f"{of}_{what}" for of in ("prompt_eval", "eval") for what in ("count", "duration")
}


def asked(**fields: Any) -> dict[str, Any]:
    """A short question of greedy words."""
    options = {"temperature": 0, "num_predict": 12, "seed": 1, **fields.pop("options", {})}
    return {"model": MODEL, "options": options, **fields}


async def lines_of(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """The lines of a stream."""
    return [json.loads(line) async for line in response.content]


async def whole(ollama: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One reply that is not streamed."""
    async with ollama.post(path, json=body | {"stream": False}) as response:
        assert response.status == 200, await response.text()
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        said: dict[str, Any] = await response.json()
        return said


class OllamaContract:
    """The tests; `ollama` is a session on the server."""

    @pytest.mark.parametrize(("call", "body", "status", "said"), REFUSALS)
    async def test_what_it_refuses(
        self, ollama: aiohttp.ClientSession, call: str, body: Any, status: int, said: str
    ) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        async with ollama.post(f"/api/{call}", data=text) as response:
            error = await response.json()
            assert (response.status, list(error)) == (status, ["error"]), error
        assert said in error["error"]

    @pytest.mark.parametrize("fields", TAKEN)
    async def test_what_it_takes(self, ollama: aiohttp.ClientSession, fields: dict[str, Any]) -> None:
        options = {"num_predict": 2, "temperature": 0} | fields.get("options", {})
        body = asked(messages=CAPITAL) | fields | {"options": options}
        said = await whole(ollama, "/api/chat", body)
        assert (said["model"], said["done"], said["eval_count"] <= 2) == (body["model"], True, True)

    @pytest.mark.parametrize(
        ("method", "path", "status", "text"),
        [
            ("GET", "/", 200, "Ollama is running"),
            ("HEAD", "/", 200, ""),
            ("HEAD", "/api/version", 200, ""),
            ("HEAD", "/api/tags", 200, ""),
            ("GET", "/api/nothing", 404, "404 page not found"),
            ("GET", "/api/chat", 405, "405 method not allowed"),
        ],
    )
    async def test_its_other_addresses(
        self, ollama: aiohttp.ClientSession, method: str, path: str, status: int, text: str
    ) -> None:
        async with ollama.request(method, path) as response:
            assert (response.status, await response.text()) == (status, text)

    async def test_its_version(self, ollama: aiohttp.ClientSession) -> None:
        async with ollama.get("/api/version") as response:
            assert await response.json() == {"version": "0.17.4"}

    async def test_chat_streams_lines_and_ends_with_the_counts(self, ollama: aiohttp.ClientSession) -> None:
        async with ollama.post("/api/chat", json=asked(messages=CAPITAL)) as response:
            assert (response.status, response.headers["content-type"]) == (200, "application/x-ndjson")
            *told, last = await lines_of(response)
        assert "".join(line["message"]["content"] for line in told)
        for line in told:
            assert (set(line), line["done"]) == ({"model", "created_at", "message", "done"}, False)
            assert (line["model"], line["message"]["role"], line["created_at"][-1]) == (MODEL, "assistant", "Z")
        assert set(last) == LAST | {"message"}
        assert (last["done"], last["message"]) == (True, {"role": "assistant", "content": ""})
        assert last["done_reason"] in ("stop", "length")
        assert last["prompt_eval_count"] == CAPITAL_TOKENS
        assert 0 < last["eval_count"] <= 12
        assert last["total_duration"] >= last["eval_duration"] > 0

    async def test_generate_streams_lines_too(self, ollama: aiohttp.ClientSession) -> None:
        async with ollama.post("/api/generate", json=asked(prompt="The capital of France is")) as response:
            *told, last = await lines_of(response)
        assert "".join(line["response"] for line in told)
        assert all(set(line) == {"model", "created_at", "response", "done"} for line in told)
        assert set(last) - {"context"} == LAST | {"response"}

    async def test_one_body_holds_the_text_of_the_stream(self, ollama: aiohttp.ClientSession) -> None:
        async with ollama.post("/api/chat", json=asked(messages=CAPITAL)) as response:
            streamed = "".join(line["message"]["content"] for line in await lines_of(response))
        said = await whole(ollama, "/api/chat", asked(messages=CAPITAL))
        assert (said["message"]["content"], said["done"]) == (streamed, True)

    async def test_an_assistant_message_at_the_end_is_continued(self, ollama: aiohttp.ClientSession) -> None:
        begun = [*CAPITAL, {"role": "assistant", "content": "The capital of France is"}]
        said = await whole(ollama, "/api/chat", asked(messages=begun))
        assert said["message"]["content"].startswith(" Paris")
        assert said["prompt_eval_count"] == CAPITAL_TOKENS + 5

    async def test_generate_with_stop_and_raw(self, ollama: aiohttp.ClientSession) -> None:
        body = asked(prompt="The capital of France is", raw=True)
        said = await whole(ollama, "/api/generate", body)
        assert said["response"].startswith(" Paris")
        assert said["prompt_eval_count"] == 5
        body["options"]["stop"] = [" Paris"]
        said = await whole(ollama, "/api/generate", body)
        assert (said["response"], said["done_reason"]) == ("", "stop")

    @pytest.mark.parametrize(
        "wanted", ["json", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}]
    )
    async def test_a_format_is_kept(self, ollama: aiohttp.ClientSession, wanted: Any) -> None:
        body = asked(messages=CAPITAL, format=wanted, options={"num_predict": 200})
        said = await whole(ollama, "/api/chat", body)
        assert isinstance(json.loads(said["message"]["content"]), dict)

    async def test_num_predict_ends_by_length(self, ollama: aiohttp.ClientSession) -> None:
        said = await whole(ollama, "/api/chat", asked(messages=CAPITAL, options={"num_predict": 1}))
        assert (said["done_reason"], said["eval_count"]) == ("length", 1)

    @pytest.mark.parametrize("call", ["chat", "generate"])
    async def test_nothing_to_say_loads_the_model(self, ollama: aiohttp.ClientSession, call: str) -> None:
        said = await whole(ollama, f"/api/{call}", {"model": MODEL, "keep_alive": -1})
        assert set(said) == {"model", "created_at", "done", "done_reason", "message" if call == "chat" else "response"}
        assert (said["done"], said["done_reason"]) == (True, "load")

    async def test_to_keep_it_for_no_time_unloads_it(self, ollama: aiohttp.ClientSession) -> None:
        said = await whole(ollama, "/api/generate", {"model": MODEL, "keep_alive": 0})
        assert (said["done"], said["done_reason"]) == (True, "unload")

    async def test_a_prompt_that_may_not_be_cut_is_refused(self, ollama: aiohttp.ClientSession) -> None:
        long = asked(messages=[{"role": "user", "content": "word " * 9000}], truncate=False)
        async with ollama.post("/api/chat", json=long) as response:
            assert response.status == 400
            assert await response.json() == {"error": "the input length exceeds the context length"}

    async def test_a_closed_connection_stops_generation(self, ollama: aiohttp.ClientSession) -> None:
        endless = asked(prompt="Count: 1, 2, 3,", raw=True, options={"num_predict": -1})
        response = await ollama.post("/api/generate", json=endless)
        await response.content.readline()
        response.close()
        async with asyncio.timeout(30):  # else some 8,000 tokens are waited for: one slot works one request
            await whole(ollama, "/api/chat", asked(messages=CAPITAL))

    async def test_it_describes_itself(self, ollama: aiohttp.ClientSession) -> None:
        await whole(ollama, "/api/generate", {"model": MODEL, "keep_alive": -1})
        async with ollama.get("/api/tags") as response:
            listed = next(each for each in (await response.json())["models"] if each["name"] == MODEL)
        async with ollama.get("/api/ps") as response:
            (running,) = (await response.json())["models"]
        async with ollama.post("/api/show", json={"model": MODEL}) as response:
            shown = await response.json()
        assert (set(listed), set(running)) == (FIELDS_LISTED, FIELDS_RUNNING)
        assert listed["name"] == listed["model"] == running["name"] == running["model"] == MODEL
        assert listed["digest"] == running["digest"]
        assert len(listed["digest"]) == 64
        assert set(shown) >= FIELDS_SHOWN
        for details in (listed["details"], running["details"], shown["details"]):
            assert list(details) == list(FIELDS_ALIKE)
            assert (details["family"], details["parameter_size"]) == ("llama", "134.52M")
            assert details["quantization_level"] == "Q4_1"
        assert shown["capabilities"] == ["completion"]
        assert shown["model_info"]["llama.context_length"] == 8192
        assert shown["model_info"]["tokenizer.ggml.tokens"] is None
        assert '<|im_end|>"' in shown["parameters"]
        assert "{{" in shown["template"]


class EmbedderContract:
    """The same of a model that embeds and writes nothing; `embedder` is a session on its server and its name."""

    async def test_it_says_that_it_embeds_and_how_it_pools(self, embedder: tuple[aiohttp.ClientSession, str]) -> None:
        session, name = embedder
        async with session.get("/api/tags") as response:
            (listed,) = [each for each in (await response.json())["models"] if each["name"] == name]
        async with session.post("/api/show", json={"model": name}) as response:
            shown = await response.json()
        assert "capabilities" not in listed
        assert shown["capabilities"] == ["embedding"]
        assert shown["model_info"]["general.architecture"] == listed["details"]["family"] == "bert"
        assert shown["model_info"]["bert.context_length"] == 256
        assert shown["model_info"]["bert.pooling_type"] == 1

    @pytest.mark.parametrize("call", ["chat", "generate"])
    async def test_it_can_not_answer(self, embedder: tuple[aiohttp.ClientSession, str], call: str) -> None:
        session, name = embedder
        async with session.post(f"/api/{call}", json={"model": name, "messages": CAPITAL, "prompt": "x"}) as response:
            assert (response.status, await response.json()) == (400, {"error": f'"{name}" does not support {call}'})
