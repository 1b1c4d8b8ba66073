"""One tailer a replica reads the correlation channel for all its waiting clients, however many they are.

Appends publish on a channel named like their stream. The tailer subscribes to the streams that are followed, gathers
the wake-ups and reads all woken streams at once; whoever follows a stream takes what was read from its last batch. No
client has a buffer of its own: one that was too slow for a batch reads again from where it is. Pub/sub only makes it
quick: each second everything followed is read anyway.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from knts.channel import Frame, entry_order
from knts.clients.channel import frame
from knts.clients.redis import Redis, failures
from knts.errors import Temporary
from knts.tasks import ended

log = logging.getLogger(__name__)

COUNT = 200  # frames of one stream in one read
STREAMS = 500  # streams in one read
_TAIL = "knts:tail"  # always subscribed, so that the connection has something to wait for


@dataclass
class _Stream:
    """A followed stream: the last batch read, the position before it and after it, and who follows."""

    base: str
    end: str
    batch: list[Frame] = field(default_factory=list)
    followers: set["Follower"] = field(default_factory=set)


class Tailer:
    """Reads for all followers of this process. Use it as an async context; failures of Redis are waited out."""

    def __init__(self, redis: Redis, *, sweep: float = 1.0) -> None:
        self.redis = redis
        self._sweep_seconds = sweep
        self._streams: dict[str, _Stream] = {}
        self._woken: set[str] = set()
        self._wake = asyncio.Event()
        self._subscribe: set[str] = set()
        self._unsubscribe: set[str] = set()
        self._resubscribe = asyncio.Event()
        self._clock_offset = time.time() - time.monotonic()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Tailer"]:
        """The tailer at work until exit."""
        tasks = [asyncio.create_task(_forever(work)) for work in (self._read_loop, self._listen_loop, self._sweep_loop)]
        try:
            yield self
        finally:
            await ended(*tasks)

    def follower(self) -> "Follower":
        """A new follower of nothing yet."""
        return Follower(self)

    def now_ms(self) -> int:
        """Redis' clock in ms since the epoch, so that replicas whose clocks differ agree on deadlines."""
        return int((time.monotonic() + self._clock_offset) * 1000)

    @property
    def following(self) -> int:
        """How many streams are followed."""
        return len(self._streams)

    # -- for followers ------------------------------------------------------------------------------------------------

    def join(self, key: str, after: str, follower: "Follower") -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(after, after)
            self._unsubscribe.discard(key)
            self._subscribe.add(key)
            self._resubscribe.set()
        stream.followers.add(follower)
        return stream

    def leave(self, key: str, follower: "Follower") -> None:
        stream = self._streams[key]
        stream.followers.discard(follower)
        if not stream.followers:
            del self._streams[key]
            self._subscribe.discard(key)
            self._unsubscribe.add(key)
            self._resubscribe.set()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self, positions: Mapping[str, str]) -> dict[str, list[Frame]]:
        """The next frames of each stream after its position, as of one moment. Raises Temporary."""
        with failures():
            found = await self.redis.xread(dict(positions), count=COUNT)
        pairs = found.items() if isinstance(found, dict) else found
        return {key.decode(): [frame(*entry) for entry in _entries(entries)] for key, entries in pairs}

    async def _read_loop(self) -> None:
        while True:
            await self._wake.wait()
            keys = [self._woken.pop() for _ in range(min(len(self._woken), STREAMS))]
            if not self._woken:
                self._wake.clear()
            try:
                await self._advance(keys)
            except Temporary as error:
                log.warning("reading frames: %s", error.detail)
                await asyncio.sleep(0.2)  # the sweep wakes them again

    async def _advance(self, keys: Sequence[str]) -> None:
        positions = {key: self._streams[key].end for key in keys if key in self._streams}
        if not positions:
            return
        for key, frames in (await self.read(positions)).items():
            stream = self._streams.get(key)
            if stream is None or stream.end != positions[key]:
                continue  # left, or left and followed anew, while we read
            stream.base, stream.end, stream.batch = stream.end, frames[-1].id, frames
            for follower in stream.followers:
                follower.wake()
            if len(frames) == COUNT:
                self._awaken(key)

    def _awaken(self, *keys: str) -> None:
        self._woken.update(keys)
        self._wake.set()

    # -- being woken --------------------------------------------------------------------------------------------------

    async def _sweep_loop(self) -> None:
        while True:
            try:
                with failures():
                    seconds, micros = await self.redis.time()
                self._clock_offset = seconds + micros / 1e6 - time.monotonic()
            except Temporary as error:
                log.warning("sweeping: %s", error.detail)
            for stream in self._streams.values():
                stream.base, stream.batch = stream.end, []  # whoever has not taken it reads for himself
            if self._streams:
                self._awaken(*self._streams)
            await asyncio.sleep(self._sweep_seconds)

    async def _listen_loop(self) -> None:
        failed = 0
        while True:
            try:
                with failures():
                    async with self.redis.pubsub() as pubsub:
                        self._subscribe = set(self._streams)
                        self._unsubscribe.clear()
                        self._resubscribe.set()
                        await pubsub.subscribe(_TAIL)
                        failed = 0
                        await self._listen(pubsub)
            except Temporary as error:
                failed += 1
                log.warning("lost the wake-ups, sweeping instead: %s", error.detail)
                await asyncio.sleep(min(5.0, 0.05 * 2**failed) * random.uniform(0.5, 1))

    async def _listen(self, pubsub: Any) -> None:
        keeper = asyncio.create_task(self._keep_subscribed(pubsub))
        try:
            while not keeper.done():
                message = await pubsub.get_message(timeout=1)
                if message and message["type"] in ("message", "subscribe"):
                    # the acknowledgement of a subscription wakes too: frames may have come before it
                    key = message["channel"].decode()
                    if key in self._streams:
                        self._awaken(key)
            await keeper
        finally:
            await ended(keeper)

    async def _keep_subscribed(self, pubsub: Any) -> None:
        while True:
            await self._resubscribe.wait()
            self._resubscribe.clear()
            wanted, unwanted = self._subscribe, self._unsubscribe
            self._subscribe, self._unsubscribe = set(), set()
            if wanted:
                await pubsub.subscribe(*wanted)
            if unwanted:
                await pubsub.unsubscribe(*unwanted)


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    """A bug in one of the loops must not leave everybody waiting in silence."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("a bug in the tailer's %s", work.__name__)
            await asyncio.sleep(1)


def _entries(entries: Any) -> Any:
    """RESP3 nests the entries of a stream in one more list than RESP2."""
    return entries[0] if entries and entries[0] and isinstance(entries[0][0], (list, tuple)) else entries


class Follower:
    """One waiting client: how far it is in each stream that it follows."""

    def __init__(self, tailer: Tailer) -> None:
        self._tailer = tailer
        self._positions: dict[str, str] = {}
        self._streams: dict[str, _Stream] = {}
        self._event = asyncio.Event()

    def follow(self, stream_key: str, after: str) -> None:
        """Follow a stream too, from an entry id."""
        self._positions[stream_key] = after

    def wake(self) -> None:
        self._event.set()

    def close(self) -> None:
        """Follow nothing any more."""
        for key in self._streams:
            self._tailer.leave(key, self)
        self._streams.clear()
        self._positions.clear()

    async def read(self, timeout: float) -> list[tuple[str, Frame]]:
        """The next frames as `(stream key, frame)` by age, or nothing after `timeout` seconds.

        With a timeout of 0, what is there now, or Temporary; otherwise Redis' absence is waited out like silence.
        """
        if timeout <= 0:
            return await self._take()
        try:
            async with asyncio.timeout(timeout):
                while not (found := await self._take_patiently()):
                    await self._event.wait()
                    self._event.clear()
        except TimeoutError:
            return []
        return found

    async def _take_patiently(self) -> list[tuple[str, Frame]]:
        try:
            return await self._take()
        except Temporary:
            await asyncio.sleep(random.uniform(0.5, 1.5))
            self.wake()
            return []

    async def _take(self) -> list[tuple[str, Frame]]:
        if len(self._streams) == len(self._positions) and (taken := self._from_batch()) is not None:
            return taken
        found = self._by_age(await self._tailer.read(self._positions))
        if not found:
            self._register()
        return found

    def _register(self) -> None:
        """From here on the tailer reads for us: what ends at once never troubles it."""
        for key, after in self._positions.items():
            if key not in self._streams:
                self._streams[key] = self._tailer.join(key, after, self)

    def _from_batch(self) -> list[tuple[str, Frame]] | None:
        """What the tailer has read for us; None where only a read of our own tells."""
        behind = [key for key in self._positions if self._is_behind(key)]
        if not behind:
            return []
        if len(self._positions) > 1 and behind[0] == next(iter(self._positions)):
            return None  # the ask itself went on beside its flight: only one look at both tells what came first
        key, stream = behind[0], self._streams[behind[0]]
        position = entry_order(self._positions[key])
        if position < entry_order(stream.base):
            return None
        self._positions[key] = stream.end
        return [(key, one) for one in stream.batch if entry_order(one.id) > position]

    def _is_behind(self, key: str) -> bool:
        position, end = self._positions[key], self._streams[key].end
        return position != end and entry_order(position) < entry_order(end)

    def _by_age(self, found: dict[str, list[Frame]]) -> list[tuple[str, Frame]]:
        """Frames of several streams by age, no further than the shortest look reached."""
        full = [frames[-1].id for frames in found.values() if len(frames) == COUNT]
        horizon = min(full, key=entry_order) if full else None
        merged = sorted(
            (
                (key, one)
                for key, frames in found.items()
                for one in frames
                if horizon is None or entry_order(one.id) <= entry_order(horizon)
            ),
            key=lambda pair: entry_order(pair[1].id),
        )
        for key, one in merged:
            self._positions[key] = one.id
        return merged
