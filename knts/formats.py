"""The form that somebody wants an answer in: his own JSON Schema, checked before anything is asked by it. Pure.

A schema comes from outside: it is bounded, nothing that it points to is fetched, and its patterns are matched in
linear time, so that neither it nor a text held against it can keep a function busy. That takes a bound on what a schema
is with its references written out, too: sixteen definitions of which each has two ways to the next are 65,536 ways.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import orjson

MAX_BYTES = 16 * 1024  # of a schema as JSON
MOST_PARTS = 1000  # schemas within a schema, its references written out

# What applies to the value itself, and what applies to parts of it
_HERE = frozenset({"not", "if", "then", "else", "anyOf", "oneOf", "allOf", "dependentSchemas"})
_WITHIN = frozenset({"items", "prefixItems", "contains", "unevaluatedItems", "properties", "patternProperties"})
_WITHIN |= {"additionalProperties", "unevaluatedProperties", "propertyNames"}
_NAMED = frozenset({"dependentSchemas", "patternProperties", "properties"})  # schemas by a name
_APART = frozenset({"prefixItems", "properties"})  # no two of which apply to the same part
_NOT_FOLLOWED = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")

_OFFLINE: Mapping[str, Any] = {"offline": True, "pattern_options": jsonschema_rs.RegexOptions()}


def fault(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a schema, as the rule that it breaks; None where answers can be held to it."""
    try:
        size = len(orjson.dumps(schema))
    except TypeError:
        return "is nested too deeply"
    if size > MAX_BYTES:
        return f"has {size} bytes; a schema may have {MAX_BYTES}"
    try:
        _compiled(schema)
        _Unfolding(schema).walk(schema, ("#",), frozenset({"#"}))
    except ValueError as error:  # what the library raises for a bad schema derives from it
        return f"is not a JSON Schema that can be used: {str(error).splitlines()[0][:200]}"
    return None


def misfit(schema: Mapping[str, Any], text: str) -> str | None:
    """Why a text is not JSON that fits the schema, which `fault` has passed; None where it does."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "it is not JSON"
    try:
        _compiled(schema).validate(value)
    except jsonschema_rs.ValidationError as error:
        return _told(error)
    return None


def _told(error: jsonschema_rs.ValidationError) -> str:
    path = ".".join(map(str, error.instance_path))
    return f"{path}: {error.message[:200]}" if path else error.message[:200]


def _compiled(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(dict(schema), **_OFFLINE)


@dataclass
class _Unfolding:
    """A schema with its references written out, as far as that shows that values can be held against it in time."""

    root: Mapping[str, Any]
    parts: int = 0

    def walk(self, schema: Any, above: tuple[str, ...], here: frozenset[str]) -> tuple[frozenset[str], bool]:
        """Count a schema's parts; which of those `above` it comes back to, and whether any of its parts comes back.

        `above` are the references taken so far, `here` those of them that apply to the same value. A schema that comes
        back has no other part that does, unless they apply to different values: else a text, which may be as deep as it
        is long, is looked at in more ways with each of its levels. Raises ValueError.
        """
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS} parts, its references written out")
        if not isinstance(schema, Mapping):
            return frozenset(), False
        for name in _NOT_FOLLOWED:
            if name in schema:
                raise ValueError(f"{name} is not offered here")
        if "$id" in schema and schema is not self.root:
            raise ValueError("$id is offered at the top alone")
        ways = [self._reference(schema["$ref"], above, here)] if "$ref" in schema else []
        for keyword in _HERE & schema.keys():
            ways += [self.walk(each, above, here) for each in _schemas(keyword, schema[keyword])]
        for keyword in _WITHIN & schema.keys():
            parts = [self.walk(each, above, frozenset()) for each in _schemas(keyword, schema[keyword])]
            ways += [_together(parts)] if keyword in _APART else parts
        back, comes_back = _together(ways)
        if back and sum(recursive for _, recursive in ways) > 1:
            raise ValueError("it comes back to itself in more than one way at the same place")
        return back, comes_back

    def _reference(self, target: Any, above: tuple[str, ...], here: frozenset[str]) -> tuple[frozenset[str], bool]:
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise ValueError(f"$ref {str(target)[:80]!r} is no pointer within it, such as #/$defs/name")
        if target in here:
            raise ValueError(f"$ref {target[:80]!r} comes back to itself without a step into the value")
        if target in above:
            return frozenset({target}), True
        back, comes_back = self.walk(self._at(target), (*above, target), here | {target})
        return back - {target}, comes_back

    def _at(self, pointer: str) -> Any:
        found: Any = self.root
        try:
            for part in pointer.split("/")[1:]:
                name = unquote(part).replace("~1", "/").replace("~0", "~")
                found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"$ref {pointer[:80]!r} leads nowhere") from error
        return found


def _together(ways: Iterable[tuple[frozenset[str], bool]]) -> tuple[frozenset[str], bool]:
    back, comes_back = frozenset[str](), False
    for each, recursive in ways:
        back, comes_back = back | each, comes_back or recursive
    return back, comes_back


def _schemas(keyword: str, value: Any) -> list[Any]:
    """The schemas that a keyword holds."""
    if keyword in _NAMED:
        return list(value.values())
    return value if isinstance(value, list) else [value]
