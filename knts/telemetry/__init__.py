"""Traces, metrics and logs at the edge of every process, so that no handler knows of OpenTelemetry.

`start` and `stop` bracket a process's life; `ServerSpans` stands around its HTTP app. Everything here may be called
before `start`: it then does next to nothing. docs/telemetry.md names the spans, metrics and settings.
"""

from knts.telemetry.asgi import ServerSpans, note_route
from knts.telemetry.context import correlate, correlated, correlation_id
from knts.telemetry.measures import add, count, metrics, observe, watch
from knts.telemetry.model import ModelCall, model_call
from knts.telemetry.process import start, stop
from knts.telemetry.spans import (
    processing,
    publishing,
    quiet,
    span,
    trace_attributes,
    traced,
)

__all__ = [
    "ModelCall",
    "ServerSpans",
    "add",
    "correlate",
    "correlated",
    "correlation_id",
    "count",
    "metrics",
    "model_call",
    "note_route",
    "observe",
    "processing",
    "publishing",
    "quiet",
    "span",
    "start",
    "stop",
    "trace_attributes",
    "traced",
    "watch",
]
