"""CloudEvents over HTTP: what is taken, what is refused and with which words, and that nothing changes on the way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cloudevents.http import from_http as sdk_from_http
from hypothesis import given
from hypothesis import strategies as st

from knts import events
from knts.errors import BadEvent, Permanent, TooLarge
from knts.events import Event

GOOD = {"ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-specversion": "1.0", "content-type": "application/json"}

names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda n: (
        n not in {"id", "source", "type", "specversion", "time", "expirytime", "dataschema", "datacontenttype"}
        and n not in {"data", "data_base64"}
    )
)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda t: not re.search("[￾￿]", t))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("utf-8")) for name, value in headers.items()]


def parse(headers: dict[str, str], body: bytes = b"{}") -> Event:
    return events.from_http(raw(headers), body)


@given(data=json_values, extensions=st.dictionaries(names, texts, max_size=4), subject=texts)
def test_an_event_survives_both_content_modes(data: Any, extensions: dict[str, str], subject: str) -> None:
    event = events.new_event("t", "/s", data, subject=subject, **extensions)
    headers, body = events.to_http(event)
    assert parse(headers, body) == event
    structured = events.from_http(raw({"content-type": events.STRUCTURED}), events.to_structured(event))
    assert structured.attributes == event.attributes
    assert structured.payload == event.payload


@given(data=json_values, subject=texts)
def test_the_cloudevents_sdk_reads_what_we_write(data: Any, subject: str) -> None:
    event = events.new_event("t", "/s", data, subject=subject)
    headers, body = events.to_http(event)
    theirs = sdk_from_http({"content-type": events.STRUCTURED}, events.to_structured(event))
    assert (theirs["id"], theirs["subject"]) == (event.id, subject)
    assert sdk_from_http(headers, body)["id"] == event.id
    assert theirs.data == event.payload


def test_header_values_are_percent_encoded_as_the_http_binding_says() -> None:
    headers, _ = events.to_http(events.new_event("t", "/s", {}, subject='Euro € 😀 "x" %'))
    assert headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22x%22%20%25"


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"ce-id": None}, "id", "is required"),
        ({"ce-source": None}, "source", "is required"),
        ({"ce-type": None}, "type", "is required"),
        ({"ce-specversion": None}, "specversion", "is required"),
        ({"ce-id": ""}, "id", "must not be empty"),
        ({"ce-specversion": "0.3"}, "specversion", "must be 1.0"),
        ({"ce-source": "has space"}, "source", "URI reference"),
        ({"ce-time": "yesterday"}, "time", "RFC 3339"),
        ({"ce-time": "2026-13-01T00:00:00Z"}, "time", "RFC 3339"),
        ({"ce-expirytime": "12"}, "expirytime", "RFC 3339"),
        ({"ce-not-a-name": "x"}, "not-a-name", "lower-case letters and digits"),
        ({"ce-data_base64": "x"}, "data_base64", "lower-case letters and digits"),
        ({"ce-data": "x"}, "data", "is no attribute name"),
        ({"ce-ext": "%0d%0aX-Evil: 1"}, "ext", "control characters"),
        ({"ce-ext": "%ff"}, "ext", "must be UTF-8"),
        ({"ce-ext": "€"}, "ext", "must be ASCII"),
        ({"ce-ext": ""}, "ext", "must not be empty"),
        ({"content-type": "nonsense"}, "datacontenttype", "media type"),
        ({"content-type": "application/cloudevents-batch+json"}, "content-type", "batches"),
        ({"content-type": "application/cloudevents+avro"}, "content-type", "application/cloudevents+json"),
    ],
)
def test_a_bad_binary_event_is_refused_by_field_and_rule(change: dict[str, str | None], field: str, rule: str) -> None:
    headers = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(BadEvent) as caught:
        parse(headers)
    assert caught.value.errors[0]["field"] == field
    assert rule in caught.value.errors[0]["rule"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}', "data_base64"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"***"}', "data_base64"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","ext":{"a":1}}', "ext"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","ext":1.5}', "ext"),
        (b'{"specversion":"1.0","id":"\\ud800","source":"/s","type":"t"}', "body"),
        (b'{"specversion":"1.0","id":"\xff","source":"/s","type":"t"}', "body"),
        (b'{"specversion":"1.0","source":"/s","type":"t"}', "id"),
    ],
)
def test_a_bad_structured_event_is_refused_by_field(body: bytes, field: str) -> None:
    with pytest.raises(BadEvent) as caught:
        parse({"content-type": events.STRUCTURED}, body)
    assert caught.value.errors[0]["field"] == field


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(BadEvent, match="once"):
        events.from_http([*raw(GOOD), (b"ce-id", b"2")], b"{}")


def test_unparsable_json_is_refused_unless_the_caller_passes_data_through() -> None:
    with pytest.raises(BadEvent, match="JSON"):
        parse(GOOD, b"{nope")
    assert events.from_http(raw(GOOD), b"{nope", check_json=False).data == b"{nope"


def test_an_event_beyond_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge):
        parse(GOOD, b"x" * (events.MAX_EVENT_BYTES + 1))


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(BadEvent) as caught:
        parse({"content-type": "application/json", "ce-specversion": "2"})
    assert {error["field"] for error in caught.value.errors} == {"id", "source", "type", "specversion"}


def test_a_reply_repeats_itself_and_hands_down_what_belongs_to_the_cause() -> None:
    cause = events.new_event("a", "/s", {}, correlationid="c", tenant="t", traceparent="00-x", partitionkey="p")
    first = events.reply_to(cause, "b", "/knts/f", {"x": 1})
    assert first == events.reply_to(cause, "b", "/knts/f", {"x": 1})
    assert first.attributes["causationid"] == cause.id
    assert {name: first.attributes[name] for name in ("correlationid", "tenant", "traceparent", "partitionkey")} == {
        "correlationid": "c",
        "tenant": "t",
        "traceparent": "00-x",
        "partitionkey": "p",
    }
    assert first.id != events.reply_to(cause, "other", "/knts/f", {}).id


def test_expiry_is_by_the_clock() -> None:
    now = datetime.now(UTC)
    at = (now + timedelta(seconds=5)).isoformat()
    event = events.new_event("t", "/s", {}, expirytime=at)
    assert not events.expired(event, now)
    assert events.expired(event, now + timedelta(seconds=6))
    assert not events.expired(events.new_event("t", "/s", {}))


def signed_event(**change: str) -> Event:
    event = events.new_event("knts.x", "/s", {"b": 1, "a": [1.5, "€"]}, id="1", correlationid="c", tenant="t")
    event = events.signed(event, ["new", "old"])
    return Event({**event.attributes, **change}, event.data)


def test_a_signature_holds_over_reserialising_and_key_rotation() -> None:
    event = signed_event()
    events.check_signature(event, ["newest", "new"])
    spaced = orjson.dumps(orjson.loads(event.data), option=orjson.OPT_INDENT_2)
    events.check_signature(Event(event.attributes, spaced), ["new"])


@pytest.mark.parametrize("name", ["id", "type", "correlationid", "tenant", "signature"])
def test_a_changed_attribute_breaks_the_signature(name: str) -> None:
    with pytest.raises(Permanent, match="signature"):
        events.check_signature(signed_event(**{name: "changed"}), ["new"])


def test_changed_data_or_another_key_breaks_the_signature() -> None:
    event = signed_event()
    with pytest.raises(Permanent):
        events.check_signature(Event(event.attributes, b'{"b":2}'), ["new"])
    with pytest.raises(Permanent):
        events.check_signature(event, ["someone else's"])


def test_only_producers_types_may_come_unsigned() -> None:
    events.check_signature(events.new_event(events.DOCUMENT_UPSERTED, "/s", {}), ["k"])
    with pytest.raises(Permanent, match="must be signed"):
        events.check_signature(events.new_event(events.ANSWER_COMPLETED, "/s", {}), ["k"])


@given(st.binary(max_size=300), st.sampled_from(["application/json", events.STRUCTURED, "text/plain", "", "a/b"]))
def test_no_body_breaks_the_parser(body: bytes, content_type: str) -> None:
    try:
        parse({**GOOD, "content-type": content_type}, body)
    except BadEvent as error:
        assert error.errors
