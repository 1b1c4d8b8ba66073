"""Finished answers in the cache Redis, what each depends on, and what leads to them: fast keys, questions near by.

Everything here may be evicted at any moment: an answer that is missing is generated again, and one whose dependants
were forgotten by the server is still never served wrongly, since its key covers its evidence; whoever finds it by
another question holds it against the documents' records.

`knts:near:<family>:<document>:<version>` is a sorted set of the keys of a family's answers whose first citation stands
in that version of the document, by where it begins; `knts:question:<answer key>` is the family, 32 bytes, and the
question's packed embedding.
"""

import base64
import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from knts import telemetry
from knts.clients.redis import Redis, Script, failures
from knts.errors import Temporary

_fast_answer = Script("answer_fast")

MOST_NEAR = 256  # answers that are found by one version of a document
MOST_FOUND = 64  # of them by one passage
_NEAR = "near:"  # begins the names, among a document's dependants, that are no answer's key


class AnswerCache:
    """Answers by key. `seconds` is how long one is kept at most. Every method raises Temporary when Redis is away."""

    def __init__(self, redis: Redis, *, seconds: float = 86_400) -> None:
        self.redis = redis
        self.life_ms = int(seconds * 1000)

    async def get(self, key: str) -> dict[str, Any] | None:
        """The data of answer.completed that was stored under an answer key, or None."""
        with _counted(), failures("the cache"):
            stored: bytes | None = await self.redis.get(_answer(key))
        return _looked_up(stored)

    async def put(self, tenant: str, answer: dict[str, Any]) -> None:
        """Store the data of answer.completed under its own key, for all documents in its evidence to forget.

        What has a `wording` and cites something is found by other wordings of its question too.
        """
        rests_on = [*answer["evidence"], *answer.get("answered_from", {}).get("evidence", ())]
        near = _near_of(answer) if "wording" in answer and answer["citations"] else None
        with failures("the cache"):
            async with self.redis.pipeline(transaction=True) as pipe:
                pipe.set(_answer(answer["key"]), orjson.dumps(answer), px=self.life_ms)
                for document in {document for document, _, _ in rests_on}:
                    pipe.sadd(_dependants(tenant, document), answer["key"])
                    pipe.pexpire(_dependants(tenant, document), self.life_ms)
                if near is not None:
                    pipe.set(_question(answer["key"]), _embedded(answer["wording"]), px=self.life_ms)
                    pipe.sadd(_dependants(tenant, answer["citations"][0]["document_id"]), f"{_NEAR}{near}")
                    pipe.zadd(near, {answer["key"]: answer["citations"][0]["start"]})
                    pipe.pexpire(near, self.life_ms)
                    pipe.zcard(near)
                held = (await pipe.execute())[-1]
            if near is not None and held > MOST_NEAR:  # any of them goes: nobody knows the oldest
                await self.redis.zrem(near, *await self.redis.zrandmember(near, held - MOST_NEAR))

    async def near(self, family: str, places: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
        """The packed embeddings of questions, by the keys of their answers: those of a family whose first citation
        begins in one of these places, each a document, its version, and where it starts and ends.
        """
        named = [(_near(family, place["document_id"], place["version"]), place) for place in places]
        with failures("the cache"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for name, place in named:
                    pipe.zrangebyscore(name, place["start"], f"({place['end']}", start=0, num=MOST_FOUND)
                found: list[list[bytes]] = await pipe.execute()
            led = {key.decode(): name for (name, _), keys in zip(named, found, strict=True) for key in keys}
            stored: list[bytes | None] = await self.redis.mget(map(_question, led)) if led else []
            own = bytes.fromhex(family)
            kept = {key: each for key, each in zip(led, stored, strict=True) if each and each.startswith(own)}
            if gone := led.keys() - kept.keys():
                async with self.redis.pipeline(transaction=False) as pipe:
                    for key in gone:
                        pipe.zrem(led[key], key)
                    await pipe.execute()
        return {key: each[len(own) :] for key, each in kept.items()}

    async def answers(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        """The data of answer.completed stored under these answer keys, in their order, without those that are gone."""
        names = [_answer(key) for key in keys]
        with failures("the cache"):
            stored: list[bytes | None] = await self.redis.mget(names) if names else []
        return [orjson.loads(each) for each in stored if each is not None]

    async def point(self, fast_key: str, key: str) -> None:
        """Let a fast key lead to the answer stored under `key`."""
        with failures("the cache"):
            await self.redis.set(_fast(fast_key), key, px=self.life_ms)

    async def fast(self, fast_key: str) -> dict[str, Any] | None:
        """The data of answer.completed that a fast key leads to, or None. One trip."""
        with _counted():
            stored: bytes | None = await _fast_answer(self.redis, [_fast(fast_key)], [_answer("")], what="the cache")
        return None if stored is None else _looked_up(stored)

    async def forget(self, tenant: str, document_id: str) -> int:
        """Drop all answers that were written from a document, of any version; how many there were."""
        dependants = _dependants(tenant, document_id)
        with failures("the cache"):
            keys: Iterable[bytes] = await self.redis.smembers(dependants)
            if not keys:
                telemetry.count("knts.cache.forgotten", 0)
                return 0
            named = [key.decode() for key in keys]
            near = [each.removeprefix(_NEAR) for each in named if each.startswith(_NEAR)]
            answers = [each for each in named if not each.startswith(_NEAR)]
            async with self.redis.pipeline(transaction=True) as pipe:  # whoever stores one meanwhile keeps both or none
                pipe.srem(dependants, *keys)
                pipe.unlink(*near, *map(_question, answers))
                if answers:
                    pipe.unlink(*map(_answer, answers))
                done = await pipe.execute()
        gone = done[-1] if answers else 0
        telemetry.count("knts.cache.forgotten", int(gone))
        return int(gone)


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """Count a look-up that failed."""
    try:
        yield
    except Temporary:
        telemetry.count("knts.cache.reads", outcome="error")
        raise


def _looked_up(stored: bytes | None) -> dict[str, Any] | None:
    telemetry.count("knts.cache.reads", outcome="hit" if stored else "miss")
    return orjson.loads(stored) if stored else None


def _answer(key: str) -> str:
    return f"knts:answer:{key}"


def _question(key: str) -> str:
    return f"knts:question:{key}"


def _fast(key: str) -> str:
    return f"knts:fast:{key}"


def _near(family: str, document_id: str, version: int) -> str:
    return f"knts:near:{family}:{_digest(document_id)}:{version}"


def _near_of(answer: Mapping[str, Any]) -> str:
    first = answer["citations"][0]
    return _near(answer["wording"]["family"], first["document_id"], first["version"])


def _embedded(wording: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(wording["family"]) + base64.b64decode(wording["embedding"])


def _dependants(tenant: str, document_id: str) -> str:
    return f"knts:dep:{_digest(tenant)}:{_digest(document_id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
