"""Conversations in the durable Redis: for each the ids of its asks, oldest first, under its owner and his name for it.

What was asked and answered stands with the asks themselves, so a turn lives as long as its answer does, and what may
still be shown of it is decided when it is read.
"""

import hashlib
from collections.abc import Sequence

import orjson

from knts.channel import FINAL_MS
from knts.clients.redis import Redis, failures

MOST_TURNS = 20  # kept of a conversation, the latest


class Conversations:
    """Conversations by tenant, owner and id. Every call raises Temporary when Redis is not available."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def add(self, tenant: str, owner: str, conversation_id: str, ask_id: str) -> None:
        """Another question was asked in it. It lives 24 hours from then; the oldest turns beyond 20 are forgotten."""
        key = _key(tenant, owner, conversation_id)
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.rpush(key, ask_id)
            pipe.ltrim(key, -MOST_TURNS, -1)
            pipe.pexpire(key, FINAL_MS)
            with failures():
                await pipe.execute()

    async def turns(self, tenant: str, owner: str, conversation_id: str) -> list[str]:
        """The ids of its asks, oldest first; none of one that is unknown, expired or somebody else's."""
        with failures():
            found = await self.redis.lrange(_key(tenant, owner, conversation_id), 0, -1)
        return [ask_id.decode() for ask_id in found]

    async def forget(self, tenant: str, owner: str, conversation_id: str, ask_ids: Sequence[str]) -> None:
        """Take turns out of it."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for ask_id in ask_ids:
                pipe.lrem(_key(tenant, owner, conversation_id), 0, ask_id)
            with failures():
                await pipe.execute()

    async def delete(self, tenant: str, owner: str, conversation_id: str) -> bool:
        """Forget all of it; whether there was any."""
        with failures():
            return bool(await self.redis.delete(_key(tenant, owner, conversation_id)))


def _key(tenant: str, owner: str, conversation_id: str) -> str:
    return f"knts:conversation:{hashlib.sha256(orjson.dumps([tenant, owner, conversation_id])).hexdigest()}"
