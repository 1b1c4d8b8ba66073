"""The correlation channel's side that writes: ingress opens an ask, functions append frames to it.

Reading for waiting clients is `knts.clients.tailer`; flights are `knts.clients.flights`.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from knts import channel, telemetry
from knts.channel import Frame
from knts.clients.redis import Redis, Script, failures
from knts.errors import Busy
from knts.line import Wanted, line_key

_open = Script("ask_open")
_append = Script("ask_append")
_finish = Script("ask_finish")
_answered = Script("ask_answered")

UNKNOWN = 5.0  # seconds after which to come back, where nothing is known of how long answers take


class Channel:
    """Asks and their frames in the durable Redis."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._clock_offset = time.time() - time.monotonic()

    def now_ms(self) -> int:
        """Redis' clock in ms since the epoch, as it told it with the last ask that was read; before, our own."""
        return int((time.monotonic() + self._clock_offset) * 1000)

    async def open(
        self,
        correlation_id: str,
        first: dict[str, Any],
        /,
        *,
        wanted: Wanted | None = None,
        **fields: str | int | float,
    ) -> str | None:
        """Open an ask with its `queued` frame; the frame's entry id, or None when this ask exists already.

        `fields` are noted on the ask; `tenant` and `owner` (who may read it) must be among them. With `wanted` it takes
        a ticket, and the frame tells its place. Raises Busy, with `retry_after`, when as many tickets wait as may and
        the tenant has its share of them, or when its answer would come too late: then nothing was opened.
        """
        telemetry.correlate(correlation_id)
        named = [part for item in fields.items() for part in item]
        keys = [channel.ask_key(correlation_id), channel.frames_key(correlation_id)]
        ticket: list[str | int] = ["", 0, 0]
        if wanted is not None:
            keys.append(line_key(wanted.model))
            ticket = [wanted.ticket, wanted.most, wanted.deadline_ms]
        frame_ = [channel.QUEUED, orjson.dumps(first)]
        limits = [channel.FINAL_MS, channel.STREAM_MS]
        reply = await _open(self.redis, keys, [*limits, *frame_, correlation_id, *ticket, *named])
        if isinstance(reply, list):
            held_ms, slots = map(int, reply)
            raise Busy(
                "more questions wait than can be answered in time", retry_after=held_ms / slots / 1000 or UNKNOWN
            )
        return reply.decode() if reply else None

    async def answered(
        self, correlation_id: str, frames: Sequence[tuple[str, dict[str, Any]]], /, **fields: str | int | float
    ) -> list[str]:
        """Open an ask and end it at once: the frames' entry ids, none when this ask exists already.

        The last of `frames` is one of `channel.LAST` with the final object. `fields` as for `open`.
        """
        telemetry.correlate(correlation_id)
        parts = [part for frame_type, data in frames for part in (frame_type, orjson.dumps(data))]
        named = [part for item in fields.items() for part in item]
        reply = await _answered(
            self.redis,
            [channel.ask_key(correlation_id), channel.frames_key(correlation_id)],
            [channel.FINAL_MS, channel.STREAM_MS, len(frames), *parts, *named],
        )
        return [entry_id.decode() for entry_id in reply or ()]

    async def append(
        self, correlation_id: str, frame_type: str, data: dict[str, Any], /, *, once: bool = True, **fields: str | float
    ) -> str:
        """Append a frame: 'written', 'again' (a redelivery), 'ended' (nothing follows an end) or 'gone' (expired).

        A frame of `channel.LAST` ends the ask, and its data is kept as the ask's final object. `fields` are noted on
        the ask. `once=False` for frames that repeat, such as deltas.
        """
        named = [part for item in fields.items() for part in item]
        reply = await _append(
            self.redis,
            [channel.ask_key(correlation_id), channel.frames_key(correlation_id)],
            [
                channel.STREAM_MS,
                frame_type,
                orjson.dumps(data),
                int(frame_type in channel.LAST),
                int(once),
                *named,
            ],
        )
        return str(reply.decode())

    async def finish(
        self,
        correlation_id: str,
        frames: Sequence[tuple[str, dict[str, Any]]],
        last: str,
        final: dict[str, Any],
        /,
        **fields: str | float,
    ) -> str:
        """Write `frames` and the last one with the final object, all at once: 'written', 'ended' (before) or 'gone'."""
        parts = [part for frame_type, data in frames for part in (frame_type, orjson.dumps(data))]
        named = [part for item in fields.items() for part in item]
        reply = await _finish(
            self.redis,
            [channel.ask_key(correlation_id), channel.frames_key(correlation_id)],
            [channel.STREAM_MS, last, orjson.dumps(final), len(frames), *parts, *named],
        )
        return str(reply.decode())

    async def ask(self, correlation_id: str) -> dict[str, str] | None:
        """What is known of an ask, or None: unknown, or older than 24 hours."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(channel.ask_key(correlation_id))
            pipeline.time()
            with failures():
                found, (seconds, micros) = await pipeline.execute()
        self._clock_offset = seconds + micros / 1e6 - time.monotonic()
        return {name.decode(): value.decode() for name, value in found.items()} or None

    async def awaited(self, correlation_id: str) -> bool:
        """Whether an ask is open and its deadline, if it has one, lies ahead by Redis' own clock. One trip."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.hmget(channel.ask_key(correlation_id), "status", "deadline")
            pipeline.time()
            with failures():
                (status, deadline), (seconds, micros) = await pipeline.execute()
        in_time = deadline is None or int(deadline) > seconds * 1000 + micros // 1000
        return bool(status == b"open" and in_time)

    async def frames(self, stream_key: str, after: str = "0", count: int = 1000) -> list[Frame]:
        """The frames of a stream after an entry id, oldest first."""
        with failures():
            entries = await self.redis.xrange(stream_key, min=f"({after}", count=count)
        return [frame(entry_id, fields) for entry_id, fields in entries]

    async def forget(self, correlation_ids: Iterable[str], within_ms: int = 0) -> None:
        """What is kept of these asks goes, at once or within some time. Their flights stay: others may share them."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            for correlation_id in correlation_ids:
                for key in (channel.ask_key(correlation_id), channel.frames_key(correlation_id)):
                    pipeline.pexpire(key, within_ms)  # in no time: it is deleted
            with failures():
                await pipeline.execute()

    async def alive(self, stream_key: str) -> bool:
        """Whether a stream has not expired yet."""
        with failures():
            return bool(await self.redis.exists(stream_key))


def frame(entry_id: bytes, fields: dict[bytes, bytes]) -> Frame:
    """A stream's entry as a frame."""
    return Frame(entry_id.decode(), fields[b"type"].decode(), orjson.loads(fields[b"data"]))
