"""Dead letters as an operator sees them: which he means, and what he is told of each. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from functions.dead_letter.reasons import said_by
from knts.errors import BadEvent, BadRequest
from knts.events import Event, parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST, PAGE = 1000, 100  # letters in an answer, at most and where nothing is said


class Letter(Protocol):
    """A kept dead letter."""

    @property
    def id(self) -> str: ...
    @property
    def event(self) -> Event: ...
    @property
    def stored(self) -> int: ...
    @property
    def times(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def cut(self) -> int: ...
    @property
    def trigger(self) -> str: ...
    @property
    def destination(self) -> str: ...
    @property
    def code(self) -> int | None: ...


@dataclass(frozen=True)
class Wanted:
    """Which letters: their type's beginning, Trigger (`name` or `namespace/name`), tenant; from `since` (ms) on."""

    type: str = ""
    trigger: str = ""
    tenant: str = ""
    since: int = 0
    after: str = ""
    limit: int = PAGE

    def means(self, letter: Letter) -> bool:
        """Whether it is one of them."""
        return (
            letter.event.type.startswith(self.type)
            and self.trigger in ("", letter.trigger, letter.trigger.rpartition("/")[2])
            and self.tenant in ("", letter.event.tenant)
            and letter.stored >= self.since
        )


def wanted(query: Mapping[str, str]) -> Wanted:
    """Which letters a query string asks for. Raises BadRequest naming the parameter and its rule."""
    if unknown := sorted(set(query) - {"type", "trigger", "tenant", "since", "after", "limit"}):
        raise _bad(unknown[0], "is not known here")
    limit = query.get("limit", str(PAGE))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MOST:
        raise _bad("limit", f"must be a whole number from 1 to {MOST}")
    named = {name: query.get(name, "") for name in ("type", "trigger", "tenant", "after")}
    return Wanted(**named, since=_since(query["since"]) if "since" in query else 0, limit=int(limit))


def _since(text: str) -> int:
    try:
        at = parse_time(text, "since")
    except BadEvent as error:
        raise _bad("since", "must be an RFC 3339 timestamp such as 2026-01-31T12:00:00Z") from error
    return (at - EPOCH) // timedelta(milliseconds=1)


def _bad(name: str, rule: str) -> BadRequest:
    return BadRequest(f"{name[:80]}: {rule}", errors=[{"field": name[:80], "rule": rule}])


def told(letter: Letter) -> dict[str, Any]:
    """A letter in a list: what it is, where and why it failed; without its data."""
    return {
        "id": letter.id,
        "stored": datetime.fromtimestamp(letter.stored / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "times": letter.times,
        "bytes": letter.size,
        "cut": letter.cut,
        "trigger": letter.trigger or None,
        "destination": letter.destination or None,
        "code": letter.code,
        **said_by(letter.event.attributes.get("knativeerrordata", "")),
        "attributes": dict(letter.event.attributes),
    }


def told_whole(letter: Letter) -> dict[str, Any]:
    """The same with its data, in Base64, since it can be anything."""
    return {**told(letter), "data_base64": base64.b64encode(letter.event.data).decode("ascii")}
