"""Logs as JSON lines on stderr, tied to the trace and the correlation id of the work they tell of."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry import trace

from knts.telemetry import context

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_CHATTY = ("httpx", "httpcore", "opentelemetry.attributes")  # their INFO lines tell of single calls, as spans do


class JsonLines(logging.Formatter):
    """One JSON object a line: time, severity, service, message, correlation, trace and span id, what `extra` adds."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        span = trace.get_current_span().get_span_context()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "service": context.function.get() or self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if correlation := context.correlation_id():
            line["correlation_id"] = correlation
        if span.is_valid:
            line["trace_id"], line["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _dumps(line)


def configure(service: str, level: str) -> None:
    """Send every logger's lines, uvicorn's too, through one JSON handler; an unknown level means INFO."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    for old in [kept for kept in root.handlers if type(kept) is logging.StreamHandler]:
        root.removeHandler(old)  # ours or a framework's; what a test runner listens with is of another class
    root.addHandler(handler)
    known = level.upper() in logging.getLevelNamesMapping()
    root.setLevel(level.upper() if known else logging.INFO)
    if not known:
        root.warning("LOG_LEVEL %r is not a level; INFO is used", level)
    for name in ("uvicorn", "uvicorn.error"):  # not uvicorn.access: a span and a metric say the same of each request
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _dumps(line: dict[str, Any]) -> str:
    """JSON of a line; what JSON can't hold (lone surrogates, odd keys) is escaped and never loses the line."""
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        safe = {str(name): str(value).encode("utf-8", "backslashreplace").decode() for name, value in line.items()}
        return orjson.dumps(safe).decode()
