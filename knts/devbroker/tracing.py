"""Spans of the broker, and the W3C trace context that goes through its queue: in, in the entry, and out."""

import contextlib
from collections.abc import Iterator, Mapping

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from knts.devbroker.delivery import Attempt
from knts.events import Event

_tracer = trace.get_tracer("knts.devbroker")


@contextlib.contextmanager
def publishing(event: Event, headers: Mapping[str, str], broker: str) -> Iterator[str]:
    """The producer span around accepting an event; yields the `traceparent` to queue it with.

    The parent is the request's, or, where it has none, the one in the event's extension.
    """
    carrier = headers if "traceparent" in headers else event.attributes
    context = propagate.extract({name: carrier[name] for name in ("traceparent", "tracestate") if name in carrier})
    attributes = _attributes(event, broker, "send")
    with _tracer.start_as_current_span(f"publish {broker}", context, SpanKind.PRODUCER, attributes):
        yield _carrier().get("traceparent", "")


@contextlib.contextmanager
def delivering(event: Event, parent: str, trigger: str, url: str) -> Iterator[tuple[dict[str, str], Span]]:
    """The consumer span around one attempt; yields the headers that carry it to the subscriber, and the span."""
    context = propagate.extract({"traceparent": parent} if parent else {})
    attributes = {**_attributes(event, trigger, "process"), "url.full": url}
    with _tracer.start_as_current_span(f"deliver {trigger}", context, SpanKind.CONSUMER, attributes) as span:
        yield _carrier(), span


def answered(span: Span, attempt: Attempt) -> None:
    """Note on the span what the subscriber said."""
    span.set_attribute("http.response.status_code", attempt.status)
    if attempt.fault:
        span.set_status(Status(StatusCode.ERROR, attempt.fault))


def _carrier() -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def _attributes(event: Event, destination: str, operation: str) -> dict[str, str]:
    named = {
        "messaging.system": "knative",
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "cloudevents.event_id": event.id,
        "cloudevents.event_source": event.source,
        "cloudevents.event_type": event.type,
        "cloudevents.event_subject": event.subject,
        "messaging.message.conversation_id": event.correlation_id,
    }
    return {name: value for name, value in named.items() if value}
