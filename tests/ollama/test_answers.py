"""llm-answer on a real Ollama: cited answers, what a killed Ollama leaves of them, and the whole road."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from knts import events
from knts.clients.ollama import Ollama
from knts.clients.redis import Redis
from knts.errors import Temporary
from knts.settings import OllamaServer
from tests.answering import Desk, desk, found, passage, until
from tests.e2e.test_road import (  # noqa: F401 - run here on a road with a real Ollama
    test_a_generation_whose_function_is_killed_is_finished_by_the_next,
    test_a_model_that_nobody_has_is_named_beside_those_that_there_are,
    test_an_answer_is_sourced_then_cached_and_follows_its_document,
    test_an_answer_streams_and_is_resumed_exactly,
)
from tests.integration.test_llm_answer_served import (  # noqa: F401 - the functions as they are served
    env,
    test_a_question_is_answered_cited_remembered_and_forgotten,
)
from tests.ollama.conftest import ServeOllama
from tests.ollama.server import CHATML, RealOllama, cpu_seconds
from tests.ollama_contract import MODEL

KEEPER = "The keeper of the lighthouse of Skellmar is Maren Oldfather. She lights the lamp every evening at six."
QUESTION = "Who is the keeper of the lighthouse of Skellmar?"


@pytest.fixture
def lone(own: ServeOllama) -> RealOllama:
    """An Ollama that may be killed."""
    return own()


@pytest_asyncio.fixture
async def at(lone: RealOllama, redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    """A desk whose model is the real one."""
    async with desk(redis, redis_cache) as at, Ollama(OllamaServer(url=lone.url, model=MODEL)) as ollama:
        at.tools = replace(at.tools, models=ollama)
        await at.index("light")
        yield at


async def ask(at: Desk, ask_id: str = "a1", **request: Any) -> Any:
    return await at.ask(ask_id, passage("light", text=KEEPER), question=QUESTION, **request)


async def _begun(at: Desk) -> bool:
    return "delta" in await at.types()


async def _asked(at: Desk) -> bool:
    return "flight" in await at.about("a1")


class TestAnswering:
    async def test_an_answer_streams_with_its_citations(self, at: Desk) -> None:
        reply = await ask(at)
        assert reply.type == events.ANSWER_COMPLETED
        types = await at.types()
        assert (types[0], types[-2:]) == ("delta", ["citation", "completed"])
        final = await at.final()
        assert "Maren Oldfather" in final["answer"] == await at.text()
        for citation in final["citations"]:
            assert ("x" * 10 + KEEPER)[citation["start"] : citation["end"]] == citation["quote"]

    async def test_a_model_that_is_asked_for_answers(self, at: Desk) -> None:
        await ask(at, model=CHATML)
        assert ((await at.final())["status"], (await at.final())["model"]) == ("completed", CHATML)

    async def test_a_model_that_nobody_has_is_the_askers_mistake(self, at: Desk) -> None:
        await ask(at, model="a b")
        problem = (await at.final())["problem"]
        assert (problem["status"], problem["errors"][0]["field"]) == (400, "model")
        assert MODEL in problem["detail"]

    async def test_when_the_last_asker_leaves_the_answer_is_cancelled(self, at: Desk) -> None:
        asking = asyncio.create_task(ask(at))
        await until(lambda: _asked(at), 20)
        await at.tools.flights.leave((await at.about("a1"))["flight"], "a1")
        reply = await asyncio.wait_for(asking, 20)
        assert reply.type == events.ANSWER_CANCELLED


async def _grown(pid: int, before: float) -> bool:
    return cpu_seconds(pid) >= before + 0.1


class TestAKilledOllama:
    async def test_what_it_had_begun_fails_in_time_and_is_never_complete(self, at: Desk, lone: RealOllama) -> None:
        asking = asyncio.create_task(ask(at))
        await until(lambda: _begun(at), 30)
        lone.kill()
        reply = await asyncio.wait_for(asking, 30)
        final = await at.final()
        assert (reply.type, final["status"], final["citations"]) == (events.ANSWER_FAILED, "failed", [])
        assert final["answer"] == await at.text()
        lone.start()
        await ask(at, "a2")
        final = await at.final("a2")
        assert (final["status"], "Maren Oldfather" in final["answer"]) == ("completed", True)

    async def test_a_runner_that_dies_before_the_first_token_is_not_noticed(self, at: Desk, lone: RealOllama) -> None:
        await ask(at, "warm")
        (runner,) = lone.runners
        before = cpu_seconds(runner)
        await at.index("lights")
        text = KEEPER + "".join(f" Lighthouse {number} of Skellmar has a keeper too." for number in range(60))
        asking = asyncio.create_task(at.ask("a1", passage("lights", text=text), question=QUESTION))
        await until(lambda: _grown(runner, before), 20)  # it reads, which takes it some seconds
        assert not await _begun(at)
        os.kill(runner, signal.SIGKILL)
        reply = await asyncio.wait_for(asking, 60)
        assert reply is not None
        assert reply.type == events.ANSWER_COMPLETED
        assert runner not in lone.runners

    async def test_while_it_is_away_the_flight_is_open_for_the_brokers_retry(self, at: Desk, lone: RealOllama) -> None:
        await at.tools.models.model()
        lone.kill()
        with pytest.raises(Temporary, match="not available"):
            await ask(at)
        lone.start()
        reply = await at.deliver(found("a1", passage("light", text=KEEPER), question=QUESTION))
        assert reply is not None
        assert reply.type == events.ANSWER_COMPLETED
