"""llm-answer held to a JSON Schema, over real Redis servers: a scripted Ollama, and once the packaged model itself."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions.llm_answer.prompt import Budget, compose
from functions.llm_answer.structured import check
from knts import events
from knts.clients.ollama import Done, Ollama
from knts.clients.redis import Redis
from knts.settings import OllamaServer
from tests.answering import QUESTION, Desk, desk, passage
from tests.scripted_ollama import done, line, says

PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
    "additionalProperties": False,
}
FITTING = '{"place": "The scene is in Denmark."}'


@pytest.fixture
async def at(redis: Redis, redis_cache: Redis) -> AsyncIterator[Desk]:
    async with desk(redis, redis_cache) as made:
        yield made


async def test_the_model_is_held_to_the_schema_and_its_values_are_cited(at: Desk) -> None:
    at.ollama.scripts = [says('{"place": ', '"The scene is', ' in Denmark."}')]
    reply = await at.ask(format=PLACE)
    assert at.ollama.asked[0]["format"] == PLACE
    final = await at.final()
    assert (final["status"], final["answer"], await at.text()) == ("completed", FITTING, FITTING)
    [citation] = final["citations"]
    assert (
        final["answer"][citation["answer_start"] : citation["answer_end"]]
        == citation["quote"]
        == "The scene is in Denmark"
    )
    assert reply is not None
    assert reply.payload["cacheable"]


async def test_words_are_asked_for_without_a_schema(at: Desk) -> None:
    await at.ask()
    assert "format" not in at.ollama.asked[0]


async def test_what_repeats_itself_is_not_cut_in_json(at: Desk) -> None:
    rows = {"type": "array", "items": {"type": "string"}}
    said = json.dumps(["The scene is in Denmark."] * 4)
    at.ollama.scripts = [says(said)]
    await at.ask(format=rows)
    assert (await at.final())["answer"] == said


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (says("Denmark, of course."), "is not JSON"),
        (says('{"place": 7}'), "place: 7 is not of type"),
        ([line('{"place": "The scene'), done("length")], "cut at its limit"),
    ],
)
async def test_an_answer_that_does_not_fit_has_failed_and_says_why(at: Desk, script: Any, reason: str) -> None:
    at.ollama.scripts = [script]
    reply = await at.ask(format=PLACE)
    final = await at.final()
    assert final["status"] == "failed"
    assert reason in final["reason"]
    assert reply is not None
    assert reply.type == events.ANSWER_FAILED


async def test_a_schema_whose_texts_all_refuse_is_an_abstention(at: Desk) -> None:
    at.ollama.scripts = [says('{"place": "The documents do not tell."}')]
    await at.ask(format=PLACE)
    assert (await at.final())["status"] == "abstained"


async def test_another_schema_is_another_answer_and_the_same_one_is_cached(at: Desk) -> None:
    at.ollama.scripts = [says(FITTING)]
    first = await at.ask("a1", format=PLACE)
    await at.store(first)
    for ask_id, schema, calls in [("a2", PLACE, 1), ("a3", {**PLACE, "title": "another"}, 2), ("a4", None, 3)]:
        await at.ask(ask_id, **({"format": schema} if schema else {}))
        assert len(at.ollama.asked) == calls, ask_id


async def test_a_cut_answer_in_words_says_so_and_does_from_the_cache(at: Desk) -> None:
    at.ollama.scripts = [[line("Hamlet takes place in Denmark. And then"), done("length")]]
    await at.store(await at.ask("a1"))
    assert (await at.final("a1"))["finish_reason"] == "length"
    await at.ask("a2")
    assert (await at.final("a2"))["finish_reason"] == "length"
    assert len(at.ollama.asked) == 1


async def test_the_packaged_model_writes_what_fits(ollama_server: OllamaServer) -> None:
    made = compose(QUESTION, [passage()], {"num_predict": 60}, 8192, Budget(8192, 300, 80), PLACE)
    async with Ollama(ollama_server) as ollama:
        said = [piece async for piece in ollama.chat(ollama_server.model, made.messages, made.options, PLACE)]
    assert isinstance(said[-1], Done)
    check("".join(piece for piece in said if isinstance(piece, str)), PLACE)
