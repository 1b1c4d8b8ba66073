"""The JSON Schemas of `schemas/events`, compiled once, and the one place where event data meets them."""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
from jsonschema_rs import ValidationErrorKind

from knts.errors import Permanent
from knts.events import Event

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"


@cache
def validator(event_type: str) -> jsonschema_rs.Draft202012Validator | None:
    """The compiled schema of an event type, or None for a type that has none."""
    path = SCHEMAS / "events" / f"{event_type}.json"
    if "/" in event_type or not path.is_file():
        return None
    return jsonschema_rs.Draft202012Validator(orjson.loads(path.read_bytes()))


def faults(event_type: str, data: Any, *, most: int = 5) -> list[dict[str, str]]:
    """Up to `most` places where `data` breaks the type's schema, as `{"field": "sections.0.end", "rule": …}`."""
    compiled = validator(event_type)
    if compiled is None:
        return [{"field": "type", "rule": f"{event_type[:80]} is not a known event type"}]
    if compiled.is_valid(data):
        return []
    named = (fault for error in compiled.iter_errors(data) for fault in _named(error))
    return [{"field": field[:120], "rule": rule} for field, rule in islice(named, most)]


def _named(error: jsonschema_rs.ValidationError) -> Iterator[tuple[str, str]]:
    """The fields that an error speaks of, each with its rule: missing and unknown ones by their own names."""
    path = [str(part) for part in error.instance_path]
    if isinstance(error.kind, ValidationErrorKind.Required):
        yield ".".join([*path, error.kind.property]), "is required"
    elif isinstance(error.kind, ValidationErrorKind.AdditionalProperties):
        for name in error.kind.unexpected:
            yield ".".join([*path, name]), "is not a known field"
    else:
        yield ".".join(path) or "data", _shorten(error.message)


def check_data(event: Event) -> None:
    """Raises Permanent naming each field of the event's data that breaks its schema, and the rule."""
    if found := faults(event.type, event.payload):
        detail = "; ".join(f"{fault['field']}: {fault['rule']}" for fault in found)
        raise Permanent(f"{event.type}: {detail}", errors=found)


def _shorten(message: str, most: int = 160) -> str:
    """The end of a validator's message holds the rule, its start the value that broke it."""
    return message if len(message) <= most else f"{message[: most // 3]}…{message[-(most - most // 3) :]}"
