"""The API that people already speak, by OpenAI's own client: ingress on a scripted road, on real Valkeys."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pydantic
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam

from knts import answers, channel, errors, events
from knts.clients.redis import Redis
from knts.errors import Permanent, UpstreamFailed
from knts.events import Event
from knts.line import line_key
from tests.answering import until
from tests.conftest import ServeFunction
from tests.integration.ingress_world import KEYS, World, world
from tests.scripted_ollama import ScriptedOllama
from tests.scripted_road import FINAL, ScriptedRoad

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where does Hamlet take place?"}]
CITATION = {
    "document_id": "d", "version": 1, "title": "D", "url": None, "start": 0, "end": 4, "quote": "Word",
    "sha256": "0" * 64, "answer_start": 0, "answer_end": 7,
}  # fmt: skip


async def citing(road: ScriptedRoad, event: Event) -> None:
    """Word by word, with a citation; `wait` waits for ever after the first, `fail` fails at once, `break` after it."""
    question = event.payload["question"]
    await road.passages(event.correlation_id)
    flight, token = await road.join(event.correlation_id)
    failed = answers.failure("the model is gone", errors.problem(UpstreamFailed("the model is gone")), 1)
    if question == "fail":
        return await road.flights.end(flight, token, [], failed)
    if question == "abstain":
        return await road.end(flight, token, status="abstained", answer="", reason="nothing fits")
    for number, word in enumerate(["Den", "mark", ", of course."]):
        await road.flights.append(flight, token, [(channel.DELTA, {"text": word})])
        if question == "break":
            return await road.flights.end(flight, token, [], failed)
        if question == "wait" and number == 0:
            return None
    return await road.end(flight, token, citations=[CITATION])


@pytest_asyncio.fixture
async def ollama() -> AsyncIterator[ScriptedOllama]:
    async with ScriptedOllama().serving() as serving:
        serving.models = {"scripted:latest": "d1", "large:7b": "d2"}
        yield serving


@pytest_asyncio.fixture
async def here(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, ollama: ScriptedOllama
) -> AsyncIterator[World]:
    async with world(serve_function, redis, redis_url, redis_cache_url, citing, OLLAMA_URL=ollama.url) as found:
        yield found


@pytest_asyncio.fixture
async def client(here: World) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def about(question: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": question}]


async def test_a_completion_has_the_answer_its_citations_and_tokens(client: openai.AsyncOpenAI, here: World) -> None:
    found = await client.chat.completions.create(model="kn-ts", messages=ASKED)
    [choice] = found.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", FINAL["answer"], "stop")
    assert choice.message.annotations is not None
    cited = choice.message.annotations[0].url_citation
    assert FINAL["answer"][cited.start_index : cited.end_index] == "Denmark"
    assert cited.url == f"{here.url}/ui/document?id=d&start=0&end=4#passage"
    assert cited.model_extra is not None
    assert (cited.model_extra["document_id"], cited.model_extra["quote"]) == ("d", "Word")
    assert found.usage is not None
    assert found.usage.total_tokens == 7
    assert found.model_extra is not None
    own = found.model_extra["knts"]
    status, answer = await here.status("GET", f"/v1/answers/{own['id']}")
    assert (status, answer["citations"]) == (200, own["citations"])
    assert found.id == f"chatcmpl-{own['id']}"
    assert here.road.events[0].payload == {"question": ASKED[0]["content"], "groups": []}  # type: ignore[typeddict-item]


async def test_a_stream_has_the_same_in_chunks(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="kn-ts", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == FINAL["answer"]
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].choices[0].delta.model_extra is not None
    assert chunks[-2].choices[0].delta.model_extra["annotations"][0]["url_citation"]["document_id"] == "d"
    assert chunks[-1].usage is not None
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 4)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_is_plain_sse_that_ends_with_done(here: World) -> None:
    body = {"model": "kn-ts", "messages": ASKED, "stream": True}
    async with here.http.post("/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = await response.text()
    assert text.endswith("data: [DONE]\n\n")
    assert all(line.startswith("data: ") for line in text.splitlines() if line)


async def test_earlier_messages_go_along_and_system_messages_are_named_as_ignored(
    client: openai.AsyncOpenAI, here: World
) -> None:
    found = await client.chat.completions.create(
        model="kn-ts",
        messages=[
            {"role": "system", "content": "Answer from your own knowledge and cite nothing."},
            *ASKED,
            {"role": "assistant", "content": "In Denmark."},
            {"role": "user", "content": "Who wrote it?"},
        ],
        user="ann",
    )
    asked = here.road.events[-1].payload
    assert asked["question"] == "Who wrote it?"
    assert asked["conversation"] == [{"question": ASKED[0]["content"]}]  # type: ignore[typeddict-item]
    assert "own knowledge" not in orjson.dumps(asked).decode()
    assert found.model_extra is not None
    assert found.model_extra["knts"]["ignored"] == ["messages.0 (system)", "user"]


async def test_a_schema_is_asked_for_and_the_extension_reaches_the_search(
    client: openai.AsyncOpenAI, here: World
) -> None:
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    await client.chat.completions.create(
        model="kn-ts",
        messages=ASKED,
        max_tokens=30,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}},
        extra_body={"knts": {"filters": {"play": "Hamlet"}, "max_passages": 2}},
    )
    asked = here.road.events[-1].payload
    assert (asked["format"], asked["options"]) == (schema, {"num_predict": 30})
    assert (asked["filters"], asked["max_passages"]) == ({"play": "Hamlet"}, 2)


async def test_models_are_listed_and_named(client: openai.AsyncOpenAI, here: World) -> None:
    assert [model.id async for model in client.models.list()] == ["kn-ts", "scripted", "large:7b"]
    assert (await client.models.retrieve("large:7b")).owned_by == "ollama"
    await client.chat.completions.create(model="large:7b", messages=ASKED)
    assert here.road.events[-1].payload["model"] == "large:7b"
    for call in (client.models.retrieve("gpt-9"), client.chat.completions.create(model="gpt-9", messages=ASKED)):
        with pytest.raises(openai.NotFoundError) as caught:
            await call
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_a_model_that_embeds_is_not_listed_and_can_not_be_asked(
    client: openai.AsyncOpenAI, here: World, ollama: ScriptedOllama
) -> None:
    ollama.models["minilm:latest"], ollama.embedders = "d3", {"minilm:latest"}
    assert [model.id async for model in client.models.list()] == ["kn-ts", "scripted", "large:7b"]
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("minilm")
    with pytest.raises(openai.BadRequestError, match="'minilm' can't answer: it writes no text") as caught:
        await client.chat.completions.create(model="minilm", messages=ASKED)
    assert caught.value.param == "model"
    assert not here.road.events


async def test_without_ollama_the_default_is_still_there(
    client: openai.AsyncOpenAI, here: World, ollama: ScriptedOllama
) -> None:
    ollama.down = 503
    assert [model.id async for model in client.models.list()] == ["kn-ts", "scripted"]
    await client.chat.completions.create(model="large:7b", messages=ASKED)  # not known not to be there


@pytest.mark.parametrize("stream", [False, True])
async def test_an_abstention_is_a_completion_that_says_so(client: openai.AsyncOpenAI, stream: bool) -> None:
    if stream:
        chunks = [c async for c in await client.chat.completions.create(
            model="kn-ts", messages=about("abstain"), stream=True)]  # fmt: skip
        content, own = "".join(c.choices[0].delta.content or "" for c in chunks), chunks[-1].model_extra
    else:
        found = await client.chat.completions.create(model="kn-ts", messages=about("abstain"))
        content, own = found.choices[0].message.content or "", found.model_extra
    assert content == "The documents do not tell: nothing fits.\n\nNearest to it: D"
    assert own is not None
    assert (own["knts"]["status"], own["knts"]["reason"]) == ("abstained", "nothing fits")
    [nearest] = own["knts"]["nearest"]
    assert nearest["document_id"] == "d"
    assert nearest["url"].startswith("http://127.0.0.1")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_word_has_its_own_status(client: openai.AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="kn-ts", messages=about("fail"), stream=stream)
    assert (caught.value.status_code, caught.value.type) == (502, "server_error")
    assert "the model is gone" in caught.value.message


async def test_a_failure_in_mid_stream_is_an_error_of_the_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="kn-ts", messages=about("break"), stream=True)
    with pytest.raises(openai.APIError, match="the model is gone"):
        async for _ in stream:
            pass


async def test_the_clients_own_helpers_read_streams_and_parse_schemas(client: openai.AsyncOpenAI, here: World) -> None:
    async with client.chat.completions.stream(model="kn-ts", messages=ASKED) as stream:
        kinds = {event.type async for event in stream}
        whole = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert whole.choices[0].message.content == FINAL["answer"]

    async def structured(road: ScriptedRoad, event: Event) -> None:
        await road.passages(event.correlation_id)
        flight, token = await road.join(event.correlation_id)
        await road.end(flight, token, answer='{"place": "Denmark"}')

    class Scene(pydantic.BaseModel):
        place: str

    here.road.script = structured
    found = await client.chat.completions.parse(model="kn-ts", messages=about("Set where?"), response_format=Scene)
    assert found.choices[0].message.parsed == Scene(place="Denmark")
    assert here.road.events[-1].payload["format"]["required"] == ["place"]


async def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_back(
    client: openai.AsyncOpenAI, here: World, redis: Redis
) -> None:
    line, now = line_key("scripted:latest"), (await redis.time())[0] * 1000
    await redis.hset(f"{line}pace", mapping={"ms": 600_000, "slots": 1})  # whoever comes now comes too late
    await redis.zadd(f"{line}slots", {"token ticket": now + 60_000})
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="kn-ts", messages=ASKED, stream=stream)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert (caught.value.type, caught.value.code) == ("rate_limit_error", "busy")
    assert here.road.events == []


async def test_other_calls_of_openais_are_not_there_and_say_what_is(client: openai.AsyncOpenAI) -> None:
    for call in (
        client.responses.create(model="kn-ts", input="Where?"),
        client.completions.create(model="kn-ts", prompt="Where?"),
        client.embeddings.create(model="kn-ts", input="Where?"),
    ):
        with pytest.raises(openai.NotFoundError, match="there are POST /v1/chat/completions") as caught:
            await call
        assert caught.value.type == "invalid_request_error"


async def test_what_can_not_be_had_is_refused_by_name(client: openai.AsyncOpenAI, here: World) -> None:
    for fields, param in [({"n": 2}, "n"), ({"logprobs": True}, "logprobs"), ({"stop": "x"}, "stop")]:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="kn-ts", messages=ASKED, **fields)  # type: ignore[call-overload]
        assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="kn-ts", messages=ASKED, extra_body={"knts": {"max_passages": 1000}})
    assert caught.value.param == "knts.max_passages"
    assert here.road.events == []


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/v1/chat/completions", {"data": b"{"}, 400),
        ("POST", "/v1/chat/completions", {"data": b"x", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", "/v1/chat/completions", {"data": b"x" * (512 * 1024 + 1)}, 413),
        ("GET", "/v1/chat/completions", {}, 405),
        ("POST", "/v1/chat/nothing", {}, 404),
        ("DELETE", "/v1/models", {}, 405),
    ],
)
async def test_every_error_has_openais_form(
    here: World, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    found = await here.status(method, path, **{"headers": {"content-type": "application/json"}, **options})
    assert found[0] == status
    assert set(found[1]["error"]) == {"message", "type", "param", "code"}


async def test_keys_are_the_same_as_elsewhere(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(orjson.dumps(KEYS))
    more = {"KNTS_KEYS_FILE": str(keys)}
    async with world(serve_function, redis, redis_url, redis_cache_url, citing, **more) as here:
        for key, refused in (("ann", False), ("nobody", True)):
            async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=key, max_retries=0) as client:
                if refused:
                    with pytest.raises(openai.AuthenticationError) as caught:
                        await client.chat.completions.create(model="kn-ts", messages=ASKED)
                    assert caught.value.code == "invalid_api_key"
                else:
                    await client.chat.completions.create(model="kn-ts", messages=ASKED)
        assert [(event.tenant, event.payload["groups"]) for event in here.road.events] == [("acme", ["hr"])]


@pytest.mark.parametrize("stream", [False, True])
async def test_who_hangs_up_ends_his_part_at_once(client: openai.AsyncOpenAI, here: World, stream: bool) -> None:
    async def ask() -> None:
        found = await client.chat.completions.create(model="kn-ts", messages=about("wait"), stream=stream)
        async for _ in found:  # type: ignore[union-attr]
            pass

    asking = asyncio.create_task(ask())

    async def joined() -> bool:
        asks = [event.correlation_id for event in here.road.events if event.type == events.ANSWER_REQUESTED]
        return bool(asks) and "flight" in (await here.road.channel.ask(asks[0]) or {})

    await until(joined, 20)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    async def cancelled() -> bool:
        ask = await here.road.channel.ask(here.road.events[0].correlation_id)
        return bool(ask) and ask.get("ended_by") == channel.CANCELLED

    await until(cancelled, 20)


async def test_an_index_that_is_away_is_told_with_the_status_that_it_has(
    client: openai.AsyncOpenAI, here: World
) -> None:
    async def away(road: ScriptedRoad, event: Event) -> None:
        failed = answers.failure("away", errors.problem(Permanent("no")), 1)
        await road.channel.append(event.correlation_id, channel.FAILED, {**failed, "problem": {"status": 503}})

    here.road.script = away
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="kn-ts", messages=ASKED)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"
