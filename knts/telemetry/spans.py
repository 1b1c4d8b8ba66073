"""Spans of the events' way: published, delivered, processed; and the trace context that travels with an event."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes

from knts.errors import KntsError, Permanent, Temporary
from knts.events import Event
from knts.telemetry import context, measures

SYSTEM = "knative"
CANCELLED = (asyncio.CancelledError, GeneratorExit)
_TRACE_HEADERS = ("traceparent", "tracestate")

tracer: trace.Tracer = trace.NoOpTracer()


def use(chosen: trace.Tracer) -> None:
    """Make spans with this tracer from now on."""
    global tracer
    tracer = chosen


def reset() -> None:
    """Make no spans any more."""
    use(trace.NoOpTracer())


class CurrentTracer(trace.Tracer):
    """The tracer in use, for code that asks OpenTelemetry's API for one: it may start and stop several times."""

    def start_span(self, *args: Any, **named: Any) -> trace.Span:
        """As the tracer in use does."""
        return tracer.start_span(*args, **named)

    def start_as_current_span(self, *args: Any, **named: Any) -> Any:
        """As the tracer in use does."""
        return tracer.start_as_current_span(*args, **named)


class CurrentProvider(trace.TracerProvider):
    """Gives `CurrentTracer` to everybody; set as the process's global provider, which can be set only once."""

    def get_tracer(self, *args: Any, **named: Any) -> trace.Tracer:
        """The one tracer."""
        return CurrentTracer()


def publish_provider() -> None:
    """Let OpenTelemetry's API give our tracer, unless the process has a provider of its own."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(CurrentProvider())


class Marks(SpanProcessor):
    """Puts the correlation id, and the function where a process runs several, on every span when it starts."""

    def __init__(self, service: str) -> None:
        self.service = service

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Mark the span from the work at hand."""
        if correlation := context.correlation_id():
            span.set_attribute(context.CORRELATION_ATTRIBUTE, correlation)
        function = context.function.get()
        if function and function != self.service:
            span.set_attribute("faas.name", function)

    def on_end(self, span: ReadableSpan) -> None:
        """Nothing is left to do."""


# -- the trace context of events --------------------------------------------------------------------------------------


def trace_attributes() -> dict[str, str]:
    """`traceparent` (and `tracestate`) of the span at hand: for a new event's attributes, or to store beside it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return {name: carrier[name] for name in _TRACE_HEADERS if carrier.get(name)}


def traced(event: Event) -> Event:
    """The event with the span at hand as its trace's start, where it names none."""
    if "traceparent" in event.attributes:
        return event
    return replace(event, attributes={**event.attributes, **trace_attributes()})


def started_at(event: Event) -> trace.SpanContext:
    """The span in which the event's trace started, by its extension; invalid where it names none."""
    carrier = {name: value for name in _TRACE_HEADERS if (value := event.attributes.get(name))}
    return _span_context(carrier) if carrier else trace.INVALID_SPAN_CONTEXT


def _span_context(carrier: Mapping[str, str]) -> trace.SpanContext:
    return trace.get_current_span(propagate.extract(carrier, Context())).get_span_context()


def _links(event: Event, parent: trace.SpanContext) -> list[Link]:
    start = started_at(event)
    differs = start.is_valid and (start.trace_id, start.span_id) != (parent.trace_id, parent.span_id)
    return [Link(start)] if differs else []


def _attributes(event: Event, operation: str, operation_type: str) -> dict[str, str | int]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation_type,
        "messaging.message.id": event.id,
        "messaging.message.body.size": len(event.data),
        "cloudevents.event_id": event.id,
        "cloudevents.event_source": event.source,
        "cloudevents.event_spec_version": event.attributes.get("specversion", "1.0"),
        "cloudevents.event_type": event.type,
        **({"cloudevents.event_subject": event.subject} if event.subject else {}),
        **({"messaging.message.conversation_id": event.correlation_id} if event.correlation_id else {}),
    }


# -- the two sides of an event ----------------------------------------------------------------------------------------


@dataclass
class Work:
    """One event being worked; `outcome` ends as "replied", "done", "refused" (permanent), "retry" or "bug"."""

    span: trace.Span
    outcome: str = "done"
    reply_type: str = ""

    def replied(self, event_type: str) -> None:
        """The work led to an event of this type."""
        self.outcome, self.reply_type = "replied", event_type
        self.span.set_attribute("knts.reply_type", event_type)


@contextlib.contextmanager
def processing(event: Event, headers: Mapping[str, str]) -> Iterator[Work]:
    """The consumer span, log context and metric around a handler's work on one event.

    Its parent is the server span at hand; without one, the HTTP `traceparent` of `headers`, then the event's own.
    """
    parent = _parent(event, headers)
    at_hand = trace.get_current_span(parent).get_span_context()
    attributes = _attributes(event, "process", "process")
    with (
        context.correlated(event.correlation_id),
        around(f"process {event.type}", SpanKind.CONSUMER, parent, attributes, _links(event, at_hand)) as span,
    ):
        work, started = Work(span), time.perf_counter()
        try:
            yield work
        except BaseException as error:
            work.outcome = outcome(error)
            raise
        finally:
            span.set_attribute("knts.outcome", work.outcome)
            labels = {"cloudevents.event_type": event.type, "outcome": work.outcome, "reply_type": work.reply_type}
            measures.observe("messaging.process.duration", time.perf_counter() - started, labels)


@contextlib.contextmanager
def publishing(event: Event) -> Iterator[Event]:
    """The producer span around handing an event to the Broker; gives the event with its trace start set."""
    with around(f"send {event.type}", SpanKind.PRODUCER, None, _attributes(event, "send", "send")):
        sent = "failed"
        try:
            yield traced(event)
            sent = "sent"
        finally:
            measures.count("messaging.client.sent.messages", type=event.type, outcome=sent)


def _parent(event: Event, headers: Mapping[str, str]) -> Context | None:
    """The context to continue: the one at hand, that of `headers`, or that of the event."""
    if trace.get_current_span().get_span_context().is_valid:
        return None
    for carrier in (headers, event.attributes):
        named = {name: value for name in _TRACE_HEADERS if (value := carrier.get(name))}
        if named and _span_context(named).is_valid:
            return propagate.extract(named, Context())
    return None


@contextlib.contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[trace.Span]:
    """A span of our own around a step that takes time and that no instrumentation shows."""
    with around(name, SpanKind.INTERNAL, None, attributes) as current:
        yield current


@contextlib.contextmanager
def client(name: str, attributes: Mapping[str, str | int | float]) -> Iterator[trace.Span]:
    """A span around a call to something outside, which is not made the current one.

    So it may stand in a generator: a current span would stay current for whoever reads the generator.
    """
    current = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
    try:
        yield current
    except BaseException as error:
        failed(current, error)
        raise
    finally:
        current.end()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No client spans in this block: for calls that repeat for each token or each tick."""
    with suppress_instrumentation():
        yield


@contextlib.contextmanager
def around(
    name: str, kind: SpanKind, parent: Context | None, attributes: Attributes, links: list[Link] | None = None
) -> Iterator[trace.Span]:
    """A span around a block, marked as failed by what is raised, without the stack trace and what it may hold."""
    with tracer.start_as_current_span(
        name, parent, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            failed(current, error)
            raise


def failed(span: trace.Span, error: BaseException) -> None:
    """Mark the span with what ended it: our errors by slug and sentence, others by class alone, which hold no data.

    Who no longer waits for something is no failure of it.
    """
    span.set_attribute("error.type", error_type(error))
    if isinstance(error, CANCELLED):
        return
    sentence = str(error)[:200] if isinstance(error, KntsError) else type(error).__qualname__
    span.set_status(Status(StatusCode.ERROR, sentence))


def error_type(error: BaseException) -> str:
    """An error's class in a word that stays the same."""
    if isinstance(error, CANCELLED):
        return "cancelled"
    return error.slug if isinstance(error, KntsError) else type(error).__qualname__


def outcome(error: BaseException) -> str:
    """What an error means for a delivery, in one word."""
    if isinstance(error, Permanent):
        return "refused"
    if isinstance(error, Temporary):
        return "retry"
    return "bug" if isinstance(error, Exception) else "interrupted"
