"""Dead letters in the durable Redis: kept until somebody deals with them, refused when there is no room, never trimmed.

Keys: `knts:dead:{id}` a hash for each letter, `knts:dead-index` their ids by age, `knts:dead-stats` counts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from knts import telemetry
from knts.clients.redis import Redis, Script, failures
from knts.errors import Temporary
from knts.events import MAX_EVENT_BYTES, Event

MAX_DATA = MAX_EVENT_BYTES + 64 * 1024  # bytes kept of a letter's data; what is longer was never one of our events
INDEX, STATS = "knts:dead-index", "knts:dead-stats"

_HEAD = ("attributes", "stored", "times", "cut")
_CODES = {"4": "4xx", "5": "5xx"}

Dropped = Literal["dropped", "unknown", "newer"]

_store, _drop = Script("dead_store"), Script("dead_drop")


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be delivered, with the `knativeerror*` attributes that tell why.

    `stored` is in ms since the epoch; `times` counts its deliveries here. Of its data `size` bytes are kept and `cut`
    were too many.
    """

    id: str
    event: Event
    stored: int
    times: int
    cut: int = 0
    size: int = 0

    @property
    def destination(self) -> str:
        """The URL of the subscriber that failed."""
        return self.event.attributes.get("knativeerrordest", "")

    @property
    def trigger(self) -> str:
        """`namespace/name` of the Trigger that it failed in; empty where the Broker does not say."""
        return self.event.attributes.get("kntserrortrigger", "")

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
        code = _CODES.get(event.attributes.get("knativeerrorcode", "")[:1], "other")
        kind = event.type if event.type.startswith("knts.") else "other"
        telemetry.count("knts.dead_letters", type=kind, code=code, new=reply == b"stored")
        return letter_id, reply == b"stored"

    async def get(self, letter_id: str) -> DeadLetter | None:
        """One letter, or None."""
        with failures():
            found = await self.redis.hgetall(_key(letter_id))
        return _letter(letter_id, found, len(found[b"data"])) if found else None

    async def listing(self, *, after: str = "", limit: int = 100) -> tuple[list[DeadLetter], str | None]:
        """Letters from the oldest on, without their data; the second value continues as `after`, None at the end.

        What is dropped meanwhile moves nothing. Raises ValueError for an `after` that was never given out.
        """
        stored, known = _cursor(after)
        with failures():
            beside = await self.redis.zcount(INDEX, stored, stored) if after else 0
            span = limit + 1 + beside
            page = await self.redis.zrange(INDEX, stored, "+inf", byscore=True, offset=0, num=span, withscores=True)
        places = [(int(score), member.decode()) for member, score in page]
        following = [place for place in places if place > (stored, known)]
        letters = await self._heads([letter_id for _, letter_id in following[:limit]])
        return letters, "{}-{}".format(*following[limit - 1]) if len(following) > limit else None

    async def _heads(self, ids: Sequence[str]) -> list[DeadLetter]:
        """These letters without their data; those that are gone are left out."""
        with failures():
            pipeline = self.redis.pipeline(transaction=False)
            for letter_id in ids:
                pipeline.hmget(_key(letter_id), *_HEAD)
                pipeline.hstrlen(_key(letter_id), "data")
            replies = await pipeline.execute()
        found = zip(ids, replies[::2], replies[1::2], strict=True)
        return [
            _letter(letter_id, {**dict(zip(map(str.encode, _HEAD), head, strict=True)), b"data": b""}, size)
            for letter_id, head, size in found
            if head[0] is not None
        ]

    async def drop(self, letter_id: str, times: int | None = None) -> Dropped:
        """Forget a letter that was dealt with: "dropped", or "unknown".

        With `times` it is left alone, and "newer", if it was delivered again since it was read: it has failed again.
        """
        reply = await _drop(self.redis, _keys(letter_id), [letter_id, "" if times is None else times])
        return "dropped" if reply == 1 else "newer" if reply == -1 else "unknown"

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


def _letter(letter_id: str, fields: Mapping[bytes, bytes], size: int) -> DeadLetter:
    event = Event(orjson.loads(fields[b"attributes"]), fields[b"data"])
    return DeadLetter(letter_id, event, int(fields[b"stored"]), int(fields[b"times"]), int(fields[b"cut"]), size)


def _cursor(after: str) -> tuple[int, str]:
    """When the last letter of a page was stored, and its id."""
    stored, _, letter_id = (after or "0-").partition("-")
    if not stored.isascii() or not stored.isdigit():
        raise ValueError("expected what the page before gave as its next")
    return int(stored), letter_id


def _key(letter_id: str) -> str:
    return f"knts:dead:{letter_id}"


def _keys(letter_id: str) -> list[str]:
    return [_key(letter_id), INDEX, STATS]
