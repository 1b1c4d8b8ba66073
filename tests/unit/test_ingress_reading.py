"""Positions: from each one, exactly the rest; and events as SSE text that any parser reads back."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingress.reading import Reading
from functions.ingress.sse import BEAT, encode, resume_from
from knts import channel
from knts.channel import Frame, Position, entry_order
from knts.errors import BadRequest

ASK, FLIGHT = "a" * 32, "f" * 32
OWN, FLOW = channel.frames_key(ASK), channel.flow_key(FLIGHT)
Stored = dict[str, list[Frame]]


def read_from(stored: Stored, position: Position, at_once: int) -> list[tuple[str, str, dict[str, Any]]]:
    """What a client gets after a position, reading up to so many frames of each stream at a time."""
    reading = Reading(ASK, position)
    reading.resume(FLIGHT)
    events = []
    while not reading.ended:
        found = []
        for key, after in reading.streams().items():
            rest = [frame for frame in stored[key] if entry_order(frame.id) > entry_order(after)]
            found += [(key, frame) for frame in rest[:at_once]]
        if not found:
            break
        key, frame = min(found, key=lambda pair: entry_order(pair[1].id))
        if event := reading.take(key, frame):
            events.append(event)
    return events


@st.composite
def answers(draw: st.DrawFn) -> Stored:
    """An ask with a flight that began before it or after it, ended by either of them or by none yet."""
    before = [Frame("1000-0", "queued", {"id": ASK}), Frame("1002-0", "passages", {"passages": []})]
    own = [*before, Frame("1004-0", "joined", {"flight": FLIGHT})]
    start = draw(st.sampled_from([1, 500, 1005]))
    kinds = draw(st.lists(st.sampled_from(["delta", "reset", "citation"]), max_size=8))
    flow = [Frame(f"{start + number // 2}-{number}", kind, {"n": number}) for number, kind in enumerate(kinds)]
    ending = draw(st.sampled_from(["flight", "ask", "none"]))
    if ending == "flight":
        flow.append(Frame("2000-0", "completed", {"answer": "x"}))
    if ending == "ask":
        own.append(Frame(f"{draw(st.integers(1005, 1010))}-7", "cancelled", {}))
    return {OWN: own, FLOW: flow}


@given(answers(), st.integers(1, 5))
def test_from_each_position_comes_exactly_the_rest(stored: Stored, at_once: int) -> None:
    whole = read_from(stored, Position(), at_once)
    assert [kind for _, kind, _ in whole[:3]] == ["queued", "passages", "joined"]
    for number, (token, _, _) in enumerate(whole):
        assert read_from(stored, channel.position(token), at_once) == whole[number + 1 :]


@given(answers())
def test_nothing_follows_the_end(stored: Stored) -> None:
    kinds = [kind for _, kind, _ in read_from(stored, Position(), 3)]
    assert all(kind not in channel.LAST for kind in kinds[:-1])


def test_what_follows_the_end_is_not_told() -> None:
    reading = Reading(ASK, Position())
    assert reading.take(OWN, Frame("1-0", "failed", {})) is not None
    assert reading.take(OWN, Frame("2-0", "delta", {})) is None


def test_a_position_before_joined_does_not_follow_the_flight_yet() -> None:
    reading = Reading(ASK, Position("1000-0", "0"))
    reading.resume(FLIGHT)
    assert reading.streams() == {OWN: "1000-0"}


def test_a_position_at_joined_follows_the_flight_from_its_start() -> None:
    reading = Reading(ASK, Position())
    token, _, _ = reading.take(OWN, Frame("1004-0", "joined", {"flight": FLIGHT})) or ("", "", {})
    again = Reading(ASK, channel.position(token))
    again.resume(FLIGHT)
    assert again.streams() == {OWN: "1004-0", FLOW: "0-0"}


# -- SSE --------------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def parsed(stream: bytes) -> list[dict[str, str]]:
    """An SSE stream as a browser reads it, by the rules of the HTML standard."""
    text = stream.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    events = []
    for block in text.split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields.setdefault(name, []).append(value.removeprefix(" "))
        if fields:
            events.append({name: "\n".join(values) for name, values in fields.items()})
    return events


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_data_is_one_event_and_comes_back_as_it_was(data: dict[str, Any]) -> None:
    [event] = parsed(encode("MC4w", "delta", data))
    assert (event["id"], event["event"], orjson.loads(event["data"])) == ("MC4w", "delta", data)


@pytest.mark.parametrize("text", ["\n\nevent: completed\ndata: {}\n\n", "\r", "\r\n", "\u2028\u2029", "\x00", ": x"])
def test_text_can_not_break_out_of_its_event(text: str) -> None:
    [event] = parsed(encode("MC4w", "delta", {"text": text}))
    assert set(event) == {"id", "event", "data"}
    assert orjson.loads(event["data"]) == {"text": text}


def test_a_heartbeat_is_a_comment() -> None:
    assert encode("", "", {}) == BEAT
    assert BEAT.startswith(b":")
    assert parsed(BEAT) == []


@pytest.mark.parametrize("token", [None, ""])
def test_without_an_id_a_stream_is_read_from_its_beginning(token: str | None) -> None:
    assert resume_from(token) == Position()


@pytest.mark.parametrize(
    "token",
    [
        *["x", "0", "....", "é", "MC4"],
        *(Position(ask, flight).token() for ask, flight in [("1-2-3", "0"), ("-1", "0"), (f"{2**64}-0", "0")]),
        Position("1", "9" * 40).token(),
    ],
)
def test_an_id_that_we_never_gave_is_refused(token: str) -> None:
    with pytest.raises(BadRequest):
        resume_from(token)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_ids_are_opaque_and_come_back(ms: int, count: int, other: int) -> None:
    position = Position(f"{ms}-{count}", str(other))
    assert resume_from(position.token()) == position
    assert position.token().isascii()
