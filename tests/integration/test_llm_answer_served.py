"""llm-answer and cache-writer as they are served, with the real small model, real Redis servers and signed events."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from knts import events, schemas
from knts.clients.answer_cache import AnswerCache
from knts.clients.channel import Channel
from knts.clients.records import Records
from knts.clients.redis import Redis
from knts.events import Event
from knts.settings import OllamaServer
from tests.answering import found, passage
from tests.conftest import SIGNING_KEY, ServeFunction

KEEPER = (
    "The keeper of the lighthouse of Skellmar is Maren Oldfather. She lights the lamp every evening at six. "
    "The lighthouse was built in 1871 from granite."
)
QUESTION = "Who is the keeper of the lighthouse of Skellmar?"


async def deliver(url: str, event: Event) -> tuple[int, Event | None]:
    """Status and reply of one signed delivery."""
    headers, body = events.to_http(events.signed(event, [SIGNING_KEY]))
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        answer = await response.read()
        if response.status != 200:
            return response.status, None
        raw = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        reply = events.from_http(raw, answer)
        events.check_signature(reply, [SIGNING_KEY])
        schemas.check_data(reply)
        return 200, reply


@pytest.fixture
def env(redis_url: str, redis_cache_url: str, ollama_server: OllamaServer) -> Mapping[str, str]:
    return {
        "REDIS_URL": redis_url,
        "REDIS_CACHE_URL": redis_cache_url,
        "OLLAMA_URL": f"{ollama_server.url}/api",
        "OLLAMA_MODEL": ollama_server.model,
        "KNTS_ANSWER_TOKENS": "48",
    }


async def test_a_question_is_answered_cited_remembered_and_forgotten(
    env: Mapping[str, str], redis: Redis, redis_cache: Redis, serve_function: ServeFunction
) -> None:
    llm, writer = await serve_function("llm-answer", env), await serve_function("cache-writer", env)
    records, channel = Records(redis), Channel(redis)
    await records.claim("local", "light", 1, "h" * 64)
    await records.raise_to("local", "light", 1, "h" * 64, status="indexed")

    async def ask(ask_id: str) -> Any:
        await channel.open(ask_id, {"id": ask_id}, tenant="local", owner="local")
        event = found(ask_id, passage("light", text=KEEPER), question=QUESTION)
        status, reply = await deliver(llm, event)
        assert status == 200
        assert reply is not None
        assert (await deliver(writer, reply))[0] == 202
        return reply.payload

    first = await ask("a1")
    assert first["status"] == "completed"
    assert "Maren Oldfather" in first["answer"]
    assert any("Maren Oldfather" in citation["quote"] for citation in first["citations"])
    for citation in first["citations"]:
        assert ("x" * 10 + KEEPER)[citation["start"] : citation["end"]] == citation["quote"]
    assert first["usage"]["completion_tokens"] > 0
    second = await ask("a2")
    assert (first["cache"], second["cache"]) == ("miss", "hit")
    assert second["answer"] == first["answer"]
    changed = events.new_event(
        events.DOCUMENT_INDEXED,
        "/knts/index-document",
        {"id": "light", "version": 2, "chunks": 1, "content_hash": "a" * 64},
        tenant="local",
    )
    assert (await deliver(writer, changed))[0] == 202
    assert await AnswerCache(redis_cache).get(first["key"]) is None
    third = await ask("a3")  # the flight's stream still has it
    assert (third["cache"], third["answer"]) == ("shared", first["answer"])
    assert await AnswerCache(redis_cache).get(first["key"]) is not None


async def test_what_is_not_an_event_of_theirs_is_refused(env: Mapping[str, str], serve_function: ServeFunction) -> None:
    for name in ("llm-answer", "cache-writer"):
        url = await serve_function(name, env)
        async with aiohttp.ClientSession() as session:
            for route in ("/healthz", "/readyz"):
                async with session.get(url + route) as response:
                    assert response.status == 200
            headers, body = events.to_http(found("a1", passage()))
            async with session.post(url, data=body, headers=headers) as response:
                assert response.status == 422  # not signed, or not taken
