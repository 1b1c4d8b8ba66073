"""Which entry is delivered when: each stream has a lane with a number of slots; a slot delivers one entry at a time.

An entry that waits for another attempt, or for its turn, holds no slot, so it stops nobody. What must be atomic is in
`store`, what may overtake what in `ordering`, what comes of a delivery is the courier's word.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from knts.devbroker.courier import Again, Courier, Ended
from knts.devbroker.entries import Entry, Note
from knts.devbroker.lanes import Lane
from knts.devbroker.store import Store
from knts.errors import Temporary

log = logging.getLogger(__name__)

LOST_ANSWER = 1.0  # seconds until an entry that could not be read is read again
AFTER_BUG = 30.0


class Slots:
    """Fills the slots of all lanes, and empties them when the time has come to stop."""

    def __init__(self, store: Store, courier: Courier) -> None:
        self.store = store
        self.courier = courier
        self.lanes: dict[str, Lane] = {}
        self.closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- putting into streams -----------------------------------------------------------------------------------------

    async def put(self, entry: Entry, streams: Sequence[str]) -> None:
        """Put an event into all of these streams, durable on return. Raises QueueFull or Temporary: then into none."""
        lanes = [self.lanes[stream] for stream in streams]
        take = self._reserve(lanes)
        try:
            moved = await self.store.put(entry, streams, take)
        except BaseException:
            self._unreserve(lanes, take)
            raise
        self._settle(lanes, take, moved.taken)

    def _reserve(self, lanes: Sequence[Lane]) -> list[bool]:
        return [not self.closing and lane.reserve() for lane in lanes]

    def _unreserve(self, lanes: Sequence[Lane], take: Sequence[bool]) -> None:
        """Give slots back after a write whose outcome is not known: what it may have taken is looked for."""
        for lane, reserved in zip(lanes, take, strict=True):
            lane.running -= reserved
            lane.suspect = lane.behind = True

    def _settle(self, lanes: Sequence[Lane], take: Sequence[bool], taken: Sequence[Entry | None]) -> None:
        """Start what a write has taken; a lane that had no slot has something waiting now."""
        for lane, reserved, entry in zip(lanes, take, taken, strict=True):
            if entry is not None:
                self._start(lane, entry)
                continue
            lane.running -= reserved
            lane.behind = True
            self.kick(lane)

    # -- filling slots ------------------------------------------------------------------------------------------------

    def kick(self, lane: Lane) -> None:
        """Fill free slots: first with what is due, then with what waits in the stream."""
        if self.closing:
            return
        while lane.due and lane.reserve():
            self._spawn(self._again(lane, lane.due.popleft()))
        if lane.behind and lane.free:
            lane.behind = False
            self._spawn(self._refill(lane))

    async def _refill(self, lane: Lane) -> None:
        slots = lane.free
        lane.running += slots
        entries: list[Entry] = []
        try:
            entries = await self.store.take(lane.stream, slots)
            lane.behind = lane.behind or len(entries) == slots
        except Temporary as error:
            lane.behind = lane.suspect = True
            log.warning("can't read the queue: %s", error.detail, extra={"stream": lane.stream})
        lane.running -= slots - len(entries)
        for entry in entries:
            self._start(lane, entry)

    def _start(self, lane: Lane, entry: Entry) -> None:
        """Deliver an entry that was just taken, in a slot that is reserved for it, unless it has to wait."""
        if lane.admit(entry):
            self._spawn(self._deliver(lane, entry))
        else:
            self._release(lane)

    def _release(self, lane: Lane) -> None:
        lane.running -= 1
        self.kick(lane)

    async def _again(self, lane: Lane, entry_id: str) -> None:
        """Deliver a known entry, in a slot that is reserved for it."""
        try:
            entry = await self.store.entry(lane.stream, entry_id)
        except Temporary:
            self.later(lane, entry_id, LOST_ANSWER)
            self._release(lane)
            return
        if entry is not None:
            await self._deliver(lane, entry)
            return
        log.warning("an entry was removed by somebody else", extra={"stream": lane.stream, "entry": entry_id})
        await self._finish(lane, entry_id, Ended())

    def later(self, lane: Lane, entry_id: str, delay: float) -> None:
        """Deliver a known entry after `delay` seconds, when there is a slot."""
        lane.timers[entry_id] = asyncio.get_running_loop().call_later(delay, self._due, lane, entry_id)

    def _due(self, lane: Lane, entry_id: str) -> None:
        del lane.timers[entry_id]
        lane.due.append(entry_id)
        self.kick(lane)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- delivering ---------------------------------------------------------------------------------------------------

    async def _deliver(self, lane: Lane, entry: Entry) -> None:
        try:
            outcome = await self.courier.deliver(lane, entry)
            if isinstance(outcome, Again):
                await self._retry(lane, entry.id, outcome)
            else:
                await self._finish(lane, entry.id, outcome)
        except Exception:
            log.exception("a bug in the broker; the event is tried again", extra={"stream": lane.stream})
            self.later(lane, entry.id, AFTER_BUG)
            self._release(lane)

    async def _retry(self, lane: Lane, entry_id: str, again: Again) -> None:
        lane.attempts[entry_id] = again.attempts
        try:
            await self.store.note(lane.stream, entry_id, Note(again.attempts, time.time() + again.delay))
        except Temporary as error:
            log.warning("an attempt could not be noted: %s", error.detail, extra={"stream": lane.stream})
        self.later(lane, entry_id, again.delay)
        self._release(lane)

    async def _finish(self, lane: Lane, entry_id: str, ended: Ended) -> None:
        """Remove an entry and queue what follows from it, in one step, however often Redis has to be asked.

        The step is harmless when repeated: it does nothing once the entry is gone.
        """
        lanes = [self.lanes[stream] for stream in ended.streams]
        pause = 0.05
        while True:
            take = self._reserve(lanes)
            successor = lane.behind and lane.active and not lane.due and not lane.unsure and not self.closing
            try:
                moved = await self.store.finish(
                    lane.stream, entry_id, successor=successor, out=ended.out, streams=ended.streams, take=take
                )
                break
            except Temporary as error:
                self._unreserve([lane, *lanes], [False, *take])
                log.warning("a delivery can't be recorded yet: %s", error.detail, extra={"stream": lane.stream})
                await asyncio.sleep(pause := min(pause * 2, 5.0))
            except BaseException:
                self._unreserve([lane, *lanes], [False, *take])
                raise
        lane.forget(entry_id)
        if moved is None:
            self._unreserve(lanes, take)
            self._release(lane)
        else:
            self._settle(lanes, take, moved.taken)
            self._succeed(lane, successor, moved.successor)
        if ended.broker is not None and ended.out is not None:
            self.courier.watcher.accepted(ended.broker, ended.out.event, ended.triggers)

    def _succeed(self, lane: Lane, asked: bool, successor: Entry | None) -> None:
        """Let the slot of a finished entry go on with its successor, where one was asked for and found."""
        if successor is not None:
            self._start(lane, successor)
            if lane.due:  # the next of its key
                self.kick(lane)
            return
        if asked:
            lane.behind = False
        self._release(lane)

    async def close(self, grace: float) -> None:
        """Start nothing more and let deliveries under way end within `grace` seconds; the rest stays pending."""
        self.closing = True
        for lane in self.lanes.values():
            for timer in lane.timers.values():
                timer.cancel()
        deadline = asyncio.get_running_loop().time() + grace
        while self._tasks and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
