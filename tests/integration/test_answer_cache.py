"""The answer cache on a real Valkey."""

import asyncio
from typing import Any

import pytest

from knts import telemetry
from knts.clients.answer_cache import AnswerCache
from knts.clients.redis import Redis, connected
from knts.errors import Temporary

FAST = "f" * 64


def answer(key: str, *documents: str) -> dict[str, Any]:
    return {"key": key * 64, "answer": f"answer {key}", "evidence": [[document, 1, 0] for document in documents]}


@pytest.fixture
def cache(redis_cache: Redis) -> AnswerCache:
    return AnswerCache(redis_cache, seconds=60)


async def test_an_answer_is_found_by_its_key_and_by_its_fast_key(cache: AnswerCache) -> None:
    stored = answer("a", "hamlet")
    await cache.put("local", stored)
    await cache.point(FAST, stored["key"])
    assert await cache.get(stored["key"]) == stored == await cache.fast(FAST)
    assert await cache.get("b" * 64) is None
    assert await cache.fast("0" * 64) is None


async def test_a_document_is_forgotten_with_all_that_depends_on_it(cache: AnswerCache) -> None:
    for each in (answer("a", "hamlet", "macbeth"), answer("b", "hamlet", "hamlet"), answer("c", "macbeth")):
        await cache.put("local", each)
    await cache.put("other", answer("d", "hamlet"))
    await cache.point(FAST, "a" * 64)
    assert await cache.forget("local", "hamlet") == 2
    assert [bool(await cache.get(key * 64)) for key in "abcd"] == [False, False, True, True]
    assert await cache.fast(FAST) is None
    assert await cache.forget("local", "hamlet") == 0
    assert await cache.forget("local", "unknown") == 0


async def test_an_answer_stored_again_is_forgotten_again(cache: AnswerCache) -> None:
    for _ in range(2):
        await cache.put("local", answer("a", "hamlet"))
        assert await cache.forget("local", "hamlet") == 1


async def test_an_answer_that_is_stored_while_its_document_is_forgotten_is_forgotten_later(cache: AnswerCache) -> None:
    async def stored(after: float) -> None:
        await asyncio.sleep(after)
        await cache.put("local", answer("a", "hamlet"))

    for number in range(200):
        await cache.put("local", answer("a", "hamlet"))
        await asyncio.gather(cache.forget("local", "hamlet"), stored(number * 1e-5))
        await cache.forget("local", "hamlet")
        assert await cache.get("a" * 64) is None


async def test_everything_expires(cache: AnswerCache, redis_cache: Redis) -> None:
    await cache.put("local", answer("a", "hamlet"))
    await cache.point(FAST, "a" * 64)
    lives = [await redis_cache.pttl(name) for name in await redis_cache.keys("*")]
    assert len(lives) == 3
    assert all(0 < life <= 60_000 for life in lives)


async def test_look_ups_are_counted(cache: AnswerCache, free_port: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Any] = []
    monkeypatch.setattr(telemetry, "count", lambda name, **labels: counted.append((name, labels)))
    await cache.put("local", answer("a", "hamlet"))
    await cache.get("a" * 64)
    await cache.get("b" * 64)
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as nobody:
        with pytest.raises(Temporary):
            await AnswerCache(nobody).get("a" * 64)
    assert counted == [("knts.cache.reads", {"outcome": outcome}) for outcome in ("hit", "miss", "error")]


async def test_forgotten_answers_are_counted(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[tuple[str, int]] = []
    monkeypatch.setattr(telemetry, "count", lambda name, amount=1: counts.append((name, amount)))
    await cache.put("local", answer("a", "hamlet"))
    await cache.forget("local", "hamlet")
    await cache.forget("local", "hamlet")
    assert counts == [("knts.cache.forgotten", 1), ("knts.cache.forgotten", 0)]


async def test_a_cache_that_is_down_is_temporary(free_port: Any) -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as nobody:
        cache = AnswerCache(nobody)
        for call in (
            cache.get("a"),
            cache.put("local", answer("a", "x")),
            cache.point("a", "b"),
            cache.fast("a"),
            cache.forget("local", "x"),
        ):
            with pytest.raises(Temporary, match="the cache is not available"):
                await call
