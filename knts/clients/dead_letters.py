"""Dead letters in the durable Redis: kept until somebody deals with them, refused when there is no room, never trimmed.

Keys: `knts:dead:{id}` a hash for each letter, `knts:dead-index` their ids by age, `knts:dead-stats` counts.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from knts.clients.redis import Redis, Script, failures
from knts.errors import Temporary
from knts.events import MAX_EVENT_BYTES, Event

MAX_DATA = MAX_EVENT_BYTES + 64 * 1024  # bytes kept of a letter's data; what is longer was never one of our events
INDEX, STATS = "knts:dead-index", "knts:dead-stats"

_store, _drop = Script("dead_store"), Script("dead_drop")


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be delivered, with the `knativeerror*` attributes that tell why.

    `stored` is in ms since the epoch; `times` counts its deliveries here; `cut` bytes of data were too many to keep.
    """

    id: str
    event: Event
    stored: int
    times: int
    cut: int = 0

    @property
    def destination(self) -> str:
        """The URL of the subscriber that failed."""
        return self.event.attributes.get("knativeerrordest", "")

    @property
    def code(self) -> int | None:
        """The HTTP status that it failed with; None where there was no answer, or not an event."""
        text = self.event.attributes.get("knativeerrorcode", "")
        return int(text) if text.isascii() and text.isdigit() else None


class DeadLetters:
    """The store of dead letters, of at most `most` letters and `most_bytes` in all."""

    def __init__(self, redis: Redis, *, most: int = 100_000, most_bytes: int = 256 * 1024 * 1024) -> None:
        self.redis = redis
        self.most = most
        self.most_bytes = most_bytes

    async def store(self, event: Event) -> tuple[str, bool]:
        """Keep a dead event: its letter's id, and whether it is new. Raises Temporary when there is no room."""
        letter_id = identity(event)
        data, cut = event.data[:MAX_DATA], max(0, len(event.data) - MAX_DATA)
        attributes = orjson.dumps(dict(event.attributes))
        fields: list[str | bytes | int] = ["attributes", attributes, "data", data, "cut", cut]
        limits = [len(attributes) + len(data), self.most, self.most_bytes]
        reply = await _store(self.redis, _keys(letter_id), [letter_id, *limits, *fields])
        if reply == b"full":
            raise Temporary("there is no room for another dead letter: drop or replay some", retry_after=30)
        return letter_id, reply == b"stored"

    async def get(self, letter_id: str) -> DeadLetter | None:
        """One letter, or None."""
        with failures():
            found = await self.redis.hgetall(_key(letter_id))
        return _letter(letter_id, found) if found else None

    async def listing(self, *, after: str = "", limit: int = 100) -> tuple[list[DeadLetter], str | None]:
        """Letters from the oldest on after the letter `after`; the second value continues, None at the end."""
        with failures():
            rank = await self.redis.zrank(INDEX, after) if after else None
            start = 0 if rank is None else rank + 1
            ids = [member.decode() for member in await self.redis.zrange(INDEX, start, start + limit)]
        letters = [await self.get(letter_id) for letter_id in ids[:limit]]
        return [letter for letter in letters if letter], ids[limit - 1] if len(ids) > limit else None

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter that was dealt with; False when it was not there."""
        return bool(await _drop(self.redis, _keys(letter_id), [letter_id]))

    async def counts(self) -> dict[str, int]:
        """`{"here", "bytes", "total"}`: letters here, their bytes, and how many were ever stored."""
        with failures():
            here = await self.redis.zcard(INDEX)
            stats = await self.redis.hmget(STATS, "bytes", "total")
        return {"here": int(here), "bytes": int(stats[0] or 0), "total": int(stats[1] or 0)}


def identity(event: Event) -> str:
    """The same for the same event that failed at the same subscriber, however often it is delivered."""
    parts = [event.source, event.id, event.type, event.attributes.get("knativeerrordest", "")]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def _letter(letter_id: str, fields: Mapping[bytes, bytes]) -> DeadLetter:
    event = Event(orjson.loads(fields[b"attributes"]), fields[b"data"])
    return DeadLetter(letter_id, event, int(fields[b"stored"]), int(fields[b"times"]), int(fields[b"cut"]))


def _key(letter_id: str) -> str:
    return f"knts:dead:{letter_id}"


def _keys(letter_id: str) -> list[str]:
    return [_key(letter_id), INDEX, STATS]
