"""The handlers as they are wired: with how late each document was, and how many were refused."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from knts import events, telemetry
from knts.errors import Permanent
from knts.events import Event

CONFLICT = "conflict"  # its version was taken before with another content
UNFIT = "unfit"  # it can't be indexed
OUTCOMES = {events.DOCUMENT_INDEXED: "indexed", events.DOCUMENT_REMOVED: "removed"}

Handler = Callable[[Event], Awaitable[Event | None]]


def measured(handler: Handler) -> Handler:
    """The handler, with what it does counted. A superseded version is neither late nor refused."""
    for reason in (CONFLICT, UNFIT):
        telemetry.count("knts.documents.rejected", 0, reason=reason)  # so that the first is seen as an increase

    async def worked(event: Event) -> Event | None:
        try:
            reply = await handler(event)
        except Permanent:
            telemetry.count("knts.documents.rejected", reason=UNFIT)
            raise
        if reply is None:
            return None
        if reply.type == events.DOCUMENT_REJECTED:
            telemetry.count("knts.documents.rejected", reason=CONFLICT)
        elif (lag := lag_of(event, datetime.now(UTC))) is not None:
            telemetry.observe("knts.document.lag", lag, outcome=OUTCOMES[reply.type])
        return reply

    return worked


def lag_of(event: Event, at: datetime) -> float | None:
    """Seconds since the event's own `time`; None where it has none, 0 where its clock is ahead."""
    time = event.attributes.get("time")
    return max(0.0, (at - events.parse_time(time, "time")).total_seconds()) if time else None
