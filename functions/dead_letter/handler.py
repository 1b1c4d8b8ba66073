"""The story of a dead letter: it is kept, told of in the log, and whoever waits for it hears that nothing will come."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from functions.dead_letter.documents import DOCUMENTS, document_of
from functions.dead_letter.reasons import problem_of, reason_of
from knts import answers, channel
from knts.events import ANSWER_REQUESTED, PASSAGES_FOUND, SEARCH_REQUESTED, Event

log = logging.getLogger(__name__)

AWAITED = frozenset({SEARCH_REQUESTED, ANSWER_REQUESTED, PASSAGES_FOUND})  # without these, nothing comes any more


class Letters(Protocol):
    """Where dead letters are kept."""

    async def store(self, event: Event) -> tuple[str, bool]: ...


class Channel(Protocol):
    """Asks and their frames; `now_ms` is Redis' clock."""

    def now_ms(self) -> int: ...

    async def ask(self, correlation_id: str) -> dict[str, str] | None: ...

    async def append(self, correlation_id: str, frame_type: str, data: dict[str, Any], /) -> str: ...


class Flights(Protocol):
    """The generations that asks follow."""

    async def abandon(self, flight: str, ask_id: str, final: dict[str, Any]) -> str: ...


class Records(Protocol):
    """What is known of documents."""

    async def refuse(self, tenant: str, document_id: str, version: int, reason: str, /, *, given_up: bool) -> Any: ...


Genuine = Callable[[Event], bool]
TenantOf = Callable[[Event], str | None]


async def bury(
    event: Event,
    *,
    letters: Letters,
    asks: Channel,
    flights: Flights,
    records: Records,
    genuine: Genuine,
    tenant_of: TenantOf,
) -> None:
    """Keep a dead event and tell whoever waits for it. Raises Temporary only: the Broker must try again, not give up.

    `genuine` says whether we sent the event ourselves: somebody else's can't end an answer. `tenant_of` names the
    tenant whose documents it may change, or None.
    """
    letter_id, new = await letters.store(event)
    log.warning("a dead letter" if new else "a dead letter again", extra=_told(event, letter_id))
    if event.type in AWAITED and event.correlation_id and genuine(event):
        await _end(event, asks, flights)
    if event.type in DOCUMENTS and (tenant := tenant_of(event)) and (named := document_of(event)):
        await records.refuse(tenant, *named, reason_of(problem_of(event)), given_up=True)


async def _end(event: Event, asks: Channel, flights: Flights) -> None:
    """End the ask; where a flight was led by it, end the flight, so that its followers hear of it too."""
    ask_id = event.correlation_id
    ask = await asks.ask(ask_id)
    if ask is None:
        return
    problem = problem_of(event)
    final = answers.failure(reason_of(problem), problem, asks.now_ms())
    if flight := ask.get("flight"):
        outcome = await flights.abandon(flight, ask_id, final)
        log.info("its flight: %s", outcome)
        if outcome != "gone":
            return  # ended with its flight just now, or its flight goes on without this delivery
    await asks.append(ask_id, channel.FAILED, final)


def _told(event: Event, letter_id: str) -> dict[str, str]:
    named = {"code": "knativeerrorcode", "destination": "knativeerrordest"}
    return {
        "letter": letter_id,
        "event_id": event.id,
        "event_type": event.type,
        "event_source": event.source,
        **{name: event.attributes[attribute] for name, attribute in named.items() if attribute in event.attributes},
    }
