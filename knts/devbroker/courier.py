"""One attempt to deliver an entry, and what is to become of the entry then. It touches no queue: `slots` does."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from knts import events, telemetry
from knts.devbroker import delivery, sending, tracing
from knts.devbroker.delivery import Attempt, DeadLetter, Done, Retry
from knts.devbroker.entries import Entry, dead_key, queue_key
from knts.devbroker.lanes import Lane
from knts.devbroker.manifests import Broker, Plan, Trigger
from knts.devbroker.watching import Watcher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """The entry is done with; `out` follows from it and goes into `streams`.

    Where it is a reply, that `broker` has accepted it for those `triggers`.
    """

    out: Entry | None = None
    streams: tuple[str, ...] = ()
    broker: Broker | None = None
    triggers: Sequence[Trigger] = ()


@dataclass(frozen=True)
class Again:
    """It has failed `attempts` times and is due again after `delay` seconds."""

    attempts: int
    delay: float


class Courier:
    """Delivers by the plan in force."""

    def __init__(self, http: aiohttp.ClientSession, watcher: Watcher) -> None:
        self.http = http
        self.watcher = watcher
        self.plan = Plan()

    async def deliver(self, lane: Lane, entry: Entry) -> Ended | Again:
        """Post the entry's event to where its lane leads; what follows."""
        attempt, trace = await self._attempt(lane, entry)
        earlier = lane.attempts.get(entry.id, 0)
        judge = delivery.decide_dead_letter if lane.dead else delivery.decide
        decision = judge(lane.policy, earlier, attempt, random.random())
        self.watcher.delivered(lane, entry.event, attempt, decision, earlier + 1)
        match decision:
            case Done():
                return self._done(lane, entry, attempt, trace)
            case Retry(delay):
                return Again(earlier + 1, delay)
            case DeadLetter():
                return self._dead(lane, entry, attempt)

    async def _attempt(self, lane: Lane, entry: Entry) -> tuple[Attempt, str]:
        """What came of one attempt, and the trace context that a reply goes on with."""
        with tracing.delivering(entry.event, entry.trace, lane.trigger.key, lane.target) as (carrier, span):
            headers = {"prefer": "reply", "kn-namespace": lane.trigger.namespace, **carrier}
            event = delivery.outgoing(entry.event)
            with self.watcher.timed(lane), telemetry.quiet():  # the span around it tells all that a client span would
                attempt = await sending.send(self.http, lane.target, event, headers, lane.policy.timeout)
            tracing.answered(span, attempt)
        return attempt, carrier.get("traceparent", "")

    def _done(self, lane: Lane, entry: Entry, attempt: Attempt, trace: str) -> Ended:
        broker = self.plan.brokers.get((lane.trigger.namespace, lane.trigger.broker))
        if attempt.reply is None or lane.dead or broker is None:
            return Ended()
        reply = delivery.reply_arrived(attempt.reply, entry.event, events.now())
        if reply is None:
            log.error("a reply has run round too often and ends here", extra=delivery.summary(attempt.reply.attributes))
            self.watcher.discarded(lane, "ttl")
            return Ended()
        triggers = broker.matching(reply.attributes)
        streams = tuple(queue_key(trigger.key) for trigger in triggers)
        return Ended(Entry("", reply, trace), streams, broker, triggers)

    def _dead(self, lane: Lane, entry: Entry, attempt: Attempt) -> Ended:
        told = {"trigger": lane.trigger.key, "fault": attempt.fault, **delivery.summary(entry.event.attributes)}
        if lane.policy.dead_letter is None:
            log.error("an event is given up; its Trigger has no dead-letter sink", extra=told)
            self.watcher.discarded(lane, "no-sink")
            return Ended()
        log.error("an event goes to the dead letters", extra=told)
        letter = delivery.dead(entry.event, attempt, lane.trigger.subscriber, lane.trigger.key)
        return Ended(Entry("", letter, entry.trace), (dead_key(lane.trigger.key),))
