"""What becomes of a dead letter, and what the person who waited is told."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.dead_letter import handler
from functions.dead_letter.main import signed_by_us, tenant_of
from functions.dead_letter.reasons import problem_of
from knts import errors, events
from knts.errors import Permanent, Temporary
from knts.events import Event
from knts.runtime import RuntimeSettings

ASK = "a" * 32
OURS = errors.problem_bytes(Permanent("filters.x: no such field", errors=[{"field": "filters.x", "rule": "none"}]))


def dead(event_type: str = events.ANSWER_REQUESTED, data: bytes = OURS, code: str = "422", **attributes: str) -> Event:
    told = {"knativeerrordest": "http://search/", "knativeerrorcode": code}
    told["knativeerrordata"] = base64.b64encode(data).decode()
    named = {**told, "correlationid": ASK, **attributes}
    return events.new_event(event_type, "/knts/ingress", {"question": "Q", "groups": []}, **named)


class FakeLetters:
    """Keeps letters in a list."""

    def __init__(self) -> None:
        self.kept: list[Event] = []

    async def store(self, event: Event) -> tuple[str, bool]:
        self.kept.append(event)
        return "letter", True


class FullLetters:
    """Has no room."""

    async def store(self, event: Event) -> tuple[str, bool]:
        raise Temporary("no room")


class FakeChannel:
    """One ask, and what was appended to it."""

    def __init__(self, **ask: str) -> None:
        self.known = {"status": "open", **ask}
        self.appended: list[tuple[str, str, dict[str, Any]]] = []

    def now_ms(self) -> int:
        return 7

    async def ask(self, correlation_id: str) -> dict[str, str] | None:
        return self.known if correlation_id == ASK else None

    async def append(self, correlation_id: str, frame_type: str, data: dict[str, Any], /) -> str:
        self.appended.append((correlation_id, frame_type, data))
        return "written"


class FakeFlights:
    """A flight that answers `abandon` as told."""

    def __init__(self, outcome: str) -> None:
        self.outcome = outcome
        self.ended: list[tuple[str, str, dict[str, Any]]] = []

    async def abandon(self, flight: str, ask_id: str, final: dict[str, Any]) -> str:
        self.ended.append((flight, ask_id, final))
        return self.outcome


class FakeRecords:
    """Which versions were refused, and why."""

    def __init__(self) -> None:
        self.refused: list[tuple[str, str, int, str]] = []

    async def refuse(self, tenant: str, document_id: str, version: int, reason: str, /, *, given_up: bool) -> None:
        assert given_up
        self.refused.append((tenant, document_id, version, reason))


async def bury(
    event: Event,
    channel: FakeChannel,
    outcome: str = "ended",
    genuine: bool = True,
    records: FakeRecords | None = None,
    tenant: str | None = "local",
) -> FakeFlights:
    letters, flights = FakeLetters(), FakeFlights(outcome)
    await handler.bury(
        event,
        letters=letters,
        asks=channel,
        flights=flights,
        records=records or FakeRecords(),
        genuine=lambda _: genuine,
        tenant_of=lambda _: tenant,
    )
    assert letters.kept == [event]
    return flights


async def test_who_waits_is_told_why() -> None:
    channel = FakeChannel()
    await bury(dead(), channel)
    [(ask_id, frame_type, final)] = channel.appended
    assert (ask_id, frame_type, final["status"]) == (ASK, "failed", "failed")
    assert final["reason"] == "filters.x: no such field"
    assert final["problem"]["errors"] == [{"field": "filters.x", "rule": "none"}]


@pytest.mark.parametrize(
    ("outcome", "told_directly"), [("ended", False), ("held", False), ("other", False), ("gone", True)]
)
async def test_a_flight_that_he_led_ends_for_all_its_followers(outcome: str, told_directly: bool) -> None:
    channel = FakeChannel(flight="f")
    flights = await bury(dead(events.PASSAGES_FOUND), channel, outcome)
    assert [(flight, ask) for flight, ask, _ in flights.ended] == [("f", ASK)]
    assert bool(channel.appended) is told_directly


@pytest.mark.parametrize(
    ("event", "genuine"),
    [
        (dead(events.ANSWER_COMPLETED), True),
        (dead(events.DOCUMENT_UPSERTED), True),
        (dead("some.other.type"), True),
        (dead(), False),
        (dead(correlationid="b" * 32), True),
    ],
)
async def test_what_nobody_waits_for_and_what_is_not_ours_ends_nothing(event: Event, genuine: bool) -> None:
    channel = FakeChannel(flight="f")
    flights = await bury(event, channel, genuine=genuine)
    assert channel.appended == flights.ended == []


async def test_without_room_the_broker_must_come_again() -> None:
    channel = FakeChannel()
    with pytest.raises(Temporary):
        await handler.bury(
            dead(),
            letters=FullLetters(),
            asks=channel,
            flights=FakeFlights("gone"),
            records=FakeRecords(),
            genuine=lambda _: True,
            tenant_of=lambda _: None,
        )
    assert channel.appended == []


def dead_document(data: bytes = b'{"id": "d", "version": 3}') -> Event:
    return Event(dead(events.DOCUMENT_UPSERTED).attributes, data)


@pytest.mark.parametrize("event_type", [events.DOCUMENT_UPSERTED, events.DOCUMENT_DELETED])
async def test_a_dead_document_event_rejects_its_version(event_type: str) -> None:
    records = FakeRecords()
    event = Event({**dead_document().attributes, "type": event_type}, b'{"id": "d", "version": 3}')
    await bury(event, FakeChannel(), records=records)
    assert records.refused == [("local", "d", 3, "filters.x: no such field")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"id": "d"}',
        b'{"id": 5, "version": 1}',
        b'{"id": "", "version": 1}',
        b'{"id": "d", "version": 0}',
        b'{"id": "d", "version": true}',
        b'{"id": "d", "version": 1.5}',
        b'{"id": "d", "version": 9007199254740992}',
        b'{"id": "' + b"x" * 513 + b'", "version": 1}',
    ],
)
async def test_what_names_no_version_of_a_document_rejects_none(data: bytes) -> None:
    records = FakeRecords()
    await bury(dead_document(data), FakeChannel(), records=records)
    assert records.refused == []


async def test_events_of_others_reject_nothing() -> None:
    records = FakeRecords()
    await bury(dead_document(), FakeChannel(), records=records, tenant=None)
    await bury(dead(events.DOCUMENT_INDEXED, data=b""), FakeChannel(), records=records)
    assert records.refused == []


def test_whose_documents_a_dead_event_may_change() -> None:
    runtime = RuntimeSettings(signing_keys=("key",), producer_tenants=("local", "acme"))
    unsigned = events.new_event(events.DOCUMENT_UPSERTED, "/x", {"id": "d", "version": 1})
    assert tenant_of(runtime, unsigned) == "local"
    assert tenant_of(runtime, Event({**unsigned.attributes, "tenant": "acme"}, unsigned.data)) == "acme"
    foreign = Event({**unsigned.attributes, "tenant": "other"}, unsigned.data)
    assert tenant_of(runtime, foreign) is None
    assert tenant_of(runtime, events.signed(foreign, ["key"])) == "other"
    assert tenant_of(runtime, events.signed(foreign, ["another key"])) is None


@pytest.mark.parametrize(
    ("data", "code", "status", "said"),
    [
        (OURS, "422", 422, "no such field"),
        (b"", "503", 502, "with status 503"),
        (b"<html>", "500", 502, "with status 500"),
        (OURS[:40], "422", 502, "with status 422"),
        (b"[]", "", 502, "without an answer"),
        (b'{"type": "urn:other", "title": "x", "status": 400}', "400", 502, "with status 400"),
        (b'{"type": "urn:knts:problem:x", "title": 1, "status": 400}', "400", 502, "with status 400"),
        (b'{"type": "urn:knts:problem:x", "title": "x", "status": "no"}', "400", 502, "with status 400"),
    ],
)
def test_whatever_the_broker_noted_becomes_a_problem(data: bytes, code: str, status: int, said: str) -> None:
    problem = problem_of(dead(data=data, code=code or "none"))
    assert problem["status"] == status
    assert said in problem["detail"]


@given(st.text())
def test_any_error_data_is_borne(text: str) -> None:
    event = dead()
    problem = problem_of(Event({**event.attributes, "knativeerrordata": text}, event.data))
    assert isinstance(problem["status"], int)


def test_only_what_we_signed_is_ours() -> None:
    event = dead()
    assert signed_by_us(["k"], events.signed(event, ["k"]))
    assert not signed_by_us(["other"], events.signed(event, ["k"]))
    assert not signed_by_us(["k"], event)
    assert not signed_by_us(["k"], dead(events.DOCUMENT_UPSERTED))
    assert not signed_by_us(["k"], Event({**event.attributes, "signature": "x"}, b"\xff"))
