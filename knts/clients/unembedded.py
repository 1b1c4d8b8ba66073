"""The documents whose passages still want embeddings: a durable list, which any replica works off.

Key: `knts:unembedded:<collection>`, a zset of documents by the time from which they may be taken. A document is put
there when its passages have become current, by a delivery that is not answered before, and taken off when their
embeddings are written: so none is forgotten.
"""

from dataclasses import dataclass

import orjson

from knts.clients.redis import Redis, Script, failures

LEASE_MS = 300_000

_take, _done = Script("embed_take"), Script("embed_done")


@dataclass(frozen=True)
class Taken:
    """A document that this worker is to embed; `score` tells whether it was written again meanwhile."""

    tenant: str
    document_id: str
    score: bytes


class Unembedded:
    """The list of one collection. Calls raise Temporary when Redis is not available."""

    def __init__(self, redis: Redis, collection: str) -> None:
        self.redis = redis
        self.key = f"knts:unembedded:{collection}"

    async def add(self, tenant: str, document_ids: list[str]) -> None:
        """Note documents of a tenant."""
        with failures():
            await self.redis.zadd(self.key, {_member(tenant, each): 0 for each in document_ids})

    async def take(self, most: int) -> list[Taken]:
        """Some that nobody else works on, for `LEASE_MS`."""
        found = await _take(self.redis, [self.key], [most, LEASE_MS])
        members = [orjson.loads(member) for member in found[::2]]
        return [Taken(named[0], named[1], score) for named, score in zip(members, found[1::2], strict=True)]

    async def done(self, taken: Taken) -> None:
        """Take it off the list, unless it was written again."""
        await _done(self.redis, [self.key], [_member(taken.tenant, taken.document_id), taken.score])

    async def give_back(self, taken: Taken) -> None:
        """Let it be taken again at once."""
        await self.add(taken.tenant, [taken.document_id])

    async def count(self) -> int:
        """How many there are."""
        with failures():
            return int(await self.redis.zcard(self.key))


def _member(tenant: str, document_id: str) -> bytes:
    return orjson.dumps([tenant, document_id])
