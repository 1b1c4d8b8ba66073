"""What every log line and span of one piece of work carries: its correlation id and the function that does it."""

import contextlib
import contextvars
from collections.abc import Iterator

from opentelemetry import trace

MAX_ID = 128  # a client may name any text as an id
CORRELATION_ATTRIBUTE = "knts.correlation_id"

_correlation: contextvars.ContextVar[str] = contextvars.ContextVar("knts_correlation", default="")
function: contextvars.ContextVar[str] = contextvars.ContextVar("knts_function", default="")


def correlation_id() -> str:
    """The correlation id of the work at hand, or ''."""
    return _correlation.get()


def correlate(correlation_id: str) -> None:
    """Put the correlation id on the span at hand and on all that follows in this task."""
    _correlation.set(correlation_id[:MAX_ID])
    _mark(correlation_id[:MAX_ID])


@contextlib.contextmanager
def correlated(correlation_id: str) -> Iterator[None]:
    """Put the correlation id on the span at hand and on every log line and span of the block."""
    token = _correlation.set(correlation_id)
    _mark(correlation_id)
    try:
        yield
    finally:
        _correlation.reset(token)


def _mark(correlation_id: str) -> None:
    if correlation_id:
        trace.get_current_span().set_attribute(CORRELATION_ATTRIBUTE, correlation_id)
