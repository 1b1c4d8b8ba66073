"""What ingress counts of its answers."""

from collections.abc import Iterator

import pytest

from functions.ingress.measured import ended
from knts import telemetry


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    telemetry.start("ingress", {"LOG_LEVEL": "WARNING"})
    yield
    telemetry.stop()


def counted() -> list[str]:
    lines = telemetry.metrics()[0].decode().splitlines()
    return sorted(line for line in lines if line.startswith("knts_answer") and "bucket" not in line)


def test_an_answer_is_counted_with_its_times() -> None:
    ended("completed", {"cache": "miss", "timings_ms": {"queued": 1, "search": 20, "first_token": 500, "total": 2500}})
    labels = '{cache="miss",status="completed"}'
    assert counted() == [
        f"knts_answer_duration_seconds_count{labels} 1.0",
        f"knts_answer_duration_seconds_sum{labels} 2.5",
        f"knts_answer_first_token_seconds_count{labels} 1.0",
        f"knts_answer_first_token_seconds_sum{labels} 0.5",
        'knts_answers_stale_total{cache="miss"} 0.0',
        f"knts_answers_total{labels} 1.0",
    ]


@pytest.mark.parametrize("answer", [{}, {"cache": None, "timings_ms": None}, {"cache": "x" * 900, "timings_ms": {}}])
def test_a_failed_answer_has_no_times_and_no_label_of_its_own(answer: dict[str, object]) -> None:
    ended("failed", answer)
    assert counted() == [
        'knts_answers_stale_total{cache="none"} 0.0',
        'knts_answers_total{cache="none",status="failed"} 1.0',
    ]


def test_an_answer_whose_document_has_changed_counts_as_stale() -> None:
    ended("completed", {"cache": "hit", "stale": True})
    assert 'knts_answers_stale_total{cache="hit"} 1.0' in counted()
