"""The client of Ollama against a scripted server, and against the real small model."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knts.clients.ollama import (
    CannotAnswer,
    Done,
    Model,
    Ollama,
    OllamaLimits,
    PromptTooLong,
    StreamBroken,
    UnknownModel,
    describe,
    keep_alive,
    writes,
)
from knts.errors import KntsError, Permanent, Temporary
from knts.settings import OllamaServer, SettingsError, read
from tests.scripted_ollama import WAIT_FOREVER, ScriptedOllama, Step, done, line, says

QUICK = OllamaLimits(connect=0.5, first_token=0.3, idle=0.3, total=2.0)
MESSAGES = [{"role": "user", "content": "Where?"}]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedOllama]:
    async with ScriptedOllama().serving() as server:
        yield server


@contextlib.asynccontextmanager
async def client(url: str, limits: OllamaLimits | None = None) -> AsyncIterator[Ollama]:
    async with Ollama(OllamaServer(url=url, model="small"), limits) as ollama:
        yield ollama


async def answer(ollama: Ollama, options: dict[str, Any] | None = None) -> list[str | Done]:
    async with contextlib.aclosing(ollama.chat("small", MESSAGES, options or {})) as stream:
        return [piece async for piece in stream]


async def read_into(pieces: list[str | Done], ollama: Ollama) -> None:
    async for piece in ollama.chat("small", MESSAGES, {}):
        pieces.append(piece)  # noqa: PERF401 - what came before the failure is what counts


async def test_an_answer_comes_in_pieces_and_with_its_tokens(scripted: ScriptedOllama) -> None:
    scripted.scripts = [says("In ", "Denmark.")]
    async with client(scripted.url) as ollama:
        assert await answer(ollama, {"num_ctx": 4096}) == ["In ", "Denmark.", Done("stop", 7, 3)]
    asked = scripted.asked[0]
    assert (asked["messages"], asked["options"], asked["stream"]) == (MESSAGES, {"num_ctx": 4096}, True)
    assert asked["keep_alive"] == "30m"
    assert (asked["truncate"], asked["shift"]) == (False, False)  # else passages are left out without a word
    assert asked["think"] is False  # else a model that can think does, and its tokens are used up


class TestModels:
    async def test_a_model_is_described_once_and_then_believed(self, scripted: ScriptedOllama) -> None:
        async with client(scripted.url) as ollama:
            assert await ollama.model() == Model("small", "d1", 8192) == await ollama.model("small")
            assert scripted.described == 1
            scripted.down = 503
            assert (await ollama.model()).digest == "d1"

    @pytest.mark.parametrize(
        ("version", "refuses"),
        [("0.17.0", True), ("0.18.1-rc2", True), ("1.0.0", True), ("0.16.9", False), ("0.0.0", False), ("dev", False)],
    )
    async def test_a_server_refuses_what_is_too_long_from_a_version_on(
        self, scripted: ScriptedOllama, version: str, *, refuses: bool
    ) -> None:
        scripted.version = version
        async with client(scripted.url) as ollama:
            assert (await ollama.model()).refuses is refuses

    async def test_its_digest_is_asked_for_again_in_time(self, scripted: ScriptedOllama) -> None:
        async with client(scripted.url, OllamaLimits(model_cache=0.001)) as ollama:
            await ollama.model()
            scripted.models = {"small:latest": "d2"}
            await asyncio.sleep(0.01)
            assert (await ollama.model()).digest == "d2"
            scripted.down = 503
            await asyncio.sleep(0.01)
            assert (await ollama.model()).digest == "d2"  # away: what was last known still serves cached answers

    async def test_an_unknown_model_is_refused_by_name(self, scripted: ScriptedOllama) -> None:
        async with client(scripted.url) as ollama:
            with pytest.raises(UnknownModel, match="'huge' is unknown; there is small:latest"):
                await ollama.model("huge")

    @pytest.mark.parametrize("capable", [True, False])
    async def test_one_that_embeds_is_listed_as_such_and_can_not_answer(
        self, scripted: ScriptedOllama, capable: bool
    ) -> None:
        scripted.models |= {"minilm:latest": "d2", "large:7b": "d3"}
        scripted.embedders, scripted.capable = {"minilm:latest"}, capable
        async with client(scripted.url) as ollama:
            assert await ollama.listed() == {"small:latest": True, "minilm:latest": False, "large:7b": True}
            with pytest.raises(CannotAnswer, match="'minilm' can't answer: it writes no text"):
                await ollama.model("minilm")

    async def test_a_list_asks_once_for_each_description_and_goes_without_those_it_does_not_get(
        self, scripted: ScriptedOllama
    ) -> None:
        scripted.models = {f"m{number}:latest": "d" for number in range(40)}
        scripted.embedders, scripted.refused = {"m7:latest", "m8:latest"}, {"m8:latest": 503}
        async with client(scripted.url) as ollama:
            assert [name for name, can in (await ollama.listed()).items() if not can] == ["m7:latest"]
            assert scripted.described == 39
            scripted.refused = {}
            assert [name for name, can in (await ollama.listed()).items() if not can] == ["m7:latest", "m8:latest"]
            assert scripted.described == 40
            scripted.models["m7:latest"] = "another model by the same name"
            scripted.embedders = {"m8:latest"}
            assert [name for name, can in (await ollama.listed()).items() if not can] == ["m8:latest"]

    async def test_at_most_twenty_models_are_named_instead(self, scripted: ScriptedOllama) -> None:
        scripted.models = {f"m{number}:latest": "d" for number in range(21)}
        async with client(scripted.url) as ollama:
            with pytest.raises(UnknownModel, match=r"m19:latest, …$"):
                await ollama.model("huge")

    @pytest.mark.parametrize("status", [400, 500])
    async def test_what_cannot_be_a_models_name_is_unknown_too(self, scripted: ScriptedOllama, status: int) -> None:
        scripted.refused = {"a b": status, "small": status}
        async with client(scripted.url) as ollama:
            with pytest.raises(UnknownModel, match="'a b' is unknown"):
                await ollama.model("a b")
            with pytest.raises(Permanent, match=f"refuses the request .{status}.") as refused:
                await ollama.model("small")  # it is listed: something else is wrong with it
            assert not isinstance(refused.value, UnknownModel)

    @pytest.mark.parametrize("status", [503, 502, 429])
    async def test_a_busy_ollama_is_temporary(self, scripted: ScriptedOllama, status: int) -> None:
        scripted.down = status
        async with client(scripted.url) as ollama:
            with pytest.raises(Temporary, match="busy"):
                await ollama.ready()

    @pytest.mark.parametrize(
        ("shown", "can"),
        [
            ({"capabilities": ["completion", "tools"]}, True),
            ({"capabilities": ["embedding"]}, False),
            ({"capabilities": ["image"]}, False),
            ({"capabilities": ["completion"], "details": {"family": "bert"}}, True),
            ({"details": {"family": "bert"}}, False),
            ({"details": {"family": "nomic-bert"}}, False),
            ({"model_info": {"qwen3.pooling_type": 3}, "details": {"family": "qwen3"}}, False),
            ({"model_info": {"qwen3.context_length": 3}, "details": {"family": "qwen3"}}, True),
            ({"capabilities": None, "model_info": None, "details": None}, True),
            ({}, True),
        ],
    )
    def test_whether_a_model_writes_text(self, shown: dict[str, Any], can: bool) -> None:
        assert writes(shown) is can

    @pytest.mark.parametrize(
        ("shown", "listed", "model"),
        [
            ({}, {"models": [{"name": "m:latest", "digest": "sha256:d"}]}, Model("m", "d", 4096)),
            (
                {"model_info": {"llama.context_length": 2048, "llama.context_length_text": "no"}},
                {"models": [{"name": "M:LATEST", "digest": "d"}, "rubbish"]},
                Model("m", "d", 2048),
            ),
        ],
    )
    def test_descriptions(self, shown: dict[str, Any], listed: dict[str, Any], model: Model) -> None:
        assert describe("m", shown, listed) == model

    def test_without_a_digest_the_description_is_digested(self) -> None:
        one, same, other = (describe("m", {"template": t, "modified_at": i}, {}) for i, t in enumerate("aab"))
        assert one.digest == same.digest != other.digest
        assert len(one.digest) == 64


WHOLE: bytes = b"".join(step for step in says("Den", "mark.") if isinstance(step, bytes))


class TestBrokenStreams:
    async def test_a_stream_cut_at_any_byte_is_never_an_answer(self, scripted: ScriptedOllama) -> None:
        scripted.scripts = [[WHOLE[:cut]] for cut in range(len(WHOLE))] + [[WHOLE]]
        async with client(scripted.url, OllamaLimits(failures=10_000)) as ollama:
            for cut in range(len(WHOLE)):
                pieces: list[str | Done] = []
                with pytest.raises(KntsError) as raised:
                    await read_into(pieces, ollama)
                assert not any(isinstance(piece, Done) for piece in pieces)
                assert isinstance(raised.value, StreamBroken if pieces else Temporary), cut
            assert (await answer(ollama))[-1] == Done("stop", 7, 3)

    @pytest.mark.parametrize(
        ("steps", "reason"),
        [
            ([line("Den"), b'{"error":"out of memory"}\n', done()], "out of memory"),
            ([b"<html>\n"], "not JSON"),
            ([b"[]\n"], "not an object"),
            ([b'{"message":{"content":7}}\n'], "not text"),
            ([line("x" * 300_000), done()], "a line of more than"),
            ([line("Den"), b" " * 300_000], "a line of more than"),
            ([*[line("x" * 100_000)] * 5, done()], "more than 400000 characters"),
            ([WAIT_FOREVER], "too long for the first token"),
            ([line("Den"), WAIT_FOREVER], "too long for the next token"),
            ([step for _ in range(30) for step in (line("x"), 0.1)], "too long for a whole answer"),
        ],
    )
    async def test_what_is_no_answer(self, scripted: ScriptedOllama, steps: list[Step], reason: str) -> None:
        scripted.scripts = [steps]
        async with client(scripted.url, QUICK) as ollama:
            with pytest.raises(StreamBroken, match=reason):
                await answer(ollama)

    async def test_a_prompt_that_is_too_long_is_told_apart(self, scripted: ScriptedOllama) -> None:
        scripted.scripts = [(400, "the input length exceeds the context length")]
        async with client(scripted.url) as ollama:
            with pytest.raises(PromptTooLong, match="exceeds the context"):
                await answer(ollama)

    @pytest.mark.parametrize(
        ("status", "error"), [(503, Temporary), (500, Temporary), (400, Permanent), (404, UnknownModel)]
    )
    async def test_refusals(self, scripted: ScriptedOllama, status: int, error: type[KntsError]) -> None:
        scripted.scripts = [(status, "no")]
        async with client(scripted.url) as ollama:
            with pytest.raises(error, match="no"):
                await answer(ollama)

    async def test_nobody_there_is_temporary(self, free_port: Any) -> None:
        async with client(f"http://127.0.0.1:{free_port()}") as ollama:
            for call in (answer(ollama), ollama.model(), ollama.ready()):
                with pytest.raises(Temporary, match="not available"):
                    await call


@pytest.mark.parametrize("steps", [[WAIT_FOREVER], [line("Den"), WAIT_FOREVER]])
async def test_cancelling_closes_the_connection(scripted: ScriptedOllama, steps: list[Step]) -> None:
    scripted.scripts = [steps]
    async with client(scripted.url) as ollama:
        task = asyncio.create_task(answer(ollama))
        await asyncio.wait_for(scripted.streaming.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(scripted.cut.wait(), 5)


async def test_a_reader_that_stops_reading_closes_it_too(scripted: ScriptedOllama) -> None:
    scripted.scripts = [[line("Den"), WAIT_FOREVER]]
    async with client(scripted.url) as ollama:
        async with contextlib.aclosing(ollama.chat("small", MESSAGES, {})) as stream:
            assert await anext(stream) == "Den"
        await asyncio.wait_for(scripted.cut.wait(), 5)


@pytest.mark.parametrize(("text", "value"), [("30m", "30m"), ("-1", -1), ("0", 0), ("300", 300)])
def test_keep_alive_is_a_duration_or_a_number(text: str, value: str | int) -> None:
    assert keep_alive(text) == value


@pytest.mark.parametrize("text", ["30m", "1h30m", "1.5h", "-1", "0", "-1m", "500ms"])
def test_a_duration_that_ollama_takes(text: str) -> None:
    assert read(OllamaLimits, {"OLLAMA_KEEP_ALIVE": text}).keep_alive == text


@pytest.mark.parametrize("text", ["soon", "30 m", "1.5", "m", "30d", "-"])
def test_a_duration_that_ollama_would_refuse_is_named_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="OLLAMA_KEEP_ALIVE"):
        read(OllamaLimits, {"OLLAMA_KEEP_ALIVE": text})


async def test_a_model_that_keeps_failing_is_not_called_for_a_while(scripted: ScriptedOllama) -> None:
    scripted.scripts = [(503, "busy"), [line("Den")], (400, "bad template"), says("In Denmark.")]
    async with client(scripted.url, OllamaLimits(failures=2, rest=0.3)) as ollama:
        for kind in (Temporary, StreamBroken):
            with pytest.raises(kind):
                await answer(ollama)
        with pytest.raises(Temporary, match="2 times in a row") as refused:
            await answer(ollama)
        assert 0 < (refused.value.retry_after or 0) <= 0.3
        assert len(scripted.asked) == 2
        await asyncio.sleep(0.35)
        with pytest.raises(Permanent, match="bad template"):  # it refuses this request, so it is there
            await answer(ollama)
        assert (await answer(ollama))[-1] == Done("stop", 7, 3)


async def test_the_real_small_model_goes_on_with_what_it_is_given(ollama_server: OllamaServer) -> None:
    async with Ollama(ollama_server) as ollama:
        assert await ollama.continues(ollama_server.model, 8192)


async def test_the_real_small_model_answers(ollama_server: OllamaServer) -> None:
    async with Ollama(ollama_server) as ollama:
        model = await ollama.model()
        assert len(model.digest) == 64
        assert model.context >= 2048
        question = [{"role": "user", "content": "Say hello."}]
        async with contextlib.aclosing(ollama.chat(model.name, question, {"num_predict": 8})) as stream:
            *pieces, last = [piece async for piece in stream]
    assert "".join(str(piece) for piece in pieces).strip()
    assert isinstance(last, Done)
    assert last.prompt_tokens > 0 < last.completion_tokens
