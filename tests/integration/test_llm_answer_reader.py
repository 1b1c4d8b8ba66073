"""A model that reads before one writes: what its verdict does to an answer, and what its absence does not."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from functions.llm_answer.abstention import NOT_FOUND
from functions.llm_answer.reader import SCHEMA, SYSTEM
from knts.clients.redis import Redis
from tests.answering import QUESTION, TEXT, Desk, desk, passage
from tests.scripted_ollama import WAIT_FOREVER, Step, says

ANSWER = "Hamlet takes place in Denmark."


def verdict(quote: str, answerable: bool = True) -> list[Step]:
    return says(json.dumps({"quote": quote, "answerable": answerable}))


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    async with desk(redis, redis_cache, reader="judge") as made:
        made.ollama.models["judge:latest"] = "j1"
        yield made


async def test_a_question_whose_answer_the_reader_quotes_is_answered(at: Desk) -> None:
    at.ollama.scripts = [verdict("The scene is in Denmark"), says(ANSWER)]
    await at.ask()
    assert ((await at.final())["status"], await at.text()) == ("completed", ANSWER)
    read, wrote = at.ollama.asked
    assert (read["model"], wrote["model"]) == ("judge", "small")
    assert (read["format"], read["messages"][0]["content"]) == (dict(SCHEMA), SYSTEM)
    assert read["messages"][1] == wrote["messages"][1]
    assert TEXT in read["messages"][1]["content"]
    assert QUESTION in read["messages"][1]["content"]


@pytest.mark.parametrize("judged", [verdict("", answerable=False), verdict("The scene is in Venice")])
async def test_where_the_reader_finds_no_answer_none_is_written_and_the_nearest_documents_are_offered(
    at: Desk, judged: list[Step]
) -> None:
    at.ollama.scripts = [judged, says(ANSWER)]
    reply = await at.ask()
    final = await at.final()
    assert (final["status"], final["answer"], final["reason"]) == ("abstained", "", NOT_FOUND)
    assert final["passages"] == [passage()]
    assert len(at.ollama.asked) == 1
    assert reply is not None
    assert (reply.payload["status"], reply.payload["reason"]) == ("abstained", NOT_FOUND)


async def test_a_verdict_is_cached_with_what_came_of_it(at: Desk) -> None:
    at.ollama.scripts = [verdict("", answerable=False)]
    await at.store(await at.ask("a1"))
    await at.ask("a2")
    assert (await at.final("a2"))["reason"] == NOT_FOUND
    assert len(at.ollama.asked) == 1


async def test_all_who_ask_the_same_share_one_verdict(at: Desk) -> None:
    at.ollama.scripts = [verdict("", answerable=False)]
    await asyncio.gather(*(at.ask(f"a{number}") for number in range(5)))
    assert {(await at.final(f"a{number}"))["reason"] for number in range(5)} == {NOT_FOUND}
    assert len(at.ollama.asked) == 1


async def test_another_version_of_the_reader_is_another_answer(at: Desk, redis: Redis, redis_cache: Redis) -> None:
    at.ollama.scripts = [verdict("The scene is in Denmark"), says(ANSWER)]
    first = await at.ask("a1")
    async with desk(redis, redis_cache, reader="judge") as later:
        later.ollama.models["judge:latest"] = "j2"
        later.ollama.scripts = [verdict("The scene is in Denmark"), says(ANSWER)]
        second = await later.ask("a2")
    async with desk(redis, redis_cache) as without:
        third = await without.ask("a3")
    keys = {reply.payload["key"] for reply in (first, second, third) if reply is not None}
    assert len(keys) == 3


@pytest.mark.parametrize(
    "script",
    [says("I think so."), (500, "crashed"), (404, "gone"), [b"no JSON\n"]],
    ids=["words", "500", "404", "noise"],
)
async def test_a_reader_that_fails_keeps_nobody_from_an_answer(at: Desk, script: list[Step] | tuple[int, str]) -> None:
    at.ollama.scripts = [script, says(ANSWER)]
    await at.ask()
    assert (await at.final())["answer"] == ANSWER
    assert [asked["model"] for asked in at.ollama.asked] == ["judge", "small"]


async def test_a_reader_that_takes_too_long_is_cut_off(redis: Redis, redis_cache: Redis) -> None:
    async with desk(redis, redis_cache, reader="judge", reader_seconds=0.2) as at:
        at.ollama.models["judge:latest"] = "j1"
        at.ollama.scripts = [[WAIT_FOREVER], says(ANSWER)]
        await at.ask()
        assert (await at.final())["answer"] == ANSWER
        await asyncio.wait_for(at.ollama.cut.wait(), 30)  # its call was closed


async def test_a_reader_that_is_not_there_is_not_asked(redis: Redis, redis_cache: Redis) -> None:
    async with desk(redis, redis_cache, reader="nowhere") as at:
        await at.ask()
        assert (await at.final())["status"] == "completed"
        assert [asked["model"] for asked in at.ollama.asked] == ["small"]


async def test_the_reader_reads_while_the_models_slot_is_held(at: Desk) -> None:
    at.ollama.scripts = [[WAIT_FOREVER]]
    asking = asyncio.create_task(at.ask())
    await asyncio.wait_for(at.ollama.streaming.wait(), 30)
    assert [asked["model"] for asked in at.ollama.asked] == ["judge"]
    assert await at.redis.zcard("knts:line:small:latest:slots") == 1
    asking.cancel()
    await asyncio.wait([asking])
