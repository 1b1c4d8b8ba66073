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
from typing import Any

from knts.channel import Frame
from knts.clients.channel import frame
from knts.clients.follower import COUNT, Follower, Stream
from knts.clients.redis import Redis, failures
from knts.errors import Temporary
from knts.tasks import ended

log = logging.getLogger(__name__)

STREAMS = 500  # streams in one read
_TAIL = "knts:tail"  # always subscribed, so that the connection has something to wait for


class Tailer:
    """Reads for all followers of this process. Use it as an async context; failures of Redis are waited out."""

    def __init__(self, redis: Redis, *, sweep: float = 1.0) -> None:
        self.redis = redis
        self._sweep_seconds = sweep
        self._streams: dict[str, Stream] = {}
        self._woken: set[str] = set()
        self._wake = asyncio.Event()
        self._subscribe: set[str] = set()
        self._unsubscribe: set[str] = set()
        self._resubscribe = asyncio.Event()
        self._clock_offset = time.time() - time.monotonic()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Tailer"]:
        """The tailer at work until exit."""
        with contextlib.suppress(Temporary):  # the first deadlines are by its clock already, if it is there
            await self._read_clock()
        tasks = [asyncio.create_task(_forever(work)) for work in (self._read_loop, self._listen_loop, self._sweep_loop)]
        try:
            yield self
        finally:
            await ended(*tasks)

    def follower(self) -> Follower:
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

    def join(self, key: str, after: str, follower: Follower) -> Stream:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = Stream(after, after)
            self._unsubscribe.discard(key)
            self._subscribe.add(key)
            self._resubscribe.set()
        stream.followers.add(follower)
        return stream

    def leave(self, key: str, follower: Follower) -> None:
        stream = self._streams[key]
        stream.followers.discard(follower)
        if not stream.followers:
            del self._streams[key]
            self._subscribe.discard(key)
            self._unsubscribe.add(key)
            self._resubscribe.set()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self, positions: Mapping[str, str], count: int = COUNT) -> dict[str, list[Frame]]:
        """The next frames of each stream after its position, as of one moment. Raises Temporary."""
        with failures():
            found = await self.redis.xread(dict(positions), count=count)
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

    async def _read_clock(self) -> None:
        with failures():
            seconds, micros = await self.redis.time()
        self._clock_offset = seconds + micros / 1e6 - time.monotonic()

    async def _sweep_loop(self) -> None:
        while True:
            try:
                await self._read_clock()
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
