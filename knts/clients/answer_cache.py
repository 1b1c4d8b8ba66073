"""Finished answers in the cache Redis, what each depends on, and the fast keys that lead to them.

Everything here may be evicted at any moment: an answer that is missing is generated again, and one whose dependants
were forgotten by the server is still never served wrongly, since its key covers its evidence.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from knts import telemetry
from knts.clients.redis import Redis, Script, failures
from knts.errors import Temporary

_fast_answer = Script("answer_fast")


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
        """Store the data of answer.completed under its own key, for all documents in its evidence to forget."""
        documents = {document for document, _, _ in answer["evidence"]}
        with failures("the cache"):
            async with self.redis.pipeline(transaction=True) as pipe:
                pipe.set(_answer(answer["key"]), orjson.dumps(answer), px=self.life_ms)
                for document in documents:
                    pipe.sadd(_dependants(tenant, document), answer["key"])
                    pipe.pexpire(_dependants(tenant, document), self.life_ms)
                await pipe.execute()

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
            async with self.redis.pipeline(transaction=True) as pipe:  # whoever stores one meanwhile keeps both or none
                pipe.unlink(*(_answer(key.decode()) for key in keys))
                pipe.srem(dependants, *keys)
                gone, _ = await pipe.execute()
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


def _fast(key: str) -> str:
    return f"knts:fast:{key}"


def _dependants(tenant: str, document_id: str) -> str:
    return f"knts:dep:{_digest(tenant)}:{_digest(document_id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
