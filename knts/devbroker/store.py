"""The queue in Redis Streams: one stream for each Trigger and one for its dead letters, one consumer group on each.

An entry is in its stream until it is done with; it is pending while the broker has it, so nothing is lost by a crash.
Attempts and due times stand in a hash beside the stream. Redis has to be durable: what it has acknowledged, we accept.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from knts.clients.redis import Redis, failures
from knts.devbroker import entries
from knts.devbroker.entries import Entry, Moved, Note, retries_key
from knts.devbroker.writing import Writer
from knts.errors import Temporary

log = logging.getLogger(__name__)

GROUP = "devbroker"
_MOVE = (Path(__file__).parent / "lua" / "move.lua").read_text(encoding="utf-8")
_PAGE = 1000
_ENTRIES = 50  # read at a time with their data


class QueueFull(Temporary):
    """A Trigger that wants the event has as many entries waiting as it may have."""

    slug, title = "queue-full", "The broker's queue is full"


class Store:
    """The streams of one broker; `consumer` names it, and must be the same after a restart.

    What is put is on so many `replicas` of Redis, too. What follows from it needs none of them: a replica that is
    promoted has all writes up to one of them, so at worst a delivery is made again.
    """

    def __init__(self, redis: Redis, *, cap: int, consumer: str, replicas: int = 0) -> None:
        self.redis = redis
        self.cap = cap
        self.consumer = consumer
        self._sha = ""
        self._writer = Writer(redis, replicas)

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

        Durable on return. Raises QueueFull, or Temporary when Redis is not available or lacks replicas; then it is in
        none of them, or, after a time-out or for want of replicas, may be in all.
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
        parts = entries.fields(out) if out else (b"", b"", b"")
        keys = (stream, retries_key(stream), *streams)
        flags = (b"1" if flag else b"0" for flag in take)
        args = (GROUP, self.consumer, cap, entry_id, b"1" if successor else b"0", *parts, *flags)
        reply = await self._script(len(keys), *keys, *args, safe=not stream)
        if reply[0] == b"full":
            raise QueueFull(f"the queue of {reply[1].decode()} has {cap} events waiting", retry_after=2)
        if reply[0] == b"gone":
            return None
        return Moved(tuple(entries.taken(item, out) for item in reply[1:-1]), entries.taken(reply[-1], None))

    async def _script(self, *args: Any, safe: bool) -> Any:
        try:
            return await self._writer.write("EVALSHA", self._sha, *args, safe=safe)
        except NoScriptError:  # the server was restarted; the script did not run
            return await self._writer.write("EVAL", _MOVE, *args, safe=safe)

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
        return [entries.entry(entry_id, fields) for _, page in found for entry_id, fields in page]

    async def entry(self, stream: str, entry_id: str) -> Entry | None:
        """One entry by its id; None where somebody has deleted it."""
        with failures("the broker's Redis"):
            found = await self.redis.xrange(stream, min=entry_id, max=entry_id)
        return entries.entry(*found[0]) if found else None

    async def keys(self, stream: str, ids: Sequence[str]) -> dict[str, str]:
        """The key of each of these entries that is still there, by its id."""
        found: dict[str, str] = {}
        with failures("the broker's Redis"):
            for start in range(0, len(ids), _ENTRIES):
                pipeline = self.redis.pipeline(transaction=False)
                for entry_id in ids[start : start + _ENTRIES]:
                    pipeline.xrange(stream, min=entry_id, max=entry_id)
                read = [entries.entry(*entry) for reply in await pipeline.execute() for entry in reply]
                found |= {entry.id: entry.key for entry in read}
        return found

    async def note(self, stream: str, entry_id: str, note: Note) -> None:
        """Write down a failed attempt, so that a restart goes on counting."""
        await self._writer.write("HSET", retries_key(stream), entry_id, entries.noted(note))

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
        return {entry_id: entries.note(notes.get(entry_id.encode())) for entry_id in ids}

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

    async def history(self) -> str:
        """Which history of writes the server tells: another one after a restart, or when a replica was promoted.

        Empty where we may not know.
        """
        with failures("the broker's Redis"):
            try:
                told = await self.redis.info("replication")
            except NoPermissionError:
                return ""
        return str(told.get("master_replid", ""))

    async def depths(self, streams: Sequence[str]) -> list[int]:
        """How many entries each stream holds."""
        with failures("the broker's Redis"):
            pipeline = self.redis.pipeline(transaction=False)
            for stream in streams:
                pipeline.xlen(stream)
            return list(await pipeline.execute())
