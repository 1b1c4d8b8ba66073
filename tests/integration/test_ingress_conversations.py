"""Conversations over HTTP, on a real Valkey: what goes along with a question, whose it is, and what takes it away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from functions.ingress.asks import FAREWELL_MS
from knts import channel, events, schemas
from knts.clients.conversations import MOST_TURNS, Conversations
from knts.clients.redis import Redis
from knts.events import Event
from tests.conftest import ServeFunction
from tests.integration.ingress_world import KEYS, SSE, World, bearer, events_of, index, world
from tests.scripted_road import PASSAGE, ScriptedRoad

CITATION = {
    "document_id": "d", "version": 1, "title": "Prince of Denmark", "url": None, "start": 0, "end": 4, "quote": "Word",
    "sha256": "0" * 64, "answer_start": 0, "answer_end": 7,
}  # fmt: skip


async def citing(road: ScriptedRoad, event: Event) -> None:
    """A question is answered from the document `d`; one that follows another was made to stand by itself."""
    asked = event.payload
    noted = {"standalone": f"{asked['question']} (Hamlet)"} if "conversation" in asked else {}
    await road.channel.append(event.correlation_id, channel.PASSAGES, {"passages": [PASSAGE]}, **noted)
    flight, token = await road.join(event.correlation_id)
    await road.flights.append(flight, token, [(channel.DELTA, {"text": "Denmark"})])
    await road.end(flight, token, answer="Denmark", citations=[CITATION])


@pytest_asyncio.fixture
async def here(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str
) -> AsyncIterator[World]:
    async with world(serve_function, redis, redis_url, redis_cache_url, citing) as found:
        yield found


async def say(here: World, question: str, conversation_id: str = "c1", **more: Any) -> dict[str, Any]:
    """Ask, and wait for the answer."""
    asked = {"question": question, "conversation_id": conversation_id}
    status, answer = await here.status("POST", "/v1/answers", json=asked, **more)
    assert status == 200, answer
    return answer


def along(here: World) -> Any:
    """The turns that went along with the last question."""
    asked = here.road.events[-1]
    assert asked.type == events.ANSWER_REQUESTED
    schemas.check_data(asked)
    return asked.payload.get("conversation", [])


async def test_a_follow_up_takes_along_what_was_asked_before_and_what_its_answer_cites(here: World) -> None:
    first = await say(here, "Where does Hamlet take place?")
    assert along(here) == []
    assert (first["conversation_id"], "standalone_question" in first) == ("c1", False)
    second = await say(here, "Who wrote it?")
    titles = [CITATION["title"]]
    assert along(here) == [{"question": "Where does Hamlet take place?", "titles": titles}]
    assert (second["question"], second["standalone_question"]) == ("Who wrote it?", "Who wrote it? (Hamlet)")
    await say(here, "And when?")
    assert along(here)[1] == {"question": "Who wrote it? (Hamlet)", "titles": titles}
    assert "conversation_id" not in here.road.events[-1].payload


async def test_a_conversation_is_shown_and_deleted(here: World) -> None:
    first, second = await say(here, "Where?"), await say(here, "Who wrote it?")
    status, shown = await here.status("GET", "/v1/conversations/c1")
    assert (status, shown["id"]) == (200, "c1")
    named = ("id", "question", "status", "answer", "citations")
    assert shown["turns"] == [
        {name: first[name] for name in named},
        {name: second[name] for name in named} | {"standalone_question": "Who wrote it? (Hamlet)"},
    ]
    assert (await here.status("DELETE", "/v1/conversations/c1"))[0] == 204
    assert (await here.status("GET", "/v1/conversations/c1"))[0] == 404
    assert (await here.status("DELETE", "/v1/conversations/c1"))[0] == 404
    await say(here, "Who wrote it?")
    assert along(here) == []


async def test_what_was_asked_and_answered_goes_with_its_conversation_and_nothing_else(
    here: World, redis: Redis
) -> None:
    gone, stays = await say(here, "Where does Hamlet take place?"), await say(here, "Who wrote it?", "c2")
    alone = await here.ask("Who was the king?")
    assert (await here.status("DELETE", "/v1/conversations/c1"))[0] == 204
    assert (await here.status("GET", f"/v1/answers/{gone['id']}"))[0] == 404
    assert (await here.status("GET", f"/v1/answers/{gone['id']}/events"))[0] == 404
    assert not await redis.exists(channel.ask_key(gone["id"]), channel.frames_key(gone["id"]))
    for kept in (stays["id"], alone):
        assert (await here.status("GET", f"/v1/answers/{kept}"))[0] == 200


async def test_an_answer_that_is_being_written_is_cancelled_with_its_conversation(here: World, redis: Redis) -> None:
    async def writing(road: ScriptedRoad, event: Event) -> None:
        flight, token = await road.join(event.correlation_id)
        await road.flights.append(flight, token, [(channel.DELTA, {"text": "Den"})])

    here.road.script = writing
    asked = {"question": "Where?", "conversation_id": "c1"}
    async with here.http.post("/v1/answers", json=asked, headers=SSE) as response:
        stream = events_of(response)
        while (await anext(stream)).type != channel.DELTA:
            pass
        assert (await here.status("DELETE", "/v1/conversations/c1"))[0] == 204
        rest = [event async for event in stream]
    assert rest[-1].type == channel.CANCELLED
    ask_id = here.road.events[-1].correlation_id
    for key in (channel.ask_key(ask_id), channel.frames_key(ask_id)):
        assert await redis.pttl(key) <= FAREWELL_MS  # or has gone already


async def test_any_text_names_a_conversation(here: World) -> None:
    await say(here, "Where?", "mine/ä 1")
    assert (await here.status("GET", "/v1/conversations/mine%2F%C3%A4%201"))[1]["id"] == "mine/ä 1"


@pytest.mark.parametrize("bad", ["", "x" * 129, 7, None])
async def test_what_names_no_conversation_is_refused_by_name(here: World, bad: Any) -> None:
    asked = {"question": "Q", "conversation_id": bad}
    status, problem = await here.status("POST", "/v1/answers", json=asked)
    assert (status, [fault["field"] for fault in problem["errors"]]) == (400, ["conversation_id"])
    status, problem = await here.status("POST", "/v1/answers", json={"question": "Q", "conversation": []})
    assert (status, [fault["field"] for fault in problem["errors"]]) == (400, ["conversation"])
    assert here.road.events == []


async def test_the_turns_of_somebody_else_are_nobodys(
    serve_function: ServeFunction, redis: Redis, redis_url: str, redis_cache_url: str, tmp_path: Any
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(orjson.dumps(KEYS))
    more = {"KNTS_KEYS_FILE": str(keys)}
    async with world(
        serve_function, redis, redis_url, redis_cache_url, citing, tenants=("acme", "other"), **more
    ) as here:
        await say(here, "What does Ann earn?", headers=bearer("ann"))
        for other in ("bob", "eve"):
            for method in ("GET", "DELETE"):
                status, _ = await here.status(method, "/v1/conversations/c1", headers=bearer(other))
                assert status == 404
            await say(here, "Who wrote it?", headers=bearer(other))
            assert along(here) == []
        _, shown = await here.status("GET", "/v1/conversations/c1", headers=bearer("ann"))
        assert [turn["question"] for turn in shown["turns"]] == ["What does Ann earn?"]


async def test_a_removed_document_takes_the_turns_along_that_cite_or_were_led_by_it(here: World, redis: Redis) -> None:
    first, second = await say(here, "Where?"), await say(here, "Who wrote it?")
    await index(redis, 2, "removed")
    for answer in (first, second):
        status, shown = await here.status("GET", f"/v1/answers/{answer['id']}")
        assert (status, shown["status"], "standalone_question" in shown) == (200, "failed", False)
    assert (await here.status("GET", "/v1/conversations/c1"))[0] == 404
    await index(redis, 3)  # it comes back: what was taken out stays out
    assert (await here.status("GET", "/v1/conversations/c1"))[0] == 404
    await say(here, "And when?")
    assert along(here) == []


async def test_a_title_that_only_led_a_question_takes_its_turn_along_too(here: World, redis: Redis) -> None:
    await say(here, "Where?")
    led = await here.ask("Why?", prefer="respond-async")
    await Conversations(redis).add("local", "local", "c2", led)
    await redis.hset(channel.ask_key(led), "drawn", b'[["gone",1]]')
    assert (await here.status("GET", "/v1/conversations/c2"))[0] == 404


async def test_two_questions_at_once_are_both_turns_and_do_not_wait_for_each_other(here: World) -> None:
    await say(here, "Where?")
    await asyncio.gather(say(here, "Who?"), say(here, "When?"))
    _, shown = await here.status("GET", "/v1/conversations/c1")
    assert shown["turns"][0]["question"] == "Where?"
    assert {turn["question"] for turn in shown["turns"][1:]} == {"Who?", "When?"}
    for event in here.road.events[1:]:
        assert event.payload["conversation"][0]["question"] == "Where?"


async def test_a_conversation_is_bounded_and_expires_with_its_last_answer(here: World, redis: Redis) -> None:
    store = Conversations(redis)
    for number in range(MOST_TURNS + 5):
        await store.add("local", "local", "c1", f"{number:032x}")
    assert await store.turns("local", "local", "c1") == [f"{number:032x}" for number in range(5, MOST_TURNS + 5)]
    [key] = await redis.keys("knts:conversation:*")
    assert channel.FINAL_MS - 60_000 < await redis.pttl(key) <= channel.FINAL_MS
    assert (await here.status("GET", "/v1/conversations/c1"))[0] == 404  # none of these asks is there any more
    await say(here, "Who wrote it?")
    assert along(here) == []


async def test_a_question_that_could_not_be_published_is_a_failed_turn(here: World) -> None:
    here.road.status = 400  # the Broker refuses for good
    status, _ = await here.status("POST", "/v1/answers", json={"question": "Q", "conversation_id": "c1"})
    assert status == 422
    here.road.status = 202
    _, shown = await here.status("GET", "/v1/conversations/c1")
    assert [turn["status"] for turn in shown["turns"]] == ["failed"]


@pytest.mark.parametrize(
    ("schema", "rule"),
    [({"type": "strin"}, "not a JSON Schema"), ({"enum": ["x" * 20_000]}, "bytes"), ([], "object"), (None, "object")],
)
async def test_a_format_that_is_no_schema_is_refused_by_name(here: World, schema: Any, rule: str) -> None:
    status, problem = await here.status("POST", "/v1/answers", json={"question": "Q", "format": schema})
    assert (status, problem["errors"][0]["field"].split(".")[0]) == (400, "format")
    assert rule in problem["errors"][0]["rule"]


async def test_a_format_goes_along_with_the_question(here: World) -> None:
    asked = {"question": "Q", "format": {"type": "object"}}
    assert (await here.status("POST", "/v1/answers", json=asked))[0] == 200
    assert here.road.events[-1].payload["format"] == {"type": "object"}
