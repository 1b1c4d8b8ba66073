"""What index-document counts: how late documents are, and which it refuses."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from functions.index_document.measured import lag_of, measured
from knts import events, telemetry
from knts.errors import Permanent
from knts.events import Event

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _running() -> Iterator[None]:
    telemetry.start("index-document", {"LOG_LEVEL": "WARNING"})
    yield
    telemetry.stop()


def counted() -> dict[str, float]:
    lines = telemetry.metrics()[0].decode().splitlines()
    counts = [line.rsplit(" ", 1) for line in lines if line.startswith("knts_document") and "_total{" in line]
    lags = [line.rsplit(" ", 1) for line in lines if line.startswith("knts_document_lag_seconds_count")]
    return {name: float(value) for name, value in [*counts, *lags]}


def upserted(**attributes: str) -> Event:
    return events.new_event(events.DOCUMENT_UPSERTED, "/test", {"id": "hamlet", "version": 1}, **attributes)


REFUSED = {
    'knts_documents_rejected_total{reason="conflict"}': 0.0,
    'knts_documents_rejected_total{reason="unfit"}': 0.0,
}


@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        (events.DOCUMENT_INDEXED, {'knts_document_lag_seconds_count{outcome="indexed"}': 1.0}),
        (events.DOCUMENT_REMOVED, {'knts_document_lag_seconds_count{outcome="removed"}': 1.0}),
        (events.DOCUMENT_REJECTED, {'knts_documents_rejected_total{reason="conflict"}': 1.0}),
        (None, {}),
    ],
)
async def test_what_became_of_a_document_is_counted(reply: str | None, seen: dict[str, float]) -> None:
    async def handler(event: Event) -> Event | None:
        return events.reply_to(event, reply, "/test", {}) if reply else None

    given = upserted()
    answer = await measured(handler)(given)
    assert (answer.type if answer else None) == reply
    assert counted() == REFUSED | seen


async def test_a_document_that_can_not_be_indexed_is_counted_and_still_refused() -> None:
    async def handler(_: Event) -> Event | None:
        raise Permanent("too long")

    with pytest.raises(Permanent):
        await measured(handler)(upserted())
    assert counted() == REFUSED | {'knts_documents_rejected_total{reason="unfit"}': 1.0}


@pytest.mark.parametrize(
    ("time", "lag"),
    [
        ("2026-01-31T11:59:30Z", 30.0),
        ("2026-01-31t13:00:00+02:00", 3600.0),
        ("2026-01-31T12:05:00Z", 0.0),  # the producer's clock is ahead
        ("", None),
    ],
)
def test_a_document_is_as_late_as_its_event_is_old(time: str, lag: float | None) -> None:
    event = upserted()
    attributes = (
        {**event.attributes, "time": time} if time else {n: v for n, v in event.attributes.items() if n != "time"}
    )
    assert lag_of(Event(attributes, event.data), NOON) == lag
