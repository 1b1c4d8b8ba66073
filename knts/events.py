"""CloudEvents 1.0 as kn-ts speaks them: strict parsing and serialising over HTTP, replies, and signatures.

Source: CloudEvents 1.0.2, HTTP protocol binding 1.0.2. Everything here is values in, values out.
"""

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import orjson

from knts.errors import BadEvent, Permanent, TooLarge

MAX_EVENT_BYTES = 900 * 1024  # the Kafka broker's default message limit is 1 MiB
JSON = "application/json"
STRUCTURED = "application/cloudevents+json"

DOCUMENT_UPSERTED = "knts.document.upserted.v1"
DOCUMENT_DELETED = "knts.document.deleted.v1"
DOCUMENT_INDEXED = "knts.document.indexed.v1"
DOCUMENT_REMOVED = "knts.document.removed.v1"
DOCUMENT_REJECTED = "knts.document.rejected.v1"
SEARCH_REQUESTED = "knts.search.requested.v1"
ANSWER_REQUESTED = "knts.answer.requested.v1"
PASSAGES_FOUND = "knts.passages.found.v1"
ANSWER_COMPLETED = "knts.answer.completed.v1"
ANSWER_FAILED = "knts.answer.failed.v1"
ANSWER_CANCELLED = "knts.answer.cancelled.v1"

UNSIGNED_TYPES = frozenset({DOCUMENT_UPSERTED, DOCUMENT_DELETED})  # what producers may post without our key
INHERITED = ("correlationid", "tenant", "traceparent", "tracestate", "partitionkey")

_NAME = re.compile(r"[a-z0-9]+\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")
_MEDIA = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;.*)?\Z", re.ASCII)
_URI_REFERENCE = re.compile(r"[^\s<>\"{}|\\^`]+\Z")
_SAFE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # printable ASCII but for space, double quote and percent
_ABSENT = object()
_REQUIRED = ("id", "source", "type", "specversion")


@dataclass(frozen=True)
class Event:
    """A CloudEvent: its context attributes by name (all as text) and its data as bytes."""

    attributes: Mapping[str, str]
    data: bytes = b""

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def source(self) -> str:
        return self.attributes["source"]

    @property
    def type(self) -> str:
        return self.attributes["type"]

    @property
    def subject(self) -> str:
        return self.attributes.get("subject", "")

    @property
    def tenant(self) -> str:
        return self.attributes.get("tenant", "")

    @property
    def correlation_id(self) -> str:
        return self.attributes.get("correlationid", "")

    @cached_property
    def payload(self) -> Any:
        """The data parsed as JSON. Raises BadEvent where it is not."""
        if not is_json(self.attributes.get("datacontenttype", JSON)):
            raise _bad("datacontenttype", f"must be {JSON}")
        return loads(self.data, "data")


def new_event(event_type: str, source: str, data: Any, *, id: str | None = None, **attributes: str | None) -> Event:
    """A new event with JSON data; attributes that are None are left out."""
    named = {
        "specversion": "1.0",
        "id": id or str(uuid.uuid4()),
        "source": source,
        "type": event_type,
        "time": now(),
        "datacontenttype": JSON,
        **{name: value for name, value in attributes.items() if value is not None},
    }
    return Event(named, orjson.dumps(data))


def reply_to(cause: Event, event_type: str, source: str, data: Any, **attributes: str | None) -> Event:
    """The event that `cause` leads to: its id derives from cause and type, so a re-run gives the same event.

    Correlation, tenant, trace start and partition key are handed down; `time` is the cause's, for the same reason.
    """
    handed = {name: cause.attributes[name] for name in INHERITED if name in cause.attributes}
    identity = orjson.dumps([cause.source, cause.id, event_type])
    return new_event(
        event_type,
        source,
        data,
        id=hashlib.sha256(identity).hexdigest()[:32],
        **{"time": cause.attributes.get("time"), **handed, "causationid": cause.id, **attributes},
    )


def now() -> str:
    """The current time as an RFC 3339 timestamp in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expired(event: Event, at: datetime | None = None) -> bool:
    """Whether the event's `expirytime` has passed, so that nobody waits for the work any more."""
    text = event.attributes.get("expirytime")
    return bool(text) and parse_time(text or "", "expirytime") <= (at or datetime.now(UTC))


def parse_time(text: str, field: str) -> datetime:
    """An RFC 3339 timestamp as an aware datetime. Raises BadEvent naming `field`."""
    if _TIME.match(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:
            pass
    raise _bad(field, "must be an RFC 3339 timestamp such as 2026-01-31T12:00:00Z")


# -- HTTP in ----------------------------------------------------------------------------------------------------------


def from_http(
    headers: Iterable[tuple[bytes, bytes]], body: bytes, *, versions: Sequence[str] = ("1.0",), check_json: bool = True
) -> Event:
    """The event in an HTTP message, in binary or structured content mode.

    `headers` are raw pairs with lower-case names, as ASGI gives them. Raises BadEvent naming the attribute and its
    rule, TooLarge beyond `MAX_EVENT_BYTES`. `check_json` refuses binary-mode data that says it is JSON and is not.
    """
    if len(body) > MAX_EVENT_BYTES:
        raise TooLarge(f"the event has {len(body)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    content_type, named = _read_headers(headers)
    if content_type.startswith("application/cloudevents-batch"):
        raise _bad("content-type", "batches are not taken; send one event a request")
    if content_type.startswith("application/cloudevents"):
        event = _structured(content_type, body)
    else:
        if content_type:
            named["datacontenttype"] = content_type
        event = Event(named, body)
    check_attributes(event.attributes, versions)
    if check_json and event.data and is_json(event.attributes.get("datacontenttype", JSON)):
        _ = event.payload
    return event


def salvage(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Event:
    """Whatever of an event is in an HTTP message that need not hold one: for dead letters, which nobody may refuse.

    What breaks a rule is left out of the attributes; `data` is the body as it came where no event can be read.
    """
    pairs = list(headers)
    try:
        event = from_http(pairs, body, check_json=False)
    except Permanent:
        event = Event(_salvaged(pairs), body)
    missing = {
        "specversion": "1.0",
        "id": hashlib.sha256(body).hexdigest()[:32],
        "source": "/unknown",
        "type": "unknown",
    }
    return replace(event, attributes={**missing, **event.attributes})


def _salvaged(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = "datacontenttype" if raw_name == b"content-type" else raw_name.decode("latin-1").removeprefix("ce-")
        if not raw_name.startswith(b"ce-") and name != "datacontenttype":
            continue
        value = unquote_to_bytes(raw_value.strip()).decode("utf-8", "replace")
        if _NAME.match(name) and value and not _CONTROL.search(value):
            kept.setdefault(name, value)
    return kept


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, dict[str, str]]:
    content_type = ""
    named: dict[str, str] = {}
    for raw_name, raw_value in headers:
        if raw_name == b"content-type":
            content_type = raw_value.decode("latin-1").strip()
        elif raw_name.startswith(b"ce-"):
            name = raw_name[3:].decode("latin-1")
            if name in named:
                raise _bad(name, "must be given once")
            named[name] = _decode_header(name, raw_value)
    return content_type, named


def _decode_header(name: str, raw: bytes) -> str:
    if not raw.isascii():
        raise _bad(name, "header values must be ASCII, other characters percent-encoded as UTF-8")
    try:
        return unquote_to_bytes(raw.strip()).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(name, "percent-encoded bytes must be UTF-8") from None


def _structured(content_type: str, body: bytes) -> Event:
    if not content_type.split(";")[0].strip() == STRUCTURED:
        raise _bad("content-type", f"structured events must be {STRUCTURED}")
    message = loads(body, "body")
    if not isinstance(message, dict):
        raise _bad("body", "a structured event must be a JSON object")
    data = message.pop("data", _ABSENT)
    encoded = message.pop("data_base64", None)
    if data is not _ABSENT and encoded is not None:
        raise _bad("data_base64", "must not stand beside data")
    named: dict[str, str] = {}
    for name, value in message.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, (str, int)):
            raise _bad(name, "must be a string, a boolean or an integer")
        named[name] = str(value)
    if encoded is not None:
        return Event(named, _base64(encoded))
    if data is _ABSENT:
        return Event(named, b"")
    media = named.get("datacontenttype", JSON)
    if isinstance(data, str) and not is_json(media):
        return Event(named, data.encode("utf-8"))
    return Event(named, orjson.dumps(data))


def _base64(text: Any) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except binascii.Error:
        pass
    raise _bad("data_base64", "must be Base64 text")


def check_attributes(attributes: Mapping[str, str], versions: Sequence[str] = ("1.0",)) -> None:
    """Raises BadEvent with every context attribute that breaks the specification."""
    faults: list[tuple[str, str]] = []
    faults.extend((name, "is required and must not be empty") for name in _REQUIRED if not attributes.get(name))
    if (version := attributes.get("specversion")) and version not in versions:
        faults.append(("specversion", f"must be {' or '.join(versions)}"))
    for name, value in attributes.items():
        if not _NAME.match(name):
            faults.append((name[:40], "attribute names are lower-case letters and digits"))
        elif name in ("data", "data_base64"):
            faults.append((name, "is no attribute name"))
        elif _CONTROL.search(value):
            faults.append((name, "must not contain control characters or lone surrogates"))
        elif not value and name not in _REQUIRED:
            faults.append((name, "must not be empty"))
    for name, pattern, rule in (
        ("source", _URI_REFERENCE, "must be a URI reference"),
        ("dataschema", _URI_REFERENCE, "must be a URI"),
        ("datacontenttype", _MEDIA, "must be a media type such as application/json"),
    ):
        if (value := attributes.get(name, "")) and not pattern.match(value):
            faults.append((name, rule))
    for name in ("time", "expirytime"):
        if value := attributes.get(name, ""):
            try:
                parse_time(value, name)
            except BadEvent as error:
                faults.append((name, error.errors[0]["rule"]))
    if faults:
        raise BadEvent(
            "; ".join(f"{name}: {rule}" for name, rule in faults[:5]),
            errors=[{"field": name, "rule": rule} for name, rule in faults],
        )


# -- HTTP out ---------------------------------------------------------------------------------------------------------


def to_http(event: Event) -> tuple[dict[str, str], bytes]:
    """Headers and body of the event in binary content mode."""
    headers = {
        f"ce-{name}": quote(value, safe=_SAFE) for name, value in event.attributes.items() if name != "datacontenttype"
    }
    if "datacontenttype" in event.attributes:
        headers["content-type"] = event.attributes["datacontenttype"]
    return headers, event.data


def to_structured(event: Event) -> bytes:
    """The event as one JSON object in structured content mode."""
    message: dict[str, Any] = dict(event.attributes)
    if event.data:
        if is_json(event.attributes.get("datacontenttype", JSON)):
            message["data"] = orjson.Fragment(event.data)
        else:
            message["data_base64"] = base64.b64encode(event.data).decode("ascii")
    return orjson.dumps(message)


# -- signatures -------------------------------------------------------------------------------------------------------


def signed(event: Event, keys: Sequence[str]) -> Event:
    """The event with a `signature` extension made with the first of `keys`."""
    return replace(event, attributes={**event.attributes, "signature": _signature(event, keys[0])})


def check_signature(event: Event, keys: Sequence[str]) -> None:
    """Raises Permanent unless the event was signed with one of `keys`, or is of a type that producers may post."""
    given = event.attributes.get("signature")
    if given is None:
        if event.type in UNSIGNED_TYPES:
            return
        raise Permanent(
            f"{event.type} is an internal event and must be signed",
            errors=[{"field": "signature", "rule": "is required for internal events"}],
        )
    if not given.isascii() or not any(hmac.compare_digest(given, _signature(event, key)) for key in keys):
        raise Permanent(
            "the event's signature does not fit its content",
            errors=[{"field": "signature", "rule": "must be the HMAC of type, id, correlationid, tenant and data"}],
        )


def _signature(event: Event, key: str) -> str:
    canonical = orjson.dumps(event.payload, option=orjson.OPT_SORT_KEYS) if event.data else b""
    digest = hashlib.sha256(canonical).hexdigest()
    message = orjson.dumps([event.type, event.id, event.correlation_id, event.tenant, digest])
    return hmac.new(key.encode(), message, hashlib.sha256).hexdigest()


# -- JSON -------------------------------------------------------------------------------------------------------------


def is_json(media_type: str) -> bool:
    """Whether the media type is JSON by RFC 6839's `+json` rule."""
    bare = media_type.split(";")[0].strip().lower()
    return bare in (JSON, "text/json") or bare.endswith("+json")


def loads(body: bytes | str, field: str) -> Any:
    """Parsed JSON. Raises BadEvent naming `field` and where it breaks, bad UTF-8 and lone surrogates among it."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(field, f"must be valid UTF-8 JSON ({error})") from error


def _bad(field: str, rule: str) -> BadEvent:
    return BadEvent(f"{field}: {rule}", errors=[{"field": field, "rule": rule}])
