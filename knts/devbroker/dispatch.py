"""The heart of the broker: what is accepted is queued for each Trigger that wants it, and delivered until it is done.

Each stream has a lane with a number of slots. A slot delivers one entry at a time; an entry that waits for another
attempt holds none, so it stops nobody. The decisions are in `delivery`, what must be atomic is in `store`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import aiohttp

from knts import events, telemetry
from knts.devbroker import delivery, sending, tracing
from knts.devbroker.delivery import Attempt, DeadLetter, Done, Retry
from knts.devbroker.lanes import Lane
from knts.devbroker.manifests import Broker, Plan, Trigger
from knts.devbroker.store import Entry, Note, Store, dead_key, queue_key
from knts.devbroker.watching import Watcher
from knts.errors import Temporary
from knts.events import Event

log = logging.getLogger(__name__)

SWEEP = 1.0  # seconds between looks for what was overlooked
CLAIM_EVERY = 30  # sweeps between looks for what another broker has left
CLAIM_GRACE = 60.0
AFTER_BUG = 30.0


class Dispatcher:
    """Queues, delivers, retries and dead-letters by the plan in force."""

    def __init__(self, store: Store, http: aiohttp.ClientSession, watcher: Watcher) -> None:
        self.store = store
        self.http = http
        self.watcher = watcher
        self.plan = Plan()
        self.lanes: dict[str, Lane] = {}
        self.closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep_now = asyncio.Event()

    def follow(self, plan: Plan) -> None:
        """Work by `plan` from now on. The queue of a Trigger that is gone stays, in case it comes back."""
        self.plan = plan
        wanted = {
            (dead_key if dead else queue_key)(key): (trigger, dead)
            for key, trigger in plan.triggers().items()
            for dead in (False, True)
        }
        for stream, lane in self.lanes.items():
            lane.active = stream in wanted
        for stream, (trigger, dead) in wanted.items():
            lane = self.lanes.setdefault(stream, Lane(stream, trigger, dead))
            lane.trigger = trigger
            self._kick(lane)
        self._sweep_now.set()

    # -- accepting ----------------------------------------------------------------------------------------------------

    async def publish(self, broker: Broker, event: Event, trace: str) -> list[Trigger]:
        """Queue an arrived event for every Trigger that wants it; those Triggers. Durable on return.

        Raises QueueFull or Temporary; then it was not accepted.
        """
        triggers = broker.matching(event.attributes)
        if triggers:
            await self._queue(triggers, event, trace)
        self.watcher.accepted(broker, event, triggers)
        return triggers

    async def replay(self, broker: Broker, trigger: Trigger, event: Event, trace: str) -> None:
        """Queue an arrived event for this Trigger alone, whatever its filter says. Returns and raises likewise."""
        await self._queue([trigger], event, trace)
        self.watcher.accepted(broker, event, [trigger])

    async def _queue(self, triggers: Sequence[Trigger], event: Event, trace: str) -> None:
        lanes = [self.lanes[queue_key(trigger.key)] for trigger in triggers]
        take = self._reserve(lanes)
        try:
            moved = await self.store.put(Entry("", event, trace), [lane.stream for lane in lanes], take)
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
            self._kick(lane)

    # -- slots --------------------------------------------------------------------------------------------------------

    def _kick(self, lane: Lane) -> None:
        """Fill free slots: first with what is due for another attempt, then with what waits in the stream."""
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
        """Deliver an entry in a slot that is reserved for it."""
        if entry.id in lane.known:  # it was found pending before the answer that gave it to us was read
            self._release(lane)
            return
        lane.known.add(entry.id)
        self._spawn(self._deliver(lane, entry))

    def _release(self, lane: Lane) -> None:
        lane.running -= 1
        self._kick(lane)

    async def _again(self, lane: Lane, entry_id: str) -> None:
        """Another attempt of an entry, in a slot that is reserved for it."""
        try:
            entry = await self.store.entry(lane.stream, entry_id)
        except Temporary:
            self._later(lane, entry_id, SWEEP)
            self._release(lane)
            return
        if entry is not None:
            await self._deliver(lane, entry)
            return
        log.warning("an entry was removed by somebody else", extra={"stream": lane.stream, "entry": entry_id})
        await self._finish(lane, entry_id)

    def _later(self, lane: Lane, entry_id: str, delay: float) -> None:
        """Deliver a pending entry after `delay` seconds, when there is a slot."""
        lane.known.add(entry_id)
        lane.timers[entry_id] = asyncio.get_running_loop().call_later(delay, self._due, lane, entry_id)

    def _due(self, lane: Lane, entry_id: str) -> None:
        del lane.timers[entry_id]
        lane.due.append(entry_id)
        self._kick(lane)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- delivering ---------------------------------------------------------------------------------------------------

    async def _deliver(self, lane: Lane, entry: Entry) -> None:
        try:
            attempt, trace = await self._attempt(lane, entry)
            earlier = lane.attempts.get(entry.id, 0)
            judge = delivery.decide_dead_letter if lane.dead else delivery.decide
            decision = judge(lane.policy, earlier, attempt, random.random())
            self.watcher.delivered(lane, entry.event, attempt, decision, earlier + 1)
            match decision:
                case Done():
                    await self._done(lane, entry, attempt, trace)
                case Retry(delay):
                    await self._retry(lane, entry.id, earlier + 1, delay)
                case DeadLetter():
                    await self._dead(lane, entry, attempt)
        except Exception:
            log.exception("a bug in the broker; the event is tried again", extra={"stream": lane.stream})
            self._later(lane, entry.id, AFTER_BUG)
            self._release(lane)

    async def _attempt(self, lane: Lane, entry: Entry) -> tuple[Attempt, str]:
        """Post the entry's event; what came of it, and the trace context that a reply goes on with."""
        with tracing.delivering(entry.event, entry.trace, lane.trigger.key, lane.target) as (carrier, span):
            headers = {"prefer": "reply", "kn-namespace": lane.trigger.namespace, **carrier}
            event = delivery.outgoing(entry.event)
            with self.watcher.timed(lane), telemetry.quiet():  # the span around it tells all that a client span would
                attempt = await sending.send(self.http, lane.target, event, headers, lane.policy.timeout)
            tracing.answered(span, attempt)
        return attempt, carrier.get("traceparent", "")

    async def _done(self, lane: Lane, entry: Entry, attempt: Attempt, trace: str) -> None:
        broker = self.plan.brokers.get((lane.trigger.namespace, lane.trigger.broker))
        if attempt.reply is None or lane.dead or broker is None:
            await self._finish(lane, entry.id)
            return
        reply = delivery.reply_arrived(attempt.reply, entry.event, events.now())
        if reply is None:
            log.error("a reply has run round too often and ends here", extra=delivery.summary(attempt.reply.attributes))
            self.watcher.discarded(lane, "ttl")
            await self._finish(lane, entry.id)
            return
        triggers = broker.matching(reply.attributes)
        lanes = [self.lanes[queue_key(trigger.key)] for trigger in triggers]
        await self._finish(lane, entry.id, Entry("", reply, trace), lanes)
        self.watcher.accepted(broker, reply, triggers)

    async def _retry(self, lane: Lane, entry_id: str, attempts: int, delay: float) -> None:
        lane.attempts[entry_id] = attempts
        try:
            await self.store.note(lane.stream, entry_id, Note(attempts, time.time() + delay))
        except Temporary as error:
            log.warning("an attempt could not be noted: %s", error.detail, extra={"stream": lane.stream})
        self._later(lane, entry_id, delay)
        self._release(lane)

    async def _dead(self, lane: Lane, entry: Entry, attempt: Attempt) -> None:
        told = {"trigger": lane.trigger.key, "fault": attempt.fault, **delivery.summary(entry.event.attributes)}
        if lane.policy.dead_letter is None:
            log.error("an event is given up; its Trigger has no dead-letter sink", extra=told)
            self.watcher.discarded(lane, "no-sink")
            await self._finish(lane, entry.id)
            return
        log.error("an event goes to the dead letters", extra=told)
        letter = delivery.dead(entry.event, attempt, lane.trigger.subscriber, lane.trigger.key)
        sink = self.lanes[dead_key(lane.trigger.key)]
        await self._finish(lane, entry.id, Entry("", letter, entry.trace), [sink])

    async def _finish(self, lane: Lane, entry_id: str, out: Entry | None = None, lanes: Sequence[Lane] = ()) -> None:
        """Remove an entry and queue what follows from it, in one step, however often Redis has to be asked.

        The step is harmless when repeated: it does nothing once the entry is gone.
        """
        pause = 0.05
        while True:
            take = self._reserve(lanes)
            successor = lane.behind and lane.active and not self.closing
            streams = [follower.stream for follower in lanes]
            try:
                moved = await self.store.finish(
                    lane.stream, entry_id, successor=successor, out=out, streams=streams, take=take
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
            return
        self._settle(lanes, take, moved.taken)
        if moved.successor is not None:
            self._start(lane, moved.successor)
            return
        if successor:
            lane.behind = False
        self._release(lane)

    # -- finding what was overlooked -----------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """For ever: take up what is ours without our knowing, what others appended, what another broker has left."""
        turn = 0
        while True:
            try:
                for lane in [lane for lane in self.lanes.values() if lane.active]:
                    await self._sweep_lane(lane, turn % CLAIM_EVERY == CLAIM_EVERY - 1)
            except Temporary as error:
                log.warning("can't look through the queues: %s", error.detail)
            turn += 1
            self._sweep_now.clear()
            try:
                await asyncio.wait_for(self._sweep_now.wait(), SWEEP)
            except TimeoutError:
                continue

    async def _sweep_lane(self, lane: Lane, claim: bool) -> None:
        if lane.suspect:
            lane.suspect = False
            try:
                await self._recover(lane)
            except Temporary:
                lane.suspect = True
                raise
        if claim and await self.store.claim(lane.stream, lane.policy.timeout + CLAIM_GRACE):
            lane.suspect = True
        lane.behind = True
        self._kick(lane)

    async def _recover(self, lane: Lane) -> None:
        now = time.time()
        for entry_id, note in (await self.store.pending(lane.stream)).items():
            if entry_id in lane.known:
                continue
            if note is not None:
                lane.attempts[entry_id] = note.attempts
            delay = delivery.remaining(lane.policy, note.attempts, note.due, now) if note else 0.0
            self._later(lane, entry_id, delay)

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
