"""Metrics of the broker in Prometheus' words, and what the tap is told."""

import contextlib
import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from knts.devbroker.delivery import Attempt, DeadLetter, Done, Retry
from knts.devbroker.lanes import Lane
from knts.devbroker.manifests import Broker, Trigger
from knts.devbroker.tap import Tap
from knts.events import Event

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
OUTCOMES = {Done: "delivered", Retry: "retried", DeadLetter: "dead-lettered"}

DISCARDED = ("no-sink", "ttl")


class Watcher:
    """Counts what happens and tells the tap."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.registry = registry = CollectorRegistry()
        self._accepted = Counter("knts_broker_accepted", "events accepted", ["broker", "matched"], registry=registry)
        self._refused = Counter("knts_broker_refused", "events refused", ["status"], registry=registry)
        self._attempts = Counter(
            "knts_broker_deliveries", "attempts by what followed", ["trigger", "sink", "outcome"], registry=registry
        )
        self._discarded = Counter("knts_broker_discarded", "events given up", ["trigger", "why"], registry=registry)
        self._depth = Gauge("knts_broker_queue_depth", "events in the queue", ["trigger", "sink"], registry=registry)
        self._running = Gauge("knts_broker_deliveries_running", "under way", ["trigger", "sink"], registry=registry)
        self._waiting = Gauge("knts_broker_retries_waiting", "awaiting a retry", ["trigger", "sink"], registry=registry)
        self._turns = Gauge("knts_broker_turns_waiting", "behind others of their key", ["trigger"], registry=registry)
        self._seconds = Histogram(
            "knts_broker_delivery_seconds", "one attempt", ["trigger", "sink"], buckets=BUCKETS, registry=registry
        )
        self._accepting = Histogram(
            "knts_broker_accept_seconds", "from request to 202", buckets=BUCKETS, registry=registry
        )

    def accepted(self, broker: Broker, event: Event, triggers: Sequence[Trigger]) -> None:
        """An event is durable; with no Triggers, nobody wanted it."""
        self._accepted.labels(f"{broker.namespace}/{broker.name}", "yes" if triggers else "no").inc()
        if self.tap.listeners:
            told = {"attributes": dict(event.attributes), "bytes": len(event.data)}
            names = [trigger.name for trigger in triggers]
            self.tap.tell((broker.namespace, broker.name), "accepted", {**told, "triggers": names})

    def refused(self, status: int) -> None:
        """A request was answered with a failure."""
        self._refused.labels(str(status)).inc()

    def delivered(
        self, lane: Lane, event: Event, attempt: Attempt, decision: Done | Retry | DeadLetter, number: int
    ) -> None:
        """Attempt `number` (from 1) has ended, and this follows."""
        outcome = OUTCOMES[type(decision)]
        self._attempts.labels(lane.trigger.key, sink(lane), outcome).inc()
        if not self.tap.listeners:
            return
        told = {
            "trigger": lane.trigger.name,
            "sink": sink(lane),
            "outcome": outcome,
            "attempt": number,
            "status": attempt.status,
            "fault": attempt.fault or None,
            "retry_in": decision.delay if isinstance(decision, Retry) else None,
            "reply": dict(attempt.reply.attributes) if attempt.reply else None,
            "attributes": dict(event.attributes),
        }
        self.tap.tell((lane.trigger.namespace, lane.trigger.broker), "delivery", told)

    def discarded(self, lane: Lane, why: str) -> None:
        """An event is given up for good: no dead-letter sink ('no-sink'), or its time to live is over ('ttl')."""
        self._discarded.labels(lane.trigger.key, why).inc()

    @contextlib.contextmanager
    def timed(self, lane: Lane) -> Iterator[None]:
        """Measure an attempt."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(lane.trigger.key, sink(lane)).observe(time.perf_counter() - started)

    @contextlib.contextmanager
    def accepting(self) -> Iterator[None]:
        """Measure an acceptance."""
        with self._accepting.time():
            yield

    def text(self, lanes: Sequence[Lane], depths: Sequence[int]) -> bytes:
        """All of it in Prometheus' text format, with the lanes as they are now."""
        for lane, depth in zip(lanes, depths, strict=True):
            labels = lane.trigger.key, sink(lane)
            self._depth.labels(*labels).set(depth)
            self._running.labels(*labels).set(lane.running)
            self._waiting.labels(*labels).set(len(lane.timers) + len(lane.due))
            for outcome in OUTCOMES.values():  # there from the start: the first of them is then seen as an increase
                self._attempts.labels(*labels, outcome)
            for why in DISCARDED:
                self._discarded.labels(lane.trigger.key, why)
            if lane.order is not None:
                self._turns.labels(lane.trigger.key).set(len(lane.order))
        return generate_latest(self.registry)


def sink(lane: Lane) -> str:
    """Which of a Trigger's two sinks a lane delivers to."""
    return "dead-letter" if lane.dead else "subscriber"
