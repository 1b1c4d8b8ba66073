"""What becomes of a dead letter, and what the person who waited is told."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.dead_letter import handler
from functions.dead_letter.main import signed_by_us
from functions.dead_letter.reasons import problem_of
from knts import errors, events
from knts.errors import Permanent, Temporary
from knts.events import Event

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


async def bury(event: Event, channel: FakeChannel, outcome: str = "ended", genuine: bool = True) -> FakeFlights:
    letters, flights = FakeLetters(), FakeFlights(outcome)
    await handler.bury(event, letters=letters, asks=channel, flights=flights, genuine=lambda _: genuine)
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
            dead(), letters=FullLetters(), asks=channel, flights=FakeFlights("gone"), genuine=lambda _: True
        )
    assert channel.appended == []


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
