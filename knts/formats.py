"""The form that somebody wants an answer in: his own JSON Schema, checked before anything is asked by it. Pure.

A schema comes from outside: it is bounded, nothing that it points to is fetched, and its patterns are matched in
linear time, so that neither it nor a text held against it can keep a function busy.
"""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import orjson

MAX_BYTES = 16 * 1024  # of a schema as JSON

_OFFLINE: Mapping[str, Any] = {"offline": True, "pattern_options": jsonschema_rs.RegexOptions()}


def fault(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a schema, as the rule that it breaks; None where answers can be held to it."""
    if (size := len(orjson.dumps(schema))) > MAX_BYTES:
        return f"has {size} bytes; a schema may have {MAX_BYTES}"
    try:
        _compiled(schema)
    except ValueError as error:  # what the library raises for a bad schema derives from it
        return f"is not a JSON Schema that can be used: {str(error).splitlines()[0][:200]}"
    return None


def misfit(schema: Mapping[str, Any], text: str) -> str | None:
    """Why a text is not JSON that fits the schema, which `fault` has passed; None where it does."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "it is not JSON"
    error = next(iter(_compiled(schema).iter_errors(value)), None)
    if error is None:
        return None
    path = ".".join(map(str, error.instance_path))
    return f"{path}: {error.message[:200]}" if path else error.message[:200]


def _compiled(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(dict(schema), **_OFFLINE)
