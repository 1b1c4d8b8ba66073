"""Metrics by short helper functions: counters, histograms, up-down counters and gauges, with bounded label sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Value = str | int | bool

MOST_LABEL_SETS = 200  # a metric's further combinations are counted together, as "other"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # HTTP's buckets in the semconv
MODEL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LAG_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


@dataclass(frozen=True)
class Known:
    """What a metric means: its unit (UCUM), a sentence, and a histogram's buckets."""

    unit: str
    description: str
    buckets: tuple[float, ...] | None = None


KNOWN: Mapping[str, Known] = {
    "http.server.request.duration": Known("s", "Duration of HTTP server requests.", SECONDS),
    "http.server.active_requests": Known("{request}", "HTTP requests being answered."),
    "messaging.process.duration": Known("s", "Duration of processing an event.", (*SECONDS, 30, 60, 120, 300)),
    "messaging.client.sent.messages": Known("{message}", "Events handed to the Broker."),
    "gen_ai.client.operation.duration": Known("s", "Duration of a model call.", MODEL_SECONDS),
    "gen_ai.client.operation.time_to_first_chunk": Known("s", "Time until a model's first token.", MODEL_SECONDS),
    "gen_ai.client.token.usage": Known("{token}", "Tokens read (input) and written (output) by a model.", TOKENS),
    "knts.answers.stale": Known("{answer}", "Answers told while a document that they cite had changed, by cache."),
    "knts.answers": Known("{answer}", "Answers that ended, by status and cache."),
    "knts.answer.first_token": Known("s", "From the question's arrival to its answer's first word.", MODEL_SECONDS),
    "knts.answer.duration": Known("s", "From the question's arrival to the end of its answer.", MODEL_SECONDS),
    "knts.cache.reads": Known("{read}", "Look-ups of cached answers by their key, by outcome."),
    "knts.cache.rewordings": Known("{question}", "Questions that may be another wording of one, by what came of it."),
    "knts.cache.forgotten": Known("{answer}", "Cached answers dropped since a document of theirs changed or went."),
    "knts.document.lag": Known("s", "From a document event's own time until it was worked.", LAG_SECONDS),
    "knts.documents.rejected": Known("{document}", "Versions of documents that index-document refused, by reason."),
    "knts.dead_letters": Known("{letter}", "Dead letters that were kept, by what failed and whether they were new."),
    "knts.model.flights": Known("{flight}", "Answers that wait for one of a model's slots, or are being written."),
    "knts.model.wait": Known("s", "How long an answer waited for one of its model's slots.", MODEL_SECONDS),
    "knts.model.rests": Known("{rest}", "Times that a failing model was let rest, by model."),
    "knts.embedder.failures": Known("{call}", "Calls of the embedding model that failed, by model."),
    "knts.search.by_words": Known("{search}", "Searches that went by words alone since no model embedded them."),
    "knts.search.rewritings": Known("{question}", "Follow-ups that the model was to rewrite, by outcome."),
    "knts.records.unreadable": Known("{record}", "Documents left out since their record in Redis can't be read."),
    "knts.waiting": Known("{client}", "Clients that wait for an answer now."),
}


@dataclass
class Instruments:
    """The instruments of one process, made when they are first used."""

    meter: Meter = field(default_factory=lambda: NoOpMeter("knts"))
    registry: CollectorRegistry | None = None
    made: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, set[tuple[tuple[str, Value], ...]]] = field(default_factory=dict)

    def make(self, kind: str, name: str) -> Any:
        """The instrument `name`, of `kind` counter, up_down_counter or histogram."""
        if name not in self.made:
            known = KNOWN.get(name, Known("1", name))
            extra = {"explicit_bucket_boundaries_advisory": known.buckets} if known.buckets else {}
            create = getattr(self.meter, f"create_{kind}")
            self.made[name] = create(name, unit=known.unit, description=known.description, **extra)
        return self.made[name]

    def bounded(self, name: str, attributes: Mapping[str, Value]) -> Mapping[str, Value]:
        """The attributes, or all of them as "other" where the metric has `MOST_LABEL_SETS` combinations already."""
        seen = self.labels.setdefault(name, set())
        combination = tuple(sorted(attributes.items()))
        if combination in seen:
            return attributes
        if len(seen) < MOST_LABEL_SETS:
            seen.add(combination)
            return attributes
        return dict.fromkeys(attributes, "other")


current = Instruments()


def use(instruments: Instruments) -> None:
    """Record with these from now on."""
    global current
    current = instruments


def count(name: str, amount: int = 1, /, **attributes: Value) -> None:
    """Add to a counter. Attribute values must be few: types, outcomes, statuses; never ids or what a client sends."""
    current.make("counter", name).add(amount, current.bounded(name, attributes))


def add(name: str, amount: int, /, **attributes: Value) -> None:
    """Raise or lower a count of things that are there now."""
    current.make("up_down_counter", name).add(amount, current.bounded(name, attributes))


def observe(name: str, value: float, attributes: Mapping[str, Value] | None = None, /, **named: Value) -> None:
    """Record a value in a histogram. Attributes whose names have dots are given as a mapping."""
    current.make("histogram", name).record(value, current.bounded(name, {**(attributes or {}), **named}))


def watch(name: str, read: Callable[[], Mapping[str, float]], label: str) -> None:
    """Report gauges that `read` gives, by the value of one `label`, whenever metrics are collected.

    `read` runs in another thread at times, so it must only look at values that are at hand. What is read this way
    costs nothing while it changes.
    """
    known = KNOWN.get(name, Known("1", name))

    def observations(_: CallbackOptions) -> list[Observation]:
        return [Observation(value, {label: key}) for key, value in read().items()]

    current.meter.create_observable_gauge(name, [observations], unit=known.unit, description=known.description)


def metrics() -> tuple[bytes, str]:
    """This process's metrics in Prometheus' text format, and its content type."""
    if current.registry is None:
        return b"", CONTENT_TYPE_LATEST
    return generate_latest(current.registry), CONTENT_TYPE_LATEST
