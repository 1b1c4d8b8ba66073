"""Finding what was overlooked: pending entries after a crash or a lost answer, and what another broker has left."""

import asyncio
import logging
import time

from knts.devbroker import delivery
from knts.devbroker.lanes import Lane
from knts.devbroker.slots import Slots
from knts.devbroker.store import Store
from knts.errors import Temporary

log = logging.getLogger(__name__)

SWEEP = 1.0  # seconds between looks for what was overlooked
CLAIM_EVERY = 30  # sweeps between looks for what another broker has left
CLAIM_GRACE = 60.0


class Sweeper:
    """Looks through the lanes again and again."""

    def __init__(self, store: Store, slots: Slots) -> None:
        self.store = store
        self.slots = slots
        self._now = asyncio.Event()
        self._history = ""

    def soon(self) -> None:
        """Look at once."""
        self._now.set()

    async def run(self) -> None:
        """For ever: take up what is ours without our knowing, what others appended, what another broker has left."""
        turn = 0
        while True:
            try:
                await self._look_for_another_history()
                for lane in [lane for lane in self.slots.lanes.values() if lane.active]:
                    await self._sweep(lane, turn % CLAIM_EVERY == CLAIM_EVERY - 1)
            except Temporary as error:
                log.warning("can't look through the queues: %s", error.detail)
            turn += 1
            self._now.clear()
            try:
                await asyncio.wait_for(self._now.wait(), SWEEP)
            except TimeoutError:
                continue

    async def _look_for_another_history(self) -> None:
        """A replica that was promoted may have entries as pending that are done with: they were not heard of there."""
        history = await self.store.history()
        if history == self._history:
            return
        for lane in self.slots.lanes.values():
            lane.suspect = True
        self._history = history

    async def _sweep(self, lane: Lane, claim: bool) -> None:
        if lane.suspect:
            lane.suspect, lane.recovering = False, True
            try:
                await self._recover(lane)
            except Temporary:
                lane.suspect = True
                raise
            finally:
                lane.recovering = False
        if claim and await self.store.claim(lane.stream, lane.policy.timeout + CLAIM_GRACE):
            lane.suspect = True
        lane.behind = True
        self.slots.kick(lane)

    async def _recover(self, lane: Lane) -> None:
        """Take up pending entries that we don't know, oldest first, each when it is due and, if need be, its turn."""
        order = lane.order
        notes = await self.store.pending(lane.stream)
        unknown = [entry_id for entry_id in notes if entry_id not in lane.known]
        keys = await self.store.keys(lane.stream, unknown) if order is not None else {}
        if lane.order is not order:  # the Trigger was changed meanwhile
            lane.suspect = True
            return
        now = time.time()
        for entry_id in unknown:
            if entry_id in lane.known:
                continue
            if (note := notes[entry_id]) is not None:
                lane.attempts[entry_id] = note.attempts
            if lane.enter(entry_id, keys.get(entry_id, "")):
                delay = delivery.remaining(lane.policy, note.attempts, note.due, now) if note else 0.0
                self.slots.later(lane, entry_id, delay)
