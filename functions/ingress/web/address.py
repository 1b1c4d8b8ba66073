"""The page's address: what was typed, narrowed and asked as it stands in the URL, to be shared and reloaded."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

MAX_QUERY = 1000  # code points, as in schemas/events/knts.search.requested.v1.json
MAX_FILTERS = 32
MAX_VALUES = 64
MAX_OFFSET = 10_000
FILTER = "filter."

_ID = re.compile(r"[0-9a-f]{32}\Z")
_UNWRITABLE = re.compile("[\ud800-\udfff\x00]")  # what no search could hold

Filter = tuple[str, str]


@dataclass(frozen=True)
class Address:
    """What the page shows: the words searched for, the filters as chosen, the answer beside them, its conversation."""

    query: str = ""
    filters: tuple[Filter, ...] = ()
    offset: int = 0
    answer: str = ""
    conversation: str = ""

    def url(self, path: str = "/") -> str:
        """The address as a URL of that path; an empty part is left out."""
        named = [
            *([("q", self.query)] if self.query else []),
            *((FILTER + key, value) for key, value in self.filters),
            *([("offset", str(self.offset))] if self.offset else []),
            *([("answer", self.answer)] if self.answer else []),
            *([("conversation", self.conversation)] if self.conversation else []),
        ]
        return f"{path}?{urlencode(named)}" if named else path

    def toggled(self, key: str, value: str) -> "Address":
        """The address with that filter set, or without it where it was; from the first page again."""
        chosen = (key, value)
        kept = tuple(one for one in self.filters if one != chosen)
        return replace(self, filters=kept if chosen in self.filters else (*kept, chosen), offset=0)

    def at(self, offset: int) -> "Address":
        """The same hits from `offset` on."""
        return replace(self, offset=offset)

    def showing(self, answer: str) -> "Address":
        """The same with another answer of its conversation beside it, or none, and then no conversation either."""
        return replace(self, answer=answer, conversation=self.conversation if answer else "")

    def beside(self, other: "Address") -> "Address":
        """The same search, beside the answer and conversation of another address."""
        return replace(self, answer=other.answer, conversation=other.conversation)

    def within(self, conversation: str) -> "Address":
        """The same in that conversation."""
        return replace(self, conversation=conversation)

    def filter_values(self) -> dict[str, Any]:
        """The filters as the API takes them: one value, or a list of which any may match."""
        grouped: dict[str, list[str]] = {}
        for key, value in self.filters:
            grouped.setdefault(key, []).append(value)
        return {key: values[0] if len(values) == 1 else values for key, values in grouped.items()}


def parse(pairs: Iterable[tuple[str, str]]) -> Address:
    """The address that a query string or form names; what no search allows is left out or cut."""
    named = [(key, _UNWRITABLE.sub("", value)) for key, value in pairs]
    first = dict(reversed(named))
    answer, conversation = (first.get(name, "") for name in ("answer", "conversation"))
    return Address(
        query=first.get("q", "").lstrip()[:MAX_QUERY],  # a blank at the end tells search that the last word is whole
        filters=_filters([(key[len(FILTER) :], value) for key, value in named if key.startswith(FILTER)]),
        offset=_offset(first.get("offset", "")),
        answer=answer if _ID.match(answer) else "",
        conversation=conversation if _ID.match(conversation) else "",
    )


def followup(named: Iterable[tuple[str, str]]) -> str:
    """The follow-up question in a form, which leaves the search beside it as it is."""
    return _UNWRITABLE.sub("", dict(named).get("question", ""))[:MAX_QUERY]


def parse_url(url: str) -> Address:
    """The address in a whole URL."""
    return parse(pairs(urlsplit(url).query))


def pairs(encoded: str) -> list[tuple[str, str]]:
    """The names and values of a query string or URL-encoded form; bytes that are not UTF-8 become U+FFFD."""
    return parse_qsl(encoded, keep_blank_values=True, errors="replace")


def _filters(named: Sequence[Filter]) -> tuple[Filter, ...]:
    kept: dict[str, dict[str, None]] = {}
    for key, value in named:
        if not 0 < len(key) <= 128 or not value or len(value) > 1024:
            continue
        if key in kept or len(kept) < MAX_FILTERS:
            kept.setdefault(key, {})[value] = None
    return tuple((key, value) for key, values in kept.items() for value in list(values)[:MAX_VALUES])


def _offset(text: str) -> int:
    return min(int(text), MAX_OFFSET) if text.isascii() and text.isdigit() and len(text) < 8 else 0
