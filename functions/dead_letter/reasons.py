"""Why an event died, from the `knativeerror*` attributes that the Broker put on it. Pure."""

import base64
import binascii
from typing import Any

import orjson

from knts.errors import KntsError, UpstreamFailed, problem
from knts.events import Event


def problem_of(event: Event) -> dict[str, Any]:
    """The problem that the person who waits is told: the failed function's own where it left one."""
    found = _own(event.attributes.get("knativeerrordata", ""))
    return found if found is not None else problem(_general(event))


def reason_of(told: dict[str, Any]) -> str:
    """The problem in a sentence."""
    return str(told.get("detail") or told.get("title"))


def said_by(encoded: str) -> dict[str, Any]:
    """What the failed subscriber answered, from `knativeerrordata`: our own `problem`, or the start of its `text`."""
    if (own := _own(encoded)) is not None:
        return {"problem": own, "text": None}
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        text = encoded  # a Broker may put it there as it came
    return {"problem": None, "text": text or None}


def _own(encoded: str) -> dict[str, Any] | None:
    """One of our problems. The Broker may have cut it off, or the attribute may hold anything at all."""
    try:
        found = orjson.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(found, dict) or not str(found.get("type", "")).startswith("urn:knts:problem:"):
        return None
    if not isinstance(found.get("title"), str) or not isinstance(found.get("status"), int):
        return None
    return found


def _general(event: Event) -> KntsError:
    code = event.attributes.get("knativeerrorcode", "")
    how = f"with status {code}" if code.isascii() and code.isdigit() else "without an answer"
    return UpstreamFailed(f"a function behind the Broker failed {how}, and so did every retry")
