"""What a failed fault run prints of the event that broke."""

from pathlib import Path

import orjson
import pytest

from tests.faults.traces import drawn

ASK = "4f9d6f0a2b7c41d8a1e0c5b3d2f6a798"


def span(trace_id: str, name: str, **attributes: str) -> bytes:
    return orjson.dumps(
        {
            "trace_id": trace_id,
            "span_id": "a" * 16,
            "parent_id": None,
            "name": name,
            "kind": "server",
            "service": "ingress",
            "start": 1_000_000,
            "end": 9_000_000,
            "error": "",
            "attributes": attributes,
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        span("1" * 32, "POST /v1/answers", **{"knts.correlation_id": ASK}),
        span("2" * 32, "process document.upserted", **{"cloudevents.event_subject": "x1"}),
        span("3" * 32, "process document.deleted", **{"cloudevents.event_subject": "x1"}),
    ]
    (tmp_path / "ingress.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return tmp_path


def test_an_answers_trace_is_drawn(folder: Path) -> None:
    said = drawn([f"answer {ASK}: its client was left waiting", f"answer {ASK}: has the last events []"], folder)
    assert said.count("POST /v1/answers") == 1
    assert ASK in said


def test_of_a_document_its_last_event_is(folder: Path) -> None:
    said = drawn(["x1: was removed but has chunks [(1, 0)]"], folder)
    assert "document.deleted" in said
    assert "document.upserted" not in said


def test_what_was_not_recorded_is_said(folder: Path) -> None:
    assert "no span of" in drawn([f"answer {'0' * 32}: ended after 99 s"], folder)
    assert drawn(["a search took 99 s"], folder) == ""
