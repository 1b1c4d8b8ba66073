"""One waiting client's view of the streams that he follows: from the tailer's last batch, or by a look of his own."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from knts.channel import Frame, entry_order
from knts.errors import Temporary

COUNT = 200  # frames of one stream in one read for all who follow it
OWN_COUNT = 16  # the same in a read for one client, who keeps them until he has taken the last: a crowd of slow ones


@dataclass
class Stream:
    """A followed stream: the last batch read, the position before it and after it, and who follows."""

    base: str
    end: str
    batch: list[Frame] = field(default_factory=list)
    followers: set["Follower"] = field(default_factory=set)


class Reads(Protocol):
    """What a follower needs of the tailer."""

    async def read(self, positions: Mapping[str, str], count: int) -> dict[str, list[Frame]]: ...

    def join(self, key: str, after: str, follower: "Follower") -> "Stream": ...

    def leave(self, key: str, follower: "Follower") -> None: ...


class Follower:
    """One waiting client: how far it is in each stream that it follows."""

    def __init__(self, tailer: Reads) -> None:
        self._tailer = tailer
        self._positions: dict[str, str] = {}
        self._streams: dict[str, Stream] = {}
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
        found = self._by_age(await self._tailer.read(self._positions, OWN_COUNT))
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
        full = [frames[-1].id for frames in found.values() if len(frames) == OWN_COUNT]
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
