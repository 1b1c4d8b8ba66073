"""The JSON Schemas of `schemas/events`, compiled once, and the one place where event data meets them."""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson

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
    found = []
    for error in compiled.iter_errors(data):
        field = ".".join(str(part) for part in error.instance_path) or "data"
        found.append({"field": field[:120], "rule": _shorten(error.message)})
        if len(found) == most:
            break
    return found


def check_data(event: Event) -> None:
    """Raises Permanent naming each field of the event's data that breaks its schema, and the rule."""
    if found := faults(event.type, event.payload):
        detail = "; ".join(f"{fault['field']}: {fault['rule']}" for fault in found)
        raise Permanent(f"{event.type}: {detail}", errors=found)


def _shorten(message: str, most: int = 160) -> str:
    """The end of a validator's message holds the rule, its start the value that broke it."""
    return message if len(message) <= most else f"{message[: most // 3]}…{message[-(most - most // 3) :]}"
