"""The queue in Redis Streams: one stream for each Trigger and one for its dead letters, one consumer group on each.

An entry is in its stream until it is done with; it is pending while the broker has it, so nothing is lost by a crash.
Attempts and due times stand in a hash beside the stream. Redis has to be durable: what it has acknowledged, we accept.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from redis.exceptions import NoScriptError, ResponseError

from knts.clients.redis import Redis, failures
from knts.devbroker.writing import Writer
from knts.errors import Temporary
from knts.events import Event

log = logging.getLogger(__name__)

GROUP = "devbroker"
_MOVE = (Path(__file__).parent / "lua" / "move.lua").read_text(encoding="utf-8")
_PAGE = 1000


def queue_key(trigger: str) -> str:
    """The stream of a Trigger given as `namespace/name`."""
    return f"knts:broker:q:{trigger}"


def dead_key(trigger: str) -> str:
    """The stream of its dead letters on their way to the sink."""
    return f"knts:broker:dead:{trigger}"


class QueueFull(Temporary):
    """A Trigger that wants the event has as many entries waiting as it may have."""

    slug, title = "queue-full", "The broker's queue is full"


@dataclass(frozen=True)
class Entry:
    """An event in a stream, with the trace context it was published under."""

    id: str
    event: Event
    trace: str


@dataclass(frozen=True)
class Note:
    """What is known of a failed entry: attempts so far, and when (epoch seconds) the next is due."""

    attempts: int
    due: float


@dataclass(frozen=True)
class Moved:
    """What a move gave us to deliver: an entry for each stream it put into, and the cause's successor."""

    taken: tuple[Entry | None, ...]
    successor: Entry | None


class Store:
    """The streams of one broker; `consumer` names it, and must be the same after a restart."""

    def __init__(self, redis: Redis, *, cap: int, consumer: str) -> None:
        self.redis = redis
        self.cap = cap
        self.consumer = consumer
        self._sha = ""
        self._writer = Writer(redis)

    async def start(self) -> None:
        """Teach the server our script. Raises Temporary when it does not answer."""
        with failures("the broker's Redis"):
            self._sha = await self.redis.script_load(_MOVE)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The life of the task that writes."""
        writing = asyncio.create_task(self._writer.run())
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def put(self, entry: Entry, streams: Sequence[str], take: Sequence[bool]) -> Moved:
        """Put an event into all of `streams`, taking an entry of each where `take` says so.

        Durable on return. Raises QueueFull, or Temporary when Redis is not available; then it is in none of them, or,
        after a time-out, may be in all.
        """
        return await self._move("", "", False, entry, streams, take, self.cap) or Moved((), None)

    async def finish(
        self,
        stream: str,
        entry_id: str,
        *,
        successor: bool,
        out: Entry | None = None,
        streams: Sequence[str] = (),
        take: Sequence[bool] = (),
    ) -> Moved | None:
        """Remove an entry and put what follows from it into `streams`, in one step; None where it was gone already."""
        return await self._move(stream, entry_id, successor, out, streams, take, 0)

    async def _move(
        self,
        stream: str,
        entry_id: str,
        successor: bool,
        out: Entry | None,
        streams: Sequence[str],
        take: Sequence[bool],
        cap: int,
    ) -> Moved | None:
        parts = _fields(out) if out else (b"", b"", b"")
        keys = (stream, retries_key(stream), *streams)
        flags = (b"1" if flag else b"0" for flag in take)
        args = (GROUP, self.consumer, cap, entry_id, b"1" if successor else b"0", *parts, *flags)
        reply = await self._script(len(keys), *keys, *args)
        if reply[0] == b"full":
            raise QueueFull(f"the queue of {reply[1].decode()} has {cap} events waiting", retry_after=2)
        if reply[0] == b"gone":
            return None
        return Moved(tuple(_taken(item, out) for item in reply[1:-1]), _taken(reply[-1], None))

    async def _script(self, *args: Any) -> Any:
        try:
            return await self._writer.write("EVALSHA", self._sha, *args)
        except NoScriptError:  # the server was restarted; the script did not run
            return await self._writer.write("EVAL", _MOVE, *args)

    async def take(self, stream: str, count: int) -> list[Entry]:
        """Up to `count` entries that nobody has, oldest first; they are ours now."""
        command = ("XREADGROUP", "GROUP", GROUP, self.consumer, "COUNT", count, "STREAMS", stream, ">")
        try:
            reply = await self._writer.write(*command)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._writer.write("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
            reply = await self._writer.write(*command)
        found = reply.items() if isinstance(reply, dict) else reply or ()  # as the protocol's version has it
        return [_entry(entry_id, fields) for _, entries in found for entry_id, fields in entries]

    async def entry(self, stream: str, entry_id: str) -> Entry | None:
        """One entry by its id; None where somebody has deleted it."""
        with failures("the broker's Redis"):
            found = await self.redis.xrange(stream, min=entry_id, max=entry_id)
        return Entry(entry_id, *_decoded(found[0][1])) if found else None

    async def note(self, stream: str, entry_id: str, note: Note) -> None:
        """Write down a failed attempt, so that a restart goes on counting."""
        await self._writer.write(
            "HSET", retries_key(stream), entry_id, orjson.dumps({"attempts": note.attempts, "due": note.due})
        )

    async def pending(self, stream: str) -> dict[str, Note | None]:
        """Every entry that is ours and not done with, by id, with what is noted of it."""
        ids: list[str] = []
        with failures("the broker's Redis"):
            try:
                while page := await self._pending_page(stream, ids[-1] if ids else ""):
                    ids += page
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
            notes = await self.redis.hgetall(retries_key(stream))
        return {entry_id: _note(notes.get(entry_id.encode())) for entry_id in ids}

    async def _pending_page(self, stream: str, after: str) -> list[str]:
        start = f"({after}" if after else "-"
        page = await self.redis.xpending_range(stream, GROUP, start, "+", _PAGE, consumername=self.consumer)
        return [item["message_id"].decode() for item in page]

    async def claim(self, stream: str, idle: float) -> list[str]:
        """Make ours what another broker took and has left untouched for `idle` seconds; the entries' ids."""
        ms = int(idle * 1000)
        with failures("the broker's Redis"):
            page = await self.redis.xpending_range(stream, GROUP, "-", "+", _PAGE, idle=ms)
            left = [item["message_id"] for item in page if item["consumer"].decode() != self.consumer]
            if not left:
                return []
            claimed = await self.redis.xclaim(stream, GROUP, self.consumer, ms, left, justid=True)
        return [entry_id.decode() for entry_id in claimed]

    async def depths(self, streams: Sequence[str]) -> list[int]:
        """How many entries each stream holds."""
        with failures("the broker's Redis"):
            pipeline = self.redis.pipeline(transaction=False)
            for stream in streams:
                pipeline.xlen(stream)
            return list(await pipeline.execute())


def retries_key(stream: str) -> str:
    """The hash beside a stream in which failed attempts are noted."""
    return f"{stream}:retries"


def _fields(entry: Entry) -> tuple[bytes, bytes, str]:
    return orjson.dumps(dict(entry.event.attributes)), entry.event.data, entry.trace


def _decoded(fields: dict[bytes, bytes]) -> tuple[Event, str]:
    event = Event(orjson.loads(fields[b"attributes"]), fields[b"data"])
    return event, fields.get(b"trace", b"").decode()


def _entry(entry_id: bytes, fields: list[bytes] | dict[bytes, bytes]) -> Entry:
    named = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(entry_id.decode(), *_decoded(named))


def _taken(item: Any, out: Entry | None) -> Entry | None:
    """A taken entry in the script's reply: nothing, the id of what was just put, or an id with its fields."""
    if not item:
        return None
    if isinstance(item, bytes) and out is not None:
        return Entry(item.decode(), out.event, out.trace)
    return _entry(item[0], item[1])


def _note(text: bytes | None) -> Note | None:
    return Note(**orjson.loads(text)) if text else None
