"""The answer cache on a real Valkey."""

import asyncio
import base64
from typing import Any

import pytest

from knts import telemetry
from knts.clients import answer_cache
from knts.clients.answer_cache import AnswerCache
from knts.clients.redis import Redis, connected
from knts.errors import Temporary

FAST, FAMILY = "f" * 64, "1" * 64


def answer(key: str, *documents: str) -> dict[str, Any]:
    return {"key": key * 64, "answer": f"answer {key}", "evidence": [[document, 1, 0] for document in documents]}


def worded(key: str, document: str, start: int = 5, embedding: bytes = b"\x01\x02", family: str = FAMILY) -> Any:
    """An answer that other wordings find."""
    cited = [{"document_id": each, "version": 1, "start": at} for each, at in ((document, start), ("other", 0))]
    wording = {"family": family, "embedding": base64.b64encode(embedding).decode(), "asked_at": 1}
    stored = answer("0", document, "other")
    return {**stored, "key": key.rjust(64, "0"), "citations": cited, "wording": wording}


def place(document: str, start: int = 0, end: int = 10, version: int = 1) -> dict[str, Any]:
    return {"document_id": document, "version": version, "start": start, "end": end}


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
    await cache.put("local", worded("b", "lear"))
    await cache.point(FAST, "a" * 64)
    lives = [await redis_cache.pttl(name) for name in await redis_cache.keys("*")]
    assert len(lives) == 8
    assert all(0 < life <= 60_000 for life in lives)


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ([place("hamlet")], True),
        ([place("hamlet", 5, 6)], True),
        ([place("hamlet", 6, 9), place("hamlet", 0, 6)], True),
        ([place("hamlet", 0, 5)], False),
        ([place("hamlet", version=2)], False),
        ([place("lear"), place("other")], False),
        ([], False),
    ],
    ids=str,
)
async def test_an_answer_is_near_where_its_first_citation_begins(
    cache: AnswerCache, places: list[dict[str, Any]], found: bool
) -> None:
    known = worded("a", "hamlet")
    await cache.put("local", known)
    assert await cache.near(FAMILY, places) == ({known["key"]: b"\x01\x02"} if found else {})
    assert await cache.near("2" * 64, places) == {}
    assert await cache.answers([known["key"], "0" * 64]) == [known]


async def test_what_has_no_embedding_or_cites_nothing_is_near_nowhere(cache: AnswerCache, redis_cache: Redis) -> None:
    known = worded("a", "hamlet")
    await cache.put("local", known | {"citations": []})
    del known["wording"]
    await cache.put("local", known)
    assert await redis_cache.keys("knts:near:*") == []


async def test_embeddings_of_another_family_are_not_compared_though_the_answer_is_the_same(
    cache: AnswerCache,
) -> None:
    await cache.put("local", worded("a", "hamlet"))
    await cache.put("local", worded("a", "hamlet", embedding=b"\x05", family="2" * 64))
    assert await cache.near(FAMILY, [place("hamlet")]) == {}
    assert list((await cache.near("2" * 64, [place("hamlet")])).values()) == [b"\x05"]


async def test_what_is_near_is_forgotten_with_any_document_of_its_answer(
    cache: AnswerCache, redis_cache: Redis
) -> None:
    for document in ("hamlet", "other"):
        await cache.put("local", worded("a", "hamlet"))
        assert await cache.forget("local", document) == 1
        assert await cache.near(FAMILY, [place("hamlet")]) == {}
        assert await redis_cache.keys("knts:question:*") == []
    await cache.put("local", worded("a", "hamlet"))
    await cache.forget("local", "hamlet")
    assert await redis_cache.keys("knts:near:*") == []


async def test_what_is_gone_is_looked_for_once(cache: AnswerCache, redis_cache: Redis) -> None:
    for key in "ab":
        await cache.put("local", worded(key, "hamlet"))
    await redis_cache.delete(f"knts:question:{'a'.rjust(64, '0')}")
    assert list(await cache.near(FAMILY, [place("hamlet")])) == ["b".rjust(64, "0")]
    [name] = await redis_cache.keys("knts:near:*")
    assert await redis_cache.zcard(name) == 1


async def test_a_document_leads_to_so_many_answers_and_no_more(
    cache: AnswerCache, redis_cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_cache, "MOST_NEAR", 5)
    monkeypatch.setattr(answer_cache, "MOST_FOUND", 3)
    for number in range(9):
        await cache.put("local", worded(str(number), "hamlet", start=number))
    [name] = await redis_cache.keys("knts:near:*")
    assert await redis_cache.zcard(name) == 5
    assert len(await cache.near(FAMILY, [place("hamlet")])) == 3


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
            cache.near(FAMILY, [place("x")]),
            cache.answers(["a" * 64]),
        ):
            with pytest.raises(Temporary, match="the cache is not available"):
                await call
