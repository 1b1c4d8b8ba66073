"""The client of Ollama on a real one: what it says, when it stops, and what a crash is taken for."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from knts.clients.ollama import CannotAnswer, Done, Ollama, OllamaAway, OllamaLimits, StreamBroken, UnknownModel
from knts.settings import OllamaServer
from tests.answering import until
from tests.ollama.conftest import ServeOllama
from tests.ollama.server import CHATML, EMBEDDER, THINKER, RealOllama, cpu_seconds
from tests.ollama_contract import CAPITAL, MODEL, asked, whole

GREEDY = {"temperature": 0.0, "seed": 0, "num_predict": 24, "num_ctx": 2048}
ENDLESS = [{"role": "user", "content": "Write a long story about a lighthouse."}]
LONG = {"num_predict": 1500, "num_ctx": 2048, "temperature": 0.0, "repeat_penalty": 1.2}


@contextlib.asynccontextmanager
async def client(real: RealOllama, limits: OllamaLimits | None = None) -> AsyncIterator[Ollama]:
    async with Ollama(OllamaServer(url=real.url, model=MODEL), limits) as ollama:
        yield ollama


async def answer(ollama: Ollama, model: str = MODEL, messages: Any = CAPITAL, options: Any = None) -> list[str | Done]:
    async with contextlib.aclosing(ollama.chat(model, messages, options or GREEDY)) as stream:
        return [piece async for piece in stream]


async def read_into(pieces: list[str | Done], stream: AsyncIterator[str | Done]) -> None:
    async for piece in stream:
        pieces.append(piece)  # noqa: PERF401 - what came before the failure is what counts


async def test_an_answer_comes_in_pieces_and_with_its_tokens(real: RealOllama) -> None:
    async with client(real) as ollama:
        *pieces, done = await answer(ollama)
    assert "Paris" in "".join(map(str, pieces))
    assert len(pieces) > 3
    assert isinstance(done, Done)
    assert (done.reason, done.prompt_tokens) == ("stop", 16)
    assert done.completion_tokens >= len(pieces)


async def test_the_same_greedy_question_gets_the_same_words(real: RealOllama) -> None:
    async with client(real) as ollama:
        first = await answer(ollama)
        await answer(ollama, messages=ENDLESS)  # so that what was read before is not there for the second
        assert await answer(ollama) == first


async def test_a_models_digest_is_the_lists_and_changes_with_its_template(real: RealOllama) -> None:
    async with client(real) as ollama, aiohttp.ClientSession(real.url) as session:
        models = {name: await ollama.model(name) for name in (MODEL, CHATML)}
        async with session.get("/api/tags") as response:
            listed = {each["name"]: each["digest"] for each in (await response.json())["models"]}
    assert {name: model.digest for name, model in models.items()} == {name: listed[name] for name in models}
    assert models[MODEL].digest != models[CHATML].digest
    assert {model.context for model in models.values()} == {8192}


@pytest.mark.parametrize("name", ["llama9", "smollm2", "a b", "../etc", "smollm2:135m:x"])
async def test_an_unknown_model_is_named_beside_those_that_there_are(real: RealOllama, name: str) -> None:
    async with client(real) as ollama:
        with pytest.raises(UnknownModel, match="is unknown; there is ") as refused:
            await ollama.model(name)
    assert all(there in refused.value.detail for there in (MODEL, CHATML, THINKER))


async def test_one_that_embeds_is_listed_as_such_and_can_not_answer(real: RealOllama) -> None:
    async with client(real) as ollama:
        assert await ollama.listed() == {MODEL: True, CHATML: True, THINKER: True, EMBEDDER: False}
        with pytest.raises(CannotAnswer, match="it writes no text"):
            await ollama.model(EMBEDDER)


async def test_whether_a_model_continues_is_a_matter_of_its_template(real: RealOllama) -> None:
    async with client(real) as ollama:
        assert await ollama.continues(MODEL, 2048)
        assert not await ollama.continues(CHATML, 2048)


async def test_the_probe_does_not_load_a_model_that_answers_would_load_anew(own: ServeOllama) -> None:
    real = own()
    async with client(real) as ollama:
        await ollama.continues(MODEL, 2048)
        (probed,) = real.runners
        await answer(ollama, options=GREEDY | {"num_ctx": 2048})
        assert real.runners == [probed]
        await answer(ollama, options=GREEDY | {"num_ctx": 1024})
        assert probed not in real.runners  # which is what another context costs


async def test_a_model_that_can_think_answers_at_once(real: RealOllama) -> None:
    async with client(real) as ollama:
        *pieces, _ = await answer(ollama, THINKER)
    assert "Paris" in "".join(map(str, pieces))
    async with aiohttp.ClientSession(real.url) as session:  # where nothing is said of it, it thinks
        said = await whole(session, "/api/chat", asked(messages=CAPITAL) | {"model": THINKER})
    assert said["message"]["content"] == ""
    assert said["message"]["thinking"]


async def test_it_is_kept_loaded_for_as_long_as_is_set(real: RealOllama) -> None:
    async with client(real) as ollama, aiohttp.ClientSession(real.url) as session:
        await answer(ollama)
        (kept,) = [each for each in real.loaded if each["name"] == MODEL]
        await whole(session, "/api/generate", {"model": MODEL, "keep_alive": "1m"})
        (shorter,) = [each for each in real.loaded if each["name"] == MODEL]
    assert kept["expires_at"] > shorter["expires_at"]  # 30 minutes and one, of the same clock


async def test_a_cold_model_is_loaded_within_the_first_tokens_time(own: ServeOllama) -> None:
    real = own()
    assert real.loaded == []
    async with aiohttp.ClientSession(real.url) as session:
        cold = await whole(session, "/api/chat", asked(messages=CAPITAL))
        warm = await whole(session, "/api/chat", asked(messages=CAPITAL))
    print(f"loading took {cold['load_duration'] / 1e6:.0f} ms, and {warm['load_duration'] / 1e6:.0f} ms when it was")
    assert cold["message"] == warm["message"]
    assert [each["name"] for each in real.loaded] == [MODEL]


async def test_a_reader_that_stops_reading_stops_the_model(own: ServeOllama) -> None:
    real, options = own(), LONG | {"num_predict": 200}
    async with client(real) as ollama:
        await answer(ollama, messages=ENDLESS, options=options | {"num_predict": 1})  # loaded, and the question read
        (runner,) = real.runners
        before = cpu_seconds(runner)
        done = (await answer(ollama, messages=ENDLESS, options=options))[-1]
        assert isinstance(done, Done)
        assert done.completion_tokens > 100
        whole_answer = cpu_seconds(runner) - before
        async with contextlib.aclosing(ollama.chat(MODEL, ENDLESS, options)) as stream:
            before = cpu_seconds(runner)
            await anext(stream)
        await until(lambda: _idle(runner), 60)
    assert cpu_seconds(runner) - before < whole_answer / 2
    assert real.runners == [runner]  # it stopped writing, and lives


async def _grown(pid: int, before: float) -> bool:
    return cpu_seconds(pid) >= before + 0.1


async def _idle(pid: int) -> bool:
    before = cpu_seconds(pid)
    await asyncio.sleep(0.5)  # some ten tokens at the least
    return cpu_seconds(pid) - before < 0.05


async def test_two_answers_are_written_side_by_side_where_ollama_allows_it(own: ServeOllama) -> None:
    real = own(OLLAMA_NUM_PARALLEL="2")
    async with client(real) as ollama, contextlib.aclosing(ollama.chat(MODEL, ENDLESS, LONG)) as first:
        await anext(first)
        assert isinstance((await answer(ollama))[-1], Done)  # from its beginning to its end
        assert isinstance(await anext(first), str)


async def test_a_second_answer_waits_where_it_does_not(own: ServeOllama) -> None:
    real, options = own(OLLAMA_NUM_PARALLEL="1"), LONG | {"num_predict": 60}
    async with client(real) as ollama, contextlib.aclosing(ollama.chat(MODEL, ENDLESS, options)) as first:
        await anext(first)
        second = asyncio.create_task(answer(ollama))
        assert isinstance([piece async for piece in first][-1], Done)
        assert not second.done()
        assert isinstance((await second)[-1], Done)


async def test_a_full_queue_is_temporary(own: ServeOllama) -> None:
    async with client(own(OLLAMA_MAX_QUEUE="1"), OllamaLimits(failures=100)) as ollama:
        told = await asyncio.gather(*(answer(ollama) for _ in range(12)), return_exceptions=True)
    refused = [each for each in told if isinstance(each, BaseException)]
    assert refused
    assert all(isinstance(each, OllamaAway) and "busy (503)" in str(each) for each in refused), refused
    assert any(isinstance(each, list) and isinstance(each[-1], Done) for each in told)


async def test_a_runner_that_dies_in_mid_answer_breaks_it(own: ServeOllama) -> None:
    real = own()
    async with client(real) as ollama:
        async with contextlib.aclosing(ollama.chat(MODEL, ENDLESS, LONG)) as stream:
            await anext(stream)
            os.kill(real.runners[0], signal.SIGKILL)
            pieces: list[str | Done] = []
            with pytest.raises(StreamBroken, match="the model failed: "):
                await read_into(pieces, stream)
            assert not any(isinstance(piece, Done) for piece in pieces)
        assert isinstance((await answer(ollama))[-1], Done)  # by a runner that is started for it


async def test_a_runner_that_dies_before_its_first_token_is_temporary(own: ServeOllama) -> None:
    real = own()
    async with client(real) as ollama:
        await answer(ollama, options=GREEDY | {"num_ctx": 8192})
        (runner,) = real.runners
        before = cpu_seconds(runner)
        unread = [{"role": "user", "content": "One word after another. " * 1200}]
        asking = asyncio.create_task(answer(ollama, messages=unread, options=GREEDY | {"num_ctx": 8192}))
        await until(lambda: _grown(runner, before), 20)  # it reads
        os.kill(runner, signal.SIGKILL)
        with pytest.raises(OllamaAway, match="failed before its first token"):
            await asking
        assert isinstance((await answer(ollama))[-1], Done)
