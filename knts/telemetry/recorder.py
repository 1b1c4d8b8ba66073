"""The local recorder: finished spans as JSON lines in a folder, which `knts trace` draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import INVALID_SPAN_CONTEXT

MAX_BYTES = 16 * 1024 * 1024
FLUSH_MS = 500  # spans are on disk within this time
_EXPECTED = "NoScriptError"  # Redis does not know a script yet; redis-py then loads it and calls it again


class Recorder(SpanExporter):
    """Appends spans to `<folder>/<service>.jsonl`, which at `max_bytes` moves to `.jsonl.1` over the older one."""

    def __init__(self, folder: Path, service: str, max_bytes: int = MAX_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{service}.jsonl"
        self.service = service
        self.max_bytes = max_bytes

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append a batch in one write, so that processes sharing the file don't tear each other's lines."""
        lines = b"".join(orjson.dumps(line(span, self.service)) + b"\n" for span in spans)
        if self.path.exists() and self.path.stat().st_size + len(lines) > self.max_bytes:
            self.path.replace(self.path.with_suffix(".jsonl.1"))
        with self.path.open("ab", buffering=0) as file:
            file.write(lines)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is kept open."""


def line(span: ReadableSpan, service: str) -> dict[str, Any]:
    """A finished span as the recorder writes it; times are Unix nanoseconds."""
    attributes = dict(span.attributes or {})
    own = span.get_span_context() or INVALID_SPAN_CONTEXT
    return {
        "trace_id": f"{own.trace_id:032x}",
        "span_id": f"{own.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "service": attributes.pop("faas.name", service),
        "start": span.start_time,
        "end": span.end_time,
        "error": _error(span),
        "attributes": {name: list(v) if isinstance(v, tuple) else v for name, v in attributes.items()},
        "links": [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links],
        "events": [{"name": event.name, "time": event.timestamp} for event in span.events],
    }


def _error(span: ReadableSpan) -> str | None:
    if span.status.is_ok or span.status.is_unset:
        return None
    if (span.status.description or "").startswith(_EXPECTED):
        return None
    return span.status.description or str((span.attributes or {}).get("error.type", "error"))
